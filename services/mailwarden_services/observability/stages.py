"""How long each stage of a message took, from wherever it ran to whoever tells of it.

What runs a stage measures it with a `StageClock` and hands the seconds on as a plain tuple, which any process can send
with its answer; `added` puts parts of a message's way together.
"""

from __future__ import annotations

import time
from typing import Literal, get_args

Stage = Literal["read", "features", "store", "score", "accept"]
"""read: parsing. features: what the message alone says. store: history, read from the online store. score: detectors,
decision and reasons. accept: numbered, and on disk."""

STAGES: tuple[Stage, ...] = get_args(Stage)

StageSeconds = tuple[float, float, float, float, float]
"""Seconds of each of `STAGES`, 0.0 where the message did not pass it."""

NO_STAGES: StageSeconds = (0.0, 0.0, 0.0, 0.0, 0.0)

_PLACES = {stage: place for place, stage in enumerate(STAGES)}


class StageClock:
    """Seconds by the clock since it was made, each lap counted to the stage that it ends."""

    __slots__ = ("_last", "_seconds")

    def __init__(self) -> None:
        self._seconds = [0.0] * len(STAGES)
        self._last = time.perf_counter()

    def end(self, stage: Stage) -> None:
        """Count the time since the last call, or since the begin, to a stage; a stage may end several times."""
        now = time.perf_counter()
        self._seconds[_PLACES[stage]] += now - self._last
        self._last = now

    def skip(self) -> None:
        """Count the time since the last call to no stage: it was waited."""
        self._last = time.perf_counter()

    @property
    def seconds(self) -> StageSeconds:
        """What each stage took so far."""
        read, features, store, score, accept = self._seconds
        return read, features, store, score, accept


def added(one: StageSeconds, other: StageSeconds) -> StageSeconds:
    """The sum of two parts of a message's way, as of a worker and of what waited for it."""
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3], one[4] + other[4])
