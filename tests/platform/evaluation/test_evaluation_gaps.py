"""Gaps of errors: one that is planted is found with its feature, and its rule holds on what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.rules.cases import failing_cases
from mailwarden.domain.detection.rules.reading import read_rule
from mailwarden.domain.detection.rules.ruleset import RuleSet
from mailwarden.domain.detection.rules.signals import DERIVED, derived, read_by
from mailwarden.domain.mail.events import LABELS
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.covering import LEAST, Telling, covering
from mailwarden.evaluation.gaps import GapCounts, find_gaps, telling_features, too_few
from mailwarden.evaluation.neighbours import nearest, space
from mailwarden.evaluation.proposals import Condition, above, below, propose
from mailwarden.evaluation.samples import CAUGHT, DELIVERED, MISSED, OUTCOMES, WRONGLY_HELD, Sample, drawn, outcomes

N = 1_200
COUNT, SHARE, FLAG, AGE = "links:url_count", "text:upper_share", "links:shortened", "sender:days_known"


def sample_of(
    outcome: Sequence[str], columns: Mapping[str, NDArray[np.float64]], labels: Sequence[str] | None = None
) -> Sample:
    """Messages in order of time, with one detector that says what became of them."""
    n = len(outcome)
    kinds = Coded.of(list(outcome), OUTCOMES)
    bad = kinds.has(MISSED) | kinds.has(CAUGHT)
    said = np.where(kinds.has(CAUGHT) | kinds.has(WRONGLY_HELD), 3.0, -3.0)
    rows = FeatureTable(dict(columns), n)
    signals = tuple(DERIVED) if read_by(DERIVED) <= columns.keys() else ()
    values = [*columns.values(), *(derived(rows) if signals else ())]
    return Sample(
        tenant=Coded.of(["acme"] * n),
        message_id=pa.array([f"m{at}" for at in range(n)], pa.large_string()),
        at_us=np.arange(n, dtype=np.int64),
        label=Coded.of(list(labels) if labels is not None else ["CP" if one else "ham" for one in bad], LABELS),
        outcome=kinds,
        weight=np.ones(n),
        early=np.arange(n) < n // 2,
        rows=rows,
        names=(*columns, *signals),
        values=np.stack(values, axis=1),
        detectors=("text",),
        said=said[:, None],
    )


def noise(random: np.random.Generator, n: int = N) -> dict[str, NDArray[np.float64]]:
    """Features that tell nothing: counts, shares, flags, and ages that are null for some."""
    found = {f"noise:feature_{at}": random.normal(size=n) for at in range(20)}
    found[COUNT] = random.integers(0, 4, n).astype(float)
    found[SHARE] = random.random(n)
    found[FLAG] = (random.random(n) < 0.3).astype(float)
    found[AGE] = np.where(random.random(n) < 0.2, np.nan, random.gamma(2.0, 100.0, n))
    return found


def mixed(random: np.random.Generator, errors: float = 0.05) -> list[str]:
    return list(random.choice(OUTCOMES, N, p=[errors, errors, 0.5 - errors, 0.5 - errors]))


def planted(seed: int = 1) -> tuple[Sample, NDArray[np.bool_], NDArray[np.bool_]]:
    """60 missed messages with many links and little in capitals; 40 wrongly held of whom nothing is known."""
    random = np.random.default_rng(seed)
    outcome = np.array(mixed(random, 0.02), dtype=object)
    columns = noise(random)
    places = random.choice(N, 100, replace=False)
    links, unknown = np.zeros(N, bool), np.zeros(N, bool)
    links[places[:60]], unknown[places[60:]] = True, True
    outcome[links], outcome[unknown] = MISSED, WRONGLY_HELD
    columns[COUNT][links] = random.integers(7, 12, 60)
    columns[SHARE][links] = random.random(60) * 0.1
    columns[AGE][outcome == CAUGHT] = random.gamma(2.0, 100.0, int((outcome == CAUGHT).sum()))
    columns[AGE][unknown] = np.nan
    labels = np.where(np.isin(outcome, [MISSED, CAUGHT]), "CP", "ham").astype(object)
    labels[links] = "BE"
    return sample_of(list(outcome), columns, list(labels)), links, unknown


def test_a_planted_gap_is_found_with_its_feature_and_its_rule() -> None:
    sample, links, unknown = planted()
    found = find_gaps(sample)
    first = next(gap for gap in found.gaps if gap.kind == MISSED)
    other = next(gap for gap in found.gaps if gap.kind == WRONGLY_HELD)
    assert {one.name for one in first.proposal.conditions} == {COUNT}
    # Of what stands between 3 and 7 links, the number that is shortest to write.
    assert first.proposal.conditions[0].words() == f"{COUNT} >= 7"
    assert [one.words() for one in other.proposal.conditions] == [f"{AGE} is null"]
    assert first.labels["BE"] == 60 and first.proposal.rule.category == "BE"
    assert (first.proposal.rule.action, other.proposal.rule.action) == ("banner", "deliver")
    assert first.told_by[0].feature == COUNT and first.told_by[0].of_errors.rate == 1.0
    assert first.told_by[0].of_neighbours.rate == 0.0 and first.told_by[0].lift > 10
    assert other.told_by[0].condition == f"{AGE} is null"
    for gap, planted_here in ((first, links), (other, unknown)):
        own = found.place[found.gap == found.gaps.index(gap)]
        assert set(np.flatnonzero(planted_here)) <= set(own.tolist()) and gap.sampled == len(own)
        assert gap.example in own


def test_every_rule_is_read_by_the_loader_and_holds_on_what_it_says() -> None:
    for seed in range(4):
        sample, _, _ = planted(seed)
        found = find_gaps(sample)
        taken = np.zeros(len(sample), dtype=bool)
        for number, gap in enumerate(found.gaps):
            rule = read_rule(gap.proposal.text, gap.name, of_tenant=True, kinds=dict.fromkeys(sample.names, "float64"))
            assert rule == gap.proposal.rule and failing_cases(rule) == []
            held = RuleSet([rule]).held(sample.rows)[:, 0]
            told = np.ones(len(sample), dtype=bool)
            for one in gap.proposal.conditions:
                told &= one.holds(sample.values[:, sample.names.index(one.name)])
            assert held.tolist() == told.tolist()
            of_kind = sample.outcome.has(gap.kind)
            assert set(found.place[found.gap == number]) == set(np.flatnonzero(held & of_kind & ~taken))
            taken |= held & of_kind


def test_signals_of_several_features_tell_gaps_too() -> None:
    random = np.random.default_rng(5)
    outcome = np.array(mixed(random, 0.02), dtype=object)
    columns = {name: np.ones(N) for name in sorted(read_by(DERIVED))} | noise(random)
    new = np.zeros(N, bool)
    new[random.choice(N, 80, replace=False)] = True
    outcome[new] = MISSED
    # Half were never seen, and half do not prove the name that they bear: one signal is of both.
    unknown = new & (np.arange(N) % 2 == 0)
    columns["sender_activity:history"] = np.where(unknown, 0.0, 1.0)
    for name in ("sender_domain_activity:path_match_90d", "sender_activity:authenticated_share_90d",
                 "sender_domain_activity:authenticated_share_30d"):  # fmt: skip
        columns[name] = np.zeros(N)
    # Others are authenticated, or come by their own path.
    proven = unknown | (~new & (random.random(N) < 0.5))
    columns["content_authentication:authenticated"] = np.where(proven, 1.0, 0.0)
    columns["sender_activity:path_match_90d"] = np.where(~new & ~proven, 1.0, 0.0)
    columns["sender_activity:structure_match_90d"] = np.where(new, 0.0, random.integers(0, 2, N))
    found = find_gaps(sample_of(list(outcome), columns))
    gap = next(gap for gap in found.gaps if gap.kind == MISSED)
    assert [one.words() for one in gap.proposal.conditions] == ["stranger"]
    assert gap.sampled >= 80 and failing_cases(gap.proposal.rule) == []
    assert gap.told_by[0].feature == "stranger"


def test_where_nothing_tells_no_gap_is_made_up() -> None:
    for seed in range(8):
        random = np.random.default_rng(seed)
        found = find_gaps(sample_of(mixed(random), noise(random)))
        assert found.gaps == ()
        assert len(found.place) > 80 and set(found.gap) == {-1}


def test_few_errors_make_no_gap() -> None:
    random = np.random.default_rng(7)
    outcome = [DELIVERED, CAUGHT] * (N // 2)
    outcome[:4] = [MISSED] * 4
    sample = sample_of(outcome, noise(random))
    found = find_gaps(sample)
    assert found.gaps == () and too_few(sample, MISSED) and len(found.place) == 4
    assert found.other.place.shape == (4, 3) and found.gap.tolist() == [-1] * 4
    nothing = find_gaps(sample_of([DELIVERED, CAUGHT] * 50, noise(random, 100)))
    assert nothing.gaps == () and len(nothing.place) == 0


def test_only_the_earlier_half_finds_rules() -> None:
    sample, _, _ = planted()
    rules = [gap.proposal.conditions for gap in find_gaps(sample).gaps]
    for half, found in ((~sample.early, True), (sample.early, False)):
        # The feature is made noise in one half: of the later one that changes no rule, of the earlier one it is gone.
        column = sample.rows.columns[COUNT].copy()
        column[half] = np.random.default_rng(8).integers(0, 4, int(half.sum()))
        columns = {**sample.rows.columns, COUNT: column}
        again = find_gaps(sample_of([sample.outcome.word(at) for at in range(N)], columns))
        told = [gap.proposal.conditions for gap in again.gaps]
        assert told == rules if found else COUNT not in {one.name for path in told for one in path}


def test_hits_are_what_a_recount_finds_however_mail_is_handed_in() -> None:
    sample, _, _ = planted()
    found = find_gaps(sample)
    hit = RuleSet([gap.proposal.rule for gap in found.gaps]).held(sample.rows)
    counts = GapCounts(found.gaps)
    for begin in range(0, N, 170):
        part = np.arange(begin, min(N, begin + 170))
        counts.add(hit[part], sample.outcome.take(part), sample.early[part])
    bad = sample.outcome.has(MISSED) | sample.outcome.has(CAUGHT)
    for at, gap in enumerate(found.gaps):
        for early in (True, False):
            half = sample.early if early else ~sample.early
            got = counts.hits(at, early=early)
            own = hit[:, at] & half
            assert (got.bad_hits, got.good_hits) == (int((own & bad).sum()), int((own & ~bad).sum()))
            assert (got.bad, got.good) == (int((half & bad).sum()), int((half & ~bad).sum()))
            assert got.errors == int((own & sample.outcome.has(gap.kind)).sum())
            wanted = own & (bad if gap.kind == MISSED else ~bad)
            assert (got.precision.hits, got.precision.n) == (int(wanted.sum()), int(own.sum()))
        assert counts.errors(at) == gap.sampled
    for kind in (MISSED, WRONGLY_HELD):
        of_gaps = sum(gap.sampled for gap in found.gaps if gap.kind == kind)
        assert counts.left(kind) == int(sample.outcome.has(kind).sum()) - of_gaps


def test_the_nearest_are_those_that_are_most_alike() -> None:
    random = np.random.default_rng(9)
    columns = noise(random, 200)
    # Every message twice, the second time judged otherwise.
    twice = {name: np.concatenate([column, column]) for name, column in columns.items()}
    sample = sample_of([MISSED] * 200 + [DELIVERED] * 200, twice)
    points = space(sample)
    found = nearest(points, np.arange(200), np.arange(200, 400))
    assert found.place[:, 0].tolist() == list(range(200, 400))
    assert (np.diff(found.distance, axis=1) >= 0).all() and (found.distance[:, 1] > found.distance[:, 0]).all()
    assert nearest(points, np.arange(3), np.arange(5, 6)).place.shape == (3, 1)
    assert nearest(points, np.arange(3), np.arange(0)).place.shape == (3, 0)


def test_no_more_is_looked_at_than_was_said_and_each_stands_for_its_share(scored: Any, mail: Any) -> None:
    table = scored([mail("CP" if at % 3 == 0 else "ham" if at % 3 == 1 else None, float(at % 7 - 3), 0.0)
                    for at in range(600)])  # fmt: skip
    outcome = outcomes(table)
    bad, good, held = table.bad, table.good, table.held_back
    expected = {MISSED: bad & ~held, WRONGLY_HELD: good & held, CAUGHT: bad & held, DELIVERED: good & ~held}
    for word, wanted in expected.items():
        assert outcome.has(word).tolist() == wanted.tolist()
    chosen = np.arange(600) < 500
    most = {MISSED: 10, WRONGLY_HELD: 1_000, CAUGHT: 20, DELIVERED: 30}
    place, weight = drawn(outcome, chosen, most)
    assert (np.diff(place) > 0).all() and place.max() < 500
    for word in OUTCOMES:
        own = outcome.take(place).has(word)
        there = int((outcome.has(word) & chosen).sum())
        assert own.sum() == min(there, most[word]) and weight[own].sum() == pytest.approx(there)
    assert drawn(outcome, chosen, most)[0].tolist() == place.tolist()
    assert drawn(outcome, chosen, most, seed=8)[0].tolist() != place.tolist()


def test_a_feature_that_is_told_is_the_best_bound() -> None:
    random = np.random.default_rng(10)

    @settings(deadline=None, max_examples=50)
    @given(st.integers(0, 10_000))
    def check(seed: int) -> None:
        draw = np.random.default_rng(seed)
        column = draw.choice([np.nan, 0.0, 0.25, 1.0, 2.5, 7.0], 40)
        sample = sample_of([MISSED] * 20 + [DELIVERED] * 20, {"a:b": column, "c:d": random.normal(size=40)})
        own, others = column[:20], column[20:]
        told = [one for one in telling_features(sample, np.arange(20), np.arange(20, 40)) if one.feature == "a:b"]
        apart = [0.0, float(np.isnan(own).mean() - np.isnan(others).mean()),
                 float((~np.isnan(own)).mean() - (~np.isnan(others)).mean())]  # fmt: skip
        for limit in np.unique(column[~np.isnan(column)]):
            apart += [float((own <= limit).mean() - (others <= limit).mean()),
                      float((own >= limit).mean() - (others >= limit).mean())]  # fmt: skip
        if not told:
            assert max(apart) <= 1e-9
        else:
            assert told[0].of_errors.rate - told[0].of_neighbours.rate == pytest.approx(max(apart))

    check()


def test_conditions_are_found_on_both_sides_of_null() -> None:
    random = np.random.default_rng(11)
    n = 400
    error = np.zeros(n, bool)
    error[:60] = True
    known = np.where(error, np.nan, random.random(n))
    few = np.where(
        error & (np.arange(n) % 2 == 0), np.nan, np.where(error, random.random(n) * 0.1, random.random(n) + 0.5)
    )
    for values, words in ((known, "a:b is null"), (few, "a:b <= 0.3 or a:b is null")):
        telling = Telling(("a:b",), values[:, None], error, np.ones(n))
        (conditions,) = list(covering(telling, 1, seed=1))
        assert telling.holds(conditions).tolist() == error.tolist()
        assert conditions[0].words().partition(" ")[2][:2] == words.partition(" ")[2][:2]
    there = np.where(error, random.random(n), np.nan)
    (conditions,) = list(covering(Telling(("a:b",), there[:, None], error, np.ones(n)), 1, seed=1))
    assert conditions[0].words() == "a:b is not null"
    assert (
        list(covering(Telling(("a:b",), there[:, None], error & (np.arange(n) < LEAST - 1), np.ones(n)), 1, seed=1))
        == []
    )


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_numbers_are_short_and_between(one: float, two: float) -> None:
    a, b = sorted((one, two))
    if a < b:
        assert a < above(a, b) <= b and a <= below(a, b) < b
        assert len(repr(above(a, b))) <= max(len(repr(b)), 24)


def test_a_condition_says_how_many_choices_it_is_made_of() -> None:
    nothing, far = Condition("a:b", low=np.inf, high=-np.inf, null=True), -np.inf
    for condition, bounds in ((nothing, 1), (Condition("a:b"), 1), (Condition("a:b", low=1.0, high=1.0), 1),
                              (Condition("a:b", low=1.0), 1), (Condition("a:b", far, 1.0, null=True), 2),
                              (Condition("a:b", 1.0, 2.0), 2), (Condition("a:b", 1.0, 2.0, null=True), 3)):  # fmt: skip
        assert condition.bounds == bounds


def test_a_condition_reads_as_it_holds() -> None:
    values = np.array([np.nan, -1.0, 0.0, 1.0, 2.0, 3.5])
    rows = FeatureTable({"a:b": values}, 6)
    for condition in (
        Condition("a:b", low=1.0, high=1.0), Condition("a:b", low=0.0, high=0.0), Condition("a:b", low=2.0),
        Condition("a:b", high=1.0), Condition("a:b", low=0.0, high=2.0), Condition("a:b", high=0.5, null=True),
        Condition("a:b"), Condition("a:b", low=np.inf, high=-np.inf, null=True),
    ):  # fmt: skip
        holds = condition.holds(values)
        proposal = propose("gap_one", [condition], rows, fires=int(np.argmax(holds)), silent=int(np.argmin(holds)),
                           words="Like mail that was missed", action="banner")  # fmt: skip
        assert RuleSet([proposal.rule]).held(rows)[:, 0].tolist() == holds.tolist()
        assert failing_cases(proposal.rule) == []
    long = [Condition(f"view_of_a_long_name:feature_{at}_{'x' * 40}", low=1.0) for at in range(3)]
    columns = {one.name: np.array([1.0, 0.0]) for one in long}
    told = propose("gap_two", long, FeatureTable(columns, 2), fires=0, silent=1, words="Like", action="banner")
    assert len(told.rule.words) <= 200 and told.rule.words.endswith(", and more.")
