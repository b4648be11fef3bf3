"""Gateway, scoring API and Postfix killed at random moments under a load of mail: nothing that was accepted is lost."""

from __future__ import annotations

import collections
import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mailwarden.testing.postfix import Postfix, free_port, wait_for, why_not, without_trace

ASKED = ("accept", "accept", "accept", "junk", "quarantine")
NAME = re.compile(rb"^Subject: mail-(\d+-\d+) \[", re.MULTILINE)
OURS = re.compile(rb"^(?:Authentication-Results|X-Mailwarden-[A-Za-z-]+): [^\r\n]*\r?\n", re.MULTILINE)


class StandIn:
    """The stand-in for the scoring API as a process that can be killed."""

    def __init__(self) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mailwarden.testing.fake_scoring_api", str(self.port)]
        self.process = subprocess.Popen(command)
        wait_for(self._listens, "the stand-in to listen")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Senders:
    """Clients that hand mail in, each message until it is taken. accepted: message and attempts, by name."""

    def __init__(self, postfix: Postfix, count: int, seed: int) -> None:
        self.postfix, self.enough = postfix, threading.Event()
        self.accepted: dict[str, tuple[bytes, int]] = {}
        self.refused: list[tuple[str, int, str]] = []
        self._threads = [
            threading.Thread(target=self._send, args=(at, random.Random(seed + at))) for at in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.enough.set()
        for thread in self._threads:
            thread.join()

    def _send(self, sender: int, chance: random.Random) -> None:
        number = 0
        while not self.enough.is_set():
            number += 1
            name = f"{sender}-{number}"
            asked, size = chance.choice(ASKED), chance.choice((10, 2_000, 200_000))
            raw = f"From: ann@partner.example\r\nSubject: mail-{name} [{asked}]\r\n\r\n".encode() + b"x" * 60 + b"\r\n"
            raw += (b"y" * 70 + b"\r\n") * (size // 72)
            for attempt in range(1, 1_000):
                code, words = self.postfix.send(raw)
                if code == 250:
                    self.accepted[name] = raw, attempt
                    # Some fifty a second: what comes faster would queue up before a filter that is down.
                    self.enough.wait(0.05)
                    break
                if code >= 500:
                    self.refused.append((name, code, words))
                    return
                # A mail system waits before it tries again; what is sent when nobody listens is sent then.
                self.enough.wait(0.1)


def campaign(folder: Path, make: Any, kind: str, order: Sequence[str], seed: int) -> str:
    """Kill parts in that order and hold what was accepted against what was delivered and held; figures in words."""
    chance = random.Random(seed)
    api = StandIn()
    api.start()
    gateway, postfix = make(folder, f"http://127.0.0.1:{api.port}", kind)
    parts: dict[str, Any] = {"gateway": gateway, "api": api, "postfix": postfix}
    killed: collections.Counter[str] = collections.Counter()
    try:
        gateway.start()
        postfix.start()
        senders = Senders(postfix, 3, seed)
        try:
            for part in order:
                already = len(senders.accepted)
                wait_for(lambda n=already: len(senders.accepted) > n + 3, "mail to be accepted", seconds=60)
                threading.Event().wait(chance.uniform(0.0, 0.3))
                parts[part].kill()
                killed[part] += 1
                threading.Event().wait(chance.uniform(0.0, 0.2))
                parts[part].start()
        finally:
            senders.stop()
        return _held_against(senders, gateway, postfix, kind, killed)
    finally:
        postfix.stop()
        gateway.stop()
        api.kill()


def _held_against(senders: Senders, gateway: Any, postfix: Postfix, kind: str, killed: Any) -> str:
    def left() -> list[Any]:
        return [row for row in postfix.queue() if row["queue_name"] != "hold"]

    # As long as it takes: what waits gets less by the minute.
    while rows := left():
        postfix.flush()
        count = len(rows)
        wait_for(lambda most=count: len(left()) < most, f"{count} messages in the queue to get fewer", seconds=60)
    assert not senders.refused, senders.refused
    found: collections.Counter[str] = collections.Counter()
    for raw in postfix.delivered():
        name = NAME.search(raw)[1].decode()
        found[name] += 1
        wanted, _ = senders.accepted.get(name, (None, 0))
        assert wanted is None or OURS.sub(b"", without_trace(OURS.sub(b"", raw, count=9))) == wanted, name
    delivered = sum(found.values())
    if kind == "milter":
        rows = postfix.queue("hold")
        for row in rows:
            shown = subprocess.run(postfix.command("postcat", "-qh", row["queue_id"]), capture_output=True, check=True)
            found[NAME.search(shown.stdout)[1].decode()] += 1
        # What is in the hold queue is in the list, under its queue id: there is a way out for all of it.
        listed = {held.queue_id for held in gateway.quarantine.page(None, limit=100_000)}
        assert {row["queue_id"] for row in rows} <= listed
    else:
        for held in gateway.quarantine.page(None, limit=100_000):
            found[NAME.search(gateway.quarantine.content(held))[1].decode()] += 1
    lost = [name for name in senders.accepted if not found[name]]
    assert not lost, (lost, postfix.log()[-3000:], gateway.log()[-3000:])
    assert "status=bounced" not in postfix.log()
    again = {name for name, (_, attempts) in senders.accepted.items() if attempts > 1}
    doubles = {name for name in senders.accepted if found[name] > 1}
    # A double is a message whose good reply was on its way as one side was killed: the client, or Postfix, sends again.
    assert len(doubles) <= 3 * sum(killed.values())
    if kind == "milter":
        assert doubles <= again, "without the client's help nothing comes twice"
    return (
        f"{kind}: {dict(killed)} killed, {len(senders.accepted)} accepted ({len(again)} after more than one attempt), "
        f"{delivered} delivered, {sum(found.values()) - delivered} held, {len(lost)} lost, {len(doubles)} twice"
    )


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Any:
    if words := why_not():
        pytest.skip(words)
    return request.getfixturevalue("mail_systems")


@pytest.mark.parametrize(("kind", "order"), [("milter", ["gateway", "postfix"]), ("lmtp", ["api", "gateway"])])
def test_two_kills_of_each_way_in_lose_nothing(open_folder: Path, make: Any, kind: str, order: list[str]) -> None:
    (folder := open_folder / f"kills-{kind}").mkdir(mode=0o755)
    print(campaign(folder, make, kind, order, seed=3))


@pytest.mark.verify
@pytest.mark.parametrize("kind", ["milter", "lmtp", "smtp"])
def test_twenty_five_kills_lose_nothing(open_folder: Path, make: Any, kind: str) -> None:
    (folder := open_folder / f"long-{kind}").mkdir(mode=0o755)
    chance = random.SystemRandom()
    order = chance.choices(["gateway", "api", "postfix"], k=25)
    print(campaign(folder, make, kind, order, seed=chance.randrange(1 << 30)))
