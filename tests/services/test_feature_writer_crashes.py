"""Processes killed at random moments under load: each message counts once in every view, whatever died when.

`mail_gateway/kills` has the same of a `serve` with several shards, and four kills in every run of the tests.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import SecretStr

from mailwarden.domain.mail.events import Event
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.simulation.simulate import simulate
from mailwarden.stores.online.server import RedisServer
from mailwarden.testing.naive_states import check_states
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import ChildProcess, environment_of

Mail = list[SimulatedMessage]

API_ALONE = """
import sys
import uvicorn
from mailwarden.settings import Settings
from mailwarden_services.bootstrap import Platform
from mailwarden_services.scoring_service import scoring_service
from mailwarden_services.scoring_api.app import create_app

uvicorn.run(create_app(scoring_service(Platform(Settings()))), uds=sys.argv[1], log_level="warning", access_log=False)
"""


class Load:
    """A mail flow: message after message until each is answered, whoever is away meanwhile."""

    def __init__(self, socket: Path, headers: dict[str, str], mail: Mail, pause_seconds: float) -> None:
        self._socket, self._headers, self._mail, self._pause = socket, headers, mail, pause_seconds
        self.answers: list[dict[str, Any]] = []
        self.labels = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait(self, answers: int, seconds: float = 180.0) -> None:
        """Until so many more are answered."""
        wanted, deadline = len(self.answers) + answers, time.monotonic() + seconds
        while len(self.answers) < min(wanted, len(self._mail)):
            assert time.monotonic() < deadline, "no message is answered any more"
            time.sleep(0.01)

    def _run(self) -> None:
        for number, message in enumerate(self._mail):
            if self._stop.is_set():
                return
            envelope = message.envelope
            facts = {
                "received_at": _rfc3339(envelope.received_at_us or 0),
                "mail_from": envelope.mail_from or "",
                "rcpt_to": ",".join(envelope.rcpt_to),
            }
            sent = {"Content-Type": "message/rfc822", "Idempotency-Key": f"k{number}"}
            self.answers.append(self._until_answered("/v1/score", content=message.raw, params=facts, headers=sent))
            if number % 7 == 6:
                label = {"message_id": self.answers[-3]["message_id"], "label": "CP", "known_at": facts["received_at"]}
                self._until_answered("/v1/labels", json=label)
                self.labels += 1
            self._stop.wait(self._pause)

    def _until_answered(self, path: str, **request: Any) -> dict[str, Any]:
        deadline = time.monotonic() + 180
        while True:
            with contextlib.suppress(httpx.HTTPError):
                transport = httpx.HTTPTransport(uds=str(self._socket))
                with httpx.Client(
                    transport=transport, base_url="http://m", timeout=10, headers=self._headers
                ) as client:
                    while True:
                        response = client.post(path, **request)
                        if response.status_code in (200, 201):
                            answer: dict[str, Any] = response.json()
                            return answer
                        assert response.status_code >= 500, response.text
                        time.sleep(0.05)
            assert time.monotonic() < deadline, "the API is away for good"
            time.sleep(0.05)


def _rfc3339(time_us: int) -> str:
    return f"{np.datetime64(time_us, 'us')}Z"


class Campaign:
    """A Redis with an append-only file, an API, a feature writer, and a writer of half the partitions beside it."""

    def __init__(self, warden: Any, server: RedisServer, folder: Path, mail: Mail, pause_seconds: float) -> None:
        self.warden, self.server, self.folder = warden, server, folder
        (folder / "api_alone.py").write_text(API_ALONE)
        self._environment = {**environment_of(warden.settings), "PYTHONPATH": str(folder)}
        self.processes = {name: self.start(name) for name in ("api", "writer")}
        self.load = Load(folder / "api.sock", warden.headers(), mail, pause_seconds)

    def start(self, name: str) -> ChildProcess:
        module, arguments = {
            "api": ("api_alone", [str(self.folder / "api.sock")]),
            "writer": ("mailwarden_services.feature_writer", []),
            "half": ("mailwarden_services.feature_writer", ["--partitions", "1,2"]),
            "spark": ("mailwarden_services.cli", ["materialize"]),
        }[name]
        return ChildProcess(module, arguments, self._environment, self.folder / f"{name}.log")

    def kill(self, name: str) -> None:
        """SIGKILL, at once followed by another start."""
        if name == "redis":
            assert self.server.pid is not None
            os.kill(self.server.pid, signal.SIGKILL)
            os.waitpid(self.server.pid, 0)
            self.server.start()
            return
        process = self.processes[name]
        os.kill(process.pid, signal.SIGKILL)
        process._process.wait()
        if name == "spark":
            del self.processes[name]
        else:
            self.processes[name] = self.start(name)

    def finish(self) -> list[Event]:
        """Wait until all that was answered is folded and logged, and stop everything; the events."""
        answers = self.load.answers
        # The last answer may be to a message that was taken in before: the log says how many there are.
        expected = len({answer["message_id"] for answer in answers}) + self.load.labels
        deadline = time.monotonic() + 180
        while self.warden.folded_up_to() < expected:
            assert time.monotonic() < deadline, self.words()
            time.sleep(0.05)
        for process in self.processes.values():
            process.stop()
        events: list[Event] = self.warden.events()
        assert [event.seq for event in events] == list(range(1, expected + 1))
        assert sorted(e.message_id for e in events if e.kind == "message") == sorted(
            {answer["message_id"] for answer in answers}
        )
        return events

    def words(self) -> str:
        return "\n".join((self.folder / f"{name}.log").read_text()[-3_000:] for name in self.processes)


@pytest.fixture
def shaken(own_redis: tuple[Any, RedisServer]) -> Iterator[tuple[Any, RedisServer, Path]]:
    """A platform over a Redis that may be killed, and a folder short enough for a socket."""
    warden, server = own_redis
    with tempfile.TemporaryDirectory(prefix="mw-crash-") as folder:
        settings = warden.settings.model_copy(update={"spool_fsync": True, "redis_url": SecretStr(server.url)})
        yield type(warden)(settings, warden.keys), server, Path(folder)


def campaign_of(
    shaken: tuple[Any, RedisServer, Path], mail: Mail, moments: Sequence[str], seed: int, pause_seconds: float
) -> Campaign:
    warden, server, folder = shaken
    rng = random.Random(seed)
    campaign = Campaign(warden, server, folder, mail, pause_seconds)
    try:
        with campaign.load as load:
            load.wait(20)
            for name in moments:
                if name in ("half", "spark") and name not in campaign.processes:
                    campaign.processes[name] = campaign.start(name)
                if name == "spark":
                    time.sleep(rng.uniform(4.0, 25.0))
                time.sleep(rng.uniform(0.0, 1.0))
                campaign.kill(name)
                load.wait(rng.randrange(5, 25))
    except BaseException:
        for process in campaign.processes.values():
            process.stop()
        print(campaign.words())
        raise
    return campaign


@pytest.mark.verify
def test_fifty_kills_under_load_leave_each_message_counted_once(shaken: tuple[Any, RedisServer, Path]) -> None:
    rng = random.Random(50)
    moments = [rng.choice(("redis", "writer", "api", "half", "spark")) for _ in range(50)]
    mail = list(simulate(50, days=200, messages_per_day=50))
    campaign = campaign_of(shaken, mail, moments, seed=50, pause_seconds=0.03)
    # What was cut off is run to its end: a materialisation over everything, while the writers serve.
    spark = campaign.start("spark")
    assert spark._process.wait(300) == 0, campaign.words()
    events = campaign.finish()
    settings, platform = campaign.warden.settings, Platform(campaign.warden.settings)
    catalog = platform.online_writer.generations.catalog()
    assert check_states(settings, platform.activity, catalog, events, naive_every=10) > 5_000
