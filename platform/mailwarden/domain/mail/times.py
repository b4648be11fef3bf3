"""A message's time, settled once: one that lies ahead of what can be is set back before any feature is computed.

A time ahead of its mail makes all later mail of its keys look older than their windows, and spam bears such times
(2030, 2062, 2077). It is never refused for that: it is set back, flagged, and keeps the identity of the time it bears.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TIME_CLAMPED = "time clamped"
"""Flag of an answer whose message bore a time that lay ahead."""

LIVE_AHEAD_US = 5 * 60 * 1_000_000
"""How far a message's time may lie ahead of the clock of whoever takes it in, microseconds."""

BULK_AHEAD_US = 86_400_000_000
"""How far a message's time may lie ahead of the robust newest of its source, microseconds: a day."""

HANDFUL = 3
"""So many messages ahead move no source's newest time, however small the source."""

TAIL_SHARE = 0.02
"""Of a source, the share of messages that may lie ahead and not move its newest time."""

LEAST = 20
"""Messages of a source below which nothing can be told from their times alone."""

_PAUSES = 3
"""A source's next pause may be so many times as long as its longest so far."""


def settled(time_us: int, newest_us: int, ahead_us: int) -> int:
    """A time, or `newest_us` where it lies further ahead of that than `ahead_us`; microseconds UTC all.

    >>> settled(1_000, 0, 1_000), settled(1_001, 0, 1_000)
    (1000, 0)
    """
    return newest_us if time_us > newest_us + ahead_us else time_us


def robust_newest(times_us: NDArray[np.int64]) -> int | None:
    """The newest time of a source that a handful of its messages cannot have made up; None below `LEAST` messages.

    times_us: event times of all of them, in any order. The latest `TAIL_SHARE` of the messages (at least `HANDFUL`) are
    the tail, the others the body. From the newest time of the body the tail is walked in order of time for as long as
    each next time is no further away than a step: three times the longest pause between neighbours in the later half of
    the body, and at least a day. It goes no further ahead than that half is long, or one step where that is more. Where
    the walk ends is the answer. It is a function of the times alone, of which a first pass over the source keeps eight
    bytes a message. Messages ahead, as many as the tail holds, move it by a step each at most, and only where they bear
    times that far apart; with more of them there is no telling.
    """
    n = len(times_us)
    if n < LEAST:
        return None
    tail = max(HANDFUL, int(n * TAIL_SHARE))
    cut = n - tail
    order = np.partition(times_us, cut - 1)
    body = np.sort(order[:cut])
    newest = int(body[-1])
    later = body[cut // 2 :]
    step = max(BULK_AHEAD_US, _PAUSES * int(np.diff(later).max(initial=0)))
    limit = newest + max(step, newest - int(later[0]))
    for time_us in np.sort(order[cut:]).tolist():
        if time_us - newest > step or time_us > limit:
            break
        newest = time_us
    return newest


def settled_all(
    times_us: NDArray[np.int64], clock_us: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The settled times of a source's messages, and which of them were set back.

    times_us: (n,) in the source's order. Those further ahead than a day of the robust newest become that. clock_us:
    where one is handed in, nothing of the source was received after it: what then still lies ahead of it by a day
    becomes the clock's time. A replay hands none in.
    """
    newest = robust_newest(times_us)
    out = times_us
    if newest is not None:
        out = np.where(out > newest + BULK_AHEAD_US, newest, out)
    if clock_us is not None:
        out = np.where(out > clock_us + BULK_AHEAD_US, clock_us, out)
    return out, out != times_us
