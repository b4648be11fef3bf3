"""Bulk ingest: mail that is already there goes into the event log, in the order in which it came about."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import structlog

from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.facts import label_event_of, signal_event_of
from mailwarden.domain.mail.reception import Reception
from mailwarden.domain.mail.trust import NO_TRUST, Trust
from mailwarden.ingest.copies import find_copies
from mailwarden.ingest.found_later import FoundLater
from mailwarden.ingest.gathering import Gathered, IngestReport, gather
from mailwarden.ingest.index import GivenLabel, LabelIndex
from mailwarden.ingest.planning import NOTHING, Plan, Rows, plan_of
from mailwarden.ingest.receive import Site
from mailwarden.ingest.sources import RawMessage, Source
from mailwarden.ingest.spill import Spill
from mailwarden.ingest.stood import Stood
from mailwarden.stores.campaigns import CampaignNumbering, Campaigns
from mailwarden.stores.contact_numbering import Numbering
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.lake.event_log import EventLog, EventView, events_to_table, table_to_events
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.lake.raw_mail import RawMail, RawRow

__all__ = ["IngestReport", "ingest", "into_log"]

_ROWS = 4096
_RAW_BYTES = 32 << 20
_log = structlog.get_logger(__name__)

LabelSink = Callable[[Sequence[Event]], None]


def ingest(
    source: Source,
    *,
    tenant: str,
    own_domains: frozenset[str],
    trusted_authserv_ids: frozenset[str] = frozenset(),
    trust: Trust = NO_TRUST,
    event_log: EventLog,
    raw_mail: RawMail,
    fact_sets: FactSets | None = None,
    contacts: Contacts | None = None,
    campaigns: Campaigns | None = None,
    labels: LabelIndex | None = None,
    label_delay_us: int = 0,
    clock_us: int | None = None,
    next_seq: Callable[[int], int] | None = None,
    label_sink: LabelSink | None = None,
    select: Callable[[RawMessage], bool] | None = None,
    workers: int = 2,
    progress: Callable[[int, int | None], None] | None = None,
    scratch: Path | None = None,
) -> IngestReport:
    """Put a source's mail, and its labels, into the event log in one commit; run again, it adds nothing twice.

    Events get their seq by the time at which they were known, messages by event time (then source order), signals by
    that too, after the messages of the same time, labels by when they became known, after both: as the index says, else
    `label_delay_us` after their message. A message without
    any time takes that of the one before it in the source; one whose time lies ahead of all others' is set back, and
    its event says so. A label is added where the message does not bear it already, a signal where it has none.

    own_domains: the tenant's. trust, trusted_authserv_ids: what it believes. fact_sets: the home's: a label of a
    message that an earlier run added bears its facts in force, by default the log's. contacts, campaigns: the home's;
    without them the log is read for who wrote to whom before and for near copies, and the home's take in later what was
    added. clock_us: a time after which none of the mail was received, None where nobody knows one. next_seq: given a
    count, reserves as many and returns the first; by default the tenant's seqs in the log go on. label_sink: given the
    label events, from the log, of all labelled messages of the source, also those of an earlier run, after the commit:
    it must take an event twice for once. select: which messages to read. workers: processes that parse. progress: told
    (messages read, total or None). scratch: folder for temporary files, a little more than the source unpacked.
    Raises DataError where the source or the index cannot be read; nothing is added then.
    """
    site = Site(tenant, own_domains, trusted_authserv_ids, trust=trust)
    read = gather(
        source,
        site,
        labels=labels,
        select=select,
        workers=workers,
        clock_us=clock_us,
        progress=progress,
        scratch=scratch,
    )
    with read as gathered:
        return into_log(
            gathered,
            event_log=event_log,
            raw_mail=raw_mail,
            fact_sets=fact_sets,
            contacts=contacts,
            campaigns=campaigns,
            label_delay_us=label_delay_us,
            next_seq=next_seq,
            label_sink=label_sink,
        )


def into_log(
    gathered: Gathered,
    *,
    event_log: EventLog,
    raw_mail: RawMail,
    fact_sets: FactSets | None = None,
    contacts: Contacts | None = None,
    campaigns: Campaigns | None = None,
    label_delay_us: int = 0,
    next_seq: Callable[[int], int] | None = None,
    label_sink: LabelSink | None = None,
) -> IngestReport:
    """Put what was read of a source into the event log in one commit; see `ingest`.

    Nobody else may number the tenant meanwhile.
    """
    site, spill, folder = gathered.site, gathered.spill, gathered.folder
    tenant = site.tenant
    with (
        ExitStack() as opened,
        closing(Contacts(folder / "contacts.sqlite")) if contacts is None else nullcontext(contacts) as known,
        closing(Campaigns(folder / "campaigns")) if campaigns is None else nullcontext(campaigns) as clustered,
    ):
        written = NOTHING
        numbering: Numbering
        copies: CampaignNumbering

        def plan(view: EventView) -> Iterator[pa.RecordBatch] | None:
            nonlocal written
            numbering.begin(view)
            find_copies(spill, numbering)
            written = plan_of(view, gathered, label_delay_us)
            if not len(written.rows):
                return None
            # Before the events: a message that the log knows must have its raw mail.
            _write_raw(raw_mail, site, spill, written.messages)
            first = view.last_seq(tenant) + 1 if next_seq is None else next_seq(len(written.rows))
            copies.begin(view)
            stood = opened.enter_context(closing(Stood(Path(tempfile.mkdtemp(dir=folder)))))
            in_force = view if fact_sets is None else fact_sets.over(view, tenant)[0]
            stood.read(in_force, tenant, written.of_earlier(spill))
            return _batches(spill, written, first, numbering, copies, gathered.signals, stood)

        with known.numbering(tenant) as numbering, clustered.numbering(tenant) as copies:
            event_log.append_stream(tenant, plan)
        if label_sink is not None and gathered.labels:
            _hand_over_labels(event_log, tenant, spill, gathered.labels, label_sink)
        report = gathered.report(
            added=len(written.messages),
            labels=written.kind.count("label"),
            signals=written.kind.count("signal"),
        )
    if report.missing:
        index = gathered.index
        _log.warning("labelled_files_missing", index=index and index.name, count=len(report.missing))
    _log.info("ingested", tenant=tenant, messages=report.messages, added=report.added, labels=report.labels)
    return report


def _batches(
    spill: Spill,
    plan: Plan,
    first_seq: int,
    numbering: Numbering,
    copies: CampaignNumbering,
    signals: Mapping[int, FoundLater],
    stood: Stood,
) -> Iterator[pa.RecordBatch]:
    told_of = {int(row) for row, kind in zip(plan.rows, plan.kind, strict=True) if kind != "message"}
    # A label or a signal bears the facts of its message, which stands before it: bit i is recipient i.
    new_of: dict[int, int] = {}
    campaign_of: dict[int, str] = {}
    for start in range(0, len(plan.rows), _ROWS):
        rows = plan.rows[start : start + _ROWS]
        found = [event for event, _ in spill.read(rows)]
        seqs = range(first_seq + start, first_seq + start + len(rows))
        messages = [i for i in range(len(rows)) if plan.kind[start + i] == "message"]
        new = numbering.first([(found[i].sender, found[i].recipients, seqs[i], found[i].message_id) for i in messages])
        campaigns = copies.join([(seqs[i], found[i].signature) for i in messages])
        for i, names, campaign in zip(messages, new, campaigns, strict=True):
            found[i] = replace(found[i], seq=seqs[i], new_recipients=names, campaign=campaign)
            if int(rows[i]) in told_of:
                campaign_of[int(rows[i])] = campaign
                if names:
                    new_of[int(rows[i])] = sum(1 << at for at, name in enumerate(found[i].recipients) if name in names)
        told = [spill.counts_with.get(row, event.message_id) for row, event in zip(map(int, rows), found, strict=True)]
        itself = [row in campaign_of and row not in spill.counts_with for row in map(int, rows)]
        before = stood.find([told[i] for i in range(len(rows)) if not itself[i]])
        for i, row in enumerate(map(int, rows)):
            kind, known_at_us = plan.kind[start + i], int(plan.known_us[start + i])
            if kind == "message":
                continue
            event = found[i]
            if itself[i]:
                bits = new_of.get(row, 0)
                names = tuple(name for at, name in enumerate(event.recipients) if bits >> at & 1)
                event = replace(event, new_recipients=names, campaign=campaign_of[row])
            else:
                event = before.get(told[i], event)
            if kind == "label":
                given, replaced = plan.label[start + i], plan.replaced[start + i] or None
                assert given is not None
                found[i] = label_event_of(
                    event,
                    label=given.label,
                    replaced=replaced,
                    seq=seqs[i],
                    known_at_us=known_at_us,
                    source=given.source,
                    stands_for=given.stands_for,
                )
            else:
                found[i] = signal_event_of(event, signals[row].facts, seq=seqs[i], known_at_us=known_at_us)
        yield from events_to_table(found).to_batches()


def _write_raw(raw_mail: RawMail, site: Site, spill: Spill, rows: Rows) -> None:
    for chunk in _by_bytes(spill, rows):
        raw_mail.append(
            [
                RawRow(
                    tenant=site.tenant,
                    content_sha256=event.content_sha256,
                    message_id=event.message_id,
                    received_at_us=event.received_at_us,
                    mail_from=envelope.mail_from,
                    rcpt_to=envelope.rcpt_to,
                    time_source=event.time_source,
                    raw=spill.raw(int(row)),
                    reception=Reception(trust=site.trusts, directory=site.says(event)).to_text(),
                )
                for row, (event, envelope) in zip(chunk, spill.read(chunk), strict=True)
            ]
        )


def _by_bytes(spill: Spill, rows: Rows) -> Iterator[Rows]:
    start = size = 0
    for end, row in enumerate(rows):
        size += spill.size(int(row))
        if size >= _RAW_BYTES:
            yield rows[start : end + 1]
            start, size = end + 1, 0
    if start < len(rows):
        yield rows[start:]


def _hand_over_labels(
    event_log: EventLog, tenant: str, spill: Spill, labels: list[tuple[int, GivenLabel]], label_sink: LabelSink
) -> None:
    labelled = {row for row, _ in labels}
    ids = pa.array([told for row, told in enumerate(spill.told_ids()) if row in labelled])
    for batch in event_log.scan(tenant, "label"):
        rows = pa.Table.from_batches([batch])
        rows = rows.filter(pc.is_in(rows["message_id"], value_set=ids))
        if rows.num_rows:
            label_sink(table_to_events(rows))
