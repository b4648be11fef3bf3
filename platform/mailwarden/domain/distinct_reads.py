"""Distinct counts of one key as of many moments: what a state's suffix sketches would say, without keeping them.

A state adds each event to the sketch of every bucket before it. Reads of one key in order of seq look through few
edges, which move on slowly; so here an event goes into its own bucket's sketch and into the sketches of the edges
looked through last, and these are put together anew when an edge moves.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence

from mailwarden.domain.layout import Layout, Slot
from mailwarden.domain.sketches import DistinctUnion
from mailwarden.domain.state import NEVER, EntityState


class DistinctReads:
    """Events and reads of one key in order of seq. carried: the key's state before the first of them."""

    def __init__(self, layout: Layout, carried: EntityState | None = None) -> None:
        self._layout = layout
        self._carried = carried
        self._newest_us = carried.newest_us if carried is not None else NEVER
        n = len(layout.distinct_names)
        if carried is None:
            self._totals = [DistinctUnion() for _ in range(n)]
        else:
            self._totals = [DistinctUnion(sketch.to_bytes()) for sketch in carried.sketches]
        self._tiles: list[dict[int, list[DistinctUnion]]] = [{} for _ in layout.levels]
        self._looked: dict[int, tuple[int, DistinctUnion]] = {}
        self._windowed = [
            (j, slot, slot.total - layout.n_measures)
            for j, slot in enumerate(layout.slots)
            if slot.total >= layout.n_measures and slot.level is not None
        ]

    def add(self, time_us: int, values: Sequence[Collection[str]]) -> None:
        """Fold an event; values: the members that it adds to each distinct."""
        self._newest_us = max(self._newest_us, time_us)
        if not any(values):
            return
        for total, members in zip(self._totals, values, strict=True):
            for member in members:
                total.add(member)
        for level, tiles in zip(self._layout.levels, self._tiles, strict=True):
            if level.distincts:
                bucket = time_us // level.hop_us
                tile = tiles.get(bucket)
                if tile is None:
                    tile = tiles[bucket] = [DistinctUnion() for _ in level.distincts]
                for union, distinct in zip(tile, level.distincts, strict=True):
                    for member in values[distinct]:
                        union.add(member)
        for j, slot, distinct in self._windowed:
            looked = self._looked.get(j)
            if looked is not None and time_us // slot.window.hop_us >= looked[0]:
                for member in values[distinct]:
                    looked[1].add(member)

    def read(self, j: int, slot: Slot, at_us: int) -> int:
        """The count of slot number j for a read at an effective time."""
        if slot.level is None:
            return self._totals[slot.total - self._layout.n_measures].estimate()
        edge = slot.window.lower_bucket(at_us)
        assert edge is not None
        looked = self._looked.get(j)
        if looked is None or looked[0] != edge:
            looked = self._looked[j] = edge, self._union(slot.level, slot, edge)
        return looked[1].estimate()

    def _union(self, index: int, slot: Slot, edge: int) -> DistinctUnion:
        level, tiles = self._layout.levels[index], self._tiles[index]
        oldest = level.oldest_bucket(self._newest_us)
        for bucket in [bucket for bucket in tiles if bucket < oldest]:
            del tiles[bucket]
        column = slot.column - len(level.measures)
        union = DistinctUnion()
        if self._carried is not None:
            position = bisect_left(self._carried.buckets[index], edge)
            suffixes = self._carried.suffix_sketches[index][column]
            if position < len(suffixes):
                union.merge(suffixes[position].to_bytes())
        for bucket, tile in tiles.items():
            if bucket >= edge:
                union.merge(tile[column].to_bytes())
        return union
