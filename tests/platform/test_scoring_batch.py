"""Many messages in one call: each is scored as it would be alone, to the last bit, whatever fails beside it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import HISTORY, Calibration, Combination, Fusion, Thresholds
from mailwarden.domain.detection.detector import RawScores
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.status import CODES, Status
from mailwarden.scoring.batch import MISSING
from mailwarden.scoring.champion import Champion

WORDS, KNOWN, DAYS = "content_text:words", "sender_activity:known", "relationship:days"
HIDDEN = CODES[Status.UNAVAILABLE]


class Content:
    """Abstains where there are no words."""

    features = (WORDS,)
    calls = 0

    def score(self, rows: FeatureTable) -> RawScores:
        type(self).calls += 1
        words = rows.columns[WORDS]
        return RawScores(np.where(np.isnan(words), np.nan, np.sin(np.nan_to_num(words))), np.isnan(words))

    def explain(self, rows: FeatureTable, row: int, *, limit: int = 3) -> list[Any]:
        return []

    def categorise(self, rows: FeatureTable) -> None:
        return None


class History(Content):
    """Raises on a message that is not known in any row, gives no number for one known for 13 days."""

    features = (KNOWN, DAYS)

    def score(self, rows: FeatureTable) -> RawScores:
        known, days = rows.columns[KNOWN], rows.columns[DAYS]
        if (known < 0).any():
            raise ValueError("poison")
        return RawScores(np.where(days == 13, np.inf, np.nan_to_num(known) / 3.0 - np.nan_to_num(days) / 7.0))


def combination(weights: dict[str, float], intercept: float) -> Combination:
    """For tenants that nobody knows; of the one that is known, `known`, all counts half as much again."""
    calibrations = {one: Calibration(1.1, -0.3) for one in weights}
    own = {name: 1.5 * weight for name, weight in weights.items()}
    return Combination(
        Fusion(weights, intercept, calibrations, {"content": 0.2}),
        Thresholds(0.0, 1.0, 2.0),
        own=Combination(
            Fusion(own, intercept, calibrations, {"content": 0.3}),
            Thresholds(0.5, 1.5, 2.5),
            learned=frozenset({"known"}),
        ),
    )


FUSIONS = {
    name: combination(weights, number / 10)
    for number, (name, weights) in enumerate(
        [
            ("", {"content": 0.7, "history": 0.9}),
            ("history", {"content": 1.3}),
            (HISTORY, {"content": 0.8, "history": 0.4}),
            (f"{HISTORY}+history", {"content": 1.2}),
        ]
    )
}


def champion() -> Champion:
    return Champion(
        version=1,
        detectors={"content": Content(), "history": History()},  # type: ignore[dict-item]
        detector_versions={"content": 5, "history": 6},
        whole=FUSIONS[""],
        content_views=frozenset({"content_text"}),
        categoriser="",
        without={name: one for name, one in FUSIONS.items() if name},
    )


def table(messages: list[list[tuple[float, float, bool, bool]]], words: list[float]) -> tuple[FeatureTable, Any]:
    """Rows of messages: (known, days, sender history there, relationship there) each, with the message's words."""
    rows = [(*row, word) for message, word in zip(messages, words, strict=True) for row in message]
    known, days, sender, pair, said = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    there = {"sender_activity": sender > 0, "relationship": pair > 0}
    return (
        FeatureTable(
            {
                WORDS: said,
                KNOWN: np.where(there["sender_activity"], known, np.nan),
                DAYS: np.where(there["relationship"], days, np.nan),
            },
            len(rows),
            {view: np.where(one, 0, HIDDEN).astype(np.uint8) for view, one in there.items()},
        ),
        np.cumsum([0, *map(len, messages)]),
    )


