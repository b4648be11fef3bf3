"""One process that does one kind of work on what it is sent, and is ended from outside where that takes too long.

1. `Child.start` forks a process off a server that has imported all that the work needs, so that a new one is there
   in milliseconds; it waits for frames on a pipe.
2. `Child.ask` sends a frame, once the process says that it is ready, and waits for the answer. All the while it looks
   at the CPU time that the process has used for it, and at the clock.
3. Work that is a generator may ask back: what it yields is answered by `consult`, here, and the work goes on.
4. Over `cpu_seconds`, or `wall_seconds` where it does not even compute, the process is killed: nothing of its state
   outlives a message that overcame it. `TookTooLong` says so, `Died` where it ended by itself. The time that `consult`
   takes is nobody's.

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
import select
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from importlib.util import find_spec
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, Literal

from mailwarden.errors import StoreError, StoreTimeout, StoreUnavailable
from mailwarden_services.allocator import give_back_freed_memory
from mailwarden_services.reading.channel import Channel

CLOCK_FOR_CPU = 10.0
"""Seconds by the clock for each CPU second that a piece of work may take: what computes nothing must end too."""

_LOOK_SECONDS = 0.05
_PAUSE_SECONDS = 2.0
_READY_SECONDS = 120.0
"""In which a process is ready, or something is wrong with it: on a loaded machine its imports take long."""

_MAIN_MODULE = threading.Lock()
_PR_SET_PDEATHSIG = 1
_NEW_OBJECTS = 20_000
"""Containers that are made and not freed before garbage is looked for."""

Work = Callable[[Any], Any]
"""A module-level function of what is sent, or an object that may be sent; what it returns, or the exception that it
raises, goes back. Where it has a method `prepare`, that is called once in each process, before it is ready."""

Consult = Callable[[Any], Any]
"""Answers what a work yields: a value, or an awaitable of one."""

Kind = Literal["returned", "raised", "asks"]


class TookTooLong(StoreTimeout):
    """A child was ended since one piece of work took too long."""


class NotReady(StoreUnavailable):
    """A child ended before it could work at all: no message is to blame."""


class Died(StoreError):
    """A child ended by itself in the middle of its work: of a signal, or for want of memory."""


class Child:
    """A process that works on one thing at a time.

    work: see `Work`; another one counts from the next start on. cpu_seconds, wall_seconds: what one piece of work may
    take. nice: added to its niceness.
    """

    def __init__(self, work: Work, *, cpu_seconds: float, wall_seconds: float, nice: int = 0) -> None:
        self.work, self._nice = work, nice
        self._cpu_seconds, self._wall_seconds = cpu_seconds, wall_seconds
        self._process: BaseProcess | None = None
        self._channel: Channel | None = None
        self._ready = False
        self._sentinel = select.poll()
        self._failed_at = float("-inf")
        self.ended = 0

    @property
    def pid(self) -> int | None:
        """Process id; None where none runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Have the process run, if it does not; returns before it is ready to work."""
        if self._process is not None and self._process.is_alive():
            return
        self.stop()
        context = _context(self.work.__module__)
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.work, self._nice), daemon=True)
        with _no_main_module():
            process.start()
        theirs.close()
        self._sentinel = select.poll()
        self._sentinel.register(process.sentinel, select.POLLIN)
        self._process, self._channel, self._ready = process, Channel(ours), False

    async def ready(self) -> None:
        """Have the process run, and wait until it could work; raises NotReady where it ends before."""
        await self._prepare()

    async def ask(self, what: Any, consult: Consult | None = None) -> Any:
        """What the work makes of it; raises NotReady, TookTooLong, Died, and what the work itself or `consult` raised.

        A process in which `consult` raised, or whose caller went away, is ended: its work is not done.
        """
        sending: asyncio.Task[None] | None = None
        # What a process needs before its first message is not on that message's account.
        await self._prepare()
        try:
            frame = pickle.dumps(what, protocol=5)
            while True:
                assert self._channel is not None
                sending = self._channel.send(frame)
                kind, value = pickle.loads(await self._frame(self._cpu_seconds, self._wall_seconds))
                if sending is not None:
                    await sending
                    sending = None
                if kind != "asks":
                    break
                assert consult is not None
                reply = consult(value)
                frame = pickle.dumps(await reply if isinstance(reply, Awaitable) else reply, protocol=5)
        except BaseException as exc:
            self.ended += 1
            await self._end(sending)
            if isinstance(exc, (EOFError, OSError)):
                raise Died("a process that reads mail ended in the middle of a message") from exc
            raise
        if kind == "raised":
            raise value
        return value

    async def _prepare(self) -> None:
        # As `is_alive` tells it, in a tenth of the time: asked before each message.
        if self._process is not None and self._ready and not self._sentinel.poll(0):
            return
        if time.monotonic() - self._failed_at < _PAUSE_SECONDS:
            raise NotReady(f"a scoring process did not start a moment ago; it is tried again in {_PAUSE_SECONDS:.0f} s")
        try:
            if self._process is None or not self._process.is_alive():
                self._let_go()
                await _to_its_end(self.start)
            if not self._ready:
                await self._frame(math.inf, _READY_SECONDS)
                self._ready = True
        except BaseException as exc:
            await self._end(None)
            if isinstance(exc, (EOFError, OSError, StoreError)):
                self._failed_at = time.monotonic()
                raise NotReady(f"a scoring process ended before it was ready: {exc}") from exc
            raise

    async def _end(self, sending: asyncio.Task[None] | None) -> None:
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        self._let_go()
        if self._process is not None:
            self._process.kill()
        await _to_its_end(self.stop)

    async def _frame(self, cpu_seconds: float, wall_seconds: float) -> bytes:
        """The next frame that the process sends."""
        assert self._process is not None and self._channel is not None
        arrived = self._channel.receive()
        look = _Look(arrived, self._process, cpu_seconds, wall_seconds)
        try:
            return await arrived
        finally:
            look.cancel()

    def _let_go(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._channel = None

    def stop(self) -> None:
        """End the process, whatever it does; not while it is asked from an event loop of another thread."""
        self._kill()
        self._let_go()

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


class _Look:
    """Looks at a process from time to time while its answer is waited for, and says when there will be none."""

    __slots__ = ("_arrived", "_began", "_cpu_seconds", "_handle", "_process", "_used", "_wall_seconds")

    def __init__(
        self, arrived: asyncio.Future[bytes], process: BaseProcess, cpu_seconds: float, wall_seconds: float
    ) -> None:
        assert process.pid is not None
        self._arrived, self._process = arrived, process
        self._cpu_seconds, self._wall_seconds = cpu_seconds, wall_seconds
        self._used, self._began = _cpu_seconds(process.pid), time.monotonic()
        self._handle = arrived.get_loop().call_later(_LOOK_SECONDS, self)

    def cancel(self) -> None:
        self._handle.cancel()

    def __call__(self) -> None:
        if self._arrived.done():
            return
        assert self._process.pid is not None
        if not self._process.is_alive():
            self._arrived.set_exception(Died(f"a process that reads mail ended with {self._process.exitcode}"))
        elif (spent := _cpu_seconds(self._process.pid) - self._used) > self._cpu_seconds:
            self._arrived.set_exception(TookTooLong(f"{spent:.2f} CPU seconds were not enough"))
        elif time.monotonic() - self._began > self._wall_seconds:
            self._arrived.set_exception(TookTooLong(f"{self._wall_seconds:.0f} seconds were not enough"))
        else:
            self._handle = self._arrived.get_loop().call_later(_LOOK_SECONDS, self)


def _cpu_seconds(pid: int) -> float:
    """CPU time of another process; clock ids of processes: clock_getcpuclockid(3), as Linux makes them."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _context(module: str) -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # Heard only before the server runs; what it has not imported is imported by the child.
    package = module.rpartition(".")[0]
    beside = f"{package}.preloaded"
    if package and find_spec(beside) is not None:
        context.set_forkserver_preload([module, beside])
    return context


