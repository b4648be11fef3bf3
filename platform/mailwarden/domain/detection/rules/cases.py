"""A rule's own cases held against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.rules.rule import Rule, RuleCase
from mailwarden.domain.detection.rules.ruleset import RuleSet


def table_of_cases(rules: RuleSet, cases: Sequence[RuleCase]) -> FeatureTable:
    """The cases as rows of what these rules read; what a case leaves out is null."""
    columns: dict[str, NDArray[Any]] = {}
    for name in rules.features:
        values = [case.features.get(name) for case in cases]
        if name in rules.texts:
            columns[name] = np.array([*values, None], dtype=object)[:-1]
        else:
            columns[name] = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return FeatureTable(columns, len(cases))


def failing_cases(rule: Rule) -> list[str]:
    """In words, each case that the rule does the contrary of."""
    alone = RuleSet([rule])
    held = alone.held(table_of_cases(alone, rule.cases))[:, 0].tolist()
    return [
        f"it {'is silent' if case.fires else 'fires'} on the case {case.case!r}"
        for case, holds in zip(rule.cases, held, strict=True)
        if holds != case.fires
    ]