row = st.tuples(
    st.sampled_from([-1.0, 0.0, 1.0, 2.5]), st.sampled_from([0.0, 3.3, 13.0, 90.0]), st.booleans(), st.booleans()
)
mail = st.lists(
    st.tuples(st.lists(row, min_size=1, max_size=4), st.sampled_from([float("nan"), 0.0, 1.7, 40.0])),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(mail)
def test_a_message_scores_among_others_as_it_does_alone(drawn: list[tuple[Any, float]]) -> None:
    served = champion()
    rows, starts = table([message for message, _ in drawn], [word for _, word in drawn])
    tenants = [("known", "new", "other")[number % 3] for number in range(len(drawn))]
    batch = served.score(rows, starts, tenants)
    for number, (start, stop) in enumerate(pairwise(starts)):
        own = served.score(rows.take(np.arange(start, stop)), None, [tenants[number]])
        assert batch.logit[start:stop].tobytes() == own.logit.tobytes()
        assert batch.of(number) == own.of()
        assert [one.raw for one in batch.logged(served.detector_versions, number)] == [
            one.raw for one in own.logged(served.detector_versions)
        ]
        assert [one.missing for one in batch.logged(served.detector_versions, number)] == [
            one.missing for one in own.logged(served.detector_versions)
        ]


def test_what_counts_for_a_tenant_that_is_known_is_its_own_whatever_is_away() -> None:
    served = champion()
    # Nothing is away, a detector fails, histories are away, both.
    ways = [(1.0, 3.3, True, True), (0.0, 13.0, True, True), (1.0, 3.3, False, True), (0.0, 13.0, True, False)]
    rows, starts = table([[way] for way in ways], [1.7] * 4)
    new, known = served.score(rows, starts), served.score(rows, starts, ["known"] * 4)
    for number, (one, other) in enumerate(zip(new.patterns, known.patterns, strict=True)):
        assert one.away == other.away and one.combination.own == other.combination, number
        assert known.of(number).verdict("known") == other.combination.thresholds.verdict(known.logit[number])
    assert served.whole.thresholds_of("known").junk == 1.5 and served.whole.thresholds_of("new").junk == 1.0
    # What would have been without a detector is by the same fusion.
    one = served.score(rows.take(np.array([0])), None, ["known"])
    assert served.setting_aside(one, ["history"]).combination == FUSIONS["history"].own
    away = served.without_each(one)["history"]
    held = served.held_without_each(one, "known")["history"]
    assert held == away.verdict("known") and away.combination == FUSIONS["history"].own


@settings(max_examples=100, deadline=None)
@given(mail, st.booleans())
def test_all_rows_at_once_are_logged_as_each_message_is(drawn: list[tuple[Any, float]], away: bool) -> None:
    served = champion()
    if away:
        detectors = {name: one for name, one in served.detectors.items() if name != "history"}
        served = replace(served, detectors=detectors, away={"history": "gone"})
    rows, starts = table([message for message, _ in drawn], [word for _, word in drawn])
    batch = served.score(rows, starts)
    by_row = batch.by_row()
    words = [None, *MISSING]
    for number, (start, stop) in enumerate(pairwise(starts)):
        for one, logged in zip(by_row, batch.logged(served.detector_versions, number), strict=True):
            here = slice(start, stop)
            said = one.missing[here] == 0
            assert one.detector == logged.detector
            assert [words[code] for code in one.missing[here]] == logged.missing
            for values, kept in ((one.raw, logged.raw), (one.calibrated, logged.calibrated)):
                assert values[here][said].tolist() == [value for value in kept if value is not None]
            assert one.milliseconds[here].tolist() == pytest.approx([logged.milliseconds] * (stop - start), abs=1e-4)


def test_a_detector_is_away_for_the_messages_that_it_fails_on_and_no_others() -> None:
    good, poison, nonsense = [(1.0, 0.0, True, True)], [(-1.0, 0.0, True, True)], [(1.0, 13.0, True, True)] * 2
    rows, starts = table([good, poison, nonsense, good], [1.0] * 4)
    batch = champion().score(rows, starts)
    assert [batch.of(number).broken for number in range(4)] == [(), ("history",), ("history",), ()]
    assert [batch.of(number).combination for number in range(4)] == [
        FUSIONS[""], FUSIONS["history"], FUSIONS["history"], FUSIONS[""],
    ]  # fmt: skip
    assert batch.of(0) == batch.of(3) and batch.of(0).enough and batch.of(1).enough
    logged = {one.detector: one for one in batch.logged({"content": 5, "history": 6}, 2)}
    assert logged["history"].missing == ["failed"] * 2 and logged["history"].raw == [None] * 2
    assert logged["content"].missing == [None] * 2 and logged["content"].model == 5


@pytest.mark.parametrize("there", [(False, False), (True, False)])
def test_where_some_history_is_unavailable_none_of_it_counts_and_other_thresholds_do(there: tuple[bool, bool]) -> None:
    rows, starts = table([[(2.5, 90.0, True, True)], [(2.5, 90.0, *there)]], [1.7, 1.7])
    whole, lost = (champion().score(rows, starts).of(number) for number in (0, 1))
    assert (whole.away, lost.away) == (frozenset(), frozenset({HISTORY}))
    assert (whole.combination, lost.combination, lost.enough) == (FUSIONS[""], FUSIONS[HISTORY], True)
    expected: NDArray[np.float64] = FUSIONS[HISTORY].fusion.logit(
        {"content": np.array([np.sin(1.7)]), "history": np.array([0.0])}
    )
    assert lost.logit == float(expected[0])


def test_what_reads_the_message_alone_is_asked_once_for_all() -> None:
    rows, starts = table([[(1.0, 0.0, True, True)] * 5] * 3, [1.0, float("nan"), 2.0])
    Content.calls = 0
    batch = champion().score(rows, starts)
    assert Content.calls == 1
    assert [len(one.raw) for one in batch.detectors.values()] == [15, 15]
    assert set(batch.of(1).detectors) == {"history"}
    assert batch.logged({"content": 5, "history": 6}, 1)[0].missing == ["abstained"] * 5


def test_no_messages_give_no_scores() -> None:
    rows, _ = table([[(1.0, 0.0, True, True)]], [1.0])
    batch = champion().score(rows.take(np.empty(0, dtype=np.intp)), np.zeros(1, dtype=np.intp))
    assert len(batch.logit) == len(batch.worst) == 0
