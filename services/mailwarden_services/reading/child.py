"""One process that does one kind of work on what it is sent, and is ended from outside where that takes too long.

1. `Child.start` forks a process off a server that has imported all that the work needs, so that a new one is there
   in milliseconds; it waits for frames on a pipe.
2. `Child.ask` sends a frame, once the process says that it is ready, and waits for the answer. All the while it looks
   at the CPU time that the process has used for it, and at the clock.
3. Over `cpu_seconds`, or `wall_seconds` where it does not even compute, the process is killed: nothing of its state
   outlives a message that overcame it. `TookTooLong` says so, `Died` where it ended by itself.

Invariants: a child has at most one frame at a time; one that was killed is never asked again; it ends with its parent,
by the end of the pipe or by its server's death. CPU time and not the clock decides, so that a loaded machine cuts off
no honest mail.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

from mailwarden.errors import StoreError, StoreTimeout

LARGE_FRAME = 256 * 1024
"""Bytes from which a frame is sent by a thread: a pipe takes it only as fast as the child reads."""

_LOOK_SECONDS = 0.05
_MAIN_MODULE = threading.Lock()
_PR_SET_PDEATHSIG = 1
_NEW_OBJECTS = 20_000
"""Containers that are made and not freed before garbage is looked for."""

Work = Callable[[Any], Any]
"""A module-level function of what is sent; what it returns, or the exception that it raises, goes back."""


class TookTooLong(StoreTimeout):
    """A child was ended since one piece of work took too long."""


class Died(StoreError):
    """A child ended by itself in the middle of its work: of a signal, or for want of memory."""


class Child:
    """A process that works on one thing at a time.

    work: see `Work`. cpu_seconds, wall_seconds: what one piece of work may take. nice: added to its niceness.
    """

    def __init__(self, work: Work, *, cpu_seconds: float, wall_seconds: float, nice: int = 0) -> None:
        self._work, self._nice = work, nice
        self._cpu_seconds, self._wall_seconds = cpu_seconds, wall_seconds
        self._process: BaseProcess | None = None
        self._pipe: Connection[Any, Any] | None = None
        self._ready = False
        self.ended = 0

    def start(self) -> None:
        """Have the process run, if it does not; returns before it is ready to work."""
        if self._process is not None and self._process.is_alive():
            return
        self.stop()
        context = _context(self._work.__module__)
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._work, self._nice), daemon=True)
        with _no_main_module():
            process.start()
        theirs.close()
        self._process, self._pipe, self._ready = process, ours, False

    async def ask(self, what: Any) -> Any:
        """What the work makes of it; raises TookTooLong or Died, and whatever the work itself raised."""
        if self._process is None or not self._process.is_alive():
            await _to_its_end(self.start)
        assert self._pipe is not None and self._process is not None
        sending: asyncio.Task[None] | None = None
        try:
            if not self._ready:
                # What a process needs before its first message is not on that message's account.
                await self._frame(math.inf)
                self._ready = True
            sending = asyncio.create_task(_send(self._pipe, pickle.dumps(what, protocol=5)))
            worked, value = pickle.loads(await self._frame(self._cpu_seconds))
            await sending
        except BaseException as exc:
            self.ended += 1
            self._process.kill()
            # A thread that still sends finds nobody at the other end; only then is the pipe let go of.
            with contextlib.suppress(OSError):
                if sending is not None:
                    await asyncio.shield(sending)
            await _to_its_end(self.stop)
            if isinstance(exc, (EOFError, OSError)):
                raise Died("a process that reads mail ended in the middle of a message") from exc
            raise
        if not worked:
            raise value
        return value

    async def _frame(self, cpu_seconds: float) -> bytes:
        """The next frame that the process sends; it is small, and written in one go."""
        assert self._pipe is not None and self._process is not None and self._process.pid is not None
        pipe, process, pid = self._pipe, self._process, self._process.pid
        loop = asyncio.get_running_loop()
        there = loop.create_future()
        used, began = _cpu_seconds(pid), time.monotonic()
        loop.add_reader(pipe.fileno(), _settle, there)
        try:
            while True:
                await asyncio.wait({there}, timeout=_LOOK_SECONDS)
                if there.done():
                    return pipe.recv_bytes()
                if not process.is_alive():
                    raise Died(f"a process that reads mail ended with {process.exitcode}")
                if (spent := _cpu_seconds(pid) - used) > cpu_seconds:
                    raise TookTooLong(f"{spent:.2f} CPU seconds were not enough")
                if time.monotonic() - began > self._wall_seconds:
                    raise TookTooLong(f"{self._wall_seconds:.0f} seconds were not enough")
        finally:
            loop.remove_reader(pipe.fileno())

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._kill()
        if self._pipe is not None:
            self._pipe.close()
        self._pipe = None

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        self._process = None


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """Nobody's main module is run again in a child: a script that serves would serve there a second time."""
    # Processes are started by several threads, and the module is the whole process's.
    with _MAIN_MODULE:
        ours = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = ours


async def _to_its_end(work: Callable[[], None]) -> None:
    """Fork or reap a process in a thread, since either takes a loaded machine up to half a second, in which the event
    loop would answer nobody; done before this returns, so that nobody else has the child meanwhile."""
    running = asyncio.create_task(asyncio.to_thread(work))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _send(pipe: Connection[Any, Any], frame: bytes) -> None:
    if len(frame) < LARGE_FRAME:
        pipe.send_bytes(frame)
    else:
        await asyncio.to_thread(pipe.send_bytes, frame)


def _cpu_seconds(pid: int) -> float:
    """CPU time of another process; clock ids of processes: clock_getcpuclockid(3), as Linux makes them."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _context(module: str) -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # Heard only before the server runs; what it has not imported is imported by the child.
    context.set_forkserver_preload([module, "mailwarden_services.reading.preloaded"])
    return context


def settle_collector() -> None:
    """Leave to itself what is loaded by now, and look for garbage less often: a message's parts hold no cycles.

    Walking through all modules again and again takes a twentieth of what reading mail does.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


def _serve(pipe: Connection[Any, Any], work: Work, nice: int) -> None:
    """The child: frames in, (worked, value or exception) out, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Every process that was forked off the server is handed what keeps the server running; the server must end with
    # the parent alone, and this process with the server, even while it hangs.
    kept = forkserver._forkserver._forkserver_alive_fd  # type: ignore[attr-defined]
    if kept is not None:
        os.close(kept)
        forkserver._forkserver._forkserver_alive_fd = None  # type: ignore[attr-defined]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(nice)
    settle_collector()
    pipe.send_bytes(b"")
    while True:
        try:
            frame = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            answer: tuple[bool, Any] = True, work(pickle.loads(frame))
        except Exception as exc:
            answer = False, exc
        del frame
        pipe.send_bytes(pickle.dumps(answer, protocol=5))
