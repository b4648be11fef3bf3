"""Distinct counts of one key as of many moments: what its state would say, without keeping it.

A state adds each event to the sketch of every bucket before it. Reads of one key in order of seq look through few
edges, which move on slowly; so here an event goes into its own bucket's sketch and into the sketches of the edges
looked through last, and these are put together anew when an edge moves.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence

from mailwarden.domain.aggregates.layout import Layout, Slot
from mailwarden.domain.aggregates.online.reads import NEVER
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.sketches import DistinctUnion

_SEEN = 20_000
"""Names remembered of a set, so that one that comes again costs a look; forgetting them costs time, never truth."""


class _Names:
    """A set of names that are put into its sketch when it is asked, each once."""

    __slots__ = ("_seen", "_union", "_waiting")

    def __init__(self, data: bytes | None = None) -> None:
        self._union = DistinctUnion(data)
        self._seen: set[str] = set()
        self._waiting: list[str] = []

    def add(self, names: Collection[str]) -> None:
        seen = self._seen
        for name in names:
            if name not in seen:
                if len(seen) >= _SEEN:
                    seen.clear()
                seen.add(name)
                self._waiting.append(name)

    def union(self) -> DistinctUnion:
        for name in self._waiting:
            self._union.add(name)
        self._waiting.clear()
        return self._union


class SequentialReads:
    """Events and reads of one key in order of seq. carried: the key's state before the first of them."""

    def __init__(self, layout: Layout, carried: EntityState | None = None) -> None:
        self._layout = layout
        self._carried = carried
        self._newest_us = carried.newest_us if carried is not None else NEVER
        n = len(layout.distinct_names)
        if carried is None:
            self._totals = [_Names() for _ in range(n)]
        else:
            self._totals = [_Names(sketch.to_bytes()) for sketch in carried.sketches]
        self._tiles: list[dict[int, list[_Names]]] = [{} for _ in layout.levels]
        self._looked: dict[int, tuple[int, _Names]] = {}
        self._levels = [(i, level.hop_us, level.distincts) for i, level in enumerate(layout.levels) if level.distincts]
        self._windowed = [
            (j, slot, slot.total - layout.first_distinct)
            for j, slot in enumerate(layout.slots)
            if slot.total >= layout.first_distinct and slot.level is not None
        ]

    def add(self, time_us: int, values: Sequence[Collection[str]]) -> None:
        """Fold an event; values: the members that it adds to each distinct."""
        self._newest_us = max(self._newest_us, time_us)
        if not any(values):
            return
        for total, members in zip(self._totals, values, strict=True):
            total.add(members)
        for index, hop_us, distincts in self._levels:
            bucket = time_us // hop_us
            tile = self._tiles[index].get(bucket)
            if tile is None:
                tile = self._tiles[index][bucket] = [_Names() for _ in distincts]
            for names, distinct in zip(tile, distincts, strict=True):
                names.add(values[distinct])
        for j, slot, distinct in self._windowed:
            looked = self._looked.get(j)
            if looked is not None and time_us // slot.window.hop_us >= looked[0]:
                looked[1].add(values[distinct])

    def count(self, j: int, slot: Slot, at_us: int) -> int:
        """The count of slot number j for a read at an effective time."""
        if slot.level is None:
            return self._totals[slot.total - self._layout.first_distinct].union().estimate()
        edge = slot.window.lower_bucket(at_us)
        assert edge is not None
        looked = self._looked.get(j)
        if looked is None or looked[0] != edge:
            looked = self._looked[j] = edge, self._since(slot.level, slot, edge)
        return looked[1].union().estimate()

    def _since(self, index: int, slot: Slot, edge: int) -> _Names:
        level, tiles = self._layout.levels[index], self._tiles[index]
        oldest = level.oldest_bucket(self._newest_us)
        for bucket in [bucket for bucket in tiles if bucket < oldest]:
            del tiles[bucket]
        column = slot.column - len(level.measures) - len(level.peaks)
        found = _Names()
        union = found.union()
        if self._carried is not None:
            position = bisect_left(self._carried.buckets[index], edge)
            suffixes = self._carried.suffix_sketches[index][column]
            if position < len(suffixes):
                union.merge(suffixes[position].to_bytes())
        for bucket, tile in tiles.items():
            if bucket >= edge:
                union.merge(tile[column].union().to_bytes())
        return found
