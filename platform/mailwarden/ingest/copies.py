"""Which messages of a source came before with other bytes: by another way, or twice in the source."""

from __future__ import annotations

import numpy as np

from mailwarden.ingest.spill import Spill
from mailwarden.stores.contact_numbering import Numbering

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
