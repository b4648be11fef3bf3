"""Bulk ingest: mail that is already there goes into the event log, in the order in which it came about."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from mailwarden.domain.mail.events import Event, Kind
from mailwarden.domain.mail.facts import label_event_of, signal_event_of
from mailwarden.domain.mail.reception import Reception
from mailwarden.domain.mail.trust import NO_TRUST, Trust
from mailwarden.ingest.found_later import FoundLater
from mailwarden.ingest.index import LabelIndex
from mailwarden.ingest.parallel import Parsed, parse_all
from mailwarden.ingest.receive import Site
from mailwarden.ingest.sources import RawMessage, Source
from mailwarden.ingest.spill import Spill
from mailwarden.ingest.stood import Stood
from mailwarden.stores.campaigns import CampaignNumbering, Campaigns
from mailwarden.stores.contact_numbering import Numbering
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.lake.delta import day_column
from mailwarden.stores.lake.event_log import EventLog, EventView, events_to_table, table_to_events
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.lake.raw_mail import RawMail, RawRow

_ROWS = 4096
_RAW_BYTES = 32 << 20
_log = structlog.get_logger(__name__)

Rows = np.ndarray[tuple[int], np.dtype[np.int64]]
LabelSink = Callable[[Sequence[Event]], None]


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did.

    messages: read. added: new in the log. duplicates: there already, or twice in the source. labels, signals: events
    of these kinds added. missing: paths in the label index that the source does not hold. skipped: files that are
    no mail. defects: messages with a defect, by its code. first_us, last_us: range of event times, None without
    messages. clamped: messages of the source whose times lay ahead and were set back (`domain.mail.times`).
    """

    messages: int
    added: int
    duplicates: int
    labels: int
    signals: int
    missing: tuple[str, ...]
    skipped: tuple[str, ...]
    defects: Counter[str]
    first_us: int | None
    last_us: int | None
    clamped: int = 0


