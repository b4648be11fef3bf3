from __future__ import annotations

import numpy as np
import pytest

from mailwarden.domain.aggregates.offline.dominance import Ranking, dominance_peaks, dominance_sums, range_peaks
from mailwarden.domain.aggregates.windows import NOTHING


@pytest.mark.parametrize("shuffled", [0.0, 0.2, 1.0])
def test_sums_and_peaks_are_those_of_a_loop_whatever_the_order(shuffled: float) -> None:
    rng = np.random.default_rng(int(10 * shuffled) + 1)
    for n in (0, 1, 2, 60, 400):
        key = np.sort(rng.integers(0, 4, n)).astype(np.int64)
        request_row = rng.random(n) < 0.4
        event, request = np.flatnonzero(~request_row), np.flatnonzero(request_row)
        bucket = np.arange(len(event)) // 3 - 5
        mixed = rng.random(len(event)) < shuffled
        bucket[mixed] = rng.integers(-9, 40, int(mixed.sum()))
        values = rng.integers(-50, 50, (len(event), 2))
        edge = rng.integers(-10, 45, len(request))
        sums = dominance_sums(key, event, bucket, values, request, edge)
        peaks = dominance_peaks(key, event, bucket, values, request, edge)
        for i, row in enumerate(request):
            inside = values[(event < row) & (key[event] == key[row]) & (bucket >= edge[i])]
            assert sums[i].tolist() == inside.sum(axis=0).tolist()
            assert peaks[i].tolist() == (inside.max(axis=0).tolist() if len(inside) else [NOTHING] * 2)


def test_range_peaks_of_every_range() -> None:
    values = np.random.default_rng(3).integers(-9, 9, (19, 1))
    pairs = np.array([(a, b) for a in range(20) for b in range(a, 20)])
    found = range_peaks(values, pairs[:, 0], pairs[:, 1])[:, 0]
    assert found.tolist() == [values[a:b].max(initial=NOTHING) for a, b in pairs]


@pytest.mark.parametrize("largest", [True, False])
def test_the_running_row_of_equal_values_is_the_first_for_the_smallest_and_the_last_for_the_largest(
    largest: bool,
) -> None:
    rng = np.random.default_rng(8)
    key = np.sort(rng.integers(0, 5, 200)).astype(np.int64)
    value, counts = rng.integers(0, 6, 200), rng.random(200) < 0.6
    found = Ranking(key, value).running(counts, largest=largest)
    for i in range(200):
        rows = [j for j in range(i + 1) if key[j] == key[i] and counts[j]]
        ranked = sorted(rows, key=lambda j: (value[j], j))
        assert found[i] == (ranked[-1 if largest else 0] if ranked else -1)
