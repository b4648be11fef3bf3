"""Mail of the past handed over while the API serves: numbered behind live mail, once, and nothing lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.mail.events import Event
from mailwarden.settings import Settings
from mailwarden.simulation.corpus import write_corpus
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.lake.event_log import table_to_events
from mailwarden_services.bootstrap import Platform
from mailwarden_services.cli import ingest_command
from mailwarden_services.embedded import environment_of, with_redis
from mailwarden_services.replay.live import live_service
from mailwarden_services.sequencer import history as history_module

Mail = list[SimulatedMessage]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own process stays as nice as it is, and nothing is waited for that nobody folds here."""
    monkeypatch.setattr(ingest_command.os, "nice", lambda _: 0)
    monkeypatch.setattr(history_module, "MOST_WAIT_SECONDS", 0.01)


def of(events: list[Event], tenant: str) -> list[Event]:
    return [event for event in events if event.tenant == tenant]


def test_history_is_ingested_while_mail_is_scored_and_each_counts_once(
    warden: Any, run: Run, simulated: Mail, tmp_path: Path
) -> None:
    index = write_corpus(tmp_path / "corpus", simulated[:90])
    words = ("ingest", str(index.parent), "--labels", str(index), "--tenant")
    with warden.api() as api:
        # Of the history's own tenant, some was scored before: what the mail says itself is all that is known of it.
        scored = [api.score(message.raw).json() for message in simulated[60:70]]
        live: list[Any] = []
        stop = threading.Event()

        def flow() -> None:
            for message in simulated[100:]:
                if stop.is_set():
                    return
                live.append(api.send(message))

        running = threading.Thread(target=flow)
        running.start()
        try:
            code, text, errors = run(*words, "past", "--domain", "past.example")
        finally:
            stop.set()
            running.join()
        assert code == 0, errors
        assert "90 messages read: 90 added, 0 known already; 90 labels" in text
        assert "handing over" in errors
        assert all(answer["degraded"] is False for answer in live)

        # The API knows of its own what another process made and handed over meanwhile.
        key = Platform(warden.settings).tenants.issue_key("past", "tests", 1)
        again = api.score(simulated[3].raw, Authorization=f"Bearer {key}").json()
        assert again["flags"] == ["ingested before: not counted again"] and again["decision_id"] is None
        new = api.score(simulated[95].raw, Authorization=f"Bearer {key}").json()
        assert new["seq"] == 181

        drained = warden.drain()
        drained.close()
        code, text, errors = run(*words, "acme")
        assert code == 0, errors
        assert "90 messages read: 80 added, 10 known already; 90 labels" in text
        code, text, errors = run(*words, "acme")
        assert code == 0, errors
        assert "90 messages read: 0 added, 90 known already; 0 labels" in text
    # In the spool and in no log yet: the next process begins with it, and so does its writer.
    with warden.api() as api:
        code, text, errors = run(*words, "past")
        assert code == 0, errors
        assert "0 added, 90 known already; 0 labels" in text
        assert api.send(simulated[99])["repeated"] is False
    warden.drain()

    events = warden.events()
    for tenant in ("past", "acme"):
        own = of(events, tenant)
        assert [event.seq for event in own] == list(range(1, len(own) + 1))
        ids = [event.message_id for event in own if event.kind == "message"]
        assert len(ids) == len(set(ids))
        assert sum(event.kind == "label" for event in own) == 90
        assert Platform(warden.settings).labels.count(tenant) == 90
    past = of(events, "past")
    assert [event.known_at_us for event in past[:180]] == sorted(event.known_at_us for event in past[:180])
    # What was ingested later counts from its own place on, whatever its time.
    history = [event for event in of(events, "acme") if event.kind == "message"][10 + len(live) : -1]
    assert len(history) == 80 and history[0].received_at_us < scored_us(events, scored)
    raw = Platform(warden.settings).raw
    assert raw.get(past[0].content_sha256, "past") == simulated[0].raw
    assert Platform(warden.settings).decisions.count("past") == 1
    assert warden.states() == warden.folded(events)


