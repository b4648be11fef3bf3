"""Mail that came before by another way, or with other trace fields, is not added again by ingest; nor the other way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Envelope
from mailwarden.ingest.index import LabelIndex
from mailwarden.ingest.pipeline import IngestReport, ingest
from mailwarden.ingest.receive import Site, receive
from mailwarden.ingest.sources import open_source
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.content_index import Content
from mailwarden.stores.lake import fact_sets
from mailwarden.stores.lake.event_log import EventLog, events_to_table, table_to_events
from mailwarden.stores.lake.fact_sets import FACT_SCHEMA, FactSets, TenantFacts
from mailwarden.stores.lake.raw_mail import RawMail

SITE = Site("acme", frozenset({"acme.example"}))
T0 = 1_176_037_200_000_000  # Sun Apr  8 13:00:00 2007 UTC
HOUR_US = 3_600_000_000
BOB, EVE = "bob@acme.example", "eve@acme.example"


def mail(name: str, *, hour: int = 13, trace: str = "", to: Sequence[str] = (BOB,), body: str = "hello") -> bytes:
    received = f"Received: from a by b.acme.example; Sun, 8 Apr 2007 {hour:02}:00:00 +0000\n"
    head = f"From: ann@parts.example\nTo: {', '.join(to)}\nSubject: {name}\nMessage-ID: <{name}@parts.example>\n"
    return f"{received}{trace}{head}Date: Sun, 8 Apr 2007 12:59:00 +0000\n\n{body}\n".encode()


class Lake:
    def __init__(self, folder: Path) -> None:
        self.log, self.raw, self.folder = EventLog(folder / "events"), RawMail(folder / "raw"), folder
        (folder / "data").mkdir()

    def write(self, name: str, raw: bytes) -> None:
        (self.folder / "data" / f"{name}.eml").write_bytes(raw)

    def ingest(self, labels: str = "", **options: Any) -> IngestReport:
        (self.folder / "index").write_text(labels)
        return ingest(
            open_source(self.folder / "data"), tenant="acme", own_domains=SITE.own_domains, event_log=self.log,
            raw_mail=self.raw, workers=1, labels=LabelIndex.read(self.folder / "index"), **options,
        )  # fmt: skip

    def score(self, raw: bytes, *to: str, hour: int = 13, contacts: Contacts) -> int:
        """Number a message as the API does; its seq, 0 where it is known."""
        event = receive(raw, Envelope(T0 + (hour - 13) * HOUR_US, "ann@parts.example", to), SITE).event
        contacts.prepare("acme", self.log.view())
        seq = self.log.last_seq("acme") + 1
        met = contacts.meet("acme", event.sender, event.recipients, seq, event.message_id, Content.of(event))
        if not met.counts:
            return 0
        event = event if met.copy is None else met.copy.of(event)
        self.log.append([replace(event, seq=seq, new_recipients=met.new)])
        return seq

    def events(self) -> list[Event]:
        return sorted(table_to_events(self.log.scan().read_all()), key=lambda event: event.seq)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


TRACE = "X-Spam: No\nDelivered-To: bob@acme.example\nReceived: from b by c.example; Sun, 8 Apr 2007 13:00:00 +0000\n"


@pytest.mark.parametrize("kept", [False, True])
def test_mail_that_was_scored_is_not_added_again(lake: Lake, kept: bool) -> None:
    contacts = Contacts(lake.folder / "contacts.sqlite")
    assert lake.score(mail("1"), BOB, contacts=contacts) == 1
    lake.write("1", mail("1", trace=TRACE, hour=14))
    lake.write("2", mail("2", hour=15))
    report = lake.ingest("spam data/1.eml\n", contacts=contacts if kept else None)
    assert (report.added, report.duplicates, report.labels) == (1, 1, 1)
    first, label, other = lake.events()
    assert [event.kind for event in (first, label, other)] == ["message", "label", "message"]
    # The label is the message's, with its facts, whatever copy was labelled.
    assert (label.message_id, label.received_at_us, label.content_sha256) == (
        first.message_id, first.received_at_us, first.content_sha256,
    )  # fmt: skip
    assert lake.ingest("spam data/1.eml\n", contacts=contacts if kept else None).labels == 0
    contacts.close()


def test_mail_that_was_ingested_is_not_counted_again(lake: Lake) -> None:
    contacts = Contacts(lake.folder / "contacts.sqlite")
    lake.write("1", mail("1"))
    assert lake.ingest(contacts=contacts).added == 1
    assert lake.score(mail("1", trace=TRACE), BOB, hour=20, contacts=contacts) == 0
    assert lake.score(mail("1", trace=TRACE), BOB, EVE, hour=20, contacts=contacts) == 2
    event = lake.events()[-1]
    assert (event.recipients, event.new_recipients, event.received_at_us) == ((EVE,), (EVE,), T0)
    contacts.close()


def test_copies_in_one_source_count_once_and_for_everybody(lake: Lake) -> None:
    """In the order of their times, and not in that of the source; exact copies too."""
    lake.write("1", mail("1", hour=15, trace=TRACE, to=(BOB,)))
    lake.write("2", mail("1", hour=14, to=(BOB,)))
    lake.write("3", mail("1", hour=14, to=(BOB,)))
    lake.write("4", mail("4", hour=13, to=(BOB,), body="else"))
    report = lake.ingest("CP data/1.eml\nham data/4.eml\n")
    assert (report.messages, report.added, report.labels) == (4, 2, 2)
    events = lake.events()
    messages = [event for event in events if event.kind == "message"]
    assert [event.received_at_us for event in messages] == [T0, T0 + HOUR_US]
    assert {event.message_id: event.label for event in events if event.kind == "label"} == {
        messages[0].message_id: "ham", messages[1].message_id: "CP",
    }  # fmt: skip
    labelled = next(event for event in events if event.label == "CP")
    assert (
        labelled.new_recipients == messages[1].new_recipients and labelled.content_sha256 == messages[1].content_sha256
    )


def test_a_copy_for_others_is_added_for_them_alone(lake: Lake) -> None:
    contacts = Contacts(lake.folder / "contacts.sqlite")
    assert lake.score(mail("1", to=(BOB, EVE)), BOB, contacts=contacts) == 1
    lake.write("1", mail("1", to=(BOB, EVE), trace=TRACE, hour=16))
    assert lake.ingest("spam data/1.eml\n", contacts=contacts).added == 1
    first, further, label = lake.events()
    assert (further.copy_of, further.recipients, further.received_at_us) == (first.message_id, (EVE,), T0)
    assert (label.message_id, label.recipients, label.copy_of) == (first.message_id, (BOB,), "")
    assert [row.message_id for row in lake.raw.scan("acme")] == [further.message_id]
    again = lake.ingest("spam data/1.eml\n", contacts=contacts)
    assert (again.added, again.labels) == (0, 0)
    contacts.close()


def weekly(lake: Lake, weeks: int = 8) -> None:
    """Later mail, for as long that the index holds nothing of the first week any more."""
    for week in range(1, weeks + 1):
        at = datetime(2007, 4, 8, 13, tzinfo=UTC) + timedelta(weeks=week)
        time = at.strftime("%a, %d %b %Y %H:%M:%S +0000").encode()
        raw = mail(f"w{week}").replace(b"Sun, 8 Apr 2007 13:00:00 +0000", time)
        lake.write(f"w{week}", raw.replace(b"Sun, 8 Apr 2007 12:59:00 +0000", time))


@pytest.mark.parametrize("kept", [False, True])
def test_an_archive_of_many_weeks_adds_nothing_the_second_time(lake: Lake, kept: bool) -> None:
    contacts = Contacts(lake.folder / "contacts.sqlite")
    lake.write("1", mail("1"))
    lake.write("2", mail("1", hour=14, trace=TRACE))
    weekly(lake)
    labels = "spam data/2.eml\n"
    first = lake.ingest(labels, contacts=contacts if kept else None)
    assert (first.added, first.labels) == (9, 1)
    again = lake.ingest(labels, contacts=contacts if kept else None)
    assert (again.added, again.labels) == (0, 0)
    contacts.close()


def test_a_copy_of_long_ago_is_labelled_as_its_message(lake: Lake) -> None:
    """The index knows its content no more, and the log says whose copy it is."""
    contacts = Contacts(lake.folder / "contacts.sqlite")
    assert lake.score(mail("1", to=(BOB, EVE)), BOB, contacts=contacts) == 1
    lake.write("1", mail("1", to=(BOB, EVE), trace=TRACE, hour=16))
    weekly(lake)
    assert lake.ingest(contacts=contacts).added == 9
    assert lake.ingest("spam data/1.eml\n", contacts=contacts).labels == 1
    assert lake.ingest("spam data/1.eml\n", contacts=contacts).labels == 0
    first, further, *_, label = lake.events()
    assert (further.copy_of, label.kind, label.message_id) == (first.message_id, "label", first.message_id)
    contacts.close()


def test_the_copies_of_a_message_are_found_under_facts_from_before_there_were_copies(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    contacts = Contacts(lake.folder / "contacts.sqlite")
    lake.score(mail("1"), BOB, contacts=contacts)
    first = lake.events()[0]
    facts = FactSets(lake.folder / "facts", lake.log)
    former = pa.schema([field for field in FACT_SCHEMA if field.name not in ("content_key", "queue_id", "copy_of")])
    rows = events_to_table([first]).append_column(FACT_SCHEMA.field("kept"), pa.array([False])).select(former.names)
    with monkeypatch.context() as patched, facts.writing():
        patched.setattr(fact_sets, "FACT_SCHEMA", former)
        begun = facts.begin({"acme": TenantFacts(0, 1, 1, "former")})
        facts.add(begun, "acme", rows.to_batches)
        facts.publish(begun, 1)
    lake.score(mail("1", trace=TRACE), BOB, EVE, contacts=contacts)
    contacts.close()
    view = FactSets(lake.folder / "facts", lake.log).view("acme")
    further = lake.events()[1]
    assert view.copies("acme", first.message_id) == [further]
    assert view.copied("acme") == {further.message_id: first.message_id}
