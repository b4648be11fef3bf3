from __future__ import annotations

import dataclasses
import datetime
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.mail.events import Event
from mailwarden.errors import ConfigError, DataError, StoreError
from mailwarden.stores.lake.delta import DeltaLog
from mailwarden.stores.lake.event_log import (
    EVENT_SCHEMA,
    Appended,
    EventLog,
    EventView,
    events_to_table,
    table_to_events,
)

DAY_US = 86_400_000_000
T0 = 1_176_000_000_000_000


def message(seq: int, *, tenant: str = "acme", day: int = 0, name: str = "") -> Event:
    time_us = T0 + day * DAY_US + seq
    return Event(
        tenant=tenant,
        seq=seq,
        kind="message",
        message_id=name or f"m{seq}",
        received_at_us=time_us,
        known_at_us=time_us,
        time_source="envelope",
        direction="inbound",
        sender="ann@parts.example",
        sender_domain="parts.example",
        recipients=("bob@acme.example", "eve@acme.example"),
        recipient_domains=("acme.example",),
    )


def label(seq: int, of: Event, word: str = "spam") -> Event:
    return dataclasses.replace(of, kind="label", seq=seq, known_at_us=of.known_at_us + DAY_US, label=word)


def events_of(log: EventLog, **chosen: str) -> list[Event]:
    return sorted(table_to_events(log.scan(**chosen).read_all()), key=lambda event: (event.tenant, event.seq))


_events = st.builds(
    Event,
    tenant=st.text(min_size=1, max_size=5),
    seq=st.integers(1, 2**62),
    kind=st.sampled_from(["message", "label", "signal"]),
    message_id=st.text(max_size=5),
    received_at_us=st.integers(-(2**52), 2**52),
    known_at_us=st.integers(-(2**52), 2**52),
    time_source=st.just("received"),
    direction=st.sampled_from(["inbound", "outbound", "internal"]),
    sender=st.text(max_size=5),
    sender_domain=st.text(max_size=5),
    recipients=st.lists(st.text(max_size=3), max_size=3).map(tuple),
    recipient_domains=st.lists(st.text(max_size=3), max_size=3).map(tuple),
    size_bytes=st.integers(0, 2**40),
    has_link=st.booleans(),
    authenticated=st.sampled_from([None, True, False]),
    reply_to_differs=st.sampled_from([None, True, False]),
    thread=st.text(max_size=3),
    reply=st.booleans(),
    new_recipients=st.lists(st.text(max_size=3), max_size=3).map(tuple),
    labelled_bad=st.sampled_from([-1, 0, 1]),
    qr_code_count=st.integers(0, 9),
    pending=st.sampled_from([(), ("qr",)]),
)


@given(st.lists(_events, max_size=5))
def test_events_survive_the_way_through_arrow(events: list[Event]) -> None:
    table = events_to_table(events)
    assert table.schema == EVENT_SCHEMA
    assert table_to_events(table) == events
    for event, day in zip(events, table["day"].to_pylist(), strict=True):
        assert (day - datetime.date(1970, 1, 1)).days == event.known_at_us // DAY_US