@dataclass(frozen=True, slots=True)
class _Gathered:
    """What the first pass learnt. labels: (row, label) in source order; signals: by row; found: index paths met."""

    labels: list[tuple[int, str]]
    signals: dict[int, FoundLater]
    found: set[str]
    defects: Counter[str]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Rows of the events to write, in order, and of which kind; label: "" but of a label; replaced: by that, or ""."""

    rows: Rows
    kind: list[Kind]
    label: list[str]
    replaced: list[str]
    known_us: Rows

    @property
    def messages(self) -> Rows:
        """The rows written as messages."""
        messages: Rows = self.rows[np.array([kind == "message" for kind in self.kind], dtype=bool)]
        return messages


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
    that too, after the messages of the same time, labels by that plus `label_delay_us`, after both. A message without
    any time takes that of the one before it in the source; one whose time lies ahead of all others' is set back, and
    its event says so. A label is added where the message does not bear it already, a signal where the message is new.

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
    with (
        tempfile.TemporaryDirectory(prefix="mailwarden-ingest-", dir=scratch) as folder,
        Spill(Path(folder)) as spill,
        ExitStack() as opened,
        closing(Contacts(Path(folder) / "contacts.sqlite")) if contacts is None else nullcontext(contacts) as known,
        closing(Campaigns(Path(folder) / "campaigns")) if campaigns is None else nullcontext(campaigns) as clustered,
    ):
        gathered = _gather(source, site, spill, labels, select, workers, progress)
        spill.close_writing()
        gathered.defects["time_clamped"] += spill.settle(clock_us)
        written = _Plan(np.empty(0, np.int64), [], [], [], np.empty(0, np.int64))
        numbering: Numbering
        copies: CampaignNumbering

        def plan(view: EventView) -> Iterator[pa.RecordBatch] | None:
            nonlocal written
            written = _plan(view, tenant, spill, gathered, label_delay_us)
            if not len(written.rows):
                return None
            # Before the events: a message that the log knows must have its raw mail.
            _write_raw(raw_mail, site, spill, written.messages)
            first = view.last_seq(tenant) + 1 if next_seq is None else next_seq(len(written.rows))
            numbering.begin(view)
            copies.begin(view)
            stood = opened.enter_context(closing(Stood(Path(tempfile.mkdtemp(dir=folder)))))
            in_force = view if fact_sets is None else fact_sets.over(view, tenant)[0]
            stood.read(in_force, tenant, _labelled_before(spill, written))
            return _batches(spill, written, first, numbering, copies, gathered.signals, stood)

        with known.numbering(tenant) as numbering, clustered.numbering(tenant) as copies:
            event_log.append_stream(tenant, plan)
        if label_sink is not None and gathered.labels:
            _hand_over_labels(event_log, tenant, spill, gathered.labels, label_sink)
        times = spill.times_us
        added = len(written.messages)
        report = IngestReport(
            messages=len(spill),
            added=added,
            duplicates=len(spill) - added,
            labels=written.kind.count("label"),
            signals=written.kind.count("signal"),
            missing=() if labels is None else tuple(e.path for e in labels if e.path not in gathered.found),
            skipped=tuple(source.skipped),
            defects=gathered.defects,
            first_us=int(times.min()) if len(times) else None,
            last_us=int(times.max()) if len(times) else None,
            clamped=gathered.defects["time_clamped"],
        )
    if report.missing:
        _log.warning("labelled_files_missing", index=labels and labels.name, count=len(report.missing))
    _log.info("ingested", tenant=tenant, messages=report.messages, added=report.added, labels=report.labels)
    return report


def _gather(
    source: Source,
    site: Site,
    spill: Spill,
    labels: LabelIndex | None,
    select: Callable[[RawMessage], bool] | None,
    workers: int,
    progress: Callable[[int, int | None], None] | None,
) -> _Gathered:
    gathered = _Gathered([], {}, set(), Counter())

    def chosen() -> Iterator[RawMessage]:
        for message in source:
            entry = None if labels is None else labels.find(source.full_path(message))
            if entry is not None:
                gathered.found.add(entry.path)
            if select is None or select(message):
                yield message

    before_us = 0
    for chunk in parse_all(chosen(), site, workers, later=True):
        for message, parsed in chunk:
            event = _timed(parsed, before_us)
            before_us = event.received_at_us
            entry = None if labels is None else labels.find(source.full_path(message))
            if entry is not None:
                gathered.labels.append((len(spill), entry.label))
            if parsed.later is not None:
                gathered.signals[len(spill)] = parsed.later
            gathered.defects.update(set(parsed.defects))
            spill.add(event, message.envelope, message.raw)
        if progress is not None:
            progress(len(spill), None)
    return gathered


def _timed(parsed: Parsed, before_us: int) -> Event:
    event = parsed.event
    if event.time_source != "none":
        return event
    # The identity stays that of no time: what stands before a message in a source is no part of it.
    return replace(event, received_at_us=before_us, known_at_us=before_us)


def _plan(view: EventView, tenant: str, spill: Spill, gathered: _Gathered, label_delay_us: int) -> _Plan:
    times = spill.times_us
    days = day_column(pa.array(np.unique(times // 86_400_000_000) * 86_400_000_000))
    # A message without a time of its own that holds may have come before behind others, and so on another day.
    elsewhere = gathered.defects["no_time"] or gathered.defects["time_clamped"]
    there = view.message_ids(tenant, None if elsewhere else days) | view.clamped_ids(tenant)
    bears = view.labels(tenant) if gathered.labels else {}
    gone = {event.message_id for event in view.tombstones(tenant)} if gathered.labels else set()
    label_of = dict(gathered.labels)
    first: dict[str, int] = {}
    rows: list[int] = []
    label_rows: list[int] = []
    given: list[str] = []
    taken_back: list[str] = []
    for row, message_id in enumerate(spill.message_ids()):
        if message_id not in there:
            there.add(message_id)
            rows.append(row)
            if label_of:
                first[message_id] = row
        label = label_of.get(row)
        if label is not None and bears.get(message_id) != label and message_id not in gone:
            # A message may be in the source twice, and the second one be labelled.
            label_rows.append(first.get(message_id, row))
            given.append(label)
            taken_back.append(bears.get(message_id, ""))
            bears[message_id] = label
    signal_rows = [row for row in rows if row in gathered.signals]
    ranked: tuple[tuple[Kind, int], ...] = (
        ("message", len(rows)), ("signal", len(signal_rows)), ("label", len(label_rows)),
    )  # fmt: skip
    kinds = [kind for kind, times_over in ranked for _ in range(times_over)]
    rank = np.repeat([0, 1, 2], [times_over for _, times_over in ranked])
    position = np.array(rows + signal_rows + label_rows, dtype=np.int64)
    known = times[position] + np.where(rank == 2, label_delay_us, 0)
    order = np.lexsort((position, rank, known))
    given = [""] * (len(kinds) - len(given)) + given
    taken_back = [""] * (len(kinds) - len(taken_back)) + taken_back
    return _Plan(
        position[order],
        [kinds[i] for i in order],
        [given[i] for i in order],
        [taken_back[i] for i in order],
        known[order],
    )


def _batches(
    spill: Spill,
    plan: _Plan,
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
        before = stood.find([found[i].message_id for i, row in enumerate(map(int, rows)) if row not in campaign_of])
        for i, row in enumerate(map(int, rows)):
            kind, known_at_us = plan.kind[start + i], int(plan.known_us[start + i])
            if kind == "message":
                continue
            event = found[i]
            if row in campaign_of:
                bits = new_of.get(row, 0)
                names = tuple(name for at, name in enumerate(event.recipients) if bits >> at & 1)
                event = replace(event, new_recipients=names, campaign=campaign_of[row])
            else:
                event = before.get(event.message_id, event)
            if kind == "label":
                label, replaced = plan.label[start + i], plan.replaced[start + i] or None
                found[i] = label_event_of(event, label=label, replaced=replaced, seq=seqs[i], known_at_us=known_at_us)
            else:
                found[i] = signal_event_of(event, signals[row].facts, seq=seqs[i], known_at_us=known_at_us)
        yield from events_to_table(found).to_batches()


def _labelled_before(spill: Spill, plan: _Plan) -> list[str]:
    """Ids of the messages that an earlier run added and this one labels."""
    rows = {int(row) for row, label in zip(plan.rows, plan.label, strict=True) if label} - set(map(int, plan.messages))
    return [message_id for row, message_id in enumerate(spill.message_ids()) if row in rows] if rows else []


def _write_raw(raw_mail: RawMail, site: Site, spill: Spill, rows: Rows) -> None:
    reception = Reception(trust=site.trusts).to_text()
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
                    reception=reception,
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
    event_log: EventLog, tenant: str, spill: Spill, labels: list[tuple[int, str]], label_sink: LabelSink
) -> None:
    labelled = {row for row, _ in labels}
    ids = pa.array([message_id for row, message_id in enumerate(spill.message_ids()) if row in labelled])
    for batch in event_log.scan(tenant, "label"):
        rows = pa.Table.from_batches([batch])
        rows = rows.filter(pc.is_in(rows["message_id"], value_set=ids))
        if rows.num_rows:
            label_sink(table_to_events(rows))
