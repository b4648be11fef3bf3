"""A rule: what must hold, and what it adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Comparison = Literal[">=", "<=", "==", "null"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One feature against a value; a null feature meets "null" alone."""

    feature: str
    comparison: Comparison
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Rule:
    """All conditions must hold. weight: log-odds added, below 0 for a brake. category: "" where it tells none."""

    name: str
    weight: float
    words: str
    conditions: tuple[Condition, ...]
    category: str = ""
