"""However a message comes, what is kept of it is the same, and so is what is computed from that again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from mailwarden.domain.mail.content import ContentSet, ContentValues
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Envelope, Message
from mailwarden.domain.mail.reception import Reception, reception_of
from mailwarden.ingest.parse import parse_message
from mailwarden.ingest.pipeline import ingest
from mailwarden.ingest.receive import Received, Site, receive, unwrapped
from mailwarden.ingest.sources import open_source
from mailwarden.stores.lake.event_log import EventLog, table_to_events
from mailwarden.stores.lake.raw_mail import RawMail
from mailwarden.stores.lists import load_lists
from mailwarden_features import discover

CONTENT = ContentSet(discover().content, load_lists(), {})
HOP = b"Received: from a by mx.corp.example for <bob@corp.example>; Sun, 8 Apr 2007 13:07:21 -0400\n"
BODY = b"To: eve@else.example\nSubject: s\n\nhttps://a.example/\n"
OUTSIDE = b"From: Ann <ann@parts.example>\n"
SPOOF = b"From: boss@corp.example\nAuthentication-Results: mx.corp.example; dmarc=fail\n"
NOON_US = 1_176_120_000_000_000
SITE = Site("acme", frozenset({"Mail.EU.Corp.Example."}), frozenset({"mx.corp.example"}))

MAIL = {
    "plain": HOP + OUTSIDE + BODY,
    "mbox line": b"From ann@parts.example Sun Apr  8 13:07:32 2007\n" + HOP + OUTSIDE + BODY,
    "two mbox lines": b"From a@b.example Sun Apr  8 13:07:32 2007\n>From c@d.example x\n" + HOP + OUTSIDE + BODY,
    "unreadable mbox line": b"From somewhere\n" + HOP + OUTSIDE + BODY,
    "absurd mbox line": b"From a@b.example Sun Apr  8 13:07:32 1903\n" + HOP + OUTSIDE + BODY,
    "byte order mark, mbox line": b"\xef\xbb\xbfFrom a@b.example soon\n" + HOP + OUTSIDE + BODY,
    "a header with a space": HOP + b"From : ann@parts.example\n" + BODY,
    "that header first": b"From : ann@parts.example\n" + HOP + BODY,
    "no Received": b"Date: Sun, 8 Apr 2007 13:07:21 -0400\n" + OUTSIDE + BODY,
    "absurd times": b"Received: by x; 1 Jan 1899 00:00:00 +0000\nDate: Mon, 9 Apr 2007 01:00:00 +0000\n" + BODY,
    "spoofed": HOP + SPOOF + BODY,
    "own": HOP + b"From: boss@eu.corp.example\n" + BODY,
    "no From": HOP + BODY,
    "bare CR": (b"From x@y.example Sun Apr  8 13:07:32 2007\n" + HOP + OUTSIDE + BODY).replace(b"\n", b"\r"),
    "many defects": HOP + b"junk line\nFrom: x\n" * 300 + BODY,
}
ENVELOPES = {
    "none": Envelope(),
    "recipients": Envelope(rcpt_to=("Bob@corp.example", "carl@corp.example")),
    "all": Envelope(NOON_US, "bounce@sender.example", ("bob@corp.example",)),
    "null path": Envelope(NOON_US, ""),
    "absurd": Envelope(-1, None, ("bob@corp.example",)),
    "ahead": Envelope(NOON_US, "bounce@sender.example", clock_us=NOON_US - 3_600_000_000),
}


def computed(message: Message) -> ContentValues:
    return CONTENT.values_of(message, lambda view, failure: pytest.fail(f"{view.name}: {failure}"))


@pytest.mark.parametrize("how", ENVELOPES)
@pytest.mark.parametrize("what", MAIL)
def test_what_is_kept_reads_again_as_it_was_accepted(what: str, how: str) -> None:
    first = receive(MAIL[what], ENVELOPES[how], SITE)
    assert first.event.received_at_us > 0
    kept = Envelope(
        first.event.received_at_us,
        first.envelope.mail_from,
        first.envelope.rcpt_to,
        first.message.time_source,
        reception=first.envelope.reception,
    )
    again = parse_message(first.raw, kept, trusted_authserv_ids=SITE.trusted_authserv_ids)
    timely = {"mbox_time_unreadable", "envelope_time_absurd", "time_clamped"}
    defects = tuple(defect for defect in first.message.defects if defect.code not in timely)
    assert replace(first.message, defects=defects, claimed_at_us=None) == replace(
        again, defects=tuple(defect for defect in again.defects if defect.code not in timely)
    )
    assert computed(again) == computed(first.message)
    if how == "ahead":
        later = replace(ENVELOPES[how], clock_us=NOON_US - 1_800_000_000)
        assert first.event.time_clamped and receive(first.raw, later, SITE).event.message_id == first.event.message_id
        return
    # Handed over once more as it was kept, it is the same message.
    assert receive(first.raw, kept, SITE).event == first.event


def test_stored_mail_has_the_answer_of_the_directory_that_it_was_kept_with_and_no_other() -> None:
    first = receive(MAIL["plain"], ENVELOPES["all"], SITE)
    assert first.message.directory is not None
    stored = replace(SITE, stored=True)
    assert receive(first.raw, first.envelope, stored).message.directory == first.message.directory
    assert receive(first.raw, ENVELOPES["all"], stored).message.directory is None


def test_bulk_ingest_keeps_what_receive_says(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    expected: dict[str, Received] = {}
    for name, raw in MAIL.items():
        (tmp_path / "mail" / name).write_bytes(raw)
        found = receive(raw, Envelope(), SITE)
        expected[found.event.message_id] = found
    log, raw_mail = EventLog(tmp_path / "events"), RawMail(tmp_path / "raw")
    report = ingest(
        open_source(tmp_path / "mail"), tenant="acme", own_domains=SITE.own_domains, event_log=log, raw_mail=raw_mail,
        trusted_authserv_ids=SITE.trusted_authserv_ids, workers=1,
    )  # fmt: skip
    events: list[Event] = table_to_events(log.scan().read_all())
    # A line that says nothing makes no other message of what it stands before.
    assert (report.skipped, report.messages, len(events)) == ((), len(MAIL), len(MAIL) - 1)
    met: set[tuple[str, str]] = set()
    for event in sorted(events, key=lambda event: event.seq):
        assert replace(event, seq=0, new_recipients=(), campaign="") == expected[event.message_id].event
        # Whom the sender writes to for the first time is found out where seqs are given.
        pairs = {(event.sender, name) for name in event.recipients if event.sender}
        assert set(event.new_recipients) == {name for _, name in pairs - met}
        met |= pairs
    assert any(event.new_recipients for event in events)
    rows = ds.dataset(list(raw_mail.snapshot().files)).to_table().to_pylist()
    assert len(rows) == len(events) == len(expected)
    for row in rows:
        found = expected[row["message_id"]]
        at_us = round(row["received_at"].timestamp() * 1_000_000)
        kept = Envelope(
            at_us,
            row["mail_from"],
            tuple(row["rcpt_to"]),
            row["time_source"],
            reception=reception_of(row["reception"]),
        )
        message = parse_message(row["raw"], kept, trusted_authserv_ids=SITE.trusted_authserv_ids)
        assert computed(message) == computed(found.message)


def test_an_envelope_that_is_given_wins_over_the_mbox_line() -> None:
    raw = MAIL["mbox line"]
    rest, envelope = unwrapped(raw, ENVELOPES["all"])
    assert rest == MAIL["plain"] and envelope == ENVELOPES["all"]
    assert unwrapped(raw, ENVELOPES["null path"])[1].mail_from == ""
    _, read = unwrapped(raw, Envelope(rcpt_to=("bob@corp.example",)))
    assert (read.mail_from, read.rcpt_to, read.time_source) == ("ann@parts.example", ("bob@corp.example",), "mbox_from")
    assert receive(raw, ENVELOPES["all"], SITE).event == receive(MAIL["plain"], ENVELOPES["all"], SITE).event
    assert receive(MAIL["that header first"], Envelope(), SITE).event.sender == "ann@parts.example"


def test_an_own_domain_counts_however_it_is_named_and_unless_trusted_results_deny_it() -> None:
    assert receive(MAIL["own"], Envelope(), SITE).event.direction == "internal"
    outbound = receive(MAIL["own"], Envelope(rcpt_to=("eve@else.example",)), SITE).event
    assert outbound.direction == "outbound"
    spoofed = receive(MAIL["spoofed"], Envelope(rcpt_to=("eve@else.example",)), SITE).event
    assert (spoofed.direction, spoofed.authenticated) == ("inbound", False)
    named = receive(MAIL["own"], Envelope(), replace(SITE, own_domains=frozenset({"corp.example"})))
    assert named.event == receive(MAIL["own"], Envelope(), SITE).event


def test_a_message_without_a_time_keeps_its_identity_whatever_stands_before_it(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    folder.mkdir()
    log, raw_mail = EventLog(tmp_path / "events"), RawMail(tmp_path / "raw")

    def run() -> tuple[int, list[Event]]:
        report = ingest(
            open_source(folder), tenant="acme", own_domains=SITE.own_domains, event_log=log, raw_mail=raw_mail
        )  # fmt: skip
        return report.added, table_to_events(log.scan().read_all())

    (folder / "2").write_bytes(OUTSIDE + BODY)
    assert run()[0] == 1
    (folder / "1").write_bytes(MAIL["plain"])
    added, events = run()
    assert added == 1
    timeless = [event for event in events if event.time_source == "none"]
    assert [event.message_id for event in timeless] == [receive(OUTSIDE + BODY, Envelope(), SITE).event.message_id]


@pytest.mark.parametrize(
    ("beside", "direction"),
    [
        ({}, "inbound"),
        ({"auth_user": "bob@mail.eu.corp.example"}, "outbound"),
        ({"auth_user": "Bob@Mail.EU.Corp.Example."}, "outbound"),
        ({"auth_user": "bob@corp.example"}, "inbound"),
        ({"auth_user": "bob"}, "inbound"),
        ({"flow": "outbound"}, "outbound"),
        ({"auth_user": "bob@mail.eu.corp.example", "flow": "inbound"}, "outbound"),
    ],
)
def test_who_logged_in_and_where_says_which_way_mail_goes_now_and_when_it_is_read_again(
    beside: dict[str, Any], direction: str
) -> None:
    envelope = Envelope(NOON_US, "x@parts.example", ("eve@else.example", "bob@corp.example"), queue_id="4F1", **beside)
    first = receive(MAIL["plain"], envelope, SITE)
    assert first.event.direction == direction
    assert first.envelope.reception is not None
    kept = Reception.from_text(first.envelope.reception.to_text())
    again = Envelope.kept(NOON_US, envelope.mail_from, envelope.rcpt_to, "envelope", kept)
    assert (again.auth_user, again.queue_id, again.flow) == (envelope.auth_user, "4F1", envelope.flow)
    assert receive(first.raw, again, replace(SITE, stored=True)).event == first.event
