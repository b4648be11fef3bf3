"""Mail of the past handed over while the API serves: numbered behind live mail, once, and nothing lost."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mailwarden.settings import Settings
from mailwarden.simulation.corpus import write_corpus
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.lake.event_log import table_to_events
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import environment_of, with_redis
from mailwarden_services.replay.live import LiveService, live_service

Mail = list[SimulatedMessage]


@pytest.fixture
def short_home(model_home: Any) -> Iterator[Settings]:
    """A home whose path leaves room for sockets, without a Redis named."""
    folder = Path(tempfile.mkdtemp(prefix="mw-hist-"))
    shutil.copytree(model_home.folder, folder / "h")
    yield Settings(home=folder / "h", spool_fsync=False, workers=1)
    shutil.rmtree(folder)


def ingest(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    """`mailwarden ingest`, as a process of its own."""
    command = [sys.executable, "-m", "mailwarden_services.cli", "ingest", *words]
    return subprocess.run(command, env=environment_of(settings), capture_output=True, text=True, timeout=120)


def events_of(settings: Settings, tenant: str) -> list[Any]:
    log = Platform(settings).events
    return sorted(table_to_events(log.scan(tenant).read_all()), key=lambda event: event.seq)


def test_another_tenants_mail_is_ingested_while_live_mail_is_scored(
    short_home: Settings, model_home: Any, simulated: Mail, tmp_path: Path
) -> None:
    index = write_corpus(tmp_path / "corpus", simulated[:150])
    with (
        with_redis(short_home, keep=False) as settings,
        live_service(settings, model_home.keys["acme"], settings.run_path) as service,
    ):
        service.score(simulated[0].raw, simulated[0].envelope)
        done = ingest(settings, str(index.parent), "--labels", str(index), "--tenant", "past", "--domain", "p.example")
        assert done.returncode == 0, done.stderr
        print(done.stdout, done.stderr)
        service.score(simulated[1].raw, simulated[1].envelope)
    events = events_of(short_home, "past")
    print(len(events))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
