"""A rule: what must hold, and what it adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PROOF, STRANGER, UNPROVEN, HABIT_BROKEN = "@proof", "@stranger", "@unproven", "@habit_broken"
"""Names of what is worked out of several features.

proof: `proof.proof_of`. unproven: the sender is known, and the message does not prove to be from it. stranger:
unproven, or the sender was never seen. habit_broken: `proof.breaks_habit`.
"""

Comparison = Literal[">=", "<=", "==", "null"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One feature, or what is worked out of some, against a value; what is null meets "null" alone."""

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
