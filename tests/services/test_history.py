"""Mail of the past handed over while the API serves: numbered behind live mail, once, and nothing lost."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.mail.events import Event
from mailwarden.errors import StoreUnavailable
from mailwarden.settings import Settings
from mailwarden.simulation.corpus import write_corpus
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.accepted import decode_accepted
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.history import BATCH_ITEMS
from mailwarden.stores.lake.event_log import table_to_events
from mailwarden.stores.spool import Spool
from mailwarden.stores.spool_reader import SpoolReader
from mailwarden_services.bootstrap import Platform
from mailwarden_services.cli import ingest_command
from mailwarden_services.embedded import environment_of
from mailwarden_services.sequencer import history as history_module
from mailwarden_services.sequencer.history_caller import HistoryCaller

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


def test_what_is_said_of_history_that_no_log_has_yet_is_to_be_said_again(
    warden: Any, run: Run, simulated: Mail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither among the newest scored messages nor in a log; what was never accepted is not found."""
    write_corpus(tmp_path / "corpus", simulated[:4])
    raw = simulated[0].raw
    rcpt = simulated[0].envelope.rcpt_to[0]

    def learnt(api: Any) -> Any:
        return api.client.post("/learnspam", content=raw, headers={"Rcpt": rcpt})

    with warden.api() as api:
        code, _, errors = run("ingest", str(tmp_path / "corpus"), "--tenant", "acme")
        assert code == 0, errors
        ids = accepted(warden.settings)
        label = {"message_id": ids[1], "label": "CP", "known_at": "2026-03-30T10:00:00Z"}
        unknown = label | {"message_id": "0" * 32}
        waits = [api.label(**label), learnt(api), api.client.delete(f"/v1/messages/{ids[1]}/label")]
        assert [answer.status_code for answer in waits] == [503] * 3
        assert all(answer.headers["retry-after"] == "2" for answer in waits)
        assert waits[0].json()["type"].endswith(":not-logged") and "try again" in waits[0].json()["detail"]
        batch = api.client.post("/v1/labels/batch", json={"labels": [label, unknown]}).json()["results"]
        assert [one["problem"]["status"] for one in batch] == [503, 404]
        with monkeypatch.context() as patch:
            patch.setattr(Contacts, "held", refuses)
            assert api.label(**unknown).status_code == 503
        warden.drain()
        assert api.label(**label).status_code == 201
        assert (learnt(api).status_code, learnt(api).status_code) == (200, 208)
        # Numbered, and no log has it, though it has what came behind it: it was lost, or set aside.
        sequencer = warden.service.labelling._sequencing("acme")._sequencer
        sequencer.contacts_of("acme").restore("acme", "", (), 2, "1" * 32)
        assert api.label(**label | {"message_id": "1" * 32}).status_code == 404
        assert api.label(**unknown).status_code == 404


def accepted(settings: Settings) -> list[str]:
    """Ids of the messages that the spool holds."""
    with contextlib.closing(SpoolReader(settings.spool_path, "tests")) as reader:
        records = [decode_accepted(payload) for _, payload in reader.poll(limit=100)]
    return [record.event.message_id for record in records if record.event.kind == "message"]


_NUMBERS = """
import asyncio
from mailwarden.settings import Settings
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.spool import Spool
from mailwarden_services.bootstrap import Platform
from mailwarden_services.scoring_service import restore
from mailwarden_services.sequencer import history
from mailwarden_services.sequencer.remote import answering
from mailwarden_services.sequencer.sequencer import Sequencer
from mailwarden_services.sequencer.sequencing import Here

async def serve():
    # A batch takes this long at least, since nobody folds.
    history.AHEAD, history.MOST_WAIT_SECONDS = 0, 0.05
    platform = Platform(Settings())
    sequencer = Sequencer(
        spool=Spool(settings.spool_path), events=platform.events,
        contacts=Contacts(settings.contacts_path, platform.facts),
        campaigns=Campaigns(settings.campaigns_path, platform.facts), stale_after_seconds=60.0,
    )
    restore(sequencer, settings)
    takes = history.History(sequencer, lag_bytes=lambda: 0, folded=lambda tenant: 0)
    async with answering(Here(sequencer, takes), settings.sequencer_socket(0)):
        await asyncio.Event().wait()

settings = Settings()
asyncio.run(serve())
"""


