from __future__ import annotations

import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest
import sqlalchemy as sa

from mailwarden.errors import DataError
from mailwarden.stores.sql import DecisionFilter, DecisionRecord, Decisions, Tenants
from mailwarden.stores.sql import decisions as module


def decision(number: int, tenant: str = "acme", **changes: object) -> DecisionRecord:
    record = DecisionRecord(
        tenant=tenant,
        decision_id=f"d{number}",
        message_id=f"m{number:05d}",
        idempotency_key=f"k{number}",
        seq=number,
        received_at_us=1_700_000_000_000_000 + number * 1_000_000,
        decided_model="3",
        score=0.1 + 0.2,
        decision="quarantine",
        category="BE",
        degraded=False,
        sender="ceo@freemail.example",
        sender_domain="freemail.example",
        recipients=("a@acme.example", "b@acme.example"),
        direction="inbound",
        response='{"score": 0.30000000000000004,  "words": "Grüße"}',
    )
    return dataclasses.replace(record, **changes)  # type: ignore[arg-type]


@pytest.fixture
def log(sql_engine: sa.Engine) -> Decisions:
    for name in ("acme", "other"):
        Tenants(sql_engine).create(name, domains=[], created_us=1)
    return Decisions(sql_engine)


def test_a_decision_is_read_back_to_the_last_bit(log: Decisions) -> None:
    record = decision(1)
    bare = decision(2, idempotency_key=None, category=None, degraded=True, recipients=(), seq=2**62)
    assert log.append_many([record, bare]) == {("acme", "m00001"), ("acme", "m00002")}
    assert log.get("acme", "d1") == log.by_message("acme", "m00001") == record
    assert log.by_idempotency_key("acme", "k1") == record
    assert log.get("acme", "d2") == bare
    assert log.append_many([]) == frozenset()


def test_the_first_decision_on_a_message_stands(log: Decisions) -> None:
    first = decision(1)
    log.append_many([first])
    again = decision(1, decision_id="d9", score=0.9, response="{}")
    assert log.append_many([again, decision(2)]) == {("acme", "m00002")}
    assert log.append_many([again, again]) == frozenset()
    assert log.by_message("acme", "m00001") == first
    assert log.get("acme", "d9") is None
    assert log.count("acme") == 2


def test_the_first_decision_under_an_idempotency_key_stands(log: Decisions) -> None:
    first = decision(1)
    log.append_many([first])
    assert log.append_many([decision(2, idempotency_key="k1")]) == frozenset()
    assert log.by_idempotency_key("acme", "k1") == first
    assert log.by_message("acme", "m00002") is None


def test_a_message_twice_in_one_batch_counts_once(log: Decisions) -> None:
    assert log.append_many([decision(1), decision(1, decision_id="d9")]) == {("acme", "m00001")}
    assert log.count("acme") == 1


def test_a_decision_id_given_to_two_messages_is_never_lost_in_silence(log: Decisions) -> None:
    log.append_many([decision(1, idempotency_key=None)])
    with pytest.raises(DataError, match="belongs to another message"):
        log.append_many([decision(3), decision(2, decision_id="d1", idempotency_key=None)])
    assert log.count("acme") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        decision(2, score=1.5),
        decision(2, score=float("nan")),
        decision(2, tenant="nobody"),
        decision(2, seq=2**63),
    ],
)
def test_one_wrong_record_keeps_the_whole_batch_out(log: Decisions, wrong: DecisionRecord) -> None:
    with pytest.raises(DataError):
        log.append_many([decision(1), wrong])
    assert log.count("acme") == 0


