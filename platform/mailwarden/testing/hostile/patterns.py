"""Regular expressions tried with text made from themselves, pumped: what goes back in it costs more than its length."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from types import ModuleType
from typing import Any, NamedTuple

_LENGTHS = (26, 104, 500, 2_000, 8_000)
_FLOOR_SECONDS = 0.004
_SQUARE = 11.0
"""A text four times as long takes four times as long in linear time, and sixteen times in quadratic."""


class Slow(NamedTuple):
    """An attack that a pattern yields to. seconds: at each of the lengths that were tried."""

    pattern: str
    before: str
    pumped: str
    after: str
    seconds: tuple[float, ...]


class Kept(NamedTuple):
    """A compiled pattern that a module keeps. anchored: the module only matches it where a text begins."""

    name: str
    pattern: re.Pattern[Any]
    anchored: bool


def patterns_of(module: ModuleType) -> Iterator[Kept]:
    """Every compiled pattern that a module keeps, those in tuples too."""
    source = Path(module.__file__).read_text(encoding="utf-8") if module.__file__ else ""

    def within(name: str, value: object, anchored: bool) -> Iterator[Kept]:
        if isinstance(value, re.Pattern):
            yield Kept(f"{module.__name__}.{name}", value, anchored)
        elif isinstance(value, (tuple, list)):
            for item in value:
                yield from within(name, item, False)

    for name, value in vars(module).items():
        uses = set(re.findall(rf"\b{re.escape(name)}\.([a-z]+)\(", source))
        yield from within(name, value, bool(uses) and uses <= {"match", "fullmatch"})


def attack_pattern(pattern: re.Pattern[Any], chance: Random, tries: int = 60, *, anchored: bool = False) -> Slow | None:
    """The first pumped text whose search grows faster than its length, None where none of `tries` does.

    anchored: it is matched where a text begins, and not searched for from every place.
    """
    tree = parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
    for _ in range(tries):
        sample = _sample(tree, chance, {})
        start = chance.randrange(len(sample) + 1)
        end = min(len(sample), start + chance.choice((1, 1, 1, 2, 3, 8)))
        pumped = sample[start:end] or chance.choice(" a0.:,-<\t")
        before = sample[:end] if chance.random() < 0.7 else ""
        after = chance.choice(("", "\x01", "!", sample[end:], sample[end:][:1] + "\x01", "x"))
        slow = _measured(pattern, before, pumped, after, anchored)
        if slow is not None:
            return slow
    return None


def _measured(pattern: re.Pattern[Any], before: str, pumped: str, after: str, anchored: bool) -> Slow | None:
    seconds: list[float] = []
    for length in _LENGTHS:
        text = before + pumped * (length // len(pumped)) + after
        subject = text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text
        best = _timed(pattern, subject, anchored)
        if best > _FLOOR_SECONDS:
            best = min(best, _timed(pattern, subject, anchored))
        seconds.append(max(_FLOOR_SECONDS, best))
        if (len(seconds) > 1 and seconds[-1] > seconds[-2] * _SQUARE) or best > 0.1:
            return Slow(repr(pattern.pattern), before, pumped, after, tuple(seconds))
    return None


def _timed(pattern: re.Pattern[Any], subject: str | bytes, anchored: bool) -> float:
    start = time.thread_time()
    if anchored:
        pattern.match(subject)
        pattern.fullmatch(subject)
    else:
        sum(1 for _ in pattern.finditer(subject))
    return time.thread_time() - start


def _sample(tree: Any, chance: Random, groups: dict[int, str]) -> str:
    """A text that the parsed pattern matches, as far as look-around allows."""
    return "".join(_node(kind, value, chance, groups) for kind, value in tree)


def _node(kind: Any, value: Any, chance: Random, groups: dict[int, str]) -> str:
    if kind is op.LITERAL:
        return chr(value)
    if kind is op.NOT_LITERAL:
        return "a" if value != ord("a") else "b"
    if kind is op.ANY:
        return chance.choice("a \t")
    if kind is op.IN:
        return _member(value, chance)
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        least, most, inner = value
        count = min(most, max(least, chance.choice((0, 1, 1, 2))))
        return "".join(_sample(inner, chance, groups) for _ in range(count))
    if kind is op.BRANCH:
        return _sample(chance.choice(value[1]), chance, groups)
    if kind is op.SUBPATTERN:
        groups[value[0]] = _sample(value[-1], chance, groups)
        return groups[value[0]]
    if kind is op.ATOMIC_GROUP:
        return _sample(value, chance, groups)
    if kind is op.ASSERT and value[0] > 0:
        return _sample(value[1], chance, groups)
    if kind is op.GROUPREF:
        return groups.get(value, "")
    return ""


_OF_CATEGORY = {
    op.CATEGORY_DIGIT: "07", op.CATEGORY_SPACE: " \t\n", op.CATEGORY_WORD: "a_0é", op.CATEGORY_NOT_DIGIT: "a .",
    op.CATEGORY_NOT_SPACE: "a.<", op.CATEGORY_NOT_WORD: " .-",
}  # fmt: skip
_LIKELY = "a0 _-.:,;<>\"'()@=/\\\téA"


def _member(items: Any, chance: Random) -> str:
    if items[0][0] is op.NEGATE:
        outside = [char for char in _LIKELY if not any(_holds(item, char) for item in items[1:])]
        return chance.choice(outside or ["\x7f"])
    kind, value = chance.choice(items)
    if kind is op.LITERAL:
        return chr(value)
    if kind is op.RANGE:
        return chr(chance.choice(value))
    return chance.choice(_OF_CATEGORY.get(value, "a"))


def _holds(item: Any, char: str) -> bool:
    kind, value = item
    if kind is op.LITERAL:
        return bool(ord(char) == value)
    if kind is op.RANGE:
        return bool(value[0] <= ord(char) <= value[1])
    return char in str(_OF_CATEGORY.get(value, ""))
