"""Debian's rspamd as the peer of the same run: one worker, nothing that asks the network, its expressions compiled."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from mailwarden.errors import StoreUnavailable
from mailwarden_services.bench.load import LoadResult, LoadTask, generate_load
from mailwarden_services.processes import cpu_seconds
from mailwarden_services.replay.live import UnixConnection

CONFIGURATION = Path("/etc/rspamd/rspamd.conf")
"""Of Debian's package."""

ASKS_DNS = ["arc", "asn", "bimi", "dkim", "dmarc", "hfilter", "mx_check", "rbl", "spf", "surbl"]
ASKS_OTHERS = ["dcc", "fuzzy_check", "http_headers", "p0f", "phishing", "rspamd_update", "url_redirector"]
NEEDS_REDIS = ["dkim_signing", "greylist", "history_redis", "neural", "ratelimit", "replies", "reputation"]

START_SECONDS = 60.0
COMPILE_SECONDS = 90.0
_QUIET_SECONDS = 3.0
_QUIET_CPU = 0.03


class Rspamd:
    """A running rspamd; made by `running_rspamd`."""

    def __init__(self, process: subprocess.Popen[bytes], socket: Path) -> None:
        self._process, self.socket = process, socket

    def warm(self, task: LoadTask) -> None:
        """Send it a load, wait until it has compiled its expressions in the background, and send it again."""
        self.load(task)
        deadline = time.monotonic() + COMPILE_SECONDS
        while time.monotonic() < deadline:
            before = self.cpu_seconds()
            time.sleep(_QUIET_SECONDS)
            if self.cpu_seconds() - before < _QUIET_CPU and list(self.socket.parent.glob("*.hs*")):
                break
        self.load(task)

    def load(self, task: LoadTask) -> LoadResult:
        """What a load's messages took; its socket and protocol are replaced. Raises StoreUnavailable on a refusal."""
        result = generate_load(replace(task, socket=str(self.socket), protocol="rspamd"))
        if result.failed or not result.messages:
            raise StoreUnavailable(f"rspamd did not answer {result.failed} of its messages by 200")
        return result

    def cpu_seconds(self) -> float:
        """CPU time of all its processes so far."""
        return cpu_seconds(self._process.pid)


def installed() -> bool:
    """Whether Debian's rspamd is here."""
    return shutil.which("rspamd") is not None and CONFIGURATION.exists()


@contextmanager
def running_rspamd() -> Iterator[Rspamd]:
    """An rspamd on a socket in a folder of its own, stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="mailwarden-rspamd-") as name:
        folder = Path(name)
        socket = folder / "normal.sock"
        _write_configuration(folder, socket)
        command = ["rspamd", "-f", "-c", str(CONFIGURATION), f"--var=LOCAL_CONFDIR={folder}"]
        command += [f"--var={kind}DIR={folder}" for kind in ("DB", "RUN", "LOG")]
        if os.geteuid() == 0:
            command += ["-u", "_rspamd", "-g", "_rspamd"]
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, "_rspamd", "_rspamd")
        nothing = subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing)
        try:
            _wait(lambda: _answers(socket), process, folder / "log")
            yield Rspamd(process, socket)
        finally:
            process.terminate()
            process.wait(30)


def _write_configuration(folder: Path, socket: Path) -> None:
    local = folder / "local.d"
    local.mkdir()
    for module in (*ASKS_DNS, *ASKS_OTHERS, *NEEDS_REDIS):
        (local / f"{module}.conf").write_text("enabled = false;\n")
    # A name server that nobody is: whatever still asks is told so at once.
    (local / "options.inc").write_text('dns { nameserver = ["127.0.0.1:9"]; timeout = 0.05s; retransmits = 1; }\n')
    (local / "logging.inc").write_text(f'filename = "{folder}/log"; level = "error";\n')
    (local / "worker-normal.inc").write_text(f'bind_socket = "{socket} mode=0666"; count = 1;\n')
    (local / "worker-controller.inc").write_text(f'bind_socket = "{folder}/controller.sock mode=0666"; count = 1;\n')
    for worker in ("proxy", "fuzzy"):
        (local / f"worker-{worker}.inc").write_text("enabled = false;\n")


def _answers(socket: Path) -> bool:
    connection = UnixConnection(socket, 5.0)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    connection.close()
    return False


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            words = log.read_text(errors="replace")[-1_000:] if log.exists() else ""
            raise StoreUnavailable(f"rspamd did not come up; its log ends:\n{words}")
        time.sleep(0.1)
