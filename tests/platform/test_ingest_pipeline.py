from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import DataError
from mailwarden.ingest.index import LabelIndex
from mailwarden.ingest.parse import parse_message
from mailwarden.ingest.pipeline import IngestReport, ingest
from mailwarden.ingest.sources import open_source
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.lake.event_log import EventLog, table_to_events
from mailwarden.stores.lake.raw_mail import RawMail

HOUR_US = 3_600_000_000
T0 = 1_176_037_200_000_000  # Sun Apr  8 13:00:00 2007 UTC


def write(folder: Path, name: str, minute: int | None, sender: str = "ann@parts.example", text: str = "") -> None:
    head = "" if minute is None else f"From {sender} Sun Apr  8 13:{minute:02} 2007\n"
    path = folder / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{head}From: {sender}\nTo: bob@acme.example\nSubject: {name}\n\n{text or name}\n")


class Lake:
    def __init__(self, folder: Path) -> None:
        self.log = EventLog(folder / "lake" / "events")
        self.raw = RawMail(folder / "lake" / "raw")
        self.folder = folder

    def ingest(self, **options: Any) -> IngestReport:
        named: dict[str, Any] = {
            "tenant": "acme",
            "own_domains": frozenset({"acme.example"}),
            "event_log": self.log,
            "raw_mail": self.raw,
            "workers": 1,
        }
        return ingest(open_source(self.folder / "data"), **{**named, **options})

    def labels(self, text: str) -> LabelIndex:
        (self.folder / "index").write_text(text)
        return LabelIndex.read(self.folder / "index")

    def events(self) -> list[Event]:
        return sorted(table_to_events(self.log.scan().read_all()), key=lambda event: event.seq)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def test_seq_goes_by_time_then_by_place_in_the_source(lake: Lake) -> None:
    for name, minute in (("1", 30), ("2", 10), ("3", 10), ("4", 5)):
        write(lake.folder, name, minute)
    report = lake.ingest()
    assert (report.messages, report.added, report.duplicates, report.labels) == (4, 4, 0, 0)
    assert (report.first_us, report.last_us) == (T0 + 5 * 60_000_000, T0 + 30 * 60_000_000)
    events = lake.events()
    assert [event.seq for event in events] == [1, 2, 3, 4]
    text = [lake.raw.get(event.content_sha256, "acme").split()[-1] for event in events]
    assert text == [b"4", b"2", b"3", b"1"]
    assert {event.direction for event in events} == {"inbound"}


def test_results_that_nobody_believes_are_named_where_most_mail_bears_them(lake: Lake) -> None:
    def bearing(name: str, fields: str) -> None:
        path = lake.folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"{fields}From: ann@parts.example\nTo: bob@acme.example\nSubject: {name}\n\nAuthentication-Results: no; x\n"
        )

    own = "Authentication-Results: MX.acme.example;\n\tdkim=pass header.d=parts.example\n"
    for name in "1234":
        bearing(name, own + "Authentication-Results: theirs.example; spf=pass\n" * (name == "1"))
    bearing("5", "Authentication-Results: theirs.example; spf=pass\n")
    bearing("6", "")
    assert lake.ingest().unbelieved == ("mx.acme.example", 4)
    assert lake.ingest(trusted_authserv_ids=frozenset({"other.example"}), tenant="told").unbelieved is None
    for name in ("7", "8"):
        bearing(name, "")
    assert lake.ingest(tenant="half").unbelieved is None


def test_labels_come_when_they_are_known_after_messages_of_that_time(lake: Lake) -> None:
    for name, minute in (("1", 0), ("2", 10), ("3", 20)):
        write(lake.folder, name, minute)
    labels = lake.labels("spam data/1\nCP data/2\nham data/3\nham data/gone\n")
    given: list[Event] = []
    report = lake.ingest(labels=labels, label_delay_us=10 * 60_000_000, label_sink=given.extend)
    assert report.labels == 3
    assert report.missing == (f"{lake.folder}/data/gone",)
    events = lake.events()
    assert [(event.kind[0], event.label) for event in events] == [
        ("m", ""), ("m", ""), ("l", "spam"), ("m", ""), ("l", "CP"), ("l", "ham"),
    ]  # fmt: skip
    first, label = events[0], events[2]
    assert label.message_id == first.message_id
    assert label.received_at_us == first.received_at_us == first.known_at_us
    assert label.known_at_us == first.received_at_us + 10 * 60_000_000
    assert (label.labelled_bad, label.labelled_attack, label.labelled_good) == (1, 0, 0)
    assert (events[4].labelled_bad, events[4].labelled_attack) == (1, 1)
    assert sorted(given, key=lambda event: event.seq) == [event for event in events if event.kind == "label"]


