"""Which messages are one: by content and a shared recipient within a day, or by content and the mail system's id."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from mailwarden.domain.detection.decision import VERDICTS, Verdict
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import StoreUnavailable
from mailwarden.stores import content_index
from mailwarden.stores.accepted import NO_CONTENT, AcceptedHistory, AcceptedMessage, decode_accepted
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.draft import Draft
from mailwarden.stores.history import HistoryLabel, HistoryMessage
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.spool import Spool, SpoolReader
from mailwarden_services.sequencer.history import History
from mailwarden_services.sequencer.order import Outcome
from mailwarden_services.sequencer.sequencer import Sequencer
from mailwarden_services.sequencer.sequencing import Asked, Here

ANN, BOB, EVE, JOE = "ann@far.example", "bob@acme.example", "eve@acme.example", "joe@acme.example"
START = 1_772_409_600_000_000
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
KEY = "ab" * 20

Give = Callable[..., Coroutine[Any, Any, Outcome]]


def draft(
    name: str,
    *to: str,
    at_us: int = 0,
    content: str = KEY,
    queue_id: str = "",
    verdict: Verdict = "deliver",
    tenant: str = "acme",
    sent: bool = False,
) -> Draft:
    """A scored message as it was handed over once: `name` is of its bytes and envelope."""
    domains = tuple(dict.fromkeys(address.rpartition("@")[2] for address in to))
    time_us = START + at_us
    event = Event(
        tenant, 0, "message", name, time_us, time_us, "envelope", "outbound" if sent else "inbound", ANN, "far.example",
        to, domains, content_sha256=name, content_key=content, queue_id=queue_id,
    )  # fmt: skip
    answer = {"message_id": name, "verdict": verdict, "category": None, "score": VERDICTS.index(verdict) / 4}
    return Draft.of(
        event, Envelope(time_us, ANN, to), raw_from=0, as_of=None, verdict=verdict, category=None, degraded=False,
        flags=(), answer=answer, rows=(), content=NO_CONTENT,
    )  # fmt: skip


@dataclass
class Home:
    """A sequencer over files of its own, which `again` starts anew."""

    folder: Path
    sequencer: Sequencer = field(init=False)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.events = EventLog(self.folder / "events")
        self.spool = Spool(self.folder / "spool", fsync=False)
        self.contacts, self.campaigns = Contacts(self.folder / "contacts.sqlite"), Campaigns(self.folder / "campaigns")
        self.sequencer = Sequencer(
            spool=self.spool, events=self.events, contacts=self.contacts, campaigns=self.campaigns,
            stale_after_seconds=60.0,
        )  # fmt: skip
        for record in self.records():
            self.sequencer.restore(record)

    def close(self) -> None:
        self.spool.close()
        self.contacts.close()
        self.campaigns.close()

    def again(self) -> None:
        self.close()
        self.open()

    def killed(self) -> None:
        """Go on from the files as a process that was killed left them."""
        shutil.copytree(self.folder, self.folder / "killed")
        self.close()
        self.folder /= "killed"
        self.open()

    def logged(self, index: str = "") -> None:
        """Start anew with all in the log, and nothing in the spool. index: what became of its file meanwhile."""
        events = [record.event for record in self.records()]
        self.close()
        self.events.append(events)
        for file in (self.folder / "spool").iterdir():
            file.unlink()
        path = self.folder / "contacts.sqlite"
        if index == "lost":
            path.unlink()
        elif index == "damaged":
            path.write_bytes(path.read_bytes()[:4096] + bytes(range(256)) * 64)
        self.open()

    def records(self) -> list[AcceptedMessage]:
        reader = SpoolReader(self.folder / "spool", "tests")
        found = [decode_accepted(payload) for batch in iter(reader.poll, []) for _, payload in batch]
        reader.close()
        assert all(isinstance(record, AcceptedMessage | AcceptedHistory) for record in found)
        return found  # type: ignore[return-value]

    def give(self, one: Draft, *, key: str | None = None) -> Outcome:
        return run(self._give(one, key))

    async def _give(self, one: Draft, key: str | None = None) -> Outcome:
        await self.sequencer.meet(one.tenant)
        return await self.sequencer.accept(one, one.message_id.encode(), key=key)

    def give_at_once(self, drafts: Sequence[Draft]) -> list[Outcome | BaseException]:
        async def all_of_them() -> list[Outcome | BaseException]:
            return await asyncio.gather(*(self._give(one) for one in drafts), return_exceptions=True)

        return run(all_of_them())


def run(test: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(test, 60))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.close()


def told(outcome: Outcome) -> str:
    """Whose answer it was."""
    assert outcome.recent is not None
    return str(orjson.loads(outcome.recent.answer)["message_id"])


def test_a_retry_with_other_trace_fields_is_the_same_message(home: Home) -> None:
    first = home.give(draft("m1", BOB, EVE))
    again = home.give(draft("m2", EVE, BOB, at_us=23 * HOUR_US))
    assert (first.seq, again.seq, again.repeated, told(again)) == (1, 0, True, "m1")
    assert home.give(draft("m3", BOB, at_us=-DAY_US)).repeated
    assert [record.event.seq for record in home.records()] == [1]


@pytest.mark.parametrize("how", ["lately", "restart", "killed", "logged", "lost", "damaged"])
def test_an_envelope_that_shares_a_recipient_counts_for_the_others_alone(home: Home, how: str) -> None:
    home.give(draft("m1", BOB, EVE))
    if how == "restart":
        home.again()
    elif how == "killed":
        home.killed()
    elif how != "lately":
        home.logged(how)
    outcome = home.give(draft("m2", EVE, JOE, at_us=HOUR_US))
    assert outcome.copy and outcome.seq == 2
    event = home.records()[-1].event
    assert (event.message_id, event.copy_of, event.received_at_us) == ("m2", "m1", START)
    assert (event.recipients, event.new_recipients, home.records()[-1].rows) == ((JOE,), (JOE,), ())
    # Whoever had either copy had the message, under the decision that was on it; its time stays the first one's.
    for name, to, decided in (("m3", BOB, "m1"), ("m4", JOE, "m2")):
        repeat = home.give(draft(name, to, at_us=2 * HOUR_US))
        assert repeat.seq == 0 and (repeat.before or told(repeat)) == decided
    home.logged(how)
    assert home.give(draft("m5", JOE, at_us=3 * HOUR_US)).before == "m2"
    assert home.give(draft("m2", EVE, JOE, at_us=HOUR_US)).before == "m2"
    assert home.give(draft("m6", BOB, JOE, at_us=HOUR_US)).anew
    assert home.give(draft("m7", JOE, at_us=DAY_US + 1)).seq == 3


def test_the_same_content_to_others_or_later_is_a_message_of_its_own(home: Home) -> None:
    home.give(draft("m1", BOB))
    others = [
        draft("m2", EVE), draft("m3", BOB, at_us=DAY_US + 1), draft("m4", BOB, at_us=7 * DAY_US),
        draft("m5", BOB, at_us=-DAY_US - 1), draft("m6", BOB, content="cd" * 20), draft("m7", BOB, tenant="other"),
        draft("m8", BOB, content=""), draft("m9", content=KEY),
    ]  # fmt: skip
    for one in others:
        outcome = home.give(one)
        assert outcome.seq and not outcome.repeated and not outcome.copy, one.message_id
    assert {record.event.copy_of for record in home.records()} == {""}


def test_the_same_queue_id_is_the_same_message_for_as_long_as_mail_is_tried(home: Home) -> None:
    home.give(draft("m1", BOB, queue_id="4F1C2"))
    assert home.give(draft("m2", BOB, at_us=5 * DAY_US, queue_id="4F1C2")).repeated
    other = home.give(draft("m3", EVE, at_us=5 * DAY_US, queue_id="4F1C2"))
    assert other.copy and home.records()[-1].event.recipients == (EVE,)
    assert home.give(draft("m4", BOB, at_us=5 * DAY_US, queue_id="5A000")).seq == 3
    assert home.give(draft("m5", BOB, at_us=6 * DAY_US, queue_id="4F1C2", content="cd" * 20)).seq == 4
    assert home.give(draft("m6", BOB, at_us=9 * DAY_US, queue_id="4F1C2")).seq == 5
    # Whom a part of it was for is told that part's decision.
    home.logged()
    assert home.give(draft("m7", EVE, at_us=2 * DAY_US, queue_id="4F1C2")).before == "m3"


def test_a_queue_id_of_many_copies_is_one_message(home: Home) -> None:
    for number in range(30):
        assert home.give(draft(f"m{number}", f"r{number}@acme.example", queue_id="4F1C2")).seq == number + 1
        if number % 10 == 5:
            home.again()
    assert {record.event.copy_of for record in home.records()[1:]} == {"m0"}


def test_the_index_holds_the_newest_weeks_and_fewer_of_much_mail(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def weeks(name: str) -> tuple[int, ...]:
        with closing(sqlite3.connect(home.folder / "contacts.sqlite")) as file:
            counts = dict(file.execute("select week, count(*) from contents group by week").fetchall())
            assert counts == dict(file.execute("select week, entries from content_weeks").fetchall()), name
        return tuple(week - START // (7 * DAY_US) for week in sorted(counts))

    for number in range(9):
        home.give(draft(f"m{number}", BOB, at_us=7 * DAY_US * number))
        home.again()
    assert weeks("bounded by age") == (3, 4, 5, 6, 7, 8)
    monkeypatch.setattr(content_index, "KEPT_ENTRIES", 7)
    home.give(draft("m9", BOB, at_us=7 * DAY_US * 9))
    home.again()
    assert weeks("bounded by number") == (7, 8, 9)
    home.give(draft("n0", EVE, JOE, content="cd" * 20, at_us=7 * DAY_US * 9))
    home.again()
    assert weeks("much mail") == (8, 9)
    home.logged("lost")
    home.give(draft("n1", JOE, content="ef" * 20, at_us=7 * DAY_US * 9))
    home.again()
    assert weeks("made again") == (8, 9)


def test_nobody_hides_behind_the_verdict_that_another_was_told(home: Home) -> None:
    """Two messages of one content, one to a friend and one to a stranger; then both, and then a third."""
    home.give(draft("m1", BOB))
    home.give(draft("m2", EVE, verdict="quarantine"))
    both = home.give(draft("m3", BOB, EVE, verdict="quarantine"))
    assert both.copy and orjson.loads(both.answer)["verdict"] == "quarantine"
    assert home.records()[-1].event.recipients == (EVE,)
    # And the other way: what the first was found to be, its copies are at least.
    home.give(draft("n1", BOB, content="cd" * 20, verdict="junk"))
    softer = home.give(draft("n2", BOB, JOE, content="cd" * 20, verdict="banner"))
    answer = orjson.loads(softer.answer)
    assert (answer["verdict"], answer["message_id"], answer["decision_id"]) == ("junk", "n2", "dn2")
    assert orjson.loads(home.give(draft("n2", BOB, JOE, content="cd" * 20)).recent.answer) == answer  # type: ignore[union-attr]


def test_of_outbound_mail_a_domain_that_had_the_message_is_not_written_to_again(home: Home) -> None:
    home.give(draft("m1", "a@x.example", "b@y.example", sent=True))
    home.give(draft("m2", "a@x.example", "c@x.example", "d@z.example", sent=True))
    event = home.records()[-1].event
    assert (event.recipients, event.recipient_domains) == (("c@x.example", "d@z.example"), ("z.example",))


def test_copies_that_come_at_once_are_one_message(home: Home) -> None:
    outcomes = home.give_at_once([draft(f"m{number}", BOB, at_us=number) for number in range(20)])
    assert sorted(outcome.seq for outcome in outcomes if isinstance(outcome, Outcome)) == [0] * 19 + [1]
    assert len(home.records()) == 1


def test_what_the_disk_refused_is_a_copy_of_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(handle: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    home.give(draft("m0", BOB))
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", write)
        drafts = [draft("m1", EVE, content="cd" * 20), draft("m2", EVE, JOE, content="cd" * 20), draft("m3", BOB, JOE)]
        assert [type(error) for error in home.give_at_once(drafts)] == [StoreUnavailable] * 3
    outcomes = [home.give(one) for one in drafts]
    assert [(bool(outcome.seq), outcome.copy) for outcome in outcomes] == [(True, False), (True, True), (True, True)]
    assert [record.event.recipients for record in home.records()] == [(BOB,), (EVE,), (JOE,), (JOE,)]


def test_a_key_names_its_message_and_no_other_one(home: Home) -> None:
    home.give(draft("m1", BOB), key="k")
    assert home.give(draft("m2", BOB, at_us=1), key="k").repeated
    other = home.give(draft("m3", BOB, content="cd" * 20), key="k")
    assert (other.repeated, other.other, other.seq) == (True, "m1", 0)
    assert home.give(draft("m4", BOB, EVE, at_us=1), key="k").other == "m1"


@pytest.mark.parametrize("restarted", [False, True])
def test_a_further_copy_is_handed_over_again_under_its_key(home: Home, restarted: bool) -> None:
    """With other trace fields, and for all whom it was for, though it counts for those alone who are new."""
    home.give(draft("m1", BOB), key="k1")
    assert home.give(draft("m2", BOB, EVE), key="k2").copy
    if restarted:
        home.again()
    again = home.give(draft("m3", BOB, EVE, at_us=1), key="k2")
    assert (again.repeated, again.other, told(again)) == (True, "", "m2")
    assert home.give(draft("m4", BOB, EVE, JOE, at_us=1), key="k2").other == "m2"
    assert told(home.give(draft("m5", BOB, at_us=1))) == "m1"


def test_a_copy_is_known_before_it_is_scored(home: Home) -> None:
    home.give(draft("m1", BOB, EVE))

    async def begin(one: Draft) -> Any:
        assert one.content is not None
        return await Here(home.sequencer).begin("acme", Asked(one.message_id, "", None, True, one.content))

    known = run(begin(draft("m2", EVE, at_us=HOUR_US))).known
    assert known.message_id == "m1" and not known.other
    assert run(begin(draft("m3", EVE, JOE))).known is None
    assert run(begin(draft("m4", EVE, at_us=2 * DAY_US))).known is None


def test_a_message_is_found_by_what_it_holds(home: Home) -> None:
    home.give(draft("m1", BOB))
    home.give(draft("m2", BOB, JOE, at_us=1))
    home.logged()
    home.give(draft("m3", EVE, at_us=40 * DAY_US, content="cd" * 20))
    find = Here(home.sequencer).find_content
    assert [run(find("acme", key)) for key in (KEY, "cd" * 20, "ef" * 20)] == ["m2", "m3", None]
    assert run(Here(home.sequencer).find_content("other", KEY)) is None


def test_a_record_of_a_further_copy_reads_as_one(home: Home) -> None:
    """What its vectors were computed with is not what is logged: it has none, and its raw mail is its own."""
    home.give(draft("m1", BOB))
    scored = draft("m2", BOB, EVE)
    home.give(replace(scored, rest=scored.rest.replace(b'"rows":[]', b'"rows":[["bob@acme.example",{},{},{},{},{}]]')))
    record = home.records()[-1]
    assert (record.rows, record.raw, record.rcpt_to, record.content) == ((), b"m2", (BOB, EVE), NO_CONTENT)


def test_history_that_is_handed_over_meets_what_was_scored(home: Home) -> None:
    """Beside live mail: what came before is told as what it counts with, and labels of it wait for that."""
    home.give(draft("m1", BOB))
    history = History(home.sequencer, lag_bytes=lambda: 0, folded=lambda tenant: 10**9)

    def of(one: Draft) -> HistoryMessage:
        return HistoryMessage(one.event_json(0, ()), b"raw", ANN, one.recipients, None)

    items = [of(draft("h1", BOB, at_us=HOUR_US)), of(draft("h2", BOB, EVE)), of(draft("h3", BOB, content="cd" * 20))]
    took = run(history.take("acme", [*items, HistoryLabel(1, "spam", None, START + DAY_US)]))
    assert [(one.seq, one.counts_with, one.waits) for one in took.numbered] == [
        (0, "m1", False), (2, "m1", False), (3, "", False), (0, "", True),
    ]  # fmt: skip
    home.again()
    for name, to, known in (("m4", EVE, True), ("m5", BOB, True), ("m6", JOE, False)):
        assert bool(home.give(draft(name, to, at_us=2 * HOUR_US)).seq) is not known
    assert home.give(draft("m7", BOB, at_us=HOUR_US, content="cd" * 20)).before == "h3"
