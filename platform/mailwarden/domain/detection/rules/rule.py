"""A rule: what must hold, what it adds or does, and the cases that show it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from mailwarden.domain.detection.decision import Verdict

Severity = Literal["info", "low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

RuleMode = Literal["off", "shadow", "on"]
RULE_MODES: tuple[RuleMode, ...] = get_args(RuleMode)
"""off: not looked at. shadow: logged where it holds, and of no consequence. on: acts."""


@dataclass(frozen=True, slots=True)
class Within:
    """A number lies from low to high, both included; what is null does not.

    signal: full name of a numeric feature, or a derived signal.
    """

    signal: str
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, slots=True)
class IsNull:
    """A numeric feature or derived signal is null."""

    signal: str


@dataclass(frozen=True, slots=True)
class Matches:
    """A text feature holds a match of one of these patterns (RE2); a text that is null holds neither that nor its
    contrary."""

    feature: str
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Known not to hold: the contrary of a comparison with null is no more known than the comparison."""

    part: Condition


Condition = Within | IsNull | Matches | AllOf | AnyOf | Not


@dataclass(frozen=True, slots=True)
class RuleCase:
    """A message that the rule must hold on, or must not. features: full name to value, null where absent."""

    case: str
    fires: bool
    features: Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold, and what comes of it.

    weight: log-odds added, below 0 for a brake; 0 for a tenant's rule, which has an `action` instead: the verdict that
    it gives. category: of `events.CATEGORIES`, "" where it tells none. tactics: techniques of MITRE ATT&CK. words: a
    sentence; `{view:feature}` in it stands for the value.
    """

    name: str
    words: str
    severity: Severity
    when: Condition
    cases: Sequence[RuleCase]
    weight: float = 0.0
    action: Verdict | None = None
    category: str = ""
    tactics: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
