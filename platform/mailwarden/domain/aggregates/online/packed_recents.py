"""Recent sets as they lie in a packed state: what `RecentSets.add` comes to, over words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mailwarden.compiled import compiled

Ints = NDArray[np.int64]

ENTRY = 3
"""Words of a set before its members: time, seq, how many members."""


@compiled
def use(kept: Ints, n: int, members: Ints, time_us: int, seq: int, keep: int) -> int:
    """Note a use of a set in n words of packed entries, the latest use first; how many words there are then."""
    if members.size == 0:
        return n
    entry = 0
    while entry < n:
        after = entry + ENTRY + kept[entry + 2]
        if kept[entry + 2] == members.size and np.array_equal(kept[entry + ENTRY : after], members):
            if kept[entry] > time_us or (kept[entry] == time_us and kept[entry + 1] >= seq):
                return n
            for j in range(after, n):
                kept[j - after + entry] = kept[j]
            n -= after - entry
            break
        entry = after
    at = sets = 0
    while at < n and (kept[at] > time_us or (kept[at] == time_us and kept[at + 1] > seq)):
        at += ENTRY + kept[at + 2]
    room = ENTRY + members.size
    for j in range(n - 1, at - 1, -1):
        kept[j + room] = kept[j]
    kept[at], kept[at + 1], kept[at + 2] = time_us, seq, members.size
    kept[at + ENTRY : at + room] = members
    n += room
    entry = 0
    while entry < n and sets < keep:
        entry += ENTRY + kept[entry + 2]
        sets += 1
    return entry
