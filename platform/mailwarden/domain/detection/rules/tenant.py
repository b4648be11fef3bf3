"""What a tenant adds to the rules and takes away from them, as it is kept and as scoring wants it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import VERDICTS, Verdict
from mailwarden.domain.detection.detector import Signal
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.rules.conditions import leaves
from mailwarden.domain.detection.rules.reading import rule_of
from mailwarden.domain.detection.rules.rule import RULE_MODES, Matches, Rule, RuleMode
from mailwarden.domain.detection.rules.ruleset import RuleSet
from mailwarden.errors import DataError

MOST_RULES = 100
"""Rules of its own that a tenant may have."""

MOST_PATTERNS = 50
"""Patterns that these may have together: reading them takes some 2 ms a message, see `patterns`."""


class KeptRule(TypedDict):
    """As the tenant's row keeps it. rule: its file, parsed; None for a rule of the platform that is off or shadow."""

    name: str
    mode: RuleMode
    rule: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class TenantRules:
    """own: the tenant's rules that are not off. shadow: which of those, and of the platform's, are logged alone.
    silenced: rules of the platform that add nothing, off or shadow. unreadable: own rules that cannot be computed here,
    since they name a feature that is gone, or are of another release."""

    own: RuleSet = field(default_factory=lambda: RuleSet(()))
    shadow: frozenset[str] = frozenset()
    silenced: frozenset[str] = frozenset()
    unreadable: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.own.rules or self.silenced or self.unreadable)


NO_RULES = TenantRules()


def checked_rules(rules: Sequence[KeptRule]) -> list[KeptRule]:
    """Return `rules` by name; raises DataError where one cannot be read, two are of one name, or they are too many."""
    by_name = {one["name"]: one for one in rules}
    if len(by_name) < len(rules):
        raise DataError("Two rules of a tenant are of one name. Choose another for one of them.")
    own = [rule_of(one["rule"], of_tenant=True) for one in rules if one["rule"] is not None]
    if len(own) > MOST_RULES:
        raise DataError(f"A tenant has at most {MOST_RULES} rules of its own, and these are {len(own)}. Remove some.")
    patterns = sum(len(leaf.patterns) for rule in own for leaf in leaves(rule.when) if isinstance(leaf, Matches))
    if patterns > MOST_PATTERNS:
        raise DataError(f"A tenant's rules have at most {MOST_PATTERNS} patterns, and these {patterns}. Remove some.")
    for one in rules:
        if one["mode"] not in RULE_MODES:
            raise DataError(f"Rule {one['name']!r}: mode is {one['mode']!r}; use one of {', '.join(RULE_MODES)}.")
    return [by_name[name] for name in sorted(by_name)]


def tenant_rules(kept: Sequence[KeptRule], features: Collection[str]) -> TenantRules:
    """A tenant's rules made ready. features: full names of all that rows hold."""
    own: list[Rule] = []
    unreadable = []
    for one in kept:
        if one["rule"] is None or one["mode"] == "off":
            continue
        try:
            rule = rule_of(one["rule"], of_tenant=True)
        except DataError:
            unreadable.append(one["name"])
            continue
        if set(RuleSet([rule]).features) <= set(features):
            own.append(rule)
        else:
            unreadable.append(one["name"])
    return TenantRules(
        RuleSet(own),
        frozenset(one["name"] for one in kept if one["mode"] == "shadow"),
        frozenset(one["name"] for one in kept if one["rule"] is None and one["mode"] != "on"),
        tuple(unreadable),
    )


@dataclass(frozen=True, slots=True)
class OwnVerdict:
    """What a tenant's own rules make of one message.

    least: the strictest verdict of those that hold a message back. deliver: one says deliver, which counts for
    authenticated mail alone, and where nothing holds it back. signals: of those that count, of no weight. category: of
    the strictest, "" where it names none. held: by name of every rule that holds in some row, shadow ones too, (n,).
    """

    least: Verdict
    deliver: bool
    signals: tuple[Signal, ...]
    category: str
    held: Mapping[str, NDArray[np.bool_]]


NO_VERDICT = OwnVerdict("deliver", False, (), "", {})
"""Of no rules."""


def own_verdict(rules: TenantRules, features: FeatureTable) -> OwnVerdict:
    """Hold a tenant's own rules against the rows of one message; one holds where it does for some recipient."""
    held = rules.own.held(features)
    at = np.flatnonzero(held.any(axis=0)).tolist()
    acting = [n for n in at if rules.own.rules[n].name not in rules.shadow]
    acting.sort(key=lambda n: (-VERDICTS.index(_action(rules.own.rules[n])), rules.own.rules[n].name))
    holding = [rules.own.rules[n] for n in acting if rules.own.rules[n].action != "deliver"]
    return OwnVerdict(
        least=_action(holding[0]) if holding else "deliver",
        deliver=bool(acting) and not holding,
        signals=tuple(
            Signal(
                rule.name, rules.own.words(rule, features, int(np.argmax(held[:, n]))), 0.0, rules.own.rests_on(rule)
            )
            for n in acting
            for rule in [rules.own.rules[n]]
            if not holding or rule.action != "deliver"
        ),
        category=holding[0].category if holding else "",
        held={rules.own.rules[n].name: held[:, n] for n in at},
    )


def _action(rule: Rule) -> Verdict:
    return rule.action or "deliver"