def test_the_same_mail_again_adds_nothing_and_a_new_label_takes_the_old_one_back(lake: Lake) -> None:
    for number in range(6):
        write(lake.folder, str(number), number)
    lake.ingest(labels=lake.labels("spam data/1\nham data/2\n"))
    before = lake.events()
    version = lake.log.snapshot().version
    given: list[Event] = []
    report = lake.ingest(labels=lake.labels("spam data/1\nham data/2\n"), label_sink=given.extend)
    assert (report.added, report.duplicates, report.labels) == (0, 6, 0)
    assert lake.log.snapshot().version == version
    # A run that died between the commit and the sink is mended by the next one.
    assert {event.seq for event in given} == {event.seq for event in before if event.kind == "label"}
    write(lake.folder, "7", 59)
    report = lake.ingest(labels=lake.labels("BE data/1\nham data/2\n"))
    assert (report.added, report.labels) == (1, 1)
    correction = lake.events()[-2]
    assert (correction.label, correction.labelled_bad, correction.labelled_attack) == ("BE", 0, 1)
    assert [event.seq for event in lake.events()] == list(range(1, len(before) + 3))


def test_a_label_of_a_message_that_the_source_holds_twice_bears_what_was_decided_of_it(lake: Lake) -> None:
    for name in ("1", "2"):
        write(lake.folder, name, 1, text="One text of enough letters that near copies of it are told from others.")
    (lake.folder / "data" / "2").write_bytes((lake.folder / "data" / "1").read_bytes())
    lake.ingest(labels=lake.labels("spam data/2\n"))
    message, label = lake.events()
    assert message.campaign and message.new_recipients
    assert (label.kind, label.campaign, label.new_recipients) == ("label", message.campaign, message.new_recipients)


