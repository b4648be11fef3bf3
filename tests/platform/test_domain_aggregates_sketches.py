from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from mailwarden.domain.aggregates.sketches import DistinctUnion

SIZES = (0, 1, 7, 379, 380, 381, 383, 384, 385, 386, 400, 600, 5000)


def union_of(values: Sequence[str]) -> DistinctUnion:
    union = DistinctUnion()
    for value in values:
        union.add(value)
    return union


def merged(parts: Sequence[DistinctUnion], rng: random.Random) -> DistinctUnion:
    """The union of the parts, merged as a random tree."""
    parts = list(parts)
    while len(parts) > 1:
        left, right = parts.pop(rng.randrange(len(parts))), parts.pop(rng.randrange(len(parts)))
        left.merge(right.to_bytes())
        parts.append(left)
    return parts[0]


@pytest.mark.parametrize("n", SIZES)
def test_the_estimate_depends_on_the_set_alone(n: int) -> None:
    rng = random.Random(n)
    values = [f"p{i}@x.test" for i in range(n)]
    expected = union_of(values).estimate()
    for _ in range(3):
        shuffled = rng.sample(values, n) + rng.choices(values or ["p0@x.test"], k=50 if n else 0)
        assert union_of(shuffled).estimate() == expected
        shares = [shuffled[i::6] for i in range(6)]
        shares.append(shuffled[: n // 2])
        assert merged([union_of(share) for share in shares], rng).estimate() == expected
        reopened = DistinctUnion()
        for start in range(0, len(shuffled), 170):
            reopened = DistinctUnion(reopened.to_bytes())
            for value in shuffled[start : start + 170]:
                reopened.add(value)
            reopened.estimate()
        assert reopened.estimate() == expected


@pytest.mark.parametrize("n", SIZES)
def test_the_estimate_is_exact_while_small_and_near_when_large(n: int) -> None:
    estimate = union_of([f"p{i}@x.test" for i in range(n)]).estimate()
    if n <= 380:
        assert estimate == n
    else:
        assert estimate == pytest.approx(n, rel=0.05)


def test_hostile_values_are_told_apart() -> None:
    values = ["a", "A", "a\x00", "a\x00b", "ä", "𝕏", " ", "l" * 100_000, "l" * 99_999]
    union = union_of(values)
    assert union.estimate() == len(values)
    assert all(union.add(value) for value in values)


def test_an_empty_value_is_none() -> None:
    union = union_of(["a", ""])
    assert union.estimate() == 1


@pytest.mark.parametrize("n", [10, 390, 2000])
def test_added_says_held_only_of_what_is_held(n: int) -> None:
    union = DistinctUnion()
    assert not any(union.add(f"p{i}@x.test") for i in range(n))


def test_bytes_are_those_of_the_set_as_it_is_now() -> None:
    union = DistinctUnion()
    for i in range(500):
        union.add(f"p{i}@x.test")
        if i % 50 == 0:
            assert DistinctUnion(union.to_bytes()).estimate() == union.estimate()
            union.add(f"p{i}@x.test")
            assert DistinctUnion(union.to_bytes()).estimate() == union.estimate()


def test_merging_what_is_held_changes_no_estimate() -> None:
    for n in (5, 383, 900):
        union = union_of([f"p{i}@x.test" for i in range(n)])
        before = union.estimate()
        union.merge(union_of([f"p{i}@x.test" for i in range(n // 2)]).to_bytes())
        union.merge(DistinctUnion().to_bytes())
        assert union.estimate() == before
