"""Conditions that tell errors from other mail, as a rule that a tenant can add."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.rules.reading import read_rule
from mailwarden.domain.detection.rules.rule import Rule
from mailwarden.domain.detection.rules.ruleset import RuleSet
from mailwarden.domain.detection.rules.signals import read_by

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_WORDS = 200


@dataclass(frozen=True, slots=True)
class Condition:
    """A number lies from low to high, both included, or is null where `null` says so.

    name: of a feature or a derived signal. Nothing but null is meant where low is above high.
    """

    name: str
    low: float = -math.inf
    high: float = math.inf
    null: bool = False

    def holds(self, values: Floats) -> Flags:
        """(n,) of a column."""
        return np.asarray((values >= self.low) & (values <= self.high) | (np.isnan(values) & self.null))

    @property
    def bounds(self) -> int:
        """How many choices it is made of: its bounds, and whether null is meant."""
        ends = 1 if self.low >= self.high else int(self.low > -math.inf) + int(self.high < math.inf)
        return max(1, ends + int(self.null and self.low <= self.high))

    def document(self) -> Any:
        """As a rule's file has it."""
        if self.low > self.high:
            return f"{self.name} is null"
        known = self._compared()
        if known is None:
            return f"{self.name} is not null"
        return {"any": [known, f"{self.name} is null"]} if self.null else known

    def words(self) -> str:
        """The same in one line."""
        found = self.document()
        return found if isinstance(found, str) else " or ".join(found["any"])

    def _compared(self) -> str | None:
        if (self.low, self.high) == (1.0, 1.0):
            return self.name
        if self.low == self.high:
            return f"{self.name} == {_number(self.low)}"
        if self.low == -math.inf:
            return None if self.high == math.inf else f"{self.name} <= {_number(self.high)}"
        if self.high == math.inf:
            return f"{self.name} >= {_number(self.low)}"
        return f"{self.name} between {_number(self.low)} and {_number(self.high)}"


def above(a: float, b: float) -> float:
    """The shortest number c to write `>= c` with that leaves a out and takes b in, a < b.

    >>> above(2.0, 3.0), above(0.1234, 0.1378), above(-math.inf, 0.25)
    (3.0, 0.13, 0.25)
    """
    if float(b).is_integer() or a == -math.inf:
        return b
    return next((c for c in _rounded(a, b) if a < c <= b), b)


def below(a: float, b: float) -> float:
    """The shortest number c to write `<= c` with that takes a in and leaves b out, a < b.

    >>> below(2.0, 3.0), below(0.1234, 0.1378)
    (2.0, 0.13)
    """
    if float(a).is_integer() or b == math.inf:
        return a
    return next((c for c in _rounded(a, b) if a <= c < b), a)


@dataclass(frozen=True, slots=True)
class Proposal:
    """rule: read from `text`, its file. conditions: all of them must hold."""

    rule: Rule
    text: str
    conditions: tuple[Condition, ...]


def propose(
    name: str,
    conditions: Sequence[Condition],
    rows: FeatureTable,
    *,
    fires: int,
    silent: int,
    words: str,
    action: str,
    category: str = "",
) -> Proposal:
    """A tenant's rule of these conditions, with two of the rows as its cases.

    fires, silent: a row that it holds on, and one that it does not. words: what its sentence begins with. Raises
    DataError where it is no rule.
    """
    read = sorted(read_by({condition.name for condition in conditions}))
    parts = [condition.document() for condition in conditions]
    document: dict[str, Any] = {
        "name": name,
        "words": _sentence(words, [condition.words() for condition in conditions]),
        "severity": "low",
        "action": action,
        **({"category": category} if category else {}),
        "references": ["proposed by `mailwarden evaluate`"],
        "when": parts[0] if len(parts) == 1 else {"all": parts},
        "cases": [
            {"fires": "like one that was judged wrongly", "with": _values(rows, read, fires)},
            {"silent": "like one that was judged rightly", "with": _values(rows, read, silent)},
        ],
    }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    return Proposal(read_rule(text, f"{name}.yaml", of_tenant=True), text, tuple(conditions))


def held(proposals: Sequence[Proposal], rows: FeatureTable) -> Flags:
    """(n, proposals) where each rule holds."""
    return RuleSet([one.rule for one in proposals]).held(rows)


def _values(rows: FeatureTable, names: Sequence[str], at: int) -> Mapping[str, float | int]:
    found: dict[str, float | int] = {}
    for name in names:
        value = float(rows.columns[name][at])
        if not math.isnan(value):
            found[name] = int(value) if value.is_integer() else value
    return found


def _sentence(words: str, conditions: Sequence[str]) -> str:
    kept = list(conditions)
    while True:
        more = "" if len(kept) == len(conditions) else ", and more"
        text = f"{words}: {'; '.join(kept)}{more}."
        if len(text) <= _WORDS or not kept:
            return text
        kept.pop()


def _rounded(a: float, b: float) -> list[float]:
    return [float(f"{(a + b) / 2.0:.{digits}g}") for digits in range(1, 18)]


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
