"""A Redis server of our own on a unix socket, for the embedded default and for tests."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
import structlog

from mailwarden.errors import ConfigError, StoreUnavailable

_log = structlog.get_logger(__name__)

_SOCKET_PATH_LIMIT = 107
"""Bytes of a unix socket's path that Linux takes (unix(7))."""


class RedisServer:
    """Starts redis-server in a folder, without a TCP port, and stops exactly that process.

    folder: holds the socket, the log and, with `append_only`, the data; made where missing. append_only: keep data
    over restarts, synced once a second. Used as a context manager, or by `start` and `stop`.
    Raises ConfigError where redis-server is not installed or the socket's path is too long, StoreUnavailable where
    it does not come up.
    """

    def __init__(self, folder: Path, *, append_only: bool = False, start_seconds: float = 10.0) -> None:
        self.folder = folder.resolve()
        self.append_only = append_only
        self.start_seconds = start_seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket_path(self) -> Path:
        """The unix socket."""
        return self.folder / "redis.sock"

    @property
    def url(self) -> str:
        """URL for `open_client`."""
        return f"unix://{self.socket_path}?db=0"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Start the server and wait until it answers; a no-op where it runs already."""
        if self.begin():
            self.await_answer()
        return self

    def begin(self) -> bool:
        """Start the server, in the main thread, with which it shall end; False where it runs already."""
        if self._process is not None and self._process.poll() is None:
            return False
        binary = shutil.which("redis-server")
        if binary is None:
            raise ConfigError(
                "redis-server is not installed; install it (apt-get install redis-server), "
                "or set MAILWARDEN_REDIS_URL to a running one"
            )
        if len(str(self.socket_path).encode()) > _SOCKET_PATH_LIMIT:
            raise ConfigError(
                f"the path of the socket {self.socket_path} is too long; choose a shorter MAILWARDEN_HOME"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._refuse_second_server()
        command = [*dies_with_parent(), binary, "--port", "0"]
        command += ["--unixsocket", str(self.socket_path), "--unixsocketperm", "700"]
        command += ["--dir", str(self.folder), "--save", "", "--daemonize", "no"]
        command += ["--appendonly", "yes" if self.append_only else "no", "--appendfsync", "everysec"]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return True

    def stop(self) -> None:
        """Stop the server that this object started; a no-op where there is none."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.socket_path.unlink(missing_ok=True)
        _log.info("redis stopped", pid=process.pid)

    def _answers(self) -> bool:
        with redis.Redis(unix_socket_path=str(self.socket_path), socket_timeout=1.0) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False

    def _refuse_second_server(self) -> None:
        # redis-server removes a socket that it finds, even where another server still listens on it.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(self.socket_path)) != 0:
                return
            raise ConfigError(
                f"a Redis server already listens on {self.socket_path}; stop it, or set MAILWARDEN_REDIS_URL to "
                f"unix://{self.socket_path}"
            )

    def await_answer(self) -> None:
        """Wait until what was begun answers; raises StoreUnavailable with its words where it does not in time."""
        assert self._process is not None
        deadline = time.monotonic() + self.start_seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            if self.socket_path.exists() and self._answers():
                _log.info("redis started", pid=self._process.pid, append_only=self.append_only)
                return
            time.sleep(0.01)
        self.stop()
        log = (self.folder / "redis.log").read_text(errors="replace")[-500:]
        raise StoreUnavailable(f"redis-server did not come up in {self.folder}; its log ends:\n{log}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def dies_with_parent() -> list[str]:
    """Words to begin a command with, so that the process gets SIGTERM when the one that started it ends."""
    # A killed parent must not leave a server behind. The signal comes when the starting thread ends, so only the
    # main thread may ask for it.
    if threading.current_thread() is threading.main_thread() and shutil.which("setpriv"):
        return ["setpriv", "--pdeathsig=TERM"]
    return []