def test_what_numbers_is_killed_in_the_middle_and_another_run_adds_the_rest(
    warden: Any, run: Run, simulated: Mail, tmp_path: Path
) -> None:
    index = write_corpus(tmp_path / "corpus", simulated[:200])
    words = ("ingest", str(index.parent), "--labels", str(index), "--tenant", "past", "--domain", "past.example")
    numbering = subprocess.Popen([sys.executable, "-c", _NUMBERS], env=environment_of(warden.settings))

    def kill_in_the_middle() -> None:
        while spooled(warden.settings) < 150 and numbering.poll() is None:
            time.sleep(0.005)
        numbering.kill()

    killing = threading.Thread(target=kill_in_the_middle)
    try:
        deadline = time.monotonic() + 60
        while not warden.settings.sequencer_socket(0).exists():
            assert numbering.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        killing.start()
        code, _, errors = run(*words)
    finally:
        numbering.kill()
        numbering.wait()
        killing.join()
    assert code == 69
    told = re.search(r"went away .* (\d+) new messages and \d+ labels of past are in.* goes on", errors)
    assert told is not None and 0 < int(told[1]) < 200
    assert Platform(warden.settings).tenants.get("past").domains == ("past.example",)

    with warden.api():
        logs = threading.Timer(0.5, lambda: warden.drain())
        logs.start()
        code, text, errors = run(*words)
        logs.join()
        assert code == 0, errors
    added = re.search(r"200 messages read: (\d+) added", text)
    # What was taken and not answered is known as well.
    assert added is not None and int(added[1]) <= 200 - int(told[1])
    warden.drain()
    each_once(warden.settings, 200)
    assert warden.states() == warden.folded(warden.events())


def test_an_ingest_that_ends_while_a_batch_is_on_its_way_is_run_again(
    warden: Any, run: Run, simulated: Mail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = write_corpus(tmp_path / "corpus", simulated[:100])
    words = ("ingest", str(index.parent), "--labels", str(index), "--tenant", "past", "--domain", "past.example")
    read, frames = HistoryCaller._read, 0

    def end(self: HistoryCaller, length: int) -> bytes:
        nonlocal frames
        # Two reads an answer; the first two are those of `ping`, before the mail is read and after.
        frames += 1
        if frames == 7:
            self.close()
            raise KeyboardInterrupt
        return read(self, length)

    with warden.api():
        with monkeypatch.context() as patch:
            patch.setattr(HistoryCaller, "_read", end)
            code, _, errors = run(*words)
        assert code == 130 and "are in, and stay; run it again to go on" in errors
        # Labels that are still to come, of messages that are in, have the facts that are logged.
        warden.drain().close()
        code, text, errors = run(*words)
        assert code == 0, errors
        (found,) = re.findall(r"100 messages read: (\d+) added, (\d+) known already; (\d+) labels", text)
        added, known, labels = map(int, found)
        # Two batches were taken, of messages and of those labels that were known between them.
        assert (added + known, known + 100 - labels) == (100, 2 * BATCH_ITEMS) and labels
    warden.drain()
    each_once(warden.settings, 100)


def each_once(settings: Settings, count: int) -> None:
    """The log has so many messages of the history and a label of each, numbered without a gap."""
    platform = Platform(settings)
    own = sorted(table_to_events(platform.events.scan("past").read_all()), key=lambda event: event.seq)
    assert [event.seq for event in own] == list(range(1, 2 * count + 1))
    assert len({event.message_id for event in own if event.kind == "message"}) == count
    assert len({event.message_id for event in own if event.kind == "label"}) == count
    assert platform.labels.count("past") == count


def test_an_ingest_that_nobody_takes_leaves_no_tenant(
    warden: Any, run: Run, simulated: Mail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "corpus", simulated[:6])
    monkeypatch.setattr(ingest_command, "START_SECONDS", 0.1)
    (tmp_path / "empty").mkdir()
    with warden.api():
        assert run("ingest", str(tmp_path / "empty"), "--tenant", "past")[0] == 65
        with monkeypatch.context() as patch:
            patch.setattr(Contacts, "held", refuses)
            code, _, errors = run("ingest", str(tmp_path / "corpus"), "--tenant", "past")
            assert code == 69 and "the index is away. 0 new messages and 0 labels of past are in" in errors
    names = [tenant.name for tenant in Platform(warden.settings).tenants.list()]
    assert sorted(names) == ["acme", "other"]
    with Spool(warden.settings.spool_path, fsync=False):
        code, _, errors = run("ingest", str(tmp_path / "corpus"), "--tenant", "never")
        assert code == 69 and "another process" in errors and "wait until it is ready" in errors
    assert len(Platform(warden.settings).tenants.list()) == 2


def refuses(*_: object) -> dict[str, int]:
    raise StoreUnavailable("the index is away")


def spooled(settings: Settings) -> int:
    """Records of the history that were accepted."""
    return sum(path.read_bytes().count(b'"tenant":"past"') for path in settings.spool_path.glob("*.seg"))