def test_what_was_appended_is_read_and_nothing_twice(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    assert (log.count(), log.last_seq("acme"), log.tenants(), log.snapshot().files) == (0, 0, (), ())
    assert log.scan().read_all().num_rows == 0
    first = [message(1), message(2, day=1), message(3, tenant="other")]
    assert log.append(first) == Appended(3, 0)
    # Again under new seqs, twice in one batch, and with one that is new.
    again = [dataclasses.replace(first[0], seq=7), message(8), dataclasses.replace(message(8), seq=9)]
    assert log.append(again) == Appended(1, 2)
    marked = label(10, first[1])
    assert log.append([marked]).added == 1
    assert log.append([marked, marked]).added == 0
    found = dataclasses.replace(first[0], kind="signal", seq=11, signal="qr", qr_code_count=1)
    assert log.append([found, found]).added == 1 and log.append([found]).added == 0
    assert events_of(log) == [first[0], first[1], message(8), marked, found, first[2]]
    assert events_of(log, tenant="acme", kind="signal") == [found]
    assert events_of(log, tenant="acme", kind="label") == [marked]
    assert log.scan("acme", columns=["seq", "day"]).read_all().sort_by("seq")["seq"].to_pylist() == [1, 2, 8, 10, 11]
    assert log.tenants() == ("acme", "other")
    assert (log.count(), log.last_seq("acme"), log.last_seq("other"), log.last_seq("none")) == (6, 11, 3, 0)


def test_the_same_message_of_two_tenants_is_two_messages(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    assert log.append([message(1, name="x"), message(1, tenant="other", name="x")]).added == 2


def test_messages_are_found_together_by_their_ids(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    assert log.find_all("acme", ["m1"]) == {}
    messages = [message(seq, day=seq % 3) for seq in range(1, 9)]
    log.append([*messages, message(3, tenant="other")])
    ids = [one.message_id for one in (messages[0], messages[6])]
    assert log.find_all("acme", [*ids, "nobody"]) == {one.message_id: one for one in (messages[0], messages[6])}
    assert log.find_all("other", ids) == {}


def test_a_seq_given_twice_is_refused_and_nothing_of_the_batch_stays(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.append([message(1)])
    with pytest.raises(DataError, match="seq 1 of tenant 'acme'"):
        log.append([message(5), message(1, name="another")])
    assert log.count() == 1


def test_a_batch_handed_over_again_is_a_no_op_even_where_its_rows_look_new(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    assert log.append([message(1)], batch_id=("writer", 0)).added == 1
    assert log.append([message(2)], batch_id=("writer", 0)).skipped == 1
    assert EventLog(tmp_path).append([message(3)], batch_id=("writer", 0)).added == 0
    assert log.append([message(4)], batch_id=("writer", 1)).added == 1
    assert log.append([message(5)], batch_id=("other", 0)).added == 1
    assert [event.seq for event in events_of(log)] == [1, 4, 5]


def test_the_view_tells_ids_by_day_and_the_label_borne_now(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    one, two = message(1), message(2, day=3)
    log.append([one, two, label(3, one, "spam"), label(4, two, "ham")])
    log.append([label(5, one, "CP"), message(6, tenant="other")])
    days = events_to_table([one])["day"].combine_chunks()
    assert log.view().message_ids("acme", days) == {"m1"}
    assert log.view().labels("acme") == {"m1": "CP", "m2": "ham"}
    log.append([label(7, one, "withdrawn")])
    assert log.view().labels("acme") == {"m2": "ham"}


def test_snapshots_stay_as_they_were_and_name_plain_parquet_with_partitions_in_the_path(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    log.append([message(1), message(2, day=1)])
    before = log.snapshot()
    log.append([message(3, day=2)])
    log.compact()
    after = log.snapshot()
    assert after.version > before.version
    for snapshot, seqs in ((before, [1, 2]), (after, [1, 2, 3])):
        assert all(name.startswith(snapshot.root + "/day=") and "/bucket=" in name for name in snapshot.files)
        rows = ds.dataset(list(snapshot.files), partitioning="hive", partition_base_dir=snapshot.root).to_table()
        assert sorted(rows["seq"].to_pylist()) == seqs
        assert rows.schema.field("received_at").type == pa.timestamp("us", tz="UTC")
    assert DeltaTable(tmp_path / "events").metadata().configuration["delta.enableDeletionVectors"] == "false"


def test_compaction_joins_files_and_loses_nothing(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for seq in range(1, 6):
        log.append([message(seq)], batch_id=("w", seq))
    (tmp_path / "day=2007-04-08").mkdir(exist_ok=True)
    orphan = tmp_path / "day=2007-04-08" / "orphan.parquet"
    shutil.copy(log.snapshot().files[0], orphan)
    expected = events_of(log)
    assert log.compact(retention_hours=0) == 5
    assert len(log.snapshot().files) == 1
    assert not orphan.exists()
    assert len(list(tmp_path.rglob("*.parquet"))) - len(list((tmp_path / "_delta_log").glob("*.parquet"))) == 1
    assert events_of(EventLog(tmp_path)) == expected
    # What was handed over before the checkpoint is still known after it.
    assert EventLog(tmp_path).append([message(9)], batch_id=("w", 5)).added == 0


_APPENDER = """
import sys, dataclasses
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_stores_event_log import EventLog, message
log = EventLog(Path(sys.argv[2]))
run = int(sys.argv[3])
for i in range(int(sys.argv[4])):
    # Half of the messages are those of every other process.
    log.append([message(run * 1000 + 2 * i + 1, name=f"own{run}.{i}"),
                dataclasses.replace(message(i + 1, name=f"shared{i}"), seq=run * 1000 + 2 * i + 2)])
    print(i, flush=True)
"""


def _appender(folder: Path, run: int, count: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", _APPENDER, str(Path(__file__).parent), str(folder), str(run), str(count)]
    return subprocess.Popen(words, stdout=subprocess.PIPE)


def test_two_writers_at_once_both_land_and_a_shared_message_lands_once(tmp_path: Path) -> None:
    children = [_appender(tmp_path, run, 8) for run in (1, 2)]
    assert [child.wait(60) for child in children] == [0, 0]
    for child in children:
        assert child.stdout is not None
        child.stdout.close()
    ids = [event.message_id for event in events_of(EventLog(tmp_path))]
    assert len(ids) == len(set(ids))
    assert set(ids) == {f"own{run}.{i}" for run in (1, 2) for i in range(8)} | {f"shared{i}" for i in range(8)}


def test_a_writer_killed_in_the_middle_leaves_whole_batches_only(tmp_path: Path) -> None:
    for run in (1, 2, 3):
        child = _appender(tmp_path, run, 1000)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.03 * run)
        os.kill(child.pid, signal.SIGKILL)
        said = 1 + len(child.stdout.read().splitlines())
        child.wait()
        child.stdout.close()
        own = [e for e in events_of(EventLog(tmp_path)) if e.message_id.startswith(f"own{run}.")]
        assert said <= len(own) <= said + 1
    events = events_of(EventLog(tmp_path))
    shared = {e.message_id for e in events if e.message_id.startswith("shared")}
    assert shared == {f"shared{i}" for i in range(len(shared))}
    assert len(events) == EventLog(tmp_path).count() == len({e.message_id for e in events})


def test_a_stream_is_one_commit_and_is_planned_again_when_another_was_faster(tmp_path: Path) -> None:
    log, rival = EventLog(tmp_path), EventLog(tmp_path)
    log.append([message(1)])
    seen: list[int] = []

    def plan(view: EventView) -> list[pa.RecordBatch]:
        seen.append(log_seq := view.last_seq("acme"))
        if len(seen) == 1:
            rival.append([message(2)])
        return [batch for i in (1, 2) for batch in events_to_table([message(log_seq + i)]).to_batches()]

    version = log.snapshot().version
    assert log.append_stream("acme", plan)
    assert seen == [1, 2]
    assert [event.seq for event in events_of(log)] == [1, 2, 3, 4]
    assert log.snapshot().version == version + 2
    assert not log.append_stream("acme", lambda view: None)


def test_an_append_opens_only_files_of_its_days_and_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path)
    log.append([message(seq, day=seq) for seq in range(1, 6)] + [message(1, tenant="other", day=2)])
    asked: list[list[str]] = []
    real = DeltaTable.to_pyarrow_dataset

    def recorded(self: DeltaTable, *args: object, **named: object) -> ds.Dataset:
        found = real(self, *args, **named)  # type: ignore[arg-type]
        asked.append(found.files)
        return found

    monkeypatch.setattr(DeltaTable, "to_pyarrow_dataset", recorded)
    log.append([message(7, day=2)])
    assert [len(files) for files in asked] == [1]
    # Of one day's files only those of the batch's times: a mail handed over again came at the same time.
    hour_later = dataclasses.replace(message(8, day=2), received_at_us=T0 + 2 * DAY_US + 3_600_000_000)
    log.append([hour_later])
    assert [len(files) for files in asked] == [1, 0]
    assert log.append([hour_later]).added == 0
    assert [len(files) for files in asked] == [1, 0, 1]


def test_a_folder_may_have_a_name_of_any_language_but_no_percent_sign(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "a bé" / "events")
    log.append([message(1)])
    assert log.append([message(1)]).added == 0
    assert (log.last_seq("acme"), len(events_of(log))) == (1, 1)
    assert all(Path(name).exists() for name in log.snapshot().files)
    with pytest.raises(ConfigError, match="%"):
        EventLog(tmp_path / "a%20b")


def test_a_folder_that_cannot_be_a_table_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="failed"):
        EventLog(tmp_path / "file").append([message(1)])


@settings(max_examples=8, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=6), max_size=4))
def test_any_batches_leave_each_message_once(batches: list[list[tuple[int, int]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = EventLog(Path(folder))
        seq = 0
        added = 0
        for batch in batches:
            events = []
            for name, day in batch:
                seq += 1
                made = message(1, day=day, name=f"{name}.{day}")
                events.append(dataclasses.replace(made, seq=seq))
            added += log.append(events).added
        wanted = {f"{name}.{day}" for batch in batches for name, day in batch}
        assert added == log.count() == len(wanted)
        assert {event.message_id for event in events_of(log)} == wanted


def test_a_log_from_before_facts_were_added_is_read_with_their_defaults_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    before = pa.schema([*list(EVENT_SCHEMA)[: EVENT_SCHEMA.names.index("display_name")], *list(EVENT_SCHEMA)[-7:]])
    old = dataclasses.replace(message(1), schema_version=1)
    DeltaLog(folder, before).append(lambda _: events_to_table([old]).select(before.names))
    log = EventLog(folder)
    assert "thread" not in before.names and events_of(log) == [old] and log.find("acme", "m1") == old
    assert next(log.after("acme", 0)) == [old] and log.snapshot().schema == EVENT_SCHEMA
    assert log.scan(columns=["thread", "seq"]).read_all().to_pylist() == [{"thread": None, "seq": 1}]
    new = dataclasses.replace(message(2), thread="t", reply=True, new_recipients=("bob@acme.example",))
    assert log.append([new]).added == 1
    assert log.append_stream("acme", lambda view: events_to_table([message(3)]).to_batches())
    assert events_of(log) == [old, new, message(3)]
    log.compact()
    assert events_of(EventLog(folder)) == [old, new, message(3)]