def scored_us(events: list[Event], scored: list[Any]) -> int:
    ids = {answer["message_id"] for answer in scored}
    return min(event.received_at_us for event in events if event.message_id in ids)


def test_labels_of_what_the_log_lacks_still_wait_for_it(warden: Any, run: Run, simulated: Mail, tmp_path: Path) -> None:
    index = write_corpus(tmp_path / "corpus", simulated[:6])
    with warden.api() as api:
        scored = [api.score(message.raw).json() for message in simulated[:3]]
        done: list[tuple[int, str, str]] = []
        words = ("ingest", str(index.parent), "--labels", str(index), "--tenant", "acme")
        writer = warden.writer()
        logs = threading.Timer(1.0, lambda: warden.drain(writer))
        logs.start()
        done.append(run(*words))
        logs.join()
        assert done[0][0] == 0, done[0][2]
        assert "6 messages read: 3 added, 3 known already; 6 labels" in done[0][1]
    warden.drain(writer)
    given = [event for event in warden.events() if event.kind == "label"]
    assert {event.message_id for event in given} >= {answer["message_id"] for answer in scored}
    assert [event.seq for event in warden.events()] == list(range(1, 13))


@pytest.fixture
def short_home(model_home: Any) -> Iterator[Settings]:
    """A home whose path leaves room for sockets, without a Redis named."""
    folder = Path(tempfile.mkdtemp(prefix="mw-hist-"))
    shutil.copytree(model_home.folder, folder / "h")
    yield Settings(home=folder / "h", spool_fsync=False, workers=1)
    shutil.rmtree(folder)


def begin(settings: Settings, *words: str) -> subprocess.Popen[str]:
    """`mailwarden ingest`, as a process of its own."""
    command = [sys.executable, "-m", "mailwarden_services.cli", "ingest", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment_of(settings), stdout=pipe, stderr=pipe, text=True)


def test_an_api_that_is_killed_in_the_middle_keeps_what_it_took_and_another_run_goes_on(
    short_home: Settings, model_home: Any, simulated: Mail, tmp_path: Path
) -> None:
    index = write_corpus(tmp_path / "corpus", simulated[:600])
    words = (str(index.parent), "--labels", str(index), "--tenant", "past", "--domain", "past.example")
    key = model_home.keys["acme"]
    with with_redis(short_home, keep=False) as settings:
        with live_service(settings, key, settings.run_path) as service:
            running = begin(settings, *words)
            last = 0
            for message in simulated[700:]:
                last = service.score(message.raw, message.envelope)[0]["seq"]
                if (settings.spool_path / "committed").exists() and spooled(settings) > 150:
                    break
            os.kill(service.process.pid, signal.SIGKILL)
            _, errors = running.communicate(timeout=60)
            assert running.returncode == 69, errors
            assert "adds nothing twice and goes on" in errors and "new messages" in errors
        with live_service(settings, key, settings.run_path) as service:
            running = begin(settings, *words)
            text, errors = running.communicate(timeout=120)
            assert running.returncode == 0, errors
            assert service.score(simulated[-1].raw, simulated[-1].envelope)[0]["seq"] == last + 1
    added = int(text.split(" added")[0].split()[-1])
    assert 0 < added < 600
    own = sorted(table_to_events(Platform(short_home).events.scan("past").read_all()), key=lambda event: event.seq)
    assert [event.seq for event in own] == list(range(1, 1_201))
    assert len({event.message_id for event in own if event.kind == "message"}) == 600
    assert Platform(short_home).labels.count("past") == 600


def spooled(settings: Settings) -> int:
    """Records of the history that were accepted, by the bytes of their files."""
    return sum(path.read_bytes().count(b'"tenant":"past"') for path in settings.spool_path.glob("*.seg"))
