"""Debian's own rspamc, and its rspamd as milter proxy alone, over our API on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import uvicorn

from mailwarden.settings import Settings
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden_services.bootstrap import Platform
from mailwarden_services.scoring_api import tenant_directory
from mailwarden_services.scoring_api.app import create_app
from mailwarden_services.scoring_api.rspamd_listener import rspamd_socket, with_rspamd
from mailwarden_services.scoring_service import scoring_service

RSPAMC = shutil.which("rspamc")
RSPAMD = shutil.which("rspamd")

pytestmark = pytest.mark.skipif(RSPAMC is None or RSPAMD is None, reason="rspamd is not installed")

PROXY = """
options {{ pidfile = "{folder}/rspamd.pid"; dns {{ nameserver = ["127.0.0.1:9"]; timeout = 0.05s; retransmits = 1; }} }}
logging {{ type = "file"; filename = "{folder}/rspamd.log"; level = "warning"; }}
actions {{ reject = 15; quarantine = 12; add_header = 6; }}
worker "rspamd_proxy" {{
  bind_socket = "127.0.0.1:{port}"; milter = yes; timeout = 20s; count = 1;
  upstream "mailwarden" {{ default = yes; hosts = "127.0.0.1:{upstream}"; }}
}}
"""


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
    return port


def until(what: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def answers_at(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def listening(settings: Settings) -> Iterator[int]:
    """The API in a thread, with rspamd's protocol on a loopback port of its own, which is given."""
    place = rspamd_socket("127.0.0.1:0", settings)
    port: int = place.getsockname()[1]
    app = create_app(with_rspamd(scoring_service(Platform(settings)), place))
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        yield port
    finally:
        server.should_exit = True
        thread.join()


def enforce(settings: Settings, tenant: str = "acme", **policy: Any) -> None:
    Platform(settings).tenants.update(tenant, policy={"mode": "enforce", **policy})  # type: ignore[typeddict-item]


def rspamc(port: int, *words: str) -> subprocess.CompletedProcess[str]:
    assert RSPAMC is not None
    return subprocess.run(
        [RSPAMC, "-h", f"127.0.0.1:{port}", "-t", "20", *words], capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def bad(seen_through: SimulatedMessage) -> SimulatedMessage:
    """An attack from outside that the models see through."""
    return seen_through


@pytest.fixture
def spoken(
    warden: Any, bad: SimulatedMessage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Any, int, Path, list[str]]]:
    """The platform, the port, the attack as a file, and the words that give its envelope to rspamc."""
    file = tmp_path / "bad.eml"
    file.write_bytes(bad.raw)
    envelope = ["-i", "203.0.113.5", "--helo", "mx.far.example", "-F", bad.envelope.mail_from or ""]
    for recipient in bad.envelope.rcpt_to:
        envelope += ["-r", recipient]
    monkeypatch.setattr(tenant_directory, "REFRESH_SECONDS", 0.2)
    with listening(warden.settings.model_copy(update={"authserv_id": "judge.example"})) as port:
        yield warden, port, file, envelope


def test_rspamc_shows_a_message_in_words_learns_it_and_counts(spoken: tuple[Any, int, Path, list[str]]) -> None:
    warden, port, file, envelope = spoken
    shown = rspamc(port, *envelope, "symbols", str(file))
    assert shown.returncode == 0 and "Action: no action" in shown.stdout, shown
    assert "Symbol: MW_VERDICT_" in shown.stdout and shown.stdout.count("Symbol: MW_") >= 2
    learned = rspamc(port, *envelope, "learn_spam", str(file))
    assert "success = true" in learned.stdout, learned
    again = rspamc(port, *envelope, "learn_spam", str(file))
    assert "already" in again.stdout + again.stderr
    corrected = rspamc(port, *envelope, "learn_ham", str(file))
    assert "success = true" in corrected.stdout
    counted = rspamc(port, "stat")
    assert "Messages scanned: 1" in counted.stdout and "Messages learned: 2" in counted.stdout, counted
    warden.drain()
    events = warden.events()
    assert [(e.kind, e.label) for e in events] == [("message", ""), ("label", "spam"), ("label", "ham")]
    assert len({e.message_id for e in events}) == 1


def test_rspamc_sends_compressed_mail_and_headers_of_its_user(spoken: tuple[Any, int, Path, list[str]]) -> None:
    warden, port, file, envelope = spoken
    enforce(warden.settings)
    found = json.loads(rspamc(port, "-z", "--json", *envelope, "--header", "Queue-Id: Q1", "symbols", str(file)).stdout)
    assert found["action"] in ("add header", "rewrite subject") and found["milter"]["add_headers"]
    assert all(symbol["description"] for symbol in found["symbols"].values())
    warden.drain()
    (raw,) = Platform(warden.settings).raw.scan("acme")
    assert raw.raw == file.read_bytes() and raw.envelope.queue_id == "Q1"
    assert raw.envelope.reception is not None and raw.envelope.reception.client_ip == "203.0.113.5"


def test_a_message_that_nobody_handed_over_is_taken_in_when_it_is_learnt(
    spoken: tuple[Any, int, Path, list[str]],
) -> None:
    warden, port, file, envelope = spoken
    assert "success = true" in rspamc(port, *envelope, "learn_spam", str(file)).stdout
    warden.drain()
    assert [e.kind for e in warden.events()] == ["message", "label"]


