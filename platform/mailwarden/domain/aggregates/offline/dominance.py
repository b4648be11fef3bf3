"""Reductions over the events of a key that come before a request and lie at or after an edge, for many at once.

Mail arrives almost in order of event time, so events fall into few chains of non-decreasing buckets, in each of which
the wanted ones are one range; what is left after `MAX_CHAINS` goes through a merge tree, O(n log^2 n) whatever the
order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.aggregates.windows import NOTHING

MAX_CHAINS = 8

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Ranges = Callable[[IntArray, IntArray, IntArray], IntArray]
"""(values (n, m), starts, stops) -> (q, m): each range of rows reduced to one."""


def dominance_sums(
    key: IntArray, event: IntArray, bucket: IntArray, deltas: IntArray, request: IntArray, edge: IntArray
) -> IntArray:
    """For each request, the sum of `deltas` over events of its key before it whose bucket is at or after its edge.

    key: (n,) ascending, of all rows. event, request: ascending positions in it. bucket: (n_events,); deltas:
    (n_events, m); edge: (n_requests,). Returns (n_requests, m) int64.
    """
    out = np.zeros((len(request), deltas.shape[1]), dtype=np.int64)
    _reduce(key, event, bucket, deltas, request, edge, out, _range_sums, np.add)
    return out


def dominance_peaks(
    key: IntArray, event: IntArray, bucket: IntArray, values: IntArray, request: IntArray, edge: IntArray
) -> IntArray:
    """The largest of `values` over the same events, `NOTHING` where there are none."""
    out = np.full((len(request), values.shape[1]), NOTHING, dtype=np.int64)
    _reduce(key, event, bucket, values, request, edge, out, range_peaks, np.maximum)
    return out


def _reduce(
    key: IntArray,
    event: IntArray,
    bucket: IntArray,
    values: IntArray,
    request: IntArray,
    edge: IntArray,
    out: IntArray,
    ranges: Ranges,
    combine: np.ufunc,
) -> None:
    if not len(event) or not len(request) or not values.shape[1]:
        return
    low = int(min(bucket.min(), edge.min()))
    span = int(max(bucket.max(), edge.max())) - low + 2
    place = key[event] * span + (bucket - low)
    bound = key[request] * span + (edge - low)
    left = np.arange(len(event))
    for _ in range(MAX_CHAINS):
        in_chain = np.maximum.accumulate(place[left]) == place[left]
        chain = left[in_chain]
        stop = np.searchsorted(event[chain], request)
        start = np.minimum(np.searchsorted(place[chain], bound), stop)
        combine(out, ranges(values[chain], start, stop), out=out)
        left = left[~in_chain]
        if not len(left):
            return
    _merge_tree(event[left], place[left], values[left], request, bound, (key[request] + 1) * span, out, ranges, combine)


def _merge_tree(
    position: IntArray,
    place: IntArray,
    values: IntArray,
    request: IntArray,
    bound: IntArray,
    end: IntArray,
    out: IntArray,
    ranges: Ranges,
    combine: np.ufunc,
) -> None:
    """Reduce events before each request with bound <= place < end into `out`, by aligned power-of-two blocks."""
    n = len(position)
    ranked, rank = np.unique(place, return_inverse=True)
    low, high = np.searchsorted(ranked, bound), np.searchsorted(ranked, end)
    width = len(ranked) + 1
    before = np.searchsorted(position, request)
    for level in range(n.bit_length()):
        takes = np.flatnonzero((before >> level) & 1)
        if not len(takes):
            continue
        block = np.arange(n) >> level
        code = block * width + rank
        order = np.argsort(code, kind="stable")
        wanted = (before[takes] >> level) - 1
        start = np.searchsorted(code[order], wanted * width + low[takes])
        stop = np.searchsorted(code[order], wanted * width + high[takes])
        out[takes] = combine(out[takes], ranges(values[order], start, stop))


def _range_sums(values: IntArray, start: IntArray, stop: IntArray) -> IntArray:
    prefix = np.zeros((len(values) + 1, values.shape[1]), dtype=np.int64)
    np.cumsum(values, axis=0, out=prefix[1:])
    sums: IntArray = prefix[stop] - prefix[start]
    return sums


def range_peaks(values: IntArray, start: IntArray, stop: IntArray) -> IntArray:
    """The largest of each column over rows start to stop, `NOTHING` for none: doubling windows, one at a time."""
    out = np.full((len(start), values.shape[1]), NOTHING, dtype=np.int64)
    length = stop - start
    level = np.where(length > 0, np.frexp(np.maximum(length, 1).astype(np.float64))[1] - 1, -1)
    table, width = values, 1
    for power in range(int(level.max(initial=-1)) + 1):
        asked = np.flatnonzero(level == power)
        if len(asked):
            out[asked] = np.maximum(table[start[asked]], table[stop[asked] - width])
        if 2 * width > len(values):
            break
        table = np.maximum(table[:-width], table[width:])
        width *= 2
    return out


class Ranking:
    """Rows ranked by a value once, for any number of running extremes over them.

    key: (n,) ascending from 0. value: (n,). Of equal values the last row is the largest and the first the smallest.
    """

    def __init__(self, key: IntArray, value: IntArray) -> None:
        n = len(key)
        self._base = key * (n + 1)
        self._order = np.argsort(value, kind="stable")
        self._rank = np.empty(n, dtype=np.int64)
        self._rank[self._order] = np.arange(n)

    def running(self, counts: BoolArray, *, largest: bool) -> IntArray:
        """For each row, the row up to and with it, of its key, with the largest (or smallest) counted value; or -1."""
        n = len(self._rank)
        if not n:
            return self._order
        score = np.where(counts, self._rank + 1 if largest else n - self._rank, 0)
        best = np.maximum.accumulate(self._base + score) - self._base
        found = best > 0
        row = self._order[np.where(found, best - 1 if largest else n - best, 0)]
        return np.where(found, row, -1)
