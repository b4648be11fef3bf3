"""A Redis that a benchmark's contestants share, over TCP."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mailwarden.errors import StoreUnavailable

START_SECONDS = 10.0


@contextmanager
def tcp_redis(folder: Path) -> Iterator[str]:
    """URL of a redis-server on a free port of 127.0.0.1, without persistence, stopped at the end.

    folder: where it runs. TCP, since Feast's connection string knows no unix socket. Raises StoreUnavailable where it
    does not come up.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen([*command, "--dir", str(folder)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise StoreUnavailable(f"redis-server did not come up on port {port}; is it installed?")
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