class Milter:
    """What a mail server says to a milter, one message a connection."""

    _NO_REPLY: ClassVar = {"L": 0x80, "C": 0x1000, "H": 0x2000, "M": 0x4000, "R": 0x8000, "T": 0x10000, "N": 0x40000,
                 "B": 0x80000}  # fmt: skip

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._say("O", struct.pack("!III", 6, 0x1FF, 0x1FFFFF))
        self._protocol = struct.unpack("!III", self._hear()[1][:12])[2]

    def _say(self, command: str, data: bytes = b"") -> None:
        self._socket.sendall(struct.pack("!I", len(data) + 1) + command.encode() + data)

    def _hear(self) -> tuple[str, bytes]:
        size = struct.unpack("!I", self._exactly(4))[0]
        packet = self._exactly(size)
        return chr(packet[0]), packet[1:]

    def _exactly(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            more = self._socket.recv(size - len(got))
            assert more, "the milter hung up"
            got += more
        return got

    def _step(self, command: str, data: bytes = b"") -> None:
        self._say(command, data)
        if not self._protocol & self._NO_REPLY.get(command, 0):
            assert self._hear()[0] == "c"

    def _macros(self, command: str, **values: str) -> None:
        self._say("D", command.encode() + b"".join(f"{name}\0{value}\0".encode() for name, value in values.items()))

    def send(self, message: SimulatedMessage, *, user: str = "") -> list[tuple[str, bytes]]:
        """Hand a message over; what is asked of the mail server, the last of which is the verdict."""
        self._macros("C", j="mx.acme.example")
        self._step("C", b"mx.far.example\x004" + struct.pack("!H", 2525) + b"203.0.113.5\0")
        self._step("H", b"mx.far.example\0")
        self._macros("M", **{"i": "QUEUED1", **({"{auth_authen}": user} if user else {})})
        self._step("M", f"<{message.envelope.mail_from}>\0".encode())
        for recipient in message.envelope.rcpt_to:
            self._macros("R", i="QUEUED1")
            self._step("R", f"<{recipient}>\0".encode())
        self._macros("T", i="QUEUED1")
        self._step("T")
        head, _, body = message.raw.replace(b"\r\n", b"\n").partition(b"\n\n")
        for line in head.replace(b"\n ", b"\0 ").replace(b"\n\t", b"\0\t").split(b"\n"):
            name, _, value = line.partition(b":")
            self._step("L", name + b"\0" + value.strip().replace(b"\0", b"\n") + b"\0")
        self._step("N")
        self._step("B", body.replace(b"\n", b"\r\n"))
        self._macros("E", i="QUEUED1")
        self._say("E")
        asked = []
        while not asked or asked[-1][0] not in "acrtdy":
            asked.append(self._hear())
        self._socket.close()
        return asked


@pytest.fixture
def proxy(spoken: tuple[Any, int, Path, list[str]], tmp_path: Path) -> Iterator[int]:
    """The port of Debian's rspamd, which runs nothing but its milter proxy, over our API."""
    assert RSPAMD is not None
    folder = tmp_path / "rspamd"
    folder.mkdir()
    port = free_port()
    (folder / "rspamd.conf").write_text(PROXY.format(folder=folder, port=port, upstream=spoken[1]))
    command = [RSPAMD, "-f", "-c", str(folder / "rspamd.conf")]
    if os.getuid() == 0:
        command.insert(1, "--insecure")
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers_at(port))
        yield port
    finally:
        running.terminate()
        running.wait(timeout=30)


def added(asked: list[tuple[str, bytes]]) -> dict[str, str]:
    """Header fields that are to be added, by name."""
    pairs = [data[4:].split(b"\0") for what, data in asked if what == "i"]
    return {pair[0].decode(): pair[1].decode() for pair in pairs}


def test_the_milter_proxy_brings_our_action_and_headers_to_a_mail_server(
    proxy: int, spoken: tuple[Any, int, Path, list[str]], bad: SimulatedMessage
) -> None:
    warden = spoken[0]
    claims = b"X-Mailwarden-Verdict: deliver\r\n" + b"".join(
        b"Authentication-Results: %s; dmarc=pass\r\n" % by for by in (b"other.example", b"judge.example")
    )
    monitored = Milter(proxy).send(replace(bad, raw=claims + bad.raw))
    assert monitored[-1] == ("a", b"") and added(monitored) == {}
    removed = {(data[4:].split(b"\0")[0], data[3]) for what, data in monitored if what == "m"}
    assert removed == {(b"X-Mailwarden-Verdict", 1), (b"Authentication-Results", 2)}

    enforce(warden.settings)
    until(lambda: added(Milter(proxy).send(bad)))
    junked = Milter(proxy).send(bad)
    assert junked[-1] == ("a", b"")
    assert added(junked)["X-Mailwarden-Verdict"] == "quarantine" and "=" in added(junked)["X-Mailwarden-Signals"]
    assert ("m", b"\0\0\0\1X-Spam\0Yes\0") in junked

    enforce(warden.settings, reject="quarantine")
    until(lambda: Milter(proxy).send(bad)[-1][0] == "y")
    refused = Milter(proxy).send(bad)[-1][1]
    assert refused.startswith(b"554 5.7.1 Message refused, reference d")
