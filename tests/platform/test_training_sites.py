"""What is known of sites that detectors never saw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mailwarden.domain.detection.decision import Calibration, Combination, Fusion, Thresholds
from mailwarden.training.dataset import LabelledRows, labelled_rows
from mailwarden.training.said import Said
from mailwarden.training.sites import LEAST_MESSAGES, parts_left_out, samples, with_sites
from mailwarden.training.thresholds import Budgets

FUSION = Fusion({"one": 1.0}, 0.0, {"one": Calibration(1.0, 0.0)})
STEPS = Thresholds(0.0, 1.0, 2.0)


def _rows(sites: dict[str, tuple[int, int]]) -> LabelledRows:
    """So many good and bad messages of each site, one recipient each."""
    tenant = [name for name, (good, bad) in sites.items() for _ in range(good + bad)]
    labels = [label for good, bad in sites.values() for label in ["ham"] * good + ["CP"] * bad]
    n = len(tenant)
    rows, _ = labelled_rows(
        tenant=tenant, message_id=[f"{at:032x}" for at in range(n)], recipient=[""] * n,
        seq=np.arange(n), at_us=np.arange(n), labels=labels, weight=np.ones(n),
    )  # fmt: skip
    return rows


def _said(rows: LabelledRows, at: dict[str, float]) -> Said:
    draw = np.random.default_rng(5)
    raw: Any = np.array([at[str(name)] for name in rows.tenant]) + draw.exponential(0.8, rows.n)
    return Said({"one": raw}, {"one": np.zeros(rows.n, dtype=np.bool_)})


def test_every_site_is_left_out_once_and_whole() -> None:
    rows = _rows({"a": (900, 300), "b": (400, 0), "c": (0, 250), "d": (300, 300), "tiny": (20, 20)})
    parts = parts_left_out(rows)
    assert len(parts) == 3
    times = np.sum(parts, axis=0)
    for name in ("a", "b", "c", "d"):
        assert set(times[rows.tenant == name].tolist()) == {1}
        # A site lies in one part.
        assert sum(bool(part[rows.tenant == name].any()) for part in parts) == 1
    assert set(times[rows.tenant == "tiny"].tolist()) == {0}


@pytest.mark.parametrize(
    "sites",
    [
        {"a": (900, 300)},
        {"a": (900, 300), "b": (LEAST_MESSAGES - 1, 0)},
        # Without the only site of bad mail nothing could be learned.
        {"a": (900, 300), "b": (900, 0)},
    ],
)
def test_with_too_few_sites_none_is_left_out(sites: dict[str, tuple[int, int]]) -> None:
    assert parts_left_out(_rows(sites)) == []


def test_one_site_keeps_the_thresholds_that_were_found_there() -> None:
    rows = _rows({"a": (500, 100)})
    said = _said(rows, {"a": -5.0})
    every = np.arange(rows.n)
    found = with_sites(Combination(FUSION, STEPS), rows, None, every[:0], said, every, Budgets(), None)
    assert found.thresholds_of("a") == STEPS
    assert found.tail is not None and found.thresholds_of("new").junk > found.tail.at


def test_each_site_has_its_own_and_a_new_one_those_of_all() -> None:
    rows = _rows({"a": (900, 300), "b": (800, 0), "c": (700, 300), "few": (5, 5)})
    unseen = _said(rows, {"a": -5.0, "b": -3.0, "c": -7.0, "few": -5.0})
    held_out = _said(rows, {"a": -6.0, "b": -4.0, "c": -8.0, "few": -6.0})
    every = np.arange(rows.n)
    evidence = np.where(np.arange(rows.n) % 2 == 0, 1.0, 0.0)
    found = with_sites(Combination(FUSION, STEPS), rows, unseen, every, held_out, every, Budgets(), evidence)
    assert found.tail is not None and found.tail.spread > 1.5
    assert found.tail.middle_below == pytest.approx(1.18, abs=0.4)
    junk = {name: found.thresholds_of(name).junk for name in ("a", "b", "c", "few", "new")}
    assert junk["c"] < junk["a"] < junk["b"] < junk["new"] == junk["few"]


def test_bad_mail_and_other_sites_make_no_tail() -> None:
    rows = _rows({"a": (500, 100), "b": (500, 100)})
    said = _said(rows, {"a": -5.0, "b": -3.0})
    said.raw["one"][rows.bad] = 50.0
    found = samples(rows, FUSION, said, np.arange(rows.n))
    assert found["a"].n == found["b"].n == 500.0
    assert found["a"].at < 0.0 and found["b"].at - found["a"].at == pytest.approx(2.0, abs=0.4)
