"""`serve` and `ingest` killed at random moments, beside live mail: all is in the log once, in the order of its seqs."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.mail.events import Event
from mailwarden.settings import Settings
from mailwarden.simulation.corpus import write_corpus
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.simulation.simulate import simulate
from mailwarden.stores.lake.event_log import table_to_events
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import environment_of, with_redis
from mailwarden_services.replay.live import LiveService, live_service

HISTORY = 400
MOST_SECONDS = 180.0


@pytest.fixture
def short_home(model_home: Any) -> Iterator[Settings]:
    """A home whose path leaves room for sockets, without a Redis named."""
    folder = Path(tempfile.mkdtemp(prefix="mw-hist-"))
    shutil.copytree(model_home.folder, folder / "h")
    yield Settings(home=folder / "h", spool_fsync=False, workers=1)
    shutil.rmtree(folder)


class Flow:
    """Live mail of a tenant, each message sent until it is answered. seqs: that were answered."""

    def __init__(self, mail: Iterator[SimulatedMessage]) -> None:
        self._mail, self.seqs = mail, list[int]()

    def send(self, service: LiveService) -> None:
        """Score the next message, a moment after the last one."""
        time.sleep(0.05)
        message = next(self._mail)
        self.seqs.append(service.score(message.raw, message.envelope)[0]["seq"])


@pytest.mark.verify
def test_four_kills_lose_nothing_and_count_nothing_twice(
    short_home: Settings, model_home: Any, simulated: list[SimulatedMessage], tmp_path: Path
) -> None:
    index = write_corpus(tmp_path / "corpus", simulated[:HISTORY])
    seed = random.SystemRandom().randrange(1 << 30)
    print("seed", seed)
    chance, flow = random.Random(seed), Flow(simulate(8, days=400))
    victims = ["serve", "ingest", "serve", "ingest"]
    chance.shuffle(victims)
    with with_redis(short_home, keep=False) as settings:
        for victim in victims:
            with live_service(settings, model_home.keys["acme"], settings.run_path) as service:
                running, target = begin(settings, index), spooled(settings) + chance.randrange(20, 200)
                while running.poll() is None and spooled(settings) < target:
                    flow.send(service)
                if victim == "serve":
                    os.kill(service.process.pid, signal.SIGKILL)
                    code = running.wait(MOST_SECONDS)
                    assert code in (0, 69)
                else:
                    running.kill()
                    running.wait()
                    flow.send(service)
        with live_service(settings, model_home.keys["acme"], settings.run_path) as service:
            running = begin(settings, index)
            while running.poll() is None:
                flow.send(service)
            assert running.returncode == 0
            await_logged(short_home, "past", 2 * HISTORY)
            await_logged(short_home, "acme", len(flow.seqs))
    past, acme = events_of(short_home, "past"), events_of(short_home, "acme")
    assert [event.seq for event in past] == list(range(1, 2 * HISTORY + 1))
    for kind in ("message", "label"):
        assert len({event.message_id for event in past if event.kind == kind}) == HISTORY
    assert Platform(short_home).labels.count("past") == HISTORY
    assert [event.seq for event in acme] == flow.seqs


def begin(settings: Settings, index: Path) -> subprocess.Popen[bytes]:
    """`mailwarden ingest` of a tenant `past`, as a process of its own."""
    words = [str(index.parent), "--labels", str(index), "--tenant", "past", "--domain", "past.example"]
    command = [sys.executable, "-m", "mailwarden_services.cli", "ingest", *words]
    return subprocess.Popen(command, env=environment_of(settings), stdout=subprocess.DEVNULL)


def spooled(settings: Settings) -> int:
    """Records of the history that were accepted, those that were retired left out."""
    return sum(path.read_bytes().count(b'"tenant":"past"') for path in settings.spool_path.glob("*.seg"))


def events_of(settings: Settings, tenant: str) -> list[Event]:
    log = Platform(settings).events
    return sorted(table_to_events(log.scan(tenant).read_all()), key=lambda event: event.seq)


def await_logged(settings: Settings, tenant: str, count: int) -> None:
    deadline = time.monotonic() + MOST_SECONDS
    while len(events_of(settings, tenant)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.5)
