"""Distinct counts and matches of recent sets as of many moments: each row of each key once, in order, compiled.

While a sketch lists its members (`sketches.LISTED`), what it estimates is their number. So small sets are counted here
exactly, by the last bucket that each member was seen in; a key whose set grows beyond is read by its sketches, in
`sequential_reads`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mailwarden.compiled import compiled
from mailwarden.domain.aggregates.offline.dominance import BoolArray, IntArray
from mailwarden.domain.aggregates.offline.names import Names, NumberedSets
from mailwarden.domain.aggregates.online.packed_reads import likeness_of
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.sketches import LISTED, coupon_of
from mailwarden.domain.aggregates.windows import NOTHING


class Coupons(NamedTuple):
    """Names as a sketch tells them apart. codes: (m,) int64 below `different`, row after row. bounds: (n + 1,)."""

    codes: IntArray
    bounds: IntArray
    different: int


def told_apart_as_in_sketches(names: Names) -> Coupons:
    """Two names that a sketch takes for one get one code."""
    used, place = np.unique(names.codes, return_inverse=True)
    found = np.array([coupon_of(names.texts[code]) for code in used.tolist()], dtype=np.int64)
    different, code = np.unique(found, return_inverse=True)
    return Coupons(code.astype(np.int64)[place], names.bounds, len(different))


def count_names(
    key: IntArray, request: BoolArray, bucket: IntArray, edge: IntArray, names: Coupons, large: BoolArray
) -> IntArray:
    """How many different names a request's key held before it in a bucket at or after an edge.

    key: (n,) ascending from 0. request: (n,). bucket: (n,). edge: (n_requests,). names: a request's are passed
    over. large: (n_keys,), set where a count went beyond `LISTED`, and is no estimate then.
    """
    asked = np.flatnonzero(request)
    out = np.zeros(len(asked), dtype=np.int64)
    if not len(asked) or not len(names.codes):
        return out
    low = int(bucket.min())
    span = int(bucket.max()) - low + 2
    place = key * span + (bucket - low)
    places = np.unique(place)
    first = np.searchsorted(places, np.arange(len(large) + 1) * span)
    rank = np.searchsorted(places, place) - first[key]
    wanted = key[asked]
    edge_rank = np.searchsorted(places, wanted * span + np.clip(edge - low, 0, span - 1)) - first[wanted]
    _count(key, request, rank, edge_rank, first, names.codes, names.bounds, names.different, LISTED, out, large)
    return out


@compiled
def _count(
    key: IntArray,
    request: BoolArray,
    rank: IntArray,
    edge_rank: IntArray,
    first: IntArray,
    codes: IntArray,
    bounds: IntArray,
    n_codes: int,
    listed: int,
    out: IntArray,
    large: BoolArray,
) -> None:
    owner = np.full(n_codes, -1, dtype=np.int64)
    last = np.zeros(n_codes, dtype=np.int64)
    # For each key a Fenwick tree over its buckets of how many names were last seen in each.
    tree = np.zeros(first[-1] + 1, dtype=np.int64)
    current, total, asked = -1, 0, 0
    for row in range(key.size):
        k = key[row]
        if k != current:
            current, total = k, 0
        base, size = first[k], first[k + 1] - first[k]
        if request[row]:
            before, node = 0, edge_rank[asked]
            while node > 0:
                before += tree[base + node - 1]
                node -= node & -node
            out[asked] = total - before
            large[k] = large[k] or out[asked] > listed
            asked += 1
            continue
        for index in range(bounds[row], bounds[row + 1]):
            code, now = codes[index], rank[row]
            if owner[code] != k:
                owner[code] = k
                total += 1
            elif last[code] >= now:
                continue
            else:
                node = last[code] + 1
                while node <= size:
                    tree[base + node - 1] -= 1
                    node += node & -node
            last[code] = now
            node = now + 1
            while node <= size:
                tree[base + node - 1] += 1
                node += node & -node


def match_sets(
    key: IntArray,
    request: BoolArray,
    time_us: IntArray,
    seq: IntArray,
    names: Names,
    keep: int,
    since: IntArray,
    carried: EntityState | None,
    recent: int,
) -> NDArray[np.float64]:
    """The best overlap of each request's own names with the recent sets of its key, for several windows at once.

    names: of events what they add to the sets, of requests their own. keep: how many sets are kept. since: (n_windows,
    n_requests) the earliest use that counts, `NOTHING` for any. carried: the state of the first key before these rows,
    whose recent sets number `recent` these are. Returns (n_windows, n_requests), NaN where there are none.
    """
    sets = NumberedSets()
    numbers = sets.of_rows(names)
    before: Sequence[tuple[int, int, int]] = []
    if carried is not None:
        before = [(sets.number(members), *use) for members, use in carried.recents[recent].uses()]
    members, bounds = sets.arrays()
    out = np.full(since.shape, np.nan)
    uses = np.array(before, dtype=np.int64).reshape(-1, 3)
    _match(key, request, time_us, seq, numbers, keep, since, uses, members, bounds, out)
    return out


@compiled
def _match(
    key: IntArray,
    request: BoolArray,
    time_us: IntArray,
    seq: IntArray,
    numbers: IntArray,
    keep: int,
    since: IntArray,
    before: IntArray,
    members: IntArray,
    bounds: IntArray,
    out: NDArray[np.float64],
) -> None:
    # Of the current key: number, time and seq of the last use of each set kept.
    kept = np.empty((keep + 1, 3), dtype=np.int64)
    current, n, asked = -1, 0, 0
    for row in range(key.size):
        if key[row] != current:
            current, n = key[row], 0
            if current == 0:
                n = len(before)
                kept[:n] = before
        number = numbers[row]
        if not request[row]:
            if number >= 0:
                n = _use(kept, n, keep, number, time_us[row], seq[row])
            continue
        if number >= 0:
            own = members[bounds[number] : bounds[number + 1]]
            for entry in range(n):
                theirs = kept[entry, 0]
                likeness = math.nan
                for window in range(since.shape[0]):
                    if kept[entry, 1] >= since[window, asked]:
                        if math.isnan(likeness):
                            likeness = likeness_of(own, members[bounds[theirs] : bounds[theirs + 1]])
                        if not likeness <= out[window, asked]:
                            out[window, asked] = likeness
        asked += 1


@compiled
def _use(kept: IntArray, n: int, keep: int, number: int, time_us: int, seq: int) -> int:
    """Note a use of a set; returns how many are kept, those with the latest (time, seq)."""
    place = 0
    while place < n and kept[place, 0] != number:
        place += 1
    if place < n and (kept[place, 1] > time_us or (kept[place, 1] == time_us and kept[place, 2] >= seq)):
        return n
    kept[place, 0], kept[place, 1], kept[place, 2] = number, time_us, seq
    if place < n:
        return n
    if n < keep:
        return n + 1
    oldest = 0
    for entry in range(1, n + 1):
        if kept[entry, 1] < kept[oldest, 1] or (kept[entry, 1] == kept[oldest, 1] and kept[entry, 2] < kept[oldest, 2]):
            oldest = entry
    kept[oldest] = kept[n]
    return n


def since_of(lengths_us: Sequence[int | None], hops_us: Sequence[int], at_us: IntArray) -> IntArray:
    """For each window and request, the earliest use that counts; see `match_sets`."""
    found = np.full((len(lengths_us), len(at_us)), NOTHING, dtype=np.int64)
    for window, (length, hop) in enumerate(zip(lengths_us, hops_us, strict=True)):
        if length is not None:
            found[window] = (at_us - length) // hop * hop
    return found
