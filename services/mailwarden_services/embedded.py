"""The embedded default: a Redis of our own where none is named, and `serve` as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import structlog
from pydantic import SecretStr

from mailwarden.errors import MailwardenError, StoreError, StoreUnavailable
from mailwarden.settings import Settings
from mailwarden.stores.online.client import open_client, translated
from mailwarden.stores.online.server import RedisServer, dies_with_parent

log = structlog.get_logger(__name__)

STOP_SECONDS = 60.0

LONGEST_BACKOFF_SECONDS = 30.0
"""Between two starts of a process that keeps ending; one that ran for longer is taken to be well again."""


@contextlib.contextmanager
def with_redis(settings: Settings, *, keep: bool = True) -> Iterator[Settings]:
    """Settings that name a Redis: the one given, ours where it runs already, else one started for the time being.

    keep: hold the data on disk (append-only file), so that features outlive the process.
    """
    with own_redis(settings, keep=keep) as (named, _):
        yield named


@contextlib.contextmanager
def own_redis(settings: Settings, *, keep: bool = True) -> Iterator[tuple[Settings, OwnRedis | None]]:
    """As `with_redis`, with the server of ours, to be kept up; None where the settings name another."""
    if settings.redis_url.get_secret_value():
        yield settings, None
        return
    server = own_server(settings, keep=keep)
    named = settings.model_copy(update={"redis_url": SecretStr(server.url)})
    if _answers(server.url):
        log.warning(
            "another command's Redis is used; it ends with that command, and `serve` then starts one of its own "
            "over the same data",
            socket=str(server.socket_path),
        )
        try:
            yield named, OwnRedis(server)
        finally:
            server.stop()
        return
    with server:
        yield named, OwnRedis(server)


def own_server(settings: Settings, *, keep: bool = True) -> RedisServer:
    """The Redis of these settings' home, whether or not it runs; its URL is the same each time."""
    return RedisServer(settings.run_path / "redis", append_only=keep)


class OwnRedis:
    """A Redis of ours, started again where it went away with the command that had started it, or by itself."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    async def keep_up(self) -> None:
        """Look once a second until cancelled; called in the main thread, with which the server shall end."""
        while True:
            await asyncio.sleep(1.0)
            if await asyncio.to_thread(_answers, self._server.url):
                continue
            before = self._server.pid
            try:
                # One that runs and still reads its file is left alone by this.
                if self._server.begin():
                    await asyncio.to_thread(self._server.await_answer)
                if self._server.pid != before:
                    log.warning("Redis was gone; started again over the same data", pid=self._server.pid)
            except MailwardenError as exc:
                log.error("Redis is gone and cannot be started; decisions are degraded", error=str(exc))


def _answers(url: str) -> bool:
    client = open_client(url, timeout_seconds=1.0)
    try:
        with translated("looking for our own server"):
            return bool(client.ping())
    except StoreUnavailable:
        return False
    except StoreError:
        # It is there: it reads its file, or has much to do.
        return True
    finally:
        client.close()


def environment_of(settings: Settings) -> dict[str, str]:
    """Environment variables that give a child process these settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAILWARDEN_")}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        environment[f"MAILWARDEN_{name.upper()}"] = text
    environment["MAILWARDEN_HOME"] = str(settings.root)
    environment["MAILWARDEN_LISTS"] = str(settings.lists_path or "")
    return environment


class ChildProcess:
    """A Python module run as a process of its own, its words in a log file, stopped by its own id."""

    def __init__(
        self,
        module: str,
        arguments: list[str],
        environment: Mapping[str, str],
        log_file: Path,
        *,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.log_file = log_file
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("ab") as out:
            self._process = subprocess.Popen(
                [*dies_with_parent(), sys.executable, "-m", module, *arguments],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=pass_fds,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise StoreUnavailable with the end of its log where it has ended."""
        if self._process.poll() is not None:
            tail = self.log_file.read_text(errors="replace")[-2_000:]
            raise StoreUnavailable(f"a process ended with {self._process.returncode}; its log ends:\n{tail}")

    def stop(self) -> None:
        """Ask it to stop, wait, and end it where it does not."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                log.warning("process did not stop in time; killed", pid=self.pid)
                self._process.kill()
                self._process.wait()

    def cpu_seconds(self) -> float:
        """CPU time that it used so far, user and system (proc(5))."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class WatchedProcess:
    """A child process that is started again when it ends, later each time it ends soon.

    words: what is wrong with it, "" while it runs.
    """

    def __init__(self, start: Callable[[], ChildProcess], *, what: str, backoff_seconds: float = 1.0) -> None:
        self._start, self._what, self._backoff = start, what, backoff_seconds
        self._child = start()
        self.restarts = 0
        self.words = ""

    @property
    def pid(self) -> int:
        """Process id of the one that ran last."""
        return self._child.pid

    async def watch(self) -> None:
        """Look after the process until cancelled; called in the main thread, with which the process shall end."""
        wait, began = self._backoff, time.monotonic()
        while True:
            await asyncio.sleep(min(0.5, self._backoff))
            try:
                self._child.check()
                if time.monotonic() - began > LONGEST_BACKOFF_SECONDS:
                    wait, self.words = self._backoff, ""
                continue
            except StoreUnavailable as exc:
                self.words = f"{self._what} ended and is started again in {wait:.0f} s: {str(exc)[-500:]}"
                log.error("a process ended; it is started again", what=self._what, seconds=wait, error=str(exc))
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_BACKOFF_SECONDS)
            try:
                self._child, began = self._start(), time.monotonic()
                self.restarts += 1
                self.words = f"{self._what} ended and was started again a moment ago; see {self._child.log_file}"
            except OSError as exc:
                log.error("a process cannot be started", what=self._what, error=str(exc))

    def stop(self) -> None:
        """Stop the process."""
        self._child.stop()


def wait_until(answers: object, child: ChildProcess, *, seconds: float, what: str) -> None:
    """Call `answers` until it is true; raises StoreUnavailable where the child ends or time runs out."""
    assert callable(answers)
    deadline = time.monotonic() + seconds
    while not answers():
        child.check()
        if time.monotonic() > deadline:
            raise StoreUnavailable(f"{what} did not happen within {seconds:.0f} s; see {child.log_file}")
        time.sleep(0.05)
