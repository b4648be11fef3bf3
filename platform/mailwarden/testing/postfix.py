"""A Postfix of the tests' own: Debian's programs over a configuration, queue and data directory in one folder."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import smtplib
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from mailwarden.errors import ConfigError, StoreUnavailable

DOMAIN = "example.com"
"""What it delivers for: any local part, all into one Maildir."""

_DAEMONS = Path("/usr/lib/postfix/sbin")


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def why_not() -> str:
    """Why no Postfix can be started here, in words; "" where one can."""
    if shutil.which("postfix") is None or not (_DAEMONS / "master").exists():
        return "Postfix is not installed (infra/setup.sh installs it)"
    return "" if os.geteuid() == 0 else "Postfix is started by root alone"


@dataclass
class Postfix:
    """Starts Postfix in a folder on a free loopback port, and stops exactly that one, by its master's process id.

    folder: made where missing, and opened to everyone, as its parents must be: Postfix gives its rights away.
    settings: of main.cf, over the harness's own. services: lines added to master.cf. port: of its SMTP server. Used as
    a context manager.
    Raises ConfigError where Postfix cannot be run here, StoreUnavailable where it does not come up.
    """

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    services: Sequence[str] = ()
    port: int = field(default_factory=free_port)

    def start(self) -> Self:
        """Write the configuration where there is none, start, and wait until it greets."""
        if words := why_not():
            raise ConfigError(words)
        if not (self.folder / "etc" / "main.cf").exists():
            self._write()
        done = self._run("postfix", "start")
        if done.returncode != 0:
            raise StoreUnavailable(f"Postfix did not start in {self.folder}: {done.stderr}{self.log()[-2000:]}")
        wait_for(self._greets, f"Postfix in {self.folder} to greet", seconds=20.0)
        return self

    def stop(self) -> None:
        """Stop it and all of its processes; a no-op where none runs."""
        if (pid := self.pid) is None:
            return
        self._run("postfix", "stop")
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not _runs(pid), "Postfix to stop", seconds=10.0)
            return
        self.kill()

    def kill(self) -> None:
        """SIGKILL to its process group, which is its own: no daemon of it gets to say anything."""
        if (pid := self.pid) is None:
            return
        with contextlib.suppress(ProcessLookupError):
            assert os.getpgid(pid) == pid
            os.killpg(pid, signal.SIGKILL)
        wait_for(lambda: not _runs(pid), "Postfix to end", seconds=10.0)

    @property
    def pid(self) -> int | None:
        """Process id of its master while it runs."""
        file = self.folder / "spool" / "pid" / "master.pid"
        try:
            pid = int(file.read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if _runs(pid) and "master" in _command(pid) else None

    def delivered(self) -> list[bytes]:
        """Each message in the Maildir as its bytes, with the trace headers that Postfix put above it."""
        return [file.read_bytes() for file in self.delivered_files()]

    def delivered_files(self) -> list[Path]:
        """The files of the Maildir."""
        return sorted((self.folder / "mail" / "box" / "new").glob("*"))

    def queue(self, name: str | None = None) -> list[dict[str, object]]:
        """What is in its queues, as `postqueue -j` tells, of one queue ("hold", "deferred") or of all."""
        rows = [json.loads(line) for line in self._run("postqueue", "-j").stdout.splitlines()]
        return [row for row in rows if name in (None, row["queue_name"])]

    def flush(self) -> None:
        """Have it try all deferred mail now."""
        self._run("postqueue", "-f")

    def command(self, program: str, *words: str) -> list[str]:
        """A command line of one of its programs, for this instance."""
        return [program, "-c", str(self.folder / "etc"), *words]

    def log(self) -> str:
        """Its log."""
        file = self.folder / "maillog"
        return file.read_text(errors="replace") if file.exists() else ""

    def send(
        self, raw: bytes, *, sender: str = "ann@partner.example", to: Sequence[str] = (f"bob@{DOMAIN}",)
    ) -> tuple[int, str]:
        """Hand one message in by SMTP; the reply to its last command, as code and words."""
        try:
            with smtplib.SMTP("127.0.0.1", self.port, "client.partner.example", timeout=60) as smtp:
                smtp.ehlo_or_helo_if_needed()
                replies = [smtp.mail(sender), *(smtp.rcpt(one) for one in to)]
                refused = [reply for reply in replies if reply[0] >= 400]
                code, words = refused[0] if refused else smtp.data(raw)
                return code, words.decode(errors="replace")
        except (OSError, smtplib.SMTPException) as error:
            return 0, str(error)

    def _run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(program, *words), capture_output=True, text=True, check=False, timeout=60)

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                return connection.recv(4) == b"220 "
        except OSError:
            return False

    def _write(self) -> None:
        for name in ("etc", "spool", "data", "mail"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        postfix, nobody = pwd.getpwnam("postfix"), pwd.getpwnam("nobody")
        os.chown(self.folder / "data", postfix.pw_uid, -1)
        os.chown(self.folder / "mail", nobody.pw_uid, -1)
        # Its programs that start without root write here too, when they find what a kill left.
        (self.folder / "maillog").touch()
        os.chown(self.folder / "maillog", postfix.pw_uid, -1)
        main = {
            "compatibility_level": "3.6",
            "queue_directory": str(self.folder / "spool"),
            "data_directory": str(self.folder / "data"),
            "daemon_directory": str(_DAEMONS),
            "command_directory": "/usr/sbin",
            "maillog_file": str(self.folder / "maillog"),
            "maillog_file_prefixes": str(self.folder),
            "myhostname": f"mx.{DOMAIN}",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "alias_maps": "",
            "alias_database": "",
            "virtual_mailbox_domains": DOMAIN,
            "virtual_mailbox_base": str(self.folder / "mail"),
            "virtual_mailbox_maps": "static:box/",
            "virtual_uid_maps": f"static:{nobody.pw_uid}",
            "virtual_gid_maps": f"static:{nobody.pw_gid}",
            "default_transport": "error:no mail leaves this test",
            "smtpd_peername_lookup": "no",
            "local_header_rewrite_clients": "",
            "smtpd_client_connection_rate_limit": "0",
            "queue_run_delay": "1s",
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "2s",
            "transport_retry_time": "1s",
            "milter_connect_timeout": "5s",
            **self.settings,
        }
        (self.folder / "etc" / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in main.items()))
        lines = [f"127.0.0.1:{self.port} inet n - n - - smtpd", *_SERVICES.strip().splitlines(), *self.services]
        (self.folder / "etc" / "master.cf").write_text("\n".join(lines) + "\n")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def wait_for(condition: Callable[[], object], what: str, *, seconds: float = 15.0) -> None:
    """Wait until the condition holds; AssertionError with `what` where it does not in that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)


