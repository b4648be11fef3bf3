"""Conditions as people write them, and as they are computed: an and of ors."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mailwarden.domain.detection.rules.rule import AllOf, AnyOf, Condition, IsNull, Matches, Not, Within
from mailwarden.errors import DataError, did_you_mean
from mailwarden.patterns import check_pattern

MOST_PARTS = 64
"""Comparisons that a rule may hold, and ors of them that it may come to when it is multiplied out."""

_NAME = r"(?P<name>[a-z0-9_]+(?::[a-z0-9_]+)?)"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_COMPARED = re.compile(rf"{_NAME}\s*(?P<sign>>=|<=|==|!=|>|<)\s*(?P<value>{_NUMBER})")
_BETWEEN = re.compile(rf"{_NAME}\s+between\s+(?P<low>{_NUMBER})\s+and\s+(?P<high>{_NUMBER})")
_NULL = re.compile(rf"{_NAME}\s+is\s+(?P<contrary>not\s+)?null")
_BARE = re.compile(_NAME)
_FORMS = (
    "write NAME (for 1), NAME >= 2 (or <=, ==, !=, >, <), NAME between 1 and 5, NAME is null, NAME is not null, or one "
    "of `all: [...]`, `any: [...]`, `not: ...`, `text: NAME` with `matches: [...]`"
)
_KEYS = ("all", "any", "not", "text", "matches")


def read_condition(given: Any, place: str, *, left: list[int] | None = None) -> Condition:
    """A condition of a parsed file. place: where it stands, for errors: `when.all[2]`.

    Raises DataError, with the place and the mend, where it is none.
    """
    left = [MOST_PARTS] if left is None else left
    left[0] -= 1
    if left[0] < 0:
        raise DataError(f"{place}: a rule holds at most {MOST_PARTS} conditions; write several rules")
    if isinstance(given, str):
        return _comparison(given.strip(), place)
    if not isinstance(given, dict):
        raise DataError(f"{place} is {given!r}, and no condition; {_FORMS}")
    for key in given:
        if key not in _KEYS:
            raise DataError(
                f"{place}: {key!r} is no way to combine conditions.{did_you_mean(str(key), _KEYS)} {_FORMS}"
            )
    if set(given) == {"text", "matches"}:
        return _matches(given, place)
    if len(given) != 1 or "text" in given or "matches" in given:
        raise DataError(f"{place} has {', '.join(map(str, given)) or 'nothing'}; {_FORMS}")
    ((key, inside),) = given.items()
    if key == "not":
        return Not(read_condition(inside, f"{place}.not", left=left))
    if not isinstance(inside, list) or not inside:
        raise DataError(f"{place}.{key} must be a list of conditions, and one at least")
    parts = tuple(read_condition(one, f"{place}.{key}[{at}]", left=left) for at, one in enumerate(inside))
    return AllOf(parts) if key == "all" else AnyOf(parts)


def _comparison(text: str, place: str) -> Condition:
    if found := _COMPARED.fullmatch(text):
        name, value = found["name"], float(found["value"])
        above, below = float(np.nextafter(value, math.inf)), float(np.nextafter(value, -math.inf))
        exactly = Within(name, value, value)
        bounds = {">=": (value, math.inf), "<=": (-math.inf, value), ">": (above, math.inf), "<": (-math.inf, below)}
        if found["sign"] in bounds:
            return Within(name, *bounds[found["sign"]])
        return exactly if found["sign"] == "==" else Not(exactly)
    if found := _BETWEEN.fullmatch(text):
        low, high = float(found["low"]), float(found["high"])
        if low > high:
            raise DataError(f"{place}: nothing lies between {low:g} and {high:g}; write the lower number first")
        return Within(found["name"], low, high)
    if found := _NULL.fullmatch(text):
        null = IsNull(found["name"])
        return Not(null) if found["contrary"] else null
    if found := _BARE.fullmatch(text):
        return Within(found["name"], 1.0, 1.0)
    raise DataError(f"{place}: {text!r} is no condition; {_FORMS}")


def _matches(given: dict[str, Any], place: str) -> Matches:
    name, patterns = given["text"], given["matches"]
    if not isinstance(name, str) or ":" not in name:
        raise DataError(f"{place}.text is {name!r}; name a feature that is text, as content_text:subject")
    if not isinstance(patterns, list) or not patterns or not all(isinstance(one, str) for one in patterns):
        raise DataError(f"{place}.matches must be a list of patterns in quotes, and one at least")
    for at, pattern in enumerate(patterns):
        try:
            check_pattern(pattern)
        except DataError as error:
            raise DataError(f"{place}.matches[{at}]: {error}") from error
    return Matches(name, tuple(patterns))


def leaves(condition: Condition) -> Iterator[Within | IsNull | Matches]:
    """Every comparison in it, in order."""
    if isinstance(condition, AllOf | AnyOf):
        for part in condition.parts:
            yield from leaves(part)
    elif isinstance(condition, Not):
        yield from leaves(condition.part)
    else:
        yield condition


@dataclass(frozen=True, slots=True)
class Test:
    """One look at a column: low <= value <= high, which no null meets. column: a signal, whether a signal is null
    (1 or 0), or whether a text matches (1, 0, or null where the text is)."""

    column: str | IsNull | Matches
    low: float
    high: float


Clauses = tuple[tuple[Test, ...], ...]
"""An and of ors."""


def clauses_of(condition: Condition) -> Clauses:
    """The condition as an and of ors; raises DataError, without the place, where that is more than `MOST_PARTS`.

    A rule holds where its condition is known to be true. With every `not` brought down to comparisons, whose contrary
    is no more known of a null than they are, that is an and and an or of tests alone.
    """
    found = _clauses(condition, contrary=False)
    return tuple(tuple(dict.fromkeys(clause)) for clause in found)


def _clauses(condition: Condition, *, contrary: bool) -> list[tuple[Test, ...]]:
    if isinstance(condition, Not):
        return _clauses(condition.part, contrary=not contrary)
    if isinstance(condition, AllOf | AnyOf):
        parts = [_clauses(part, contrary=contrary) for part in condition.parts]
        if isinstance(condition, AllOf) != contrary:
            found = list(itertools.chain.from_iterable(parts))
        else:
            if math.prod(len(part) for part in parts) > MOST_PARTS:
                raise DataError(f"multiplied out it has more than {MOST_PARTS} ors; write several rules")
            found = [tuple(itertools.chain.from_iterable(chosen)) for chosen in itertools.product(*parts)]
        if len(found) > MOST_PARTS:
            raise DataError(f"multiplied out it has more than {MOST_PARTS} ors; write several rules")
        return found
    if isinstance(condition, Within):
        return [_within(condition, contrary)]
    holds = 0.0 if contrary else 1.0
    return [(Test(condition, holds, holds),)]


def _within(condition: Within, contrary: bool) -> tuple[Test, ...]:
    if not contrary:
        return (Test(condition.signal, condition.low, condition.high),)
    found = []
    if condition.low != -math.inf:
        found.append(Test(condition.signal, -math.inf, float(np.nextafter(condition.low, -math.inf))))
    if condition.high != math.inf:
        found.append(Test(condition.signal, float(np.nextafter(condition.high, math.inf)), math.inf))
    # Of all numbers the contrary is none.
    return tuple(found) or (Test(condition.signal, math.inf, -math.inf),)
