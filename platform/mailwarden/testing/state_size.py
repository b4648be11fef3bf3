"""How large a key's state can become: an upper bound from the layout alone, before there is any data."""

from __future__ import annotations

from dataclasses import dataclass

from mailwarden.domain.aggregates.layout import Layout
from mailwarden.domain.aggregates.online.packed_reads import HEADER
from mailwarden.domain.aggregates.recent import MEMBERS_KEPT
from mailwarden.domain.aggregates.windows import LATENESS_US

SKETCH_BYTES = 2_200
"""The most that one HLL sketch of 2**12 registers takes, its length before it included."""

_WORD = 8
_RECENT_HEAD = 3
_SETS = ("recipients", "recipient_domains")


@dataclass(frozen=True, slots=True)
class StateSize:
    """Bytes of a key. state: what a read fetches. sketches: what writers fetch besides, for distinct counts."""

    state: int
    sketches: int


def largest_state(layout: Layout) -> StateSize:
    """The size of a key that has an event in every bucket and as many names as a sketch or a set holds."""
    words = HEADER + len(layout.levels) + len(layout.recent_names)
    words += layout.n_totals + layout.n_times + len(layout.held)
    sketches = len(layout.distinct_names)
    for level in layout.levels:
        rows = (level.length_us + LATENESS_US) // level.hop_us + 2
        words += rows * (1 + level.n_columns)
        sketches += rows * len(level.distincts)
    for recent in layout.view.recents:
        words += recent.keep * (_RECENT_HEAD + (MEMBERS_KEPT if recent.of in _SETS else 1))
    return StateSize(_WORD * words, SKETCH_BYTES * sketches)
