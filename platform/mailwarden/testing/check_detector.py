"""What every detector must hold to, whatever it does inside; for the team that writes one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from mailwarden.domain.detection.detector import Detector
from mailwarden.testing.detector_cases import Case
from mailwarden.testing.detector_checks import (
    answers,
    cost,
    definition,
    elsewhere,
    learning,
    sameness,
    scoring,
    storage,
)
from mailwarden.testing.detector_trial import Check, Trial
from mailwarden.testing.problem import Finding

CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        definition.definition,
        definition.known_features,
        definition.cases,
        learning.fit,
        scoring.score_shape,
        scoring.abstention,
        learning.fit_again,
        learning.fit_outage,
        scoring.score_finite,
        scoring.verdicts,
        scoring.nulls,
        scoring.inputs,
        sameness.alone,
        sameness.batches,
        sameness.order,
        sameness.beside,
        sameness.serving_table,
        elsewhere.elsewhere,
        storage.to_bytes,
        storage.foreign_bytes,
        storage.no_code,
        storage.parameters,
        answers.reasons,
        answers.reasons_backed,
        answers.reasons_given,
        answers.reasons_alone,
        answers.categories,
        answers.categories_right,
        cost.cost,
        cost.bounded,
        cost.threads,
    )
}
"""The rules of the contract by name, in the order in which they are tried; each one's words are its docstring."""

_FIRST = ("definition", "cases", "fit", "score_shape", "abstention")
"""Rules without which those after them cannot be tried."""

_AFTER = {
    "fit_outage": "score_finite",
    "elsewhere": "fit_again",
    "reasons_backed": "reasons",
    "categories_right": "categories",
    **dict.fromkeys(("batches", "order", "beside", "serving_table"), "alone"),
}
"""Rules that say the same once more where another one is broken."""


class Conformance:
    """What one detector makes of each rule; each is tried once.

    known: full names of the features that there are (`mailwarden_features.discover().feature_names()`). cases: by
    default those of `cases.jsonl` beside its module. The detector is fitted to the cases, several times over.
    """

    def __init__(self, kind: type[Detector], known: Collection[str], cases: Sequence[Case] | None = None) -> None:
        self._trial = Trial(kind, known, cases)
        self._name = str(getattr(kind, "name", "") or kind.__name__)
        self._found: dict[str, list[Finding]] = {}

    def barred(self, check: str) -> str:
        """The rule that must hold before this one can be tried and does not, "" for none."""
        names = list(CHECKS)
        before = [name for name in _FIRST if names.index(name) < names.index(check)]
        if check in _AFTER:
            before.append(_AFTER[check])
        return next((name for name in before if self.findings(name)), "")

    def findings(self, check: str) -> list[Finding]:
        """In what the detector breaks a rule; empty where it keeps it, or where it cannot be tried (`barred`)."""
        if check not in self._found:
            self._found[check] = [] if self.barred(check) else self._try(check)
        return self._found[check]

    def _try(self, check: str) -> list[Finding]:
        try:
            faults = list(CHECKS[check](self._trial))
        except Exception as error:
            faults = [(f"it raised {error!r}", "mend that; it must not raise")]
        return [Finding(self._name, check, words, mend) for words, mend in faults]


def check_detector(kind: type[Detector], known: Collection[str], cases: Sequence[Case] | None = None) -> list[Finding]:
    """Every way in which a detector breaks its contract, by the rule's name; none for one that keeps it.

    known, cases: see `Conformance`. What cannot be tried because an earlier rule is broken is left out.
    """
    conformance = Conformance(kind, known, cases)
    return [found for check in CHECKS for found in conformance.findings(check)]