def test_a_crash_before_the_commit_shows_nothing_and_is_mended_by_a_second_run(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        write(lake.folder, str(number), number)

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mailwarden.ingest.pipeline._batches", dies)
        with pytest.raises(KeyboardInterrupt):
            lake.ingest()
    assert lake.log.count() == 0
    assert lake.ingest().added == 5
    rows = ds.dataset(list(lake.raw.snapshot().files)).count_rows()
    assert rows == 5


def test_copies_in_one_source_count_once(lake: Lake) -> None:
    for name in ("1", "2"):
        write(lake.folder, name, 5, text="same")
        path = lake.folder / "data" / name
        path.write_text(path.read_text().replace(f"Subject: {name}", "Subject: x"))
    report = lake.ingest(labels=lake.labels("spam data/1\nspam data/2\n"))
    assert (report.messages, report.added, report.duplicates, report.labels) == (2, 1, 1, 1)


def test_a_message_without_a_time_takes_that_of_the_one_before(lake: Lake) -> None:
    write(lake.folder, "0", None)
    write(lake.folder, "1", 30)
    write(lake.folder, "2", None)
    write(lake.folder, "3", 10)
    report = lake.ingest()
    assert report.first_us == 0
    assert report.defects["no_time"] == 2
    by_text = {lake.raw.get(e.content_sha256, "acme").split()[-1]: e for e in lake.events()}
    assert (by_text[b"0"].received_at_us, by_text[b"0"].time_source) == (0, "none")
    assert (by_text[b"2"].received_at_us, by_text[b"2"].time_source) == (T0 + 30 * 60_000_000, "none")
    assert [by_text[name].seq for name in (b"0", b"3", b"1", b"2")] == [1, 2, 3, 4]
    assert lake.ingest().added == 0


def test_times_ahead_of_the_source_are_set_back_and_flagged(lake: Lake) -> None:
    for minute in range(30):
        write(lake.folder, f"{minute:02}", minute)
    for name, year in (("30", 2062), ("31", 2077), ("32", 2030)):
        write(lake.folder, name, 40)
        path = lake.folder / "data" / name
        path.write_text(path.read_text().replace("2007", str(year), 1))
    report = lake.ingest(labels=lake.labels("spam data/30\nham data/02\n"))
    newest_us = T0 + 29 * 60_000_000
    assert (report.clamped, report.defects["time_clamped"], report.last_us) == (3, 3, newest_us)
    clamped = [event for event in lake.events() if event.time_clamped and event.kind == "message"]
    assert {(e.received_at_us, e.known_at_us) for e in clamped} == {(newest_us, newest_us)}
    assert [e.seq for e in clamped] == [32, 33, 34]
    # The label of one of them bears its facts, and what is parsed again has the settled time.
    assert [e.time_clamped for e in lake.events() if e.kind == "label"] == [False, True]
    rows = {row.message_id: row for row in lake.raw.scan("acme")}
    again = parse_message(rows[clamped[0].message_id].raw, rows[clamped[0].message_id].envelope)
    assert (again.received_at_us, again.time_source) == (newest_us, "mbox_from")
    assert lake.ingest().added == 0


def test_what_was_set_back_is_known_again_where_it_no_longer_lies_ahead(lake: Lake) -> None:
    for minute in range(30):
        write(lake.folder, f"{minute:02}", minute)
    write(lake.folder, "30", 40)
    path = lake.folder / "data" / "30"
    path.write_text(path.read_text().replace("Apr  8", "Apr 18", 1))
    assert lake.ingest().clamped == 1
    for minute in range(30):
        write(lake.folder, f"{minute + 31}", minute, text=f"later {minute}")
        path = lake.folder / "data" / f"{minute + 31}"
        path.write_text(path.read_text().replace("Apr  8", "Apr 18", 1))
    report = lake.ingest()
    assert (report.clamped, report.added, report.duplicates) == (0, 30, 31)


def test_one_message_ahead_is_held_against_the_clock_that_is_handed_in(lake: Lake) -> None:
    write(lake.folder, "1", 0)
    assert lake.ingest(clock_us=T0 - 25 * HOUR_US).clamped == 1
    assert lake.events()[0].received_at_us == T0 - 25 * HOUR_US
    # Another clock, the same message.
    assert lake.ingest(clock_us=T0).added == 0


def test_raw_rows_parse_again_to_the_same_message(lake: Lake) -> None:
    write(lake.folder, "1", 30)
    (lake.folder / "data" / "2").write_bytes(
        b"Received: by mx.example for <eve@acme.example>; Sun, 8 Apr 2007 13:07:21 -0400\r\n"
        b"From: Ann <ann@parts.example>\r\nReply-To: x@other.example\r\nSubject: \xff\r\n\r\nhttps://a.example/\r\n"
    )
    lake.ingest()
    for event in lake.events():
        raw = lake.raw.get(event.content_sha256, "acme")
        assert hashlib.sha256(raw).hexdigest() == event.content_sha256
    snapshot = lake.raw.snapshot()
    rows = ds.dataset(list(snapshot.files)).to_table().sort_by("received_at")
    for row in rows.to_pylist():
        received_at_us = int(row["received_at"].timestamp() * 1_000_000)
        envelope = Envelope(received_at_us, row["mail_from"], tuple(row["rcpt_to"]), row["time_source"])
        again = parse_message(row["raw"], envelope)
        first = (
            parse_message(row["raw"], dataclasses.replace(envelope, received_at_us=None))
            if (row["time_source"] == "received")
            else again
        )
        assert again == first
    event = lake.events()[-1]
    assert event.recipients == ("eve@acme.example",)
    assert event.reply_to_differs is True
    assert event.url_count == 1
    assert event.has_link


def test_select_reads_a_part_and_what_it_leaves_out_is_not_missing(lake: Lake) -> None:
    for number in range(4):
        write(lake.folder, str(number), number)
    labels = lake.labels("Spam data/0\nham data/1\nspam data/2\nHam data/3\n")
    source = open_source(lake.folder / "data")
    seen: list[tuple[int, int | None]] = []
    report = lake.ingest(
        labels=labels,
        select=lambda message: labels.selects(source.full_path(message)),
        progress=lambda done, total: seen.append((done, total)),
        next_seq=lambda count: 1000 + count,
    )
    assert (report.messages, report.labels, report.missing) == (2, 2, ())
    assert [event.seq for event in lake.events()] == [1004, 1005, 1006, 1007]
    assert seen == [(2, None)]


def test_processes_give_what_one_process_gives(lake: Lake, tmp_path: Path) -> None:
    for number in range(1200):
        write(lake.folder, str(number), number % 60, sender=f"s{number % 7}@parts.example")
    labels = lake.labels("".join(f"spam data/{number}\n" for number in range(0, 1200, 3)))
    assert lake.ingest(labels=labels, label_delay_us=HOUR_US).added == 1200
    other = Lake(tmp_path / "other")
    other.folder = lake.folder
    report = other.ingest(labels=labels, label_delay_us=HOUR_US, workers=2)
    assert (report.added, report.labels) == (1200, 400)
    assert other.events() == lake.events()


def test_a_broken_source_adds_nothing(lake: Lake) -> None:
    (lake.folder / "data").mkdir()
    (lake.folder / "data" / "notes").write_text("no mail")
    with pytest.raises(DataError, match="holds no mail"):
        lake.ingest()
    assert lake.log.snapshot().version == -1


def test_a_sink_is_given_nothing_without_labels(lake: Lake) -> None:
    write(lake.folder, "1", 1)

    def refuse(events: Sequence[Event]) -> None:
        raise AssertionError(events)

    assert lake.ingest(label_sink=refuse).added == 1


@pytest.mark.parametrize("kept", [False, True])
def test_first_contacts_are_found_across_runs_and_labels_bear_those_of_their_message(lake: Lake, kept: bool) -> None:
    bob = ("bob@acme.example",)
    contacts = Contacts(lake.folder / "contacts.sqlite") if kept else None
    write(lake.folder, "1", 5)
    write(lake.folder, "2", 9)
    write(lake.folder, "3", 7, sender="eve@else.example")
    lake.ingest(contacts=contacts, labels=lake.labels("spam data/1\nham data/2\n"), label_delay_us=HOUR_US)
    found = {(event.kind, event.seq): event.new_recipients for event in lake.events()}
    assert found == {("message", 1): bob, ("message", 2): bob, ("message", 3): (), ("label", 4): bob, ("label", 5): ()}
    write(lake.folder, "4", 30)
    write(lake.folder, "5", 31, sender="zoe@else.example")
    lake.ingest(contacts=contacts, labels=lake.labels("CP data/1\nham data/2\n"))
    found = {(event.kind, event.seq): event.new_recipients for event in lake.events()[5:]}
    assert found == {("label", 6): bob, ("message", 7): (), ("message", 8): bob}
    if contacts is not None:
        contacts.close()
