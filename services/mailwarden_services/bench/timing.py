"""Times of calls that take turns, so that whatever else the machine does weighs on each alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

ROUND = 50
"""Calls of one kind before it is the next one's turn."""


def take_turns(calls: Mapping[str, Callable[[], object]], n: int) -> dict[str, dict[str, float]]:
    """Time n calls of each, in rounds; by name p50_ms and p99_ms. What comes first in a round is not favoured."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    done = 0
    for call in calls.values():
        for _ in range(3):
            call()
    while done < n:
        count = min(ROUND, n - done)
        for name in names:
            call = calls[name]
            for _ in range(count):
                started = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - started)
        names.append(names.pop(0))
        done += count
    return {name: percentiles(found) for name, found in seconds.items()}


def percentiles(seconds: list[float]) -> dict[str, Any]:
    """p50_ms and p99_ms of seconds, rounded to a microsecond; None where there are none."""
    if not seconds:
        return {"p50_ms": None, "p99_ms": None}
    p50, p99 = np.percentile(np.asarray(seconds) * 1e3, (50, 99))
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}
