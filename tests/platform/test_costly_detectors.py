"""Costly detectors: asked about doubtful mail alone, stacked on held-out mail, and nothing else changes by them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import Calibration, Combination, Consult, Fusion, Thresholds
from mailwarden.domain.detection.doubt import FEATURES, SURE, bare_first_contact, doubt_of, turning_point
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.tail import LEVEL
from mailwarden.domain.detection.tenant_budget import TRAINED, TenantBudget
from mailwarden.domain.status import Status
from mailwarden.errors import DataError
from mailwarden.scoring.batch import BatchScores
from mailwarden.scoring.categorising import Bar, Caller
from mailwarden.scoring.champion import Champion
from mailwarden.scoring.consulting import consult, consulted, doubts
from mailwarden.scoring.logged import LoggedPlan, score_logged
from mailwarden.scoring.quota import SAVED, Quota
from mailwarden.stores.bundle import Bundle
from mailwarden.testing.number_detectors import HISTORY_VIEWS, KINDS, LINKS, SENT, TERMS, Terms, mail, table_of
from mailwarden.training.calibrate import stack
from mailwarden.training.tenants import TenantMail, calibrate
from mailwarden.training.thresholds import Budgets
from mailwarden.training.train import Trained, TrainingOptions, train
from mailwarden_features import discover

OPTIONS = TrainingOptions(seed=5, budgets=Budgets(0.05, 0.01, 0.005))
CHEAP = {name: kind for name, kind in KINDS.items() if kind.stage == "cheap"}


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(*mail(6000, 1), KINDS, OPTIONS, history=HISTORY_VIEWS)


def champion_of(trained: Trained, **changes: Any) -> Champion:
    bundle = Bundle.from_bytes(trained.bundle.to_bytes())
    found = Champion.of(
        bundle, KINDS, trained.fetch, version=1, content_views=frozenset({"content_links", "content_text"})
    )
    return replace(found, **changes)


def starts_of(rows: FeatureTable) -> NDArray[np.intp]:
    return np.arange(rows.n + 1)


def asked(batch: BatchScores) -> NDArray[np.bool_]:
    return np.array([pattern.asked for pattern in batch.patterns])[batch.pattern_of]


def verdicts(batch: BatchScores, tenant: str = "new") -> NDArray[np.bool_]:
    return np.array([batch.of(at).verdict(tenant) in ("junk", "quarantine") for at in range(len(batch.worst))])


def test_it_is_asked_about_a_tenth_of_good_mail_and_catches_what_the_cheap_ones_miss(trained: Trained) -> None:
    rows, features = mail(6000, 2)
    table, champion = table_of(features), champion_of(trained)
    alone = champion.score(table, starts_of(table))
    both = consulted(champion, table, alone, ["new"] * table.n)
    assert 0.05 < asked(both)[~rows.bad].mean() < 0.15
    before, after = verdicts(alone), verdicts(both)
    assert after[rows.bad].mean() > before[rows.bad].mean() + 0.1
    assert after[~rows.bad].mean() < 2 * OPTIONS.budgets.junk
    said = trained.bundle.record["consulted"]
    assert said["asked"] / said["messages"] < 0.3
    recalls = [found["recall"][1]["rate"] for found in (trained.evaluations["fused"].as_json(), said["cheap"])]
    assert recalls[0] > recalls[1] + 0.1


def cheap_alone(combination: Combination) -> Combination:
    own = combination.own
    return replace(combination, consult=None, own=None if own is None else cheap_alone(own))


def test_detectors_are_held_to_their_bands_where_the_costly_one_is_away(trained: Trained) -> None:
    champion = champion_of(trained)
    away = replace(
        champion, detectors={n: one for n, one in champion.detectors.items() if n != "terms"}, away={"terms": "gone"}
    )
    table = table_of(mail(1, 6)[1])
    there, gone = (one.held_without_each(one.score(table), "new") for one in (champion, away))
    assert there == gone and set(gone) == {"links", "sent"}


def test_where_it_is_not_asked_nothing_changes(trained: Trained) -> None:
    without = train(*mail(6000, 1), CHEAP, OPTIONS, history=HISTORY_VIEWS)
    assert cheap_alone(trained.bundle.whole) == without.bundle.whole
    assert {name: cheap_alone(one) for name, one in trained.bundle.without.items()} == without.bundle.without
    own = trained.bundle.whole.own
    assert own is not None and own.consult is not None and own.consult.combination.learned == own.learned
    table = table_of(mail(300, 3)[1])
    plain = champion_of(without).score(table, starts_of(table))
    cascade = champion_of(trained)
    batch = consulted(cascade, table, cascade.score(table, starts_of(table)), ["new"] * table.n)
    quiet = ~asked(batch)
    assert quiet.any() and not quiet.all()
    assert (batch.logit[quiet] == plain.logit[quiet]).all()
    for at in np.flatnonzero(quiet)[:20].tolist():
        assert batch.of(at).combination.thresholds == plain.of(at).combination.thresholds
        assert batch.of(at).unasked == {"terms"} and not batch.of(at).away


def test_what_is_said_of_a_message_is_its_own_whatever_else_is_asked_about(trained: Trained) -> None:
    table, champion = table_of(mail(400, 4)[1]), champion_of(trained)
    batch = champion.score(table, starts_of(table))
    some = np.random.default_rng(0).random(table.n) < 0.5
    together = consult(champion, table, batch, some)
    for at in range(table.n):
        row = table.take(np.array([at]))
        one = consult(champion, row, champion.score(row), some[at : at + 1])
        assert one.logit[0] == together.logit[at]
        strip = [replace(said, milliseconds=0.0) for said in together.logged({name: 1 for name in KINDS}, at)]
        assert [replace(said, milliseconds=0.0) for said in one.logged({name: 1 for name in KINDS})] == strip


def test_the_log_of_a_batch_is_that_of_each_message(trained: Trained) -> None:
    table, champion = table_of(mail(60, 5)[1]), champion_of(trained)
    batch = champion.score(table, starts_of(table))
    models = {name: 1 for name in KINDS}
    for allowed in (np.arange(60) % 3 == 0, np.zeros(60, dtype=np.bool_)):
        told = consult(champion, table, batch, allowed)
        by_row = {one.detector: one for one in told.by_row()}
        words = (None, "abstained", "not asked", "failed", "away")
        for at in range(60):
            logged = {one.detector: one for one in told.logged(models, at)}
            assert set(logged) == set(KINDS) == set(by_row)
            for name, one in logged.items():
                assert one.missing == [words[by_row[name].missing[at]]]
                assert one.missing != [None] or one.calibrated == [by_row[name].calibrated[at]]
            assert (logged["terms"].missing == ["not asked"]) != allowed[at]


def test_one_that_fails_costs_nothing_for_that_message_and_one_that_is_away_for_none(trained: Trained) -> None:
    table, champion = table_of(mail(50, 6)[1]), champion_of(trained)
    table.columns[TERMS][7] = 666.0
    batch = champion.score(table, starts_of(table))
    told = consult(champion, table, batch, np.ones(50, dtype=np.bool_))
    failed = told.of(7)
    assert (failed.broken, failed.away, failed.enough) == (("terms",), {"terms"}, True)
    assert failed.logit == batch.of(7).logit and failed.combination == batch.of(7).combination
    assert told.of(8).broken == () and told.of(8).combination != batch.of(8).combination
    lost = champion_of(trained, away={"terms": "its extra is not installed"})
    lost = replace(lost, detectors={name: one for name, one in champion.detectors.items() if name != "terms"})
    there = lost.score(table, starts_of(table))
    assert (there.logit == batch.logit).all() and there.of(0).enough
    assert (doubts(lost, table, there, ["new"] * 50) == SURE).all()
    assert there.logged({"links": 1, "sent": 1})[-1].missing == ["away"]


def test_with_history_away_its_own_fusion_is_stacked_and_with_more_away_nobody_is_asked(trained: Trained) -> None:
    table, champion = table_of(mail(500, 7)[1]), champion_of(trained)
    blind = table.lacking(HISTORY_VIEWS, Status.UNAVAILABLE)
    batch = champion.score(blind, starts_of(blind))
    told = consulted(champion, blind, batch, ["new"] * 500)
    assert asked(told).any()
    history, whole = champion.without["@history"], champion.whole
    assert history.consult is not None and whole.consult is not None
    assert history.consult.combination.fusion != whole.consult.combination.fusion
    both_away = Champion.combination(champion, ("sent", "@history"))[0]
    assert both_away.consult is None


def test_a_useless_one_is_given_no_weight() -> None:
    whole = train(*mail(6000, 1, telling=0.0), KINDS, OPTIONS).bundle.whole
    assert whole.consult is not None
    found = whole.consult.combination
    assert found.fusion.share("terms") < 0.15
    assert found.fusion.weights["links"] == pytest.approx(whole.fusion.weights["links"], rel=0.3)
    assert found.thresholds.junk == pytest.approx(whole.thresholds.junk, abs=1.0)


def test_too_little_doubtful_mail_leaves_it_unasked_and_costly_ones_alone_train_nothing() -> None:
    bundle = train(*mail(60, 8, sites=1), KINDS, OPTIONS).bundle
    assert bundle.whole.consult is None and set(bundle.members) == set(KINDS) and bundle.costly == {"terms"}
    with pytest.raises(DataError, match="costly"):
        train(*mail(600, 8), {"terms": Terms}, OPTIONS)


def test_logged_rows_are_scored_again_as_they_were_asked_about(trained: Trained) -> None:
    table, champion = table_of(mail(40, 9)[1]), champion_of(trained)
    views = discover()
    plan = LoggedPlan(views.activity, views.content, features={LINKS, SENT, TERMS})
    versions = {view.name: view.version for view in (*views.activity, *views.content)}
    columns: dict[str, Any] = {name.replace(":", "__"): column for name, column in table.columns.items()}
    for view in ("content_links", "content_text", "sender_activity"):
        columns |= {f"{view}__status": ["present"] * 40, f"{view}__version": [versions[view]] * 40}
    keys = {"tenant": ["new"] * 40, "seq": range(40), "recipient": ["u@site.example"] * 40}
    keys |= {"message_id": [str(at) for at in range(40)], "decision_id": ["d"] * 40}
    rows = pa.table({**keys, "received_at": pa.array(range(40), pa.timestamp("us", tz="UTC")), **columns})
    batch = champion.score(table, starts_of(table))
    for allowed in (True, False):
        told = consult(champion, table, batch, np.full(40, allowed))
        again = score_logged(rows, champion, plan, asked=allowed).to_pylist()
        assert {row["unanswered"] for row in again} == {None}
        found = {(row["seq"], row["detector"]): (row["raw"], row["calibrated"], row["missing"]) for row in again}
        for at in range(40):
            for one in told.logged({name: 1 for name in KINDS}, at):
                assert found[at, one.detector] == (one.raw[0], one.calibrated[0], one.missing[0])


def test_doubt_is_measured_from_where_the_verdict_turns() -> None:
    band = Consult(4.0, 2.0, Combination(None, Thresholds(0.0, 1.0, 2.0)))  # type: ignore[arg-type]
    logit, turning = np.array([1.0, -1.0, -3.0, -3.1, 2.0, 3.1, 9.0, 1.0]), np.array([1.0] * 7 + [np.inf])
    found = doubt_of(logit, turning, band)
    assert found.tolist() == [0.0, 0.5, 1.0, SURE, 0.5, SURE, SURE, SURE]
    bare = doubt_of(logit, turning, band, np.ones(8, dtype=np.bool_))
    assert bare.tolist() == [0.0, 0.5, 1.0, 1.0, 0.5, SURE, SURE, SURE]


def test_doubt_is_measured_from_the_threshold_of_what_a_message_would_be_called(trained: Trained) -> None:
    table, champion = table_of(mail(400, 9)[1]), champion_of(trained)
    batch = champion.score(table, starts_of(table))
    # None of these detectors names a category, so that all mail is called SP.
    budget = TenantBudget.of(0.03, {"BE": 0.029})
    tenants = ["new", "plain"] * 200
    found = doubts(champion, table, batch, tenants, {"new": budget})
    whole = champion.whole
    assert whole.consult is not None and whole.consult.combination.named == whole.named
    steps = {
        "new": whole.thresholds_within("new", budget, "SP"),
        "plain": whole.thresholds_within("plain"),
    }
    assert steps["new"].junk > steps["plain"].junk > whole.thresholds_within("new", TenantBudget(0.03)).junk
    turning = np.array([turning_point(steps[name]) for name in tenants])
    bare = bare_first_contact(table)
    assert found.tolist() == doubt_of(batch.logit, turning, whole.consult, bare).tolist()
    # What comes of it is held against what it is called likewise.
    both = consulted(champion, table, batch, tenants, {"new": budget})
    for at in np.flatnonzero(asked(both)).tolist():
        row = table.take(np.array([at]))
        bar = Bar(tenants[at], {"new": budget}.get(tenants[at], TRAINED), Caller(champion, row))
        one = both.of(at)
        assert bar.thresholds(one) == one.combination.thresholds_within(tenants[at], bar.budget, "SP")


def test_a_first_contact_without_link_and_attachment_is_bare() -> None:
    values = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 2], [np.nan, 0, 0]]
    table = FeatureTable(dict(zip(FEATURES, np.array(values, dtype=np.float64).T, strict=True)), 5)
    found = bare_first_contact(table)
    assert found is not None and found.tolist() == [True, False, False, False, False]
    assert bare_first_contact(FeatureTable({LINKS: np.zeros(2), SENT: np.zeros(2)}, 2)) is None


@pytest.mark.parametrize("wave", [False, True])
def test_a_tenth_of_each_tenants_mail_is_asked_about_at_most_and_the_most_doubtful_of_it(wave: bool) -> None:
    draw, quota = np.random.default_rng(3), Quota(0.1)
    doubt = np.where(draw.random(20_000) < 0.5, draw.random(20_000), SURE)
    if wave:
        doubt[5_000:9_000] = 0.0
    granted = np.array([quota.grants("acme", one) for one in doubt.tolist()])
    running = np.cumsum(granted)
    assert (running <= 0.1 * np.arange(1, 20_001) + SAVED).all()
    assert granted[10_000:].mean() > 0.08
    late = slice(12_000, None)
    assert np.mean(doubt[late][granted[late]]) < 0.5 * np.mean(doubt[late][np.isfinite(doubt[late])])
    # Another tenant's own is whole.
    assert quota.grants("other", 1.0)


def test_little_doubtful_mail_is_all_asked_about_and_none_where_the_share_is_nothing() -> None:
    quota = Quota(0.1)
    doubt = np.where(np.arange(5_000) % 20 == 0, 0.9, SURE)
    assert all(quota.grants("acme", one) == (one < SURE) for one in doubt.tolist())
    assert not Quota(0.0).grants("acme", 0.0)
    assert Quota(1.0).grants("acme", 1.0) and not Quota(1.0).grants("acme", SURE)


def test_thresholds_of_a_tenant_move_for_both_alike(trained: Trained) -> None:
    """A tenant whose log-odds all lie higher, and whose thresholds do, has the same verdicts."""
    whole = trained.bundle.whole
    assert whole.consult is not None and whole.tail is not None
    both = whole.consult.combination
    for name, weight in whole.fusion.weights.items():
        assert both.fusion.weights[name] == weight
    mail_of = {
        name: TenantMail(
            {away: np.random.default_rng(1).normal(middle, 1.0, 500) for away in ("", *trained.bundle.without)},
            np.ones(500), np.zeros(500, dtype=np.bool_), np.zeros(500, dtype=np.bool_),
        )
        for name, middle in (("high", 4.0), ("low", -8.0))
    }  # fmt: skip
    moved, _ = calibrate(trained.bundle, mail_of)
    assert moved.whole.consult is not None
    there = moved.whole.consult.combination
    apart = [moved.whole.thresholds_of(name).junk - there.thresholds_of(name).junk for name in ("high", "low")]
    assert moved.whole.thresholds_of("high").junk > moved.whole.thresholds_of("low").junk + 2.0
    assert apart[0] == pytest.approx(apart[1], abs=0.5)


def test_a_bundle_whose_costly_ones_have_a_scale_of_their_own_is_calibrated_without_them(trained: Trained) -> None:
    """As those of a release before: what moves one scale says nothing of another."""
    whole = trained.bundle.whole
    assert whole.consult is not None
    both = whole.consult.combination
    halved = replace(both.fusion, weights={name: weight / 2.0 for name, weight in both.fusion.weights.items()})
    former = replace(whole, consult=replace(whole.consult, combination=replace(both, fusion=halved)))
    mail_of = TenantMail(
        {away: np.random.default_rng(1).normal(-8.0, 1.0, 500) for away in ("", *trained.bundle.without)},
        np.ones(500), np.zeros(500, dtype=np.bool_), np.zeros(500, dtype=np.bool_),
    )  # fmt: skip
    moved, _ = calibrate(replace(trained.bundle, whole=former), {"low": mail_of})
    assert moved.whole.consult is None
    assert moved.whole.thresholds_of("low").junk < whole.thresholds_of("nobody").junk


def test_what_costly_ones_add_leaves_the_tail_of_good_mail_where_it_was() -> None:
    draw = np.random.default_rng(2)
    bad = draw.random(4_000) < 0.3
    over = np.where(bad, 0.5, -2.0) + draw.normal(0.0, 1.5, 4_000)
    told = np.where(bad, 3.0, 0.0) + draw.normal(0.0, 1.0, 4_000)
    cheap = Fusion({"cheap": 0.5}, 0.25, {"cheap": Calibration(2.0, -1.0)})
    nobody = np.zeros(4_000, dtype=np.bool_)
    found = stack(cheap, over, {"deep": told}, bad, np.ones(4_000), {"deep": nobody})
    added = found.logit({"cheap": np.zeros(4_000), "deep": told}) - cheap.logit({"cheap": np.zeros(4_000)})
    level = 1.0 - LEVEL
    assert np.quantile((over + added)[~bad], level) == pytest.approx(np.quantile(over[~bad], level), abs=0.02)
    assert np.mean((over + added)[bad] > 0.0) > np.mean(over[bad] > 0.0) + 0.1