def test_no_tenant_sees_anothers(log: Decisions) -> None:
    mine, theirs = decision(1), decision(1, tenant="other", score=0.5)
    log.append_many([mine, theirs])
    log.append_many([decision(2, tenant="other")])
    assert log.get("acme", "d1") == log.by_message("acme", "m00001") == mine
    assert log.by_idempotency_key("acme", "k1") == mine
    assert log.get("acme", "d2") is None
    assert log.by_message("acme", "m00002") is None
    assert log.by_idempotency_key("acme", "k2") is None
    assert log.recent("acme", 10) == (mine,)
    assert list(log.between("acme", 0, 2**62)) == [mine]
    assert (log.count("acme"), log.count("other")) == (1, 2)


def test_what_a_sender_writes_cannot_keep_its_decision_out(log: Decisions) -> None:
    hostile = decision(1, sender="a\x00b@\ud800.example", sender_domain="\x00", recipients=("\x00\udfff", "é"))
    assert log.append_many([hostile]) == {("acme", "m00001")}
    kept = log.get("acme", "d1")
    assert kept is not None
    assert kept.sender == "a\ufffdb@\ufffd.example"
    assert kept.sender_domain == "\ufffd"
    assert kept.recipients == ("\x00\udfff", "é")


def test_recent_is_the_newest_first_with_ties_by_seq(log: Decisions) -> None:
    log.append_many([decision(n, received_at_us=7 if n < 3 else n) for n in (2, 1, 9, 8)])
    assert [record.seq for record in log.recent("acme", 3)] == [9, 8, 2]
    assert [record.seq for record in log.recent("acme", 9)] == [9, 8, 2, 1]


