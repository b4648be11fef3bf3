"""A `serve` of several shards under the load of several tenants, and a mail system beside it, to be killed in parts."""

from __future__ import annotations

import collections
import contextlib
import http.client
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from mailwarden.settings import Settings
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.simulation.simulate import START_US
from mailwarden.stores.shards import shard_of
from mailwarden.testing.postfix import DOMAIN, Postfix, wait_for
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import ChildProcess, environment_of
from mailwarden_services.feature_writer.status import read_lag
from mailwarden_services.processes import parts_of
from mailwarden_services.replay.live import UnixConnection, rfc3339

Mail = Sequence[SimulatedMessage]

SHARDS = 2
THIRD = "two"
TENANTS = ("acme", "other", THIRD)
POSTED = "posted"
"""The tenant whose mail Postfix takes in."""

SECOND_US = 1_000_000
ANSWER_SECONDS = 180.0
TOGETHER = 4
"""After so many kills every flow is waited for."""


class Served:
    """`mailwarden serve`, started again whenever it ended, as a supervisor does."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.socket = settings.run_path / "api.sock"
        self.process = self._start()

    def _start(self) -> ChildProcess:
        shards = str(self.settings.shards)
        words = ["serve", "--socket", str(self.socket), "--shards", shards, "--workers", "2"]
        return ChildProcess(
            "mailwarden_services.cli", words, environment_of(self.settings), self.settings.run_path / "serve.log"
        )

    def pids(self, part: str) -> list[int]:
        """The processes of a part; shard: the API and sequencer of another shard than the first."""
        parts = parts_of(self.process.pid)
        named = {"serve": parts["api"][:1], "shard": parts["api"][1:], "worker": parts["reading"]}
        return named.get(part) or parts.get(part, [])

    def kill(self, part: str, chance: random.Random) -> None:
        """SIGKILL to one process of a part, as soon as one runs."""

        def runs() -> list[int]:
            # What was killed before may have ended `serve` just now.
            self.keep_up()
            return self.pids(part)

        wait_for(runs, f"a process of {part} to run", seconds=ANSWER_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(self.pids(part)), signal.SIGKILL)
        if part == "serve":
            self.process._process.wait()

    def keep_up(self) -> None:
        """Start it again where it ended."""
        if self.process._process.poll() is not None:
            self.process = self._start()

    def log(self) -> str:
        return "\n".join(f"{file.name}: {file.read_text()[-1500:]}" for file in self.settings.run_path.glob("*.log"))


class Client(threading.Thread):
    """A tenant's mail flow: ties and late times, labels, repeats; each message until it is answered.

    answers: by message id, as first given. again: those that took more than one attempt. labelled: message ids. fault:
    what ended it early. Connections are often anew, so that every process is asked for every tenant.
    """

    def __init__(self, socket: Path, tenant: str, key: str, mail: Mail, pause_seconds: float, seed: int) -> None:
        super().__init__()
        self._socket, self._mail, self._pause = socket, mail, pause_seconds
        self._headers = {"Authorization": f"Bearer {key}"}
        self._chance = random.Random(seed)
        self._connection: UnixConnection | None = None
        self._sent: list[tuple[bytes, dict[str, str], str]] = []
        self.tenant, self.enough = tenant, threading.Event()
        self.answers: dict[str, dict[str, Any]] = {}
        self.again: set[str] = set()
        self.labelled: set[str] = set()
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.enough.is_set():
                if self._sent and self._chance.random() < 0.1:
                    self.repeat(self._chance.randrange(len(self._sent)))
                else:
                    answer = self.send_next()
                    if self._chance.random() < 0.1:
                        self._label(answer["message_id"])
                self.enough.wait(self._pause)
        except BaseException as error:
            self.fault = error

    def send_next(self) -> dict[str, Any]:
        """Have one more message answered."""
        number = len(self._sent)
        message, late_us = self._mail[number % len(self._mail)], 7_200 * SECOND_US * (number % 10 == 7)
        envelope = message.envelope
        headers = {
            "X-Mailwarden-Received-At": rfc3339(START_US + (100_000 + number // 3) * SECOND_US - late_us),
            "X-Mailwarden-Mail-From": envelope.mail_from or "",
            "X-Mailwarden-Rcpt-To": ",".join(envelope.rcpt_to),
        }
        raw = b"X-Number: %d\r\n" % number + message.raw
        answer, attempts = self._until_answered("/v1/score", raw, headers)
        assert attempts > 1 or not answer["repeated"], answer
        self.answers[answer["message_id"]] = answer
        self._sent.append((raw, headers, answer["message_id"]))
        if attempts > 1:
            self.again.add(answer["message_id"])
        return answer

    def repeat(self, number: int) -> None:
        """Hand a message of before over once more: it is known."""
        raw, headers, known = self._sent[number]
        answer, _ = self._until_answered("/v1/score", raw, headers)
        assert answer == {**self.answers[known], "repeated": True}

    def metrics(self) -> str:
        """What Prometheus is told, by whichever process takes a new connection."""
        connection = UnixConnection(self._socket, 15.0)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def _label(self, message_id: str) -> None:
        label = orjson.dumps({"message_id": message_id, "label": "SP", "known_at": "2027-01-01T00:00:00Z"})
        self._until_answered("/v1/labels", label, {}, "application/json")
        self.labelled.add(message_id)
        again, _ = self._until_answered("/v1/labels", label, {}, "application/json")
        assert again["repeated"], "a label counts twice"

    def _until_answered(
        self, path: str, body: bytes, headers: dict[str, str], content_type: str = "message/rfc822"
    ) -> tuple[dict[str, Any], int]:
        """The answer to a request that is made until it is answered, and how often it was."""
        deadline, attempts = time.monotonic() + ANSWER_SECONDS, 0
        if self._chance.random() < 0.3:
            self._hang_up()
        while True:
            attempts += 1
            try:
                self._connection = self._connection or UnixConnection(self._socket, 15.0)
                self._connection.request("POST", path, body, {**self._headers, **headers, "Content-Type": content_type})
                response = self._connection.getresponse()
                status, data = response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                status, data = 503, repr(error).encode()
            if status in (200, 201):
                answer: dict[str, Any] = orjson.loads(data)
                return answer, attempts
            assert status >= 500 or status == 429, data
            self._hang_up()
            assert time.monotonic() < deadline, f"{self.tenant}: no answer any more, {data!r}"
            time.sleep(0.05)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Posting(threading.Thread):
    """A client of Postfix: each message until it is taken. accepted: attempts by its Message-ID."""

    def __init__(self, postfix: Postfix, pause_seconds: float) -> None:
        super().__init__()
        self._postfix, self._pause = postfix, pause_seconds
        self.tenant = POSTED
        self.enough = threading.Event()
        self.accepted: dict[str, int] = {}
        self.refused: list[str] = []

    def run(self) -> None:
        number = 0
        while not self.enough.is_set():
            number += 1
            name = f"mail-{number}@partner.example"
            raw = f"From: ann@partner.example\r\nSubject: Offer {number}\r\nMessage-ID: <{name}>\r\n\r\nHello.\r\n"
            attempts = 0
            while not self.enough.is_set():
                attempts += 1
                code, words = self._postfix.send(raw.encode())
                if code == 250:
                    self.accepted[name] = attempts
                    break
                if code >= 500:
                    self.refused.append(words)
                    return
                self.enough.wait(0.2)
            self.enough.wait(self._pause)


class Campaign:
    """All of it together, over a copy of a home. system: gateway and Postfix, None for HTTP alone."""

    def __init__(self, settings: Settings, keys: dict[str, str], mail: Mail, pause: float, seed: int) -> None:
        self.settings, self.chance = settings, random.Random(seed)
        self.killed: collections.Counter[str] = collections.Counter()
        self.served = Served(settings)
        self.system: tuple[Any, Postfix] | None = None
        self.posting: Posting | None = None
        self.clients = [
            Client(self.served.socket, tenant, keys[tenant], mail, pause, seed + number)
            for number, tenant in enumerate(TENANTS)
        ]

    def serve_with(self, shards: int) -> None:
        """Serve with another number of shards; it was stopped."""
        self.served = Served(self.settings.model_copy(update={"shards": shards}))

    def post_by(self, system: tuple[Any, Postfix], pause: float) -> None:
        """Have Postfix take mail in too."""
        self.system = system
        for part in system:
            part.start()
        self.posting = Posting(system[1], pause)

    def run(self, parts: Sequence[str], *, answers: int = 3) -> None:
        """Kill parts in that order while mail comes; the next as soon as mail is answered, whatever is still away.

        answers: that every flow has at the end, since the last kill.
        """
        flows: list[Any] = [*self.clients, *([self.posting] if self.posting else [])]
        for flow in flows:
            flow.start()
        try:
            self._go_on(all, 3)
            for number, part in enumerate(parts, 1):
                time.sleep(self.chance.uniform(0.0, 0.5))
                self._kill(part)
                self.killed[part] += 1
                # A shard needs longer to start than another's tenants to be answered: it must be up now and then.
                self._go_on(any if number % TOGETHER else all, 3)
            self._go_on(all, answers)
        finally:
            for flow in flows:
                flow.enough.set()
            while any(flow.is_alive() for flow in flows):
                self.served.keep_up()
                time.sleep(0.1)
        for client in self.clients:
            if client.fault is not None:
                raise client.fault

    def _kill(self, part: str) -> None:
        if part in ("gateway", "postfix"):
            assert self.system is not None
            one = self.system[part == "postfix"]
            one.kill()
            time.sleep(self.chance.uniform(0.0, 0.5))
            one.start()
        else:
            self.served.kill(part, self.chance)

    def _go_on(self, wanted: Callable[[Iterable[bool]], bool], answers: int) -> None:
        """Wait until any tenant's flow, or all, have so many more messages answered."""

        def done() -> list[int]:
            return [len(c.answers) for c in self.clients] + ([len(self.posting.accepted)] if self.posting else [])

        before = done()

        def on() -> bool:
            self.served.keep_up()
            for client in self.clients:
                if client.fault is not None:
                    raise client.fault
            assert self.posting is None or not self.posting.refused, self.posting.refused
            return wanted(now >= then + answers for now, then in zip(done(), before, strict=True))

        wait_for(on, f"mail to be answered; {before} were", seconds=ANSWER_SECONDS)

    def settled(self) -> None:
        """Wait until the writers that run have folded and logged what was accepted, by themselves; then stop all."""
        spools = [self.settings.of_shard(shard).spool_path for shard in range(SHARDS)]

        def logged() -> bool:
            self.served.keep_up()
            return not any(read_lag(spool, since=0.0).lag_bytes for spool in spools)

        wait_for(logged, "all that was accepted to be logged", seconds=120.0)
        if self.system is not None:
            self._empty_queue(self.system[1])
        self.stop()

    def _empty_queue(self, postfix: Postfix) -> None:
        while left := len(postfix.queue()):
            postfix.flush()
            wait_for(lambda most=left: len(postfix.queue()) < most, f"{left} queued messages to go", seconds=60.0)

    def stop(self) -> None:
        if self.system is not None:
            self.system[1].stop()
            self.system[0].stop()
        self.served.process.stop()


@pytest.fixture
def made(model_home: Any, simulated: Mail) -> Iterator[Callable[..., Campaign]]:
    """Makes a campaign over a home whose path leaves room for sockets, and ends it."""
    folder, campaigns = Path(tempfile.mkdtemp(prefix="mw-kills-")), []
    shutil.copytree(model_home.folder, folder / "h")
    settings = Settings(home=folder / "h", shards=SHARDS)
    tenants, keys = Platform(settings).tenants, dict(model_home.keys)
    for name, domain in ((THIRD, "third.example"), (POSTED, DOMAIN)):
        tenants.create(name, domains=(domain,), created_us=1)
        keys[name] = tenants.issue_key(name, "tests", 1)
    assert {shard_of(name, SHARDS) for name in TENANTS} == set(range(SHARDS))

    def make(pause: float, seed: int, mail: Mail = simulated) -> Campaign:
        campaigns.append(Campaign(settings, keys, mail, pause, seed))
        return campaigns[-1]

    try:
        yield make
    finally:
        for campaign in campaigns:
            campaign.stop()
            print(campaign.served.log())
        shutil.rmtree(folder)
