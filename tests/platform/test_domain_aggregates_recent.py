from __future__ import annotations

import math
import random

import numpy as np

from mailwarden.domain.aggregates.online.packed_reads import closest_packed
from mailwarden.domain.aggregates.recent import MEMBERS_KEPT, Members, RecentSets, own_set
from mailwarden.domain.aggregates.windows import NOTHING

USES = [(own_set(names), time_us, seq) for seq, (names, time_us) in enumerate([
    (["a"], 5), (["b"], 5), (["a", "b"], 3), (["a"], 9), ([], 99), (["c"], 1), (["d"], 4), (["b"], 2),
])]  # fmt: skip


def folded(uses: list[tuple[tuple[int, ...], int, int]], keep: int = 3) -> RecentSets:
    sets = RecentSets(keep)
    for use in uses:
        sets.add(*use)
    return sets


def test_the_latest_different_sets_are_kept() -> None:
    assert folded(USES).words() == [
        word for names, time_us, seq in ((["a"], 9, 3), (["b"], 5, 1), (["d"], 4, 6))
        for word in (time_us, seq, 1, *own_set(names))
    ]  # fmt: skip


def test_neither_order_nor_grouping_shows() -> None:
    rng = random.Random(2)
    expected = folded(USES).words()
    for _ in range(200):
        uses = rng.sample(USES, len(USES))
        cut = rng.randrange(len(uses) + 1)
        left, right = folded(uses[:cut]), folded(uses[cut:])
        left.merge(right)
        assert left.words() == folded(uses).words() == expected
        assert RecentSets.read(3, left.words()).words() == expected


def test_a_large_set_keeps_its_smallest_hashes_whatever_the_order_and_repeats() -> None:
    names = [f"n{i}" for i in range(500)]
    kept = own_set(names)
    assert len(kept) == MEMBERS_KEPT and list(kept) == sorted(kept)
    assert own_set(random.Random(1).sample(names * 2, 1000)) == kept
    assert kept == tuple(sorted(own_set([name])[0] for name in names))[:MEMBERS_KEPT]
    assert own_set(["", "x", "x"]) == own_set(["x"]) and own_set([""]) == ()


def closest(own: Members, sets: RecentSets, since_us: int) -> float:
    """The best Jaccard overlap with a set used since a time, by Python's own sets."""
    mine = set(own)
    found = [
        len(mine & set(of)) / len(mine | set(of)) for of, (time_us, _) in sets.uses() if time_us >= since_us and mine
    ]
    return max(found, default=math.nan)


def packed(own: Members, sets: RecentSets, since_us: int) -> float:
    return closest_packed(np.array(own, dtype=np.int64), np.array(sets.words(), dtype=np.int64), since_us)


def test_the_closest_set_is_the_one_with_the_best_overlap_in_time() -> None:
    sets = RecentSets(5)
    for names, time_us in ((["a"], 5), (["a", "b"], 10), (["z"], 20)):
        sets.add(own_set(names), time_us, 1)
    mine = own_set(["a", "c"])
    assert [packed(mine, sets, since) for since in (NOTHING, 6, 20)] == [0.5, 1 / 3, 0.0]
    assert math.isnan(packed(mine, sets, 21)) and math.isnan(packed((), sets, NOTHING))


def test_packed_sets_are_as_close_as_the_sets() -> None:
    rng = random.Random(5)
    names = [f"n{i}" for i in range(12)]
    for _ in range(400):
        recent = RecentSets(6)
        for seq in range(rng.randrange(9)):
            recent.add(own_set(rng.sample(names, rng.randrange(4))), rng.randrange(50), seq)
        mine = own_set(rng.sample(names, rng.choice((0, 1, 1, 2, 5))))
        for since in (NOTHING, rng.randrange(60)):
            assert repr(packed(mine, recent, since)) == repr(closest(mine, recent, since))