def start_server(module: str) -> None:
    """Have the server run that processes for a module's work are forked off, and import what they need meanwhile."""
    _context(module)
    forkserver.ensure_running()


def settle_collector() -> None:
    """Leave to itself what is loaded by now, and look for garbage less often: a message's parts hold no cycles.

    Walking through all modules again and again takes a twentieth of what reading mail does.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


def _serve(pipe: Connection[Any, Any], work: Work, nice: int) -> None:
    """The child: frames in, (kind, value or exception) out, until the pipe ends."""
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
    give_back_freed_memory()
    prepare = getattr(work, "prepare", None)
    if prepare is not None:
        prepare()
    settle_collector()
    pipe.send_bytes(b"")

    def send(kind: Kind, value: Any) -> None:
        pipe.send_bytes(pickle.dumps((kind, value), protocol=5))

    while True:
        try:
            frame = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            made = work(pickle.loads(frame))
            del frame
            if isinstance(made, Generator):
                made = _conversed(made, pipe, send)
        except _ParentGone:
            return
        except Exception as exc:
            send("raised", exc)
        else:
            send("returned", made)


class _ParentGone(Exception):
    """Nobody is there to answer what a work asked."""


def _conversed(work: Generator[Any, Any, Any], pipe: Connection[Any, Any], send: Callable[[Kind, Any], None]) -> Any:
    try:
        asked = next(work)
        while True:
            send("asks", asked)
            try:
                reply = pickle.loads(pipe.recv_bytes())
            except (EOFError, OSError) as exc:
                raise _ParentGone from exc
            asked = work.send(reply)
    except StopIteration as end:
        return end.value
