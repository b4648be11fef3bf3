"""Which events of a source that was read are new, and in which order they are numbered."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mailwarden.domain.mail.events import Kind
from mailwarden.ingest.gathering import Gathered
from mailwarden.ingest.index import GivenLabel
from mailwarden.ingest.spill import Spill
from mailwarden.stores.lake.delta import day_column
from mailwarden.stores.lake.event_log import EventView

Rows = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Plan:
    """Rows of the events to write, in order, and their kind; label: None but of a label; replaced: by that, or ""."""

    rows: Rows
    kind: list[Kind]
    label: list[GivenLabel | None]
    replaced: list[str]
    known_us: Rows

    @property
    def messages(self) -> Rows:
        """The rows written as messages."""
        messages: Rows = self.rows[np.array([kind == "message" for kind in self.kind], dtype=bool)]
        return messages

    def of_earlier(self, spill: Spill) -> list[str]:
        """Ids of the messages that the log holds and that this labels, or has a signal of."""
        told = {int(row) for row, kind in zip(self.rows, self.kind, strict=True) if kind != "message"}
        told -= set(map(int, self.messages))
        told |= {int(row) for row in self.rows if int(row) in spill.counts_with}
        return [message_id for row, message_id in enumerate(spill.told_ids()) if row in told] if told else []


NOTHING = Plan(np.empty(0, np.int64), [], [], [], np.empty(0, np.int64))


def plan_of(
    view: EventView,
    gathered: Gathered,
    label_delay_us: int,
    *,
    only: Collection[str] | None = None,
) -> Plan:
    """What a log lacks of a source. label_delay_us: from a message to when its label became known, where its index does
    not say.

    only: ids of messages in the log whose labels and signals alone are wanted. A message may be there without the
    signal found in it, where an ingest ended between the two.
    """
    spill, tenant = gathered.spill, gathered.site.tenant
    times = spill.times_us
    days = day_column(pa.array(np.unique(times // 86_400_000_000) * 86_400_000_000))
    # A message without a time of its own that holds may have come before behind others, and so on another day.
    elsewhere = gathered.defects["no_time"] or gathered.defects["time_clamped"]
    there = view.message_ids(tenant, None if elsewhere else days) | view.clamped_ids(tenant)
    there.update(only or ())
    bears = view.labels(tenant) if gathered.labels else {}
    if gathered.labels or gathered.signals:
        # Also of a copy whose content the index holds no more.
        copied = view.copied(tenant)
        told_ids = enumerate(spill.told_ids()) if copied else ()
        spill.counts_with.update([(row, copied[told]) for row, told in told_ids if told in copied])
    gone = {event.message_id for event in view.tombstones(tenant)} if gathered.labels or gathered.signals else set()
    signalled = view.signalled(tenant) if gathered.signals else set()
    label_of = dict(gathered.labels)
    first: dict[str, int] = {}
    rows: list[int] = []
    signal_rows: list[int] = []
    label_rows: list[int] = []
    given: list[GivenLabel] = []
    taken_back: list[str] = []
    firsts = set(spill.counts_with.values())
    for row, message_id in enumerate(spill.message_ids() if firsts else ()):
        if message_id in firsts and row not in spill.counts_with and message_id not in there:
            first.setdefault(message_id, row)
    for row, (message_id, told) in enumerate(zip(spill.message_ids(), spill.told_ids(), strict=True)):
        if only is not None and told not in only:
            continue
        if only is None and message_id not in there and (told == message_id or row in spill.further):
            there.add(message_id)
            rows.append(row)
            if label_of:
                first[message_id] = row
        message_id = told
        if (
            row in gathered.signals
            and row not in spill.counts_with
            and message_id not in signalled
            and message_id not in gone
        ):
            signalled.add(message_id)
            signal_rows.append(row)
        label = label_of.get(row)
        if label is not None and bears.get(message_id) != label.label and message_id not in gone:
            # A message may be in the source twice, and the second one be labelled.
            label_rows.append(first.get(message_id, row))
            given.append(label)
            taken_back.append(bears.get(message_id, ""))
            bears[message_id] = label.label
    ranked: tuple[tuple[Kind, int], ...] = (
        ("message", len(rows)), ("signal", len(signal_rows)), ("label", len(label_rows)),
    )  # fmt: skip
    kinds = [kind for kind, times_over in ranked for _ in range(times_over)]
    rank = np.repeat([0, 1, 2], [times_over for _, times_over in ranked])
    position = np.array(rows + signal_rows + label_rows, dtype=np.int64)
    known = times[position]
    first_label = len(kinds) - len(given)
    for at, one in enumerate(given, first_label):
        known[at] = one.known_at_us(int(known[at]), label_delay_us)
    order = np.lexsort((position, rank, known))
    labels = [None] * first_label + given
    taken_back = [""] * (len(kinds) - len(taken_back)) + taken_back
    return Plan(
        position[order],
        [kinds[i] for i in order],
        [labels[i] for i in order],
        [taken_back[i] for i in order],
        known[order],
    )
