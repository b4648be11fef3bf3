"""Bulk ingest beside a process that numbers the tenant's mail: what was read is handed over to it, batch by batch.

1. What the log lacks is planned as for one commit (`planning`), and handed over in that order. What was taken is on the
   taker's disk, and comes into the log by its writer.
2. The taker may know messages that the log does not have yet. Their labels and signals follow once it has them.

An end in the middle leaves what was taken; another run hands over the rest.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import structlog

from mailwarden.domain.mail.events import Event, Kind
from mailwarden.domain.mail.message import Envelope
from mailwarden.domain.mail.reception import Reception
from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.ingest.copies import find_repeats
from mailwarden.ingest.gathering import Gathered, IngestReport
from mailwarden.ingest.planning import Plan, plan_of
from mailwarden.ingest.stood import Stood
from mailwarden.stores.history import (
    BATCH_BYTES,
    BATCH_ITEMS,
    HistoryItem,
    HistoryLabel,
    HistoryMessage,
    HistorySignal,
    Numbered,
    TakesHistory,
)
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.online.streams import encode_event

LOGGED_SECONDS = 120.0
"""In which the log has what the taker knew, unless its writer is away."""

LOOK_SECONDS = 0.5

_ROWS = 4096
_log = structlog.get_logger(__name__)


def hand_over(
    gathered: Gathered,
    to: TakesHistory,
    *,
    event_log: EventLog,
    fact_sets: FactSets | None = None,
    label_delay_us: int = 0,
    progress: Callable[[int, int | None], None] | None = None,
) -> IngestReport:
    """Have what was read of a source numbered elsewhere; run again, it adds nothing twice.

    progress: told (events handed over, how many there are). Raises StoreError, with how much was taken, where it
    cannot go on.
    """
    tenant, taken = gathered.site.tenant, Counter[Kind]()
    waits: set[str] = set()
    plan: Plan | None = None
    repeats = find_repeats(gathered.spill, tenant, gathered.folder)
    try:
        while plan is None or waits:
            if waits:
                _await_logged(event_log, tenant, waits)
            view = event_log.view()
            plan = plan_of(view, gathered, label_delay_us, only=waits or None)
            folder = Path(tempfile.mkdtemp(dir=gathered.folder))
            with closing(Stood(folder)) as stood:
                in_force = view if fact_sets is None else fact_sets.over(view, tenant)[0]
                stood.read(in_force, tenant, plan.of_earlier(gathered.spill))
                waits = _HandingOver(gathered, plan, stood, to, taken, repeats, progress).run()
    except StoreError as exc:
        raise StoreUnavailable(
            f"{exc}. {taken['message']} new messages and {taken['label']} labels of {tenant} are in, and stay. Run the "
            "same ingest again, beside an API or without one: it adds nothing twice and goes on"
        ) from exc
    report = gathered.report(added=taken["message"], labels=taken["label"], signals=taken["signal"])
    _log.info("handed over", tenant=tenant, messages=report.messages, added=report.added, labels=report.labels)
    return report


class _HandingOver:
    """One plan on its way. taken: grows by what was numbered, by kind. repeats: see `find_repeats`."""

    def __init__(
        self,
        gathered: Gathered,
        plan: Plan,
        stood: Stood,
        to: TakesHistory,
        taken: Counter[Kind],
        repeats: Mapping[str, Sequence[int]],
        progress: Callable[[int, int | None], None] | None,
    ) -> None:
        self._gathered, self._plan, self._stood, self._to = gathered, plan, stood, to
        self._taken, self._repeats, self._progress = taken, repeats, progress
        self._told_of = {int(row) for row, kind in zip(plan.rows, plan.kind, strict=True) if kind != "message"}
        # A label or a signal bears the facts of its message, which stands before it: bit i is recipient i.
        self._campaign_of: dict[int, str] = {}
        self._new_of: dict[int, int] = {}
        self._known: set[int] = set()
        self._waits: set[str] = set()
        self._batch: list[tuple[int, Event, HistoryItem]] = []
        self._place: dict[int, int] = {}
        self._bytes = self._done = 0

    def run(self) -> set[str]:
        """Hand everything over; ids of messages that were known, and whose labels or signals wait for that."""
        rows, spill = self._plan.rows, self._gathered.spill
        messages = set(map(int, self._plan.messages)) if self._told_of else set()
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            found = spill.read(part)
            earlier = [
                self._told_id(int(row), event)
                for (event, _), row in zip(found, part, strict=True)
                if int(row) not in messages
            ]
            before = self._stood.find(earlier) if self._told_of else {}
            for place, (row, (event, envelope)) in enumerate(zip(map(int, part), found, strict=True), start):
                if self._plan.kind[place] == "message":
                    self._add(row, event, self._message(row, event, envelope), spill.size(row))
                    self._place[row] = len(self._batch) - 1
                    if self._bytes >= BATCH_BYTES or len(self._batch) >= BATCH_ITEMS:
                        self._send()
                else:
                    of = event if row in messages else before.get(self._told_id(row, event), event)
                    self._tell(place, row, of)
        self._send()
        return self._waits

    def _message(self, row: int, event: Event, envelope: Envelope) -> HistoryMessage:
        raw = self._gathered.spill.raw(row)
        site = self._gathered.site
        reception = Reception(trust=site.trusts, directory=site.says(event)).to_text()
        return HistoryMessage(encode_event(event), raw, envelope.mail_from, envelope.rcpt_to, reception)

    def _tell(self, place: int, row: int, event: Event) -> None:
        """A label or a signal of a message that stands before it, in this batch, in another one, or in the log."""
        if event.copy_of:
            # It counts with the message, which the log may not have yet.
            self._gathered.spill.counts_with[row] = event.copy_of
            self._known.add(row)
        numbered = row in self._known
        of: bytes | int | None = None if numbered else self._place.get(row)
        if of is None:
            if numbered:
                event = replace(event, message_id=self._told_id(row, event), copy_of="")
            elif row in self._campaign_of:
                bits = self._new_of.get(row, 0)
                names = tuple(name for at, name in enumerate(event.recipients) if bits >> at & 1)
                event = replace(event, new_recipients=names, campaign=self._campaign_of[row])
            of = encode_event(event)
        known_at_us = int(self._plan.known_us[place])
        if self._plan.kind[place] == "label":
            given, held = self._plan.label[place], self._plan.replaced[place] or None
            assert given is not None
            told = HistoryLabel(of, given.label, held, known_at_us, given.source, given.stands_for, numbered)
            self._add(row, event, told, 0)
        else:
            facts = self._gathered.signals[row].facts
            self._add(row, event, HistorySignal(of, facts, known_at_us, numbered), 0)
        if len(self._batch) >= BATCH_ITEMS:
            self._send()

    def _told_id(self, row: int, event: Event) -> str:
        return self._gathered.spill.counts_with.get(row, event.message_id)

    def _add(self, row: int, event: Event, item: HistoryItem, size: int) -> None:
        self._batch.append((row, event, item))
        self._bytes += size

    def _send(self) -> None:
        if not self._batch:
            return
        numbered = self._to.take(self._gathered.site.tenant, [item for _, _, item in self._batch])
        for (row, event, item), outcome in zip(self._batch, numbered, strict=True):
            if isinstance(item, HistoryMessage):
                self._note(row, event, outcome)
            elif outcome.waits:
                self._waits.add(self._told_id(row, event))
            kind: Kind = (
                "message"
                if isinstance(item, HistoryMessage)
                else "label"
                if isinstance(item, HistoryLabel)
                else "signal"
            )
            self._taken[kind] += outcome.seq > 0
        self._done += len(self._batch)
        self._batch, self._bytes = [], 0
        self._place.clear()
        if self._progress is not None:
            self._progress(self._done, len(self._plan.rows))

    def _note(self, row: int, event: Event, outcome: Numbered) -> None:
        if outcome.counts_with not in ("", event.message_id):
            for one in (row, *self._repeats.get(event.message_id, ())):
                self._gathered.spill.counts_with[one] = outcome.counts_with
            self._known.add(row)
        elif not outcome.seq:
            self._known.add(row)
        elif row in self._told_of:
            self._campaign_of[row] = outcome.campaign
            names = outcome.new_recipients
            if names:
                self._new_of[row] = sum(1 << at for at, name in enumerate(event.recipients) if name in names)


def _await_logged(event_log: EventLog, tenant: str, message_ids: Collection[str]) -> None:
    ends = time.monotonic() + LOGGED_SECONDS
    while lacking := set(message_ids) - set(event_log.find_all(tenant, message_ids)):
        if time.monotonic() >= ends:
            raise StoreUnavailable(
                f"{len(lacking)} messages with labels were accepted before and do not come into the event log; see "
                "`mailwarden status` for what its writer waits for"
            )
        time.sleep(LOOK_SECONDS)