@pytest.mark.parametrize("page", [1, 2, 3, 100])
def test_between_is_half_open_and_in_order_over_pages(
    log: Decisions, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(module, "_PAGE", page)
    times = {1: 10, 2: 20, 3: 20, 4: 20, 5: 30, 6: 40}
    log.append_many([decision(seq, received_at_us=time) for seq, time in sorted(times.items(), reverse=True)])
    assert [record.seq for record in log.between("acme", 20, 40)] == [2, 3, 4, 5]
    assert [record.seq for record in log.between("acme", 0, 100)] == [1, 2, 3, 4, 5, 6]
    assert list(log.between("acme", 41, 100)) == []


def test_between_can_be_left_early_and_written_beside(log: Decisions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    log.append_many([decision(n) for n in range(6)])
    for _ in range(40):  # more than the pool has connections
        reader = log.between("acme", 0, 2**62)
        next(reader)
    log.append_many([decision(7)])
    assert log.count("acme") == 7


def test_threads_that_append_the_same_messages_log_each_once(log: Decisions, monkeypatch: pytest.MonkeyPatch) -> None:
    # A statement a row, and opposite orders: unsorted, these would wait for each other for ever.
    monkeypatch.setattr(module, "_BATCH", 1)

    def append(worker: int) -> int:
        batch = [decision(n, decision_id=f"{worker}-{n}", idempotency_key=None) for n in range(100)]
        return len(log.append_many(batch if worker % 2 else batch[::-1]))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(append, range(4))) == log.count("acme") == 100


def test_processes_that_append_together_lose_nothing(log: Decisions, sql_url: str) -> None:
    program = """
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from mailwarden.stores.sql import DecisionRecord, Decisions, open_engine
url, first = sys.argv[1], int(sys.argv[2])
log = Decisions(open_engine(url))
for n in range(first, first + 40):
    log.append_many([DecisionRecord("acme", f"d{n}", f"m{n}", f"k{n}", n, n, "1", 0.5, "deliver", None, False,
                                    "a@b.example", "b.example", (), "inbound", "{}")])
"""
    running = [
        subprocess.Popen([sys.executable, "-c", program, sql_url, str(first)], stderr=subprocess.PIPE)
        for first in (0, 20, 40)
    ]
    errors = [process.communicate(timeout=300)[1].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], errors
    assert log.count("acme") == 80


def pages(log: Decisions, wanted: DecisionFilter, limit: int) -> list[list[str]]:
    found, after = [], None
    while True:
        page = log.page("acme", wanted, after=after, limit=limit)
        found.append([record.message_id for record in page.records])
        assert len(found) < 100
        if page.next is None:
            return found
        after = page.next


def test_pages_hold_each_wanted_decision_once_the_newest_first(log: Decisions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where times tie, and where a page has looked at all that it may before it is full."""
    monkeypatch.setattr(module, "_LOOKED_AT", 7)
    records = [
        decision(
            number,
            received_at_us=1_700_000_000_000_000 + number // 4 * 1_000_000,
            decision="deliver" if number % 5 else "junk",
            sender=f"s{number % 3}@x.example",
            sender_domain="x.example" if number % 2 else "y.example",
            recipients=("a@acme.example",) if number % 4 else ("b@acme.example", 'odd"one'),
            message_id_header=f"{number % 10}@x.example",
        )
        for number in range(40)
    ]
    log.append_many([*records, decision(1, "other", decision="junk")])
    newest = [record.message_id for record in reversed(records)]
    assert [*chain(*pages(log, DecisionFilter(), 6))] == newest
    for wanted, keep in (
        (DecisionFilter(verdict="junk"), lambda r: r.decision == "junk"),
        (DecisionFilter(category="none"), lambda r: False),
        (DecisionFilter(sender="s1@x.example"), lambda r: r.sender == "s1@x.example"),
        (DecisionFilter(sender="y.example"), lambda r: r.sender_domain == "y.example"),
        (DecisionFilter(recipient="b@acme.example"), lambda r: "b@acme.example" in r.recipients),
        (DecisionFilter(recipient='odd"one'), lambda r: 'odd"one' in r.recipients),
        (DecisionFilter(recipient="acme"), lambda r: False),
        (DecisionFilter(message_id_header="3@x.example"), lambda r: r.message_id_header == "3@x.example"),
        (DecisionFilter(from_us=1_700_000_003_000_000), lambda r: r.received_at_us >= 1_700_000_003_000_000),
        (DecisionFilter(to_us=1_700_000_003_000_000), lambda r: r.received_at_us < 1_700_000_003_000_000),
    ):
        for limit in (1, 3, 100):
            found = pages(log, wanted, limit)
            assert [*chain(*found)] == [r.message_id for r in reversed(records) if keep(r)], (wanted, limit)
            assert max(map(len, found)) <= min(limit, 7)


def test_what_a_bundle_decided_comes_as_columns_by_time(log: Decisions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COLUMN_PAGE", 3)
    logits = {n: 12.345678901234567 * n for n in range(1, 9)}
    records = [decision(n, response=f'{{"log_odds": {logits[n]!r}, "words": "Grüße"}}') for n in (5, 1, 3, 8, 2, 7)]
    # Two at one time; one without the number; another bundle's; another tenant's.
    log.append_many([
        *records, decision(4, received_at_us=decision(5).received_at_us, category=None, degraded=True),
        decision(6, decided_model="2"), decision(9, "other"),
    ])  # fmt: skip
    pages = list(log.judged("acme", "3"))
    assert [len(page["message_id"]) for page in pages] == [3, 3, 1]
    found = {name: [value for page in pages for value in page[name]] for name in pages[0]}
    assert found["message_id"] == [f"m{n:05d}" for n in (1, 2, 3, 4, 5, 7, 8)]
    expected = [logits[1], logits[2], logits[3], None, logits[5], logits[7], logits[8]]
    assert found["log_odds"] == [None if value is None else pytest.approx(value, rel=1e-15) for value in expected]
    assert found["category"] == ["BE"] * 3 + [None] + ["BE"] * 3 and found["degraded"].count(True) == 1
    assert set(found["decision"]) == {"quarantine"}
    start, end = decision(3).received_at_us, decision(7).received_at_us
    assert [i for page in log.judged("acme", "3", start, end) for i in page["message_id"]] == [
        "m00003", "m00004", "m00005",
    ]  # fmt: skip
    assert list(log.judged("acme", "9")) == [] and log.judged_by("acme") == {"2": 1, "3": 7}
