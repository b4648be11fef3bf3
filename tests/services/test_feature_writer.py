"""The feature writer: at once into Redis, in batches into the logs, and whole again after any crash."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from mailwarden.errors import StoreUnavailable
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.online.server import RedisServer
from mailwarden.stores.spool import Spool
from mailwarden.stores.spool_reader import SpoolReader
from mailwarden_services.bootstrap import Platform
from mailwarden_services.feature_writer import logs as logs_module
from mailwarden_services.feature_writer import writer as writer_module
from mailwarden_services.feature_writer.writer import READER_NAME, FeatureWriter

Mail = list[SimulatedMessage]
KNOWN = "2026-03-30T10:00:00Z"


class Killed(BaseException):
    """Stands for the process's end: nothing catches it."""


def fill(warden: Any, mail: Mail) -> list[dict[str, Any]]:
    """Score mail and label every third message, a correction among the labels."""
    with warden.api() as api:
        answers = []
        for number, message in enumerate(mail):
            answers.append(api.send(message, Idempotency_Key=f"k{number}"))
            if number % 3 == 2:
                api.label(message_id=answers[number - 1]["message_id"], label="CP", known_at=KNOWN)
            if number % 6 == 5:
                api.label(message_id=answers[number - 1]["message_id"], label="ham", known_at=KNOWN)
    return answers


def lag(warden: Any) -> int:
    reader = SpoolReader(warden.settings.spool_path, READER_NAME)
    reader.close()
    return reader.lag_bytes()


def check_whole(warden: Any, answers: list[dict[str, Any]], labels: int) -> None:
    """Everything once: events, raw mail, vectors, decisions, labels, and the totals in Redis."""
    platform = Platform(warden.settings)
    events = warden.events()
    assert [e.seq for e in events] == list(range(1, len(answers) + labels + 1))
    assert [e.message_id for e in events if e.kind == "message"] == [a["message_id"] for a in answers]
    assert sum(e.kind == "label" for e in events) == labels == platform.labels.count("acme")
    assert platform.decisions.count("acme") == len(answers)
    rows = platform.vectors.scan().read_all().to_pylist()
    wanted = {(e.seq, r) for e in events if e.kind == "message" for r in e.recipients or ("",)}
    assert len(rows) == len(wanted) and {(row["seq"], row["recipient"]) for row in rows} == wanted
    assert {row["decision_id"] for row in rows} == {a["decision_id"] for a in answers}
    for event in events:
        assert platform.raw.get(event.content_sha256, "acme")
    assert warden.states() == warden.folded(events)
    assert warden.folded_up_to() == len(events)
    assert lag(warden) == 0


def test_what_is_accepted_is_folded_at_once_and_logged_in_batches(warden: Any, simulated: Mail) -> None:
    answers = fill(warden, simulated[:6])
    writer = warden.writer(batch_seconds=3600.0)
    assert writer.step() is True
    assert warden.folded_up_to() == 9
    assert warden.events() == [] and lag(warden) > 0
    assert writer.step() is False
    writer.flush()
    check_whole(warden, answers, 3)
    record = warden.platform.decisions.by_message("acme", answers[0]["message_id"])
    assert record is not None
    assert (record.score, record.decision, record.idempotency_key) == (
        answers[0]["score"],
        answers[0]["verdict"],
        "k0",
    )


@pytest.mark.parametrize("options", [{"batch_records": 2}, {"batch_seconds": 0.0}], ids=["many", "old"])
def test_a_batch_is_logged_when_it_is_large_or_old(warden: Any, simulated: Mail, options: dict[str, Any]) -> None:
    fill(warden, simulated[:3])
    writer = warden.writer(**{"batch_seconds": 3600.0, "batch_records": 1_000, **options})
    deadline = time.monotonic() + 10
    while lag(warden) and time.monotonic() < deadline:
        writer.step()
        time.sleep(0.005)
    assert [e.seq for e in warden.events()] == [1, 2, 3, 4]


def test_a_batch_holds_no_more_than_memory_reaches(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs_module, "BATCH_BYTES", 1)
    answers = fill(warden, simulated[:3])
    writer = warden.writer(batch_seconds=3600.0)
    took: list[list[int]] = []
    append = writer.batches._logs.append

    def seen(records: Any) -> None:
        took.append([record.event.seq for _, record in records])
        append(records)

    writer.batches._logs.append = seen
    deadline = time.monotonic() + 20
    # Nothing is old and few wait: what is large is written all the same, a record a batch, and in order.
    while len(took) < 3 and time.monotonic() < deadline:
        writer.step()
        time.sleep(0.005)
    writer.flush()
    assert took == [[1], [2], [3], [4]]
    check_whole(warden, answers, 1)


STEPS = ("raw", "events", "vectors", "decisions", "labels", "checkpoint")


