"""Distinct counts of one key as of many moments: what its state would say at each, without keeping that state.

A packed state answers "how many different names since bucket b" by a sketch of every bucket that holds all names from
there on, and so each event is added to many sketches. Here the reads are known to come in order of seq, and each asks
for few windows, whose lower edges stay for many reads in the same bucket. What is kept instead:

- `_totals`: for each distinct count, the names of all time.
- `_tiles`: for each level and bucket, the names of the events in that bucket alone.
- `_looked`: for each slot (one window of one count), the edge that it was last read at, and the names since then.
- `_carried`: the state before the first event here, where rows of the key came in an earlier batch.

Steps:

1. `add` puts an event's names into the totals, into the tile of its bucket at each level, and into each `_looked`
   whose edge lies at or before that bucket.
2. `count` takes the slot's edge for the time of the read. Where `_looked` stands at that edge, it answers from there.
3. Otherwise the names since the new edge are put together once (`_since`): the carried state's sketch from that edge
   on, united with the tiles from there on; tiles that no read can reach any more are dropped on the way. It becomes
   the slot's `_looked`.

Invariants:

- `_looked[j]` at an edge equals the union of the carried sketch and of all tiles from that edge on, at any time: so a
  late event, whose bucket lies behind others, counts as it would in a state.
- A sketch's estimate depends on the set of names alone, and not on their order or on how unions were nested: the
  count equals that of `EntityState` to the last bit.
- An event is added to as many sketches as there are levels and slots, and never to as many as there are buckets.
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
