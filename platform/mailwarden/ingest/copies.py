"""Which messages of a source came before with other bytes: by another way, or twice in the source."""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing
from pathlib import Path

import numpy as np

from mailwarden.ingest.spill import Spill
from mailwarden.stores.contact_numbering import Numbering
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.lake.event_log import EventView

_ROWS = 4096


def find_copies(spill: Spill, numbering: Numbering) -> None:
    """Note which rows are messages that are numbered, or stand before them by event time; after `numbering.begin`."""
    spill.counts_with.clear()
    spill.further.clear()
    order = np.argsort(spill.times_us, kind="stable")
    for start in range(0, len(order), _ROWS):
        rows = order[start : start + _ROWS]
        events = [event for event, _ in spill.read(rows)]
        for row, event, copy in zip(map(int, rows), events, numbering.same(events), strict=True):
            if copy is not None and copy.first != event.message_id:
                spill.counts_with[row] = copy.first
                if copy.recipients:
                    spill.further[row] = copy


def find_repeats(spill: Spill, tenant: str, folder: Path) -> dict[str, list[int]]:
    """Note which rows are for nobody but whom others of the source were for; their places by the message's id.

    Whoever numbers the others keeps the newest weeks alone in mind, and a source is read again. What the source holds
    further copies of is told by whoever numbers. folder: for a temporary file.
    """
    with closing(Contacts(folder / "repeats.sqlite")) as contacts, contacts.numbering(tenant) as numbering:
        numbering.begin(EventView(None))
        find_copies(spill, numbering)
    for row in spill.further:
        del spill.counts_with[row]
    spill.further.clear()
    repeats: dict[str, list[int]] = defaultdict(list)
    for row, first in spill.counts_with.items():
        repeats[first].append(row)
    return dict(repeats)
