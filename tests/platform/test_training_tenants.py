"""Tenants that a bundle did not learn from have thresholds by their own good mail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mailwarden.domain.detection.decision import Combination, Fusion, Thresholds
from mailwarden.domain.detection.tail import Tail
from mailwarden.stores.bundle import Bundle
from mailwarden.training.tenants import TenantMail, calibrate

TAIL = Tail(-4.0, 0.8, 1.5, (0.005, 0.001, 0.0002), middle_below=2.18, middle_spread=0.0)
STEPS = Thresholds(0.0, 1.0, 2.0)


def _bundle(tail: Tail | None = TAIL) -> Bundle:
    whole = Combination(Fusion({}, 0.0, {}), STEPS, tail, frozenset({"own"}))
    return Bundle({}, whole, without={"text": replace(whole, fusion=Fusion({}, 1.0, {}))})


def _mail(at: float, n: int = 1_000, *, good: bool = False, evidence: float = 1.0, seed: int = 1) -> TenantMail:
    draw = np.random.default_rng(seed)
    logits = np.where(draw.random(n) < 0.1, at + draw.exponential(0.8, n), at - draw.exponential(2.0, n))
    marks = np.full(n, good)
    return TenantMail({"": logits, "text": logits + 0.5}, np.full(n, evidence), marks, np.zeros(n, dtype=np.bool_))


def test_labels_move_thresholds_to_where_the_tenants_good_mail_ends() -> None:
    moved, found = calibrate(_bundle(), {"high": _mail(-2.0, good=True)})
    assert found["high"].labelled and found["high"].shift == pytest.approx(2.0, abs=0.3)
    assert found["high"].reached < 0.004
    middle, low, high = found["high"].expected
    assert low <= middle <= high < 0.01 and low < 0.001
    new, own = moved.whole.thresholds_of("unheard"), moved.whole.thresholds_of("high")
    assert own.junk != new.junk and own.junk == pytest.approx(-2.0 + 0.8 * np.log(100.0), abs=0.4)
    assert moved.without["text"].thresholds_of("high").junk == pytest.approx(own.junk + 0.5, abs=0.4)


def test_evidence_is_held_against_what_such_mail_scores_elsewhere() -> None:
    _, found = calibrate(_bundle(), {"like": _mail(-5.0), "odd": _mail(-3.0)})
    assert not found["like"].labelled
    assert found["like"].shift == pytest.approx(0.0, abs=0.3)
    assert found["odd"].shift == pytest.approx(2.0, abs=0.3)


def test_mail_without_evidence_says_nothing_and_bad_mail_never_counts() -> None:
    silent = _mail(3.0, evidence=0.0)
    moved, found = calibrate(_bundle(), {"silent": silent})
    assert found["silent"].counted == 0.0 and found["silent"].shift == 0.0
    assert moved.whole.thresholds_of("silent") == moved.whole.thresholds_of("unheard")
    mixed = _mail(-5.0, n=1_000)
    attacks = _mail(5.0, n=300)
    both = TenantMail(
        {name: np.concatenate([mixed.log_odds[name], attacks.log_odds[name]]) for name in mixed.log_odds},
        np.ones(1_300),
        np.zeros(1_300, dtype=np.bool_),
        np.arange(1_300) >= 1_000,
    )
    told, clean = calibrate(_bundle(), {"a": both})[1]["a"], calibrate(_bundle(), {"a": mixed})[1]["a"]
    assert told.shift == pytest.approx(clean.shift)


def test_what_no_detector_could_score_never_counts_as_good() -> None:
    mail = _mail(-2.0, good=True)
    failed = {name: np.where(np.arange(1_000) % 2 == 0, np.nan, odds) for name, odds in mail.log_odds.items()}
    half = TenantMail(failed, mail.evidence, mail.good, mail.bad)
    assert calibrate(_bundle(), {"a": half})[1]["a"].shift == pytest.approx(2.0, abs=0.4)


def test_who_was_learned_from_keeps_its_thresholds() -> None:
    bundle = _bundle()
    moved, found = calibrate(bundle, {"own": _mail(2.0, good=True)})
    assert found == {} and moved.whole.thresholds_of("own") == STEPS
    blind, nothing = calibrate(_bundle(None), {"any": _mail(2.0, good=True)})
    assert nothing == {} and blind.whole.thresholds_of("any") == STEPS


def test_what_is_believed_outlives_the_file() -> None:
    moved, _ = calibrate(_bundle(), {"high": _mail(-2.0, good=True), "low": _mail(-6.0)})
    read = Bundle.from_bytes(moved.to_bytes())
    for name in ("high", "low", "own", "unheard"):
        assert read.whole.thresholds_of(name) == moved.whole.thresholds_of(name)
        assert read.without["text"].thresholds_of(name) == moved.without["text"].thresholds_of(name)