def without_trace(delivered: bytes) -> bytes:
    """A delivered message with CRLF line ends, without the fields that Postfix wrote on top of it."""
    lines = delivered.replace(b"\r\n", b"\n").split(b"\n")
    at, own = 0, (b"return-path:", b"x-original-to:", b"delivered-to:", b"received:")
    while at < len(lines) and lines[at].lower().startswith(own):
        at += 1
        while at < len(lines) and lines[at][:1] in (b" ", b"\t"):
            at += 1
    return b"\r\n".join(lines[at:])


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


_SERVICES = """
pickup    unix  n - n 60   1 pickup
cleanup   unix  n - n -    0 cleanup
qmgr      unix  n - n 1    1 qmgr
rewrite   unix  - - n -    - trivial-rewrite
bounce    unix  - - n -    0 bounce
defer     unix  - - n -    0 bounce
trace     unix  - - n -    0 bounce
proxymap  unix  - - n -    - proxymap
smtp      unix  - - n -    - smtp
lmtp      unix  - - n -    - lmtp
showq     unix  n - n -    - showq
error     unix  - - n -    - error
retry     unix  - - n -    - error
virtual   unix  - n n -    - virtual
anvil     unix  - - n -    1 anvil
postlog   unix-dgram n - n - 1 postlogd
"""
