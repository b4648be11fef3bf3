"""Detectors of one kind of attack each: whose mail is their business, what they learn from, and what helps nobody."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from mailwarden.domain.detection.detector import TrainingSet
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.testing.detector_cases import cases_beside, table_of
from mailwarden.testing.detector_trial import Trial
from mailwarden_detectors import discover
from mailwarden_detectors._trees.by_category import LEAST, ByCategory
from mailwarden_detectors._trees.claims import CLAIMED

KINDS: dict[str, Any] = {name: kind for name, kind in discover().items() if issubclass(kind, ByCategory)}


@lru_cache
def fitted(name: str) -> ByCategory:
    found = Trial(KINDS[name], ()).detector
    assert isinstance(found, ByCategory)
    return found


def of_cases(name: str) -> FeatureTable:
    return table_of(KINDS[name].features, cases_beside(KINDS[name]))


def with_columns(table: FeatureTable, values: dict[str, Any]) -> FeatureTable:
    columns = {**table.columns, **{name: np.full(table.n, value) for name, value in values.items()}}
    return FeatureTable(columns, table.n, table.statuses)


def learned_from(name: str, n: int, *, others: str = "") -> ByCategory:
    """Fitted to n of its kind, fifty good messages, and fifty of another kind."""
    kind = KINDS[name]
    rows = np.concatenate(
        [np.zeros(n, int), np.full(50, len(cases_beside(kind)) - 3), np.ones(50 if others else 0, int)]
    )
    labels = [kind.categories[0]] * n + ["ham"] * 50 + [others] * (50 if others else 0)
    detector: ByCategory = kind()
    detector.fit(
        TrainingSet(
            of_cases(name).take(rows),
            np.array([label != "ham" for label in labels]),
            labels,
            np.ones(len(rows)),
            np.arange(len(rows), dtype=np.int64),
            np.zeros(len(rows), bool),
        ),
        seed=1,
    )
    return detector


def test_each_kind_of_attack_has_a_detector_but_probing_that_asks_for_nothing() -> None:
    assert sorted(code for kind in KINDS.values() for code in kind.categories) == sorted({*CATEGORIES} - {"RC"})


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.business])
def test_it_abstains_from_what_is_none_of_its_business(name: str) -> None:
    detector, table = fitted(name), of_cases(name)
    nothing = dict.fromkeys(KINDS[name].business, 0.0)
    silent = detector.score(with_columns(table, nothing)).abstains
    assert silent is not None and silent.all()
    for feature in KINDS[name].business:
        assert detector.score(with_columns(table, {**nothing, feature: 1.0})).abstains is None, feature


@pytest.mark.parametrize("name", ["extortion", "credential_phishing", "account_takeover"])
def test_of_too_few_of_its_kind_it_learns_nothing_and_abstains_from_everything(name: str) -> None:
    few, enough = learned_from(name, LEAST - 1), learned_from(name, LEAST)
    again = KINDS[name].from_bytes(few.to_bytes())
    for detector in (few, again):
        table = of_cases(name)
        silent = detector.score(table).abstains
        assert silent is not None and silent.all()
        assert detector.explain(table, 0) == [] and detector.categorise(table) == [KINDS[name].categories[0]] * table.n
        assert detector.parameters()["learned"] is False and detector.parameters()["learned_from"] == LEAST - 1
    assert enough.parameters()["learned"] is True
    silent = enough.score(of_cases(name)).abstains
    assert silent is None or not silent[0]


def test_of_no_good_mail_it_learns_nothing() -> None:
    table = of_cases("scam").take(np.zeros(60, int))
    bad = np.ones(60, bool)
    detector = KINDS["scam"]()
    detector.fit(TrainingSet(table, bad, ["SC"] * 60, np.ones(60), np.arange(60), np.zeros(60, bool)), seed=1)
    silent = detector.score(table).abstains
    assert silent is not None and silent.all()


def test_attacks_of_other_kinds_teach_it_nothing() -> None:
    assert learned_from("scam", 40).to_bytes() == learned_from("scam", 40, others="CP").to_bytes()


@pytest.mark.parametrize("name", KINDS)
def test_what_speaks_against_a_message_adds_and_what_does_not_takes_nothing_away(name: str) -> None:
    scores = fitted(name).score(of_cases(name)).raw
    assert (scores >= 0.0).all()


@pytest.mark.parametrize("name", KINDS)
def test_the_history_of_a_name_helps_nobody_who_does_not_prove_it(name: str) -> None:
    detector = fitted(name)
    claimed = [feature for feature in detector.reading.names if feature in CLAIMED]
    assert claimed
    forged = with_columns(
        of_cases(name),
        {
            "content_authentication:authenticated": 0.0,
            "sender_activity:history": 1.0,
            "sender_activity:path_match_90d": 0.0,
            "sender_activity:structure_match_90d": 0.0,
        },
    )
    trusted = dict.fromkeys(claimed, 200.0) | {"sender_activity:history": 1.0}
    stranger = dict.fromkeys(claimed, 0.0) | {"sender_activity:history": 1.0}
    one, other = (detector.score(with_columns(forged, values)).raw for values in (trusted, stranger))
    assert one.tolist() == other.tolist()
    proven = {"content_authentication:authenticated": 1.0}
    assert detector.score(with_columns(forged, {**trusted, **proven})).raw.tolist() != one.tolist()


def test_an_account_that_was_taken_is_told_as_the_organisations_own_or_a_partners() -> None:
    cases = cases_beside(KINDS["account_takeover"])
    named = fitted("account_takeover").categorise(of_cases("account_takeover"))
    told = {(case.category, code) for case, code in zip(cases, named, strict=True) if case.fires}
    assert told == {("LA", "LA"), ("EA", "EA")}


@pytest.mark.parametrize("name", KINDS)
def test_good_mail_is_given_no_reasons(name: str) -> None:
    detector, table = fitted(name), of_cases(name)
    for row, case in enumerate(cases_beside(KINDS[name])):
        assert bool(detector.explain(table, row)) == case.fires, case.case
