"""Copies within a source that is handed over to the sequencer of a running API."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailwarden.domain.mail.events import Event
from mailwarden.ingest.gathering import IngestReport, gather
from mailwarden.ingest.handing_over import hand_over
from mailwarden.ingest.index import LabelIndex
from mailwarden.ingest.receive import Site
from mailwarden.ingest.sources import open_source
from mailwarden.stores.accepted import decode_accepted
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.history import HistoryItem, Numbered
from mailwarden.stores.lake.event_log import EventLog, table_to_events
from mailwarden.stores.spool import Spool, SpoolReader
from mailwarden_services.sequencer.history import History
from mailwarden_services.sequencer.sequencer import Sequencer

SITE = Site("acme", frozenset({"acme.example"}))
START = datetime(2007, 4, 8, 13, tzinfo=UTC)
TRACE = "Received: from b by c.example; Sun, 8 Apr 2007 13:00:00 +0000\n"


def mail(name: str, at: datetime, *, trace: str = "", to: str = "bob@acme.example") -> bytes:
    received = f"Received: from a by b.acme.example; {at:%a, %d %b %Y %H:%M:%S} +0000\n"
    head = f"From: ann@far.example\nTo: {to}\nSubject: {name}\nMessage-ID: <{name}@far.example>\n"
    return f"{received}{trace}{head}Date: Sun, 8 Apr 2007 12:59:00 +0000\n\nhello\n".encode()


class Home:
    """A sequencer that takes history, a process a run, and a writer that logs at once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, EventLog(folder / "events")
        self.mail = folder / "mail"
        self.mail.mkdir()

    def write(self, name: str, raw: bytes) -> None:
        (self.mail / f"{name}.eml").write_bytes(raw)

    def hand_over(self, labels: str = "") -> IngestReport:
        (self.folder / "index").write_text(labels)
        self.spool = Spool(self.folder / "spool", fsync=False)
        contacts = Contacts(self.folder / "contacts.sqlite")
        campaigns = Campaigns(self.folder / "campaigns")
        sequencer = Sequencer(
            spool=self.spool, events=self.log, contacts=contacts, campaigns=campaigns, stale_after_seconds=60.0
        )
        self.history = History(sequencer, lag_bytes=lambda: 0, folded=lambda tenant: 10**9)
        index = LabelIndex.read(self.folder / "index")
        scratch = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            with gather(open_source(self.mail), SITE, labels=index, workers=1, scratch=scratch) as gathered:
                return hand_over(gathered, self, event_log=self.log)
        finally:
            self.spool.close()
            contacts.close()
            campaigns.close()

    def take(self, tenant: str, items: Sequence[HistoryItem]) -> Sequence[Numbered]:
        took = asyncio.run(self.history.take(tenant, items))
        reader = SpoolReader(self.folder / "spool", "tests")
        records = [decode_accepted(payload) for batch in iter(reader.poll, []) for _, payload in batch]
        reader.close()
        self.log.append([record.event for record in records])
        return took.numbered

    def events(self) -> list[Event]:
        return sorted(table_to_events(self.log.scan().read_all()), key=lambda event: event.seq)


def test_an_archive_of_many_weeks_that_is_handed_over_twice_adds_nothing_the_second_time(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.write("1", mail("1", START))
    home.write("2", mail("1", START + timedelta(hours=1), trace=TRACE))
    for week in range(1, 9):
        home.write(f"w{week}", mail(f"w{week}", START + timedelta(weeks=week)))
    labels = "spam mail/2.eml\n"
    first = home.hand_over(labels)
    assert (first.added, first.duplicates, first.labels) == (9, 1, 1)
    again = home.hand_over(labels)
    assert (again.added, again.labels) == (0, 0)
    message, *_, label = sorted(home.events(), key=lambda event: event.known_at_us)[:2]
    assert (label.kind, label.message_id) == ("label", message.message_id)


def test_a_repeat_of_what_is_known_by_another_id_is_labelled_as_that(tmp_path: Path) -> None:
    """The source holds it twice, and the log holds it once, with other trace fields again."""
    home = Home(tmp_path)
    home.write("0", mail("1", START + timedelta(minutes=5), trace="X-Spam: No\n"))
    assert home.hand_over().added == 1
    (home.mail / "0.eml").unlink()
    home.write("1", mail("1", START))
    home.write("2", mail("1", START + timedelta(hours=1), trace=TRACE))
    report = home.hand_over("spam mail/2.eml\n")
    assert (report.added, report.labels) == (0, 1)
    message, label = home.events()
    assert (label.kind, label.message_id) == ("label", message.message_id)


def test_a_further_copy_in_the_source_is_added_for_others_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    both = mail("1", START, to="bob@acme.example, eve@acme.example")
    home.write("bob", both.replace(b"by b.acme.example", b"by b.acme.example for <bob@acme.example>", 1))
    home.write("both", mail("1", START + timedelta(hours=1), to="bob@acme.example, eve@acme.example"))
    home.write("eve", mail("1", START + timedelta(hours=2), to="bob@acme.example, eve@acme.example", trace=TRACE))
    report = home.hand_over()
    assert (report.added, report.duplicates) == (2, 1)
    first, further = home.events()
    assert (first.recipients, further.recipients) == (("bob@acme.example",), ("eve@acme.example",))
    assert further.copy_of == first.message_id