def dying(writer: FeatureWriter, step: str, *, after: bool, once: list[bool]) -> None:
    """Have a writer's process end just before or after one of its steps, the first time that it comes to it."""
    logs: Any = writer.batches._logs
    owner, name = {
        "raw": (logs._raw, "append"),
        "events": (logs._events, "append"),
        "vectors": (logs._vectors, "append"),
        "decisions": (logs._decisions, "append_many"),
        "labels": (logs._labels, "append_many"),
        "checkpoint": (writer._reader, "commit"),
        "send": (writer.writers.streams, "send"),
        "read": (writer.writers.streams, "read"),
        "fold": (writer.online, "fold"),
        "settle": (writer.writers.streams, "settle"),
    }[step]
    act = getattr(owner, name)

    def killed(*arguments: Any, **options: Any) -> Any:
        if after:
            act(*arguments, **options)
        once.append(True)
        raise Killed

    setattr(owner, name, killed)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", ["send", "read", "fold", "settle", *STEPS])
def test_a_crash_between_any_two_steps_neither_loses_nor_doubles(
    warden: Any, simulated: Mail, step: str, after: bool
) -> None:
    answers = fill(warden, simulated[:12])
    first = warden.writer(batch_seconds=3600.0)
    once: list[bool] = []
    dying(first, step, after=after, once=once)
    with pytest.raises(Killed):
        first.step()
        first.flush()
    assert once
    # The next process takes the records up in other portions.
    limits = iter([3, 5, 1, 100, 100, 100])
    second = warden.writer(batch_seconds=3600.0)
    poll = second._reader.poll
    second._reader.poll = lambda limit: poll(limit=next(limits))
    while second.step():
        second.flush()
    check_whole(warden, answers, 6)


def test_crashes_in_a_row_while_mail_flows_leave_each_thing_once(warden: Any, simulated: Mail) -> None:
    answers: list[dict[str, Any]] = []
    steps = iter([(s, a) for s in ("events", "vectors", "decisions", "checkpoint") for a in (False, True)])
    for start in range(0, 24, 3):
        with warden.api() as api:
            answers += [api.send(m) for m in simulated[start : start + 3]]
        writer = warden.writer(batch_seconds=3600.0)
        dying(writer, *next(steps)[:1], after=bool(start % 2), once=[])
        with pytest.raises(Killed):
            writer.step()
            writer.flush()
    warden.drain()
    check_whole(warden, answers, 0)


def test_records_handed_over_again_change_nothing(warden: Any, simulated: Mail) -> None:
    answers = fill(warden, simulated[:6])
    (warden.settings.spool_path / f"{READER_NAME}.checkpoint").unlink(missing_ok=True)
    warden.drain()
    before = warden.online()
    (warden.settings.spool_path / f"{READER_NAME}.checkpoint").unlink()
    warden.drain()
    assert warden.online() == before
    check_whole(warden, answers, 3)


