"""Rules made ready to be held against rows: all their tests at once, then the ors and the ands of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.compiled import compiled
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.rules.conditions import Test, clauses_of
from mailwarden.domain.detection.rules.rule import IsNull, Matches, Rule
from mailwarden.domain.detection.rules.signals import DERIVED, derived, read_by, rests_on
from mailwarden.patterns import PatternSet

SHOWN = re.compile(r"\{([a-z0-9_]+:[a-z0-9_]+)\}")
"""What stands for a feature's value in a rule's words."""


class RuleSet:
    """Rules, in the order that they were given, of one name each."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        clauses = [clauses_of(rule.when) for rule in self.rules]
        self._rests_on = {rule.name: _rests_on(rule, tests) for rule, tests in zip(self.rules, clauses, strict=True)}
        tests = list(dict.fromkeys(test for rule in clauses for clause in rule for test in clause))
        named = {_signal(test) for test in tests}
        self._matched = _patterns(tests)
        texts = set(self._matched)
        shown = {name for rule in self.rules for name in SHOWN.findall(rule.words)}
        self._numeric = tuple(sorted(read_by(named - texts)))
        self.texts = frozenset(texts)
        """Those of the features that are text."""
        self._derived = bool(named & DERIVED.keys())
        self.features = tuple(sorted({*self._numeric, *texts, *shown}))
        """Full names of all that is read, texts too."""
        self._place(tests)
        number = {test: at for at, test in enumerate(tests)}
        ors = [[number[test] for test in clause] for rule in clauses for clause in rule]
        self._of_clause = np.array([at for clause in ors for at in clause], dtype=np.intp)
        self._clause_starts = np.cumsum([0, *map(len, ors)], dtype=np.intp)
        self._rule_starts = np.cumsum([0, *map(len, clauses)], dtype=np.intp)

    def _place(self, tests: Sequence[Test]) -> None:
        """Where each test's column stands: numeric features, derived signals, texts' patterns, then what is null."""
        names: list[str | Matches] = [*self._numeric, *(DERIVED if self._derived else ())]
        names += [Matches(name, (pattern,)) for name, found in self._matched.items() for pattern in found.patterns]
        self._any_of: list[tuple[Matches, list[int]]] = []
        place: dict[str | IsNull | Matches, int] = {name: at for at, name in enumerate(names)}
        for test in tests:
            if isinstance(test.column, Matches) and test.column not in place:
                found = [place[Matches(test.column.feature, (pattern,))] for pattern in test.column.patterns]
                place[test.column] = len(names) + len(self._any_of)
                self._any_of.append((test.column, found))
        nulls = list(dict.fromkeys(test.column for test in tests if isinstance(test.column, IsNull)))
        self._nulls = np.array([place[one.signal] for one in nulls], dtype=np.intp)
        place |= {one: len(names) + len(self._any_of) + at for at, one in enumerate(nulls)}
        self._width = len(names) + len(self._any_of) + len(nulls)
        self._column = np.array([place[test.column] for test in tests], dtype=np.intp)
        self._low = np.array([test.low for test in tests], dtype=np.float64)
        self._high = np.array([test.high for test in tests], dtype=np.float64)

    def held(self, features: FeatureTable) -> NDArray[np.bool_]:
        """(n, rules) whether each rule holds in each row."""
        if not self.rules:
            return np.zeros((features.n, 0), dtype=np.bool_)
        return self._of_columns(self._columns(features))

    def compile(self) -> None:
        """Have ready what is compiled at a first call, before a message waits for it."""
        self._of_columns(np.empty((0, self._width)))

    def _of_columns(self, whole: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray(
            _held(whole, self._column, self._low, self._high, self._of_clause, self._clause_starts, self._rule_starts)
        )

    def words(self, rule: Rule, features: FeatureTable, row: int) -> str:
        """A rule's words with the values of a row in them, `?` for null."""
        return SHOWN.sub(lambda found: _shown(features, found[1], row), rule.words)

    def rests_on(self, rule: Rule) -> tuple[str, ...]:
        """Full names of the features that a rule of these rests on: those that its words show, then its conditions'."""
        return self._rests_on[rule.name]

    def _columns(self, features: FeatureTable) -> NDArray[np.float64]:
        whole = np.empty((features.n, self._width))
        at = len(self._numeric)
        whole[:, :at] = features.numeric(self._numeric)
        if self._derived:
            for column in derived(features):
                whole[:, at] = column
                at += 1
        for name, patterns in self._matched.items():
            there = np.array([value is not None for value in features.columns[name]], dtype=np.bool_)
            found = np.where(there[:, None], patterns.hits(features.text(name)), np.nan)
            whole[:, at : at + found.shape[1]] = found
            at += found.shape[1]
        for _, several in self._any_of:
            whole[:, at] = whole[:, several].max(axis=1)
            at += 1
        if len(self._nulls):
            whole[:, at:] = np.isnan(whole[:, self._nulls])
        return whole


def _patterns(tests: Sequence[Test]) -> dict[str, PatternSet]:
    """By text feature, all patterns that are looked for in it, as one set."""
    found: dict[str, dict[str, None]] = {}
    for test in tests:
        if isinstance(test.column, Matches):
            found.setdefault(test.column.feature, {}).update(dict.fromkeys(test.column.patterns))
    return {name: PatternSet(tuple(patterns)) for name, patterns in found.items()}


def _rests_on(rule: Rule, clauses: Sequence[Sequence[Test]]) -> tuple[str, ...]:
    asked = [name for clause in clauses for test in clause for name in rests_on(_signal(test))]
    return tuple(dict.fromkeys([*SHOWN.findall(rule.words), *asked]))


def _signal(test: Test) -> str:
    column = test.column
    if isinstance(column, str):
        return column
    return column.signal if isinstance(column, IsNull) else column.feature


@compiled
def _held(whole: Any, columns: Any, low: Any, high: Any, of_clause: Any, clause_starts: Any, rule_starts: Any) -> Any:
    rules = len(rule_starts) - 1
    out = np.empty((len(whole), rules), dtype=np.bool_)
    meets = np.empty(len(columns), dtype=np.bool_)
    for row in range(len(whole)):
        for test in range(len(columns)):
            value = whole[row, columns[test]]
            meets[test] = low[test] <= value <= high[test]
        for rule in range(rules):
            holds = True
            for clause in range(rule_starts[rule], rule_starts[rule + 1]):
                some = False
                for at in range(clause_starts[clause], clause_starts[clause + 1]):
                    some = some or meets[of_clause[at]]
                holds = holds and some
            out[row, rule] = holds
    return out


def _shown(features: FeatureTable, name: str, row: int) -> str:
    value = features.columns[name][row]
    if value is None or value != value:
        return "?"
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"
