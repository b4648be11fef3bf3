"""Small parts of the intake: what it remembers, and when features count as stale."""

from __future__ import annotations

from typing import Any

import pytest

from mailwarden.domain.mail.events import Event
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.online.streams import encode_event
from mailwarden_services.sequencer import recent as recent_module
from mailwarden_services.sequencer.recent import DueSeq, Recent, RecentMessages

Mail = list[SimulatedMessage]


def recent(tenant: str, number: int, key: str | None = None, answer: bytes = b"{}") -> Recent:
    event = Event(tenant, number, "message", f"{number:032x}", 1, 1, "envelope", "inbound", "", "", (), ())
    return Recent(tenant, event.message_id, number, encode_event(event), answer, event.content_sha256, key)


def test_the_oldest_message_is_forgotten_with_its_key_whoever_comes_after() -> None:
    first, second, third = recent("t1", 1, "k"), recent("t2", 2, "k"), recent("t2", 3)
    memory = RecentMessages(limit=second.size + third.size)
    for message in (first, second, third):
        memory.add(message)
    assert memory.find("t1", first.message_id) is None and memory.find_key("t1", "k") is None
    assert memory.find("t2", second.message_id) is second and memory.find_key("t2", "k") is second
    assert second.event.seq == 2 and memory.of("t2") == [second, third] and memory.of("t1") == []
    memory.forget(second)
    assert memory.find("t2", second.message_id) is None and memory.find_key("t2", "k") is None
    assert memory.find("t2", third.message_id) is third


def test_what_is_remembered_is_bounded_in_bytes_whatever_comes_goes_and_comes_again() -> None:
    memory = RecentMessages(limit=200_000)
    for number in range(1_000):
        message = recent("t", number % 400, f"k{number}", b"x" * (number % 7 * 1_000))
        memory.add(message)
        if number % 10 == 0:
            memory.forget(message)
        held = memory.of("t")
        assert sum(kept.size for kept in held) == memory._size <= 200_000
        assert {kept.idempotency_key for kept in held} == {key for _, key in memory._by_key}
    assert len(held) > 20
    # One that alone is over the limit is remembered all the same: its repeat is on its way.
    large = recent("t", 5_000, None, b"x" * 300_000)
    memory.add(large)
    assert memory.of("t") == [large]


def test_a_seq_is_due_once_the_lag_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(recent_module.time, "monotonic", lambda: now)
    due = DueSeq(10.0)
    assert due.seq("t") == 0
    for seq in range(1, 31):
        now = float(seq)
        due.accepted("t", seq)
    assert due.seq("t") == 20
    assert due.seq("other") == 0
    now = 100.0
    assert due.seq("t") == 30


def test_within_a_tenth_of_the_lag_marks_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(recent_module.time, "monotonic", lambda: now)
    due = DueSeq(10.0)
    for seq in range(1, 1_001):
        now = seq * 0.01
        due.accepted("t", seq)
    assert len(due._marks["t"]) <= 11
    now = 15.0
    assert 400 <= due.seq("t") <= 500


def test_a_lagging_writer_is_told_in_the_answer(warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    warden.settings = warden.settings.model_copy(update={"stale_after_seconds": 0.02})
    with warden.api() as api:
        assert api.send(simulated[0])["flags"] == []
        for message in simulated[1:200]:
            answer = api.send(message)
            if answer["flags"]:
                break
        assert answer["degraded"] is True and answer["flags"] == ["history is stale: the feature writer lags"]
        warden.drain()
        warden.settings = warden.settings.model_copy(update={"stale_after_seconds": 60.0})
    with warden.api() as api:
        assert api.send(simulated[200])["flags"] == []


def test_mail_that_was_ingested_in_bulk_is_decided_but_not_counted_again(warden: Any, simulated: Mail) -> None:
    with warden.api() as api:
        answers = [api.send(m) for m in simulated[:3]]
    warden.drain()
    # As a bulk ingest would leave it: in the event log and in the features, without a decision.
    platform = warden.platform
    with platform._engine.begin() as connection:
        connection.exec_driver_sql("delete from decisions")
    with warden.api() as api:
        again = api.send(simulated[1])
        assert again["decision_id"] is None and again["message_id"] == answers[1]["message_id"]
        assert again["flags"] == ["ingested before: not counted again"] and again["degraded"] is False
        assert api.send(simulated[3])["seq"] == 4
    warden.drain()
    assert [e.seq for e in warden.events()] == [1, 2, 3, 4]