def test_seqs_in_the_spool_are_in_order_under_concurrent_callers(warden: Any, simulated: Mail) -> None:
    with warden.api() as api:
        threads = [
            threading.Thread(target=lambda part=part: [api.send(m) for m in part])
            for part in (simulated[:20], simulated[10:30], simulated[5:25], simulated[:30:3])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    reader = SpoolReader(warden.settings.spool_path, "look")
    seqs = [writer_module.decode_accepted(payload).event.seq for _, payload in reader.poll()]
    reader.close()
    assert seqs == list(range(1, 31))
    warden.drain()
    assert [e.seq for e in warden.events()] == seqs
    assert warden.states() == warden.folded(warden.events())


def running(writer: FeatureWriter) -> threading.Thread:
    thread = threading.Thread(target=writer.run)
    thread.start()
    return thread


def test_stopping_while_redis_is_away_loses_nothing(
    own_redis: tuple[Any, RedisServer], simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    warden, server = own_redis
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.02)
    with warden.api() as api:
        answers = [api.send(m) for m in simulated[:4]]
    folding = warden.writer()
    folding.step()
    with warden.api() as api:
        server.stop()
        answers += [api.send(m) for m in simulated[4:8]]
    assert [a["degraded"] for a in answers] == [False] * 4 + [True] * 4
    thread = running(folding)
    time.sleep(0.1)
    assert thread.is_alive()
    folding.stop()
    thread.join(20)
    assert not thread.is_alive()
    # The logs do not wait for Redis.
    assert [e.seq for e in warden.events()] == list(range(1, 9)) and lag(warden) == 0
    server.start()
    warden.drain()
    check_whole(warden, answers, 0)
    rows = sorted(warden.platform.vectors.scan().read_all().to_pylist(), key=lambda row: row["seq"])
    assert {row["relationship__status"] for row in rows if row["seq"] > 4} == {"unavailable"}


def test_when_redis_comes_back_a_running_writer_goes_on(
    own_redis: tuple[Any, RedisServer], simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    warden, server = own_redis
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.02)
    writer = warden.writer()
    thread = running(writer)
    try:
        with warden.api() as api:
            answers = [api.send(simulated[0])]
            server.stop()
            gone = api.send(simulated[1])
            assert gone["degraded"] is True
            assert gone["flags"] == ["history unavailable: StoreUnavailable"]
            assert gone["features"]["as_of_seq"] is None
            ready = api.client.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
            assert ready.json()["down"] == {"online store": "StoreUnavailable"}
            server.start()
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                if warden.folded_up_to() == 2:
                    break
                time.sleep(0.02)
            assert api.client.get("/readyz").json()["status"] == "ready"
            answers += [gone, api.send(simulated[2])]
            assert answers[-1]["degraded"] is False and answers[-1]["features"]["as_of_seq"] == 2
    finally:
        writer.stop()
        thread.join(20)
    check_whole(warden, answers, 0)


def test_stopping_while_a_log_is_away_loses_nothing(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch that could not be logged must not be passed over by the next one's checkpoint."""
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.02)
    answers = fill(warden, simulated[:6])
    writer = warden.writer(batch_records=3, batch_seconds=0.0)
    logs: Any = writer.batches._logs
    append, tried = logs.append, threading.Event()

    def away(records: Any) -> None:
        tried.set()
        raise StoreUnavailable("the log is away")

    logs.append = away
    poll = writer._reader.poll
    writer._reader.poll = lambda limit: poll(limit=3)
    thread = running(writer)
    assert tried.wait(10)
    time.sleep(0.1)  # more is folded meanwhile

    def back_once_stopped(records: Any) -> None:
        if not writer.batches._stop.is_set():
            raise StoreUnavailable("the log is away")
        if records[0][0] == first:
            raise StoreUnavailable("the log is away")
        append(records)

    reader = SpoolReader(warden.settings.spool_path, "look")
    first = reader.poll(limit=1)[0][0]
    reader.close()
    logs.append = back_once_stopped
    writer.stop()
    thread.join(20)
    assert not thread.is_alive()
    warden.drain()
    check_whole(warden, answers, 3)


def test_a_log_that_is_away_for_a_moment_is_tried_again(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.01)
    answers = fill(warden, simulated[:3])
    writer = warden.writer()
    logs: Any = writer.batches._logs
    append, failures = logs._decisions.append_many, iter([True, True, False])

    def now_and_then(records: Any) -> Any:
        if next(failures):
            raise StoreUnavailable("the database is away")
        return append(records)

    logs._decisions.append_many = now_and_then
    warden.drain(writer)
    check_whole(warden, answers, 1)


def test_only_what_is_in_the_logs_leaves_the_spool(warden: Any, simulated: Mail) -> None:
    fill(warden, simulated[:2])
    before = lag(warden)
    writer = warden.writer(batch_seconds=3600.0)
    writer.step()
    assert lag(warden) == before
    writer.flush()
    assert lag(warden) == 0


def test_two_tenants_share_a_writer_and_keep_their_own_seqs(warden: Any, simulated: Mail) -> None:
    with warden.api() as acme:
        for number, message in enumerate(simulated[:6]):
            headers = warden.headers("other") if number % 2 else {}
            sent = {"Content-Type": "message/rfc822", **headers}
            assert acme.client.post("/v1/score", content=message.raw, headers=sent).json()["seq"] == number // 2 + 1
    warden.drain()
    events = warden.events()
    assert [(e.tenant, e.seq) for e in events] == [(t, n) for t in ("acme", "other") for n in (1, 2, 3)]
    assert warden.states() == warden.folded(events)
    assert [warden.folded_up_to(t) for t in ("acme", "other")] == [3, 3]


def test_a_record_of_another_version_stops_the_writer_before_anything_is_lost(warden: Any, simulated: Mail) -> None:
    fill(warden, simulated[:1])
    with Spool(warden.settings.spool_path, fsync=False) as spool:
        spool.append(b"\x05\x00\x00\x00{}...")
    writer = warden.writer()
    with pytest.raises(Exception, match="drain the spool"):
        writer.step()
    assert lag(warden) > 0


def test_a_label_record_reaches_the_label_log_as_given(warden: Any, simulated: Mail) -> None:
    with warden.api() as api:
        answer = api.send(simulated[0])
        api.label(decision_id=answer["decision_id"], label="BE", known_at=KNOWN, source="user", given_by="reader-7")
    warden.drain()
    (label,) = warden.platform.labels.history("acme", answer["message_id"])
    assert (label.label, label.source, label.given_by, label.seq) == ("BE", "user", "reader-7", 2)
    assert label.known_at_us == 1_774_864_800_000_000
