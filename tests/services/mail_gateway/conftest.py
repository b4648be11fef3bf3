"""A real Postfix, a gateway as a process of its own, and a stand-in for the scoring API."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mailwarden.settings import Settings
from mailwarden.stores.quarantine import Quarantine
from mailwarden.testing.fake_scoring_api import FakeScoringApi, fake_scoring_api
from mailwarden.testing.postfix import Postfix, free_port, wait_for, why_not
from mailwarden_services.mail_gateway.release import Releases


@dataclass
class Gateway:
    """`mailwarden gateway ...` as a process."""

    words: Sequence[str]
    home: Path
    key: str = "mw_test"
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Gateway:
        command = [sys.executable, "-m", "mailwarden_services.cli", "gateway", *self.words]
        environment = os.environ | {"MAILWARDEN_HOME": str(self.home), "MAILWARDEN_GATEWAY_KEY": self.key}
        self.home.mkdir(exist_ok=True)
        with (self.home / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--listen", f"inet:127.0.0.1:{self.port}"], env=environment, stdout=log, stderr=log
            )
        wait_for(self._listens, f"the gateway {self.words} to listen: {self.log()[-2000:]}", seconds=30)
        return self

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(20)
            self.process = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def log(self) -> str:
        return (self.home / "gateway.log").read_text(errors="replace")

    def _listens(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def quarantine(self) -> Quarantine:
        settings = Settings(home=self.home)
        return Quarantine.open(settings.database, settings.quarantine_path, keep_days=30)


@pytest.fixture(scope="session")
def gateway_type() -> type[Gateway]:
    return Gateway


@dataclass
class MailSystem:
    """All of it together."""

    api: FakeScoringApi
    gateway: Gateway
    postfix: Postfix

    @property
    def releases(self) -> Releases:
        return Releases(self.gateway.quarantine, postsuper=" ".join(self.postfix.command("postsuper")))

    def stop(self) -> None:
        self.postfix.stop()
        self.gateway.stop()


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that Postfix's own users can walk to, which pytest's are not."""
    folder = Path(tempfile.mkdtemp(prefix="mailwarden-mail-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def scoring_stand_in() -> Iterator[FakeScoringApi]:
    with fake_scoring_api() as api:
        yield api


def milter_system(folder: Path, api: str) -> tuple[Gateway, Postfix]:
    gateway = Gateway(["milter", "--api", api], folder / "home")
    milter = {"smtpd_milters": f"inet:127.0.0.1:{gateway.port}", "milter_default_action": "tempfail"}
    return gateway, Postfix(folder / "postfix", milter)


def filter_system(folder: Path, api: str, protocol: str) -> tuple[Gateway, Postfix]:
    """A content filter behind the queue, with a way back in that does not pass it."""
    back = free_port()
    gateway = Gateway([protocol, "--api", api, "--next", f"127.0.0.1:{back}"], folder / "home")
    services = [
        f"mailwarden unix - - n - 10 {protocol} -o {protocol}_send_xforward_command=yes",
        f"127.0.0.1:{back} inet n - n - - smtpd -o content_filter= "
        "-o receive_override_options=no_unknown_recipient_checks,no_header_body_checks,no_milters "
        "-o smtpd_authorized_xforward_hosts=127.0.0.0/8",
    ]
    settings = {"content_filter": f"mailwarden:[127.0.0.1]:{gateway.port}"}
    return gateway, Postfix(folder / "postfix", settings, services)


def mail_system(folder: Path, api: str, kind: str) -> tuple[Gateway, Postfix]:
    """A gateway ("milter", "lmtp" or "smtp") with the Postfix that it works for, neither of them started."""
    return milter_system(folder, api) if kind == "milter" else filter_system(folder, api, kind)


@pytest.fixture(scope="session")
def mail_systems() -> Callable[[Path, str, str], tuple[Gateway, Postfix]]:
    return mail_system


@pytest.fixture(scope="session")
def with_milter(open_folder: Path, scoring_stand_in: FakeScoringApi) -> Iterator[MailSystem]:
    yield from _running(open_folder / "milter", scoring_stand_in, "milter")


@pytest.fixture(scope="session")
def with_lmtp_filter(open_folder: Path, scoring_stand_in: FakeScoringApi) -> Iterator[MailSystem]:
    yield from _running(open_folder / "lmtp", scoring_stand_in, "lmtp")


@pytest.fixture(scope="session")
def with_smtp_filter(open_folder: Path, scoring_stand_in: FakeScoringApi) -> Iterator[MailSystem]:
    yield from _running(open_folder / "smtp", scoring_stand_in, "smtp")


def _running(folder: Path, api: FakeScoringApi, kind: str) -> Iterator[MailSystem]:
    if words := why_not():
        pytest.skip(words)
    folder.mkdir(mode=0o755)
    gateway, postfix = mail_system(folder, api.url, kind)
    system = MailSystem(api, gateway.start(), postfix)
    try:
        postfix.start()
        yield system
    finally:
        system.stop()
