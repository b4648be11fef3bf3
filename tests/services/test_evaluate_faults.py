"""A detector at fault: what is held back then is what serving holds back, message by message."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mailwarden.domain.detection.decision import HISTORY, Calibration, Combination, Fusion, Thresholds, away_name
from mailwarden.domain.detection.detector import RawScores
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.errors import ConfigError, DataError
from mailwarden.scoring.bands import Bands, sure_alone
from mailwarden.scoring.batch import DetectorScores
from mailwarden.scoring.champion import Champion
from mailwarden_services.evaluation.faults.asked import FaultsAsked
from mailwarden_services.evaluation.faults.mail import TenantRows
from mailwarden_services.evaluation.faults.result import beyond, grids_of, result_of, write_faults
from mailwarden_services.evaluation.faults.trials import AWAY, FIRES, HOLDS_DOWN, NOTHING, Fault, faults_of, outcome_of
from mailwarden_services.evaluation.home import Wanted
from mailwarden_services.evaluation.judge import Judge

NAMES = ("one", "two", "three")
WANTED = Wanted(known_by_us=1)


class Reading:
    """Says what stands in its column, and abstains where nothing does."""

    def __init__(self, name: str) -> None:
        self.features = (f"sender_activity:{name}",)

    def score(self, rows: FeatureTable) -> RawScores:
        values = rows.columns[self.features[0]]
        return RawScores(np.nan_to_num(values), np.isnan(values))


def _combination(names: tuple[str, ...]) -> Combination:
    fusion = Fusion({name: 3.0 / len(names) for name in names}, -2.0, dict.fromkeys(names, Calibration(1.0, 0.0)))
    return Combination(fusion, Thresholds(0.0, 1.0, 2.0))


def champion() -> Champion:
    ways = [(), *((name,) for name in NAMES), (HISTORY,), *((name, HISTORY) for name in NAMES)]
    found = {away_name(away): _combination(tuple(name for name in NAMES if name not in away)) for away in ways}
    return Champion(
        version=1,
        detectors={name: Reading(name) for name in NAMES},  # type: ignore[misc]
        detector_versions=dict.fromkeys(NAMES, 1),
        whole=found.pop(""),
        content_views=frozenset(),
        categoriser="",
        without=found,
    )


def mail(n: int = 400, seed: int = 1) -> tuple[FeatureTable, TenantRows]:
    """Messages of one or two rows that three detectors tell apart, each silent at times; senders write in runs."""
    draw = np.random.default_rng(seed)
    bad = draw.random(n) < 0.2
    lengths = draw.integers(1, 3, n)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.intp)
    of_row = np.repeat(np.arange(n), lengths)
    columns = {}
    for name in NAMES:
        values = draw.normal(np.where(bad[of_row], 1.5, -0.6), 0.8)
        columns[f"sender_activity:{name}"] = np.where(draw.random(len(of_row)) < 0.1, np.nan, values)
    table = FeatureTable(columns, len(of_row), {"sender_activity": np.zeros(len(of_row), dtype=np.uint8)})
    said = {}
    for name, column in columns.items():
        silent = np.isnan(column)
        said[name.partition(":")[2]] = DetectorScores(np.nan_to_num(column), silent, 0.0)
    sender = np.array([f"s{number // 3}@far.example" for number in range(n)], dtype=object)
    return table, TenantRows("acme", starts, bad, sender, said, said)


def served(table: FeatureTable, rows: TenantRows, fault: Fault) -> tuple[list[bool], int | None]:
    """Each message by the champion itself, one at a time, as the scorer does it."""
    sound, bands, held, first = champion(), Bands(), [], None
    if fault.kind in (FIRES, HOLDS_DOWN):
        one = rows.said[fault.name]
        assert one.abstains is not None
        stuck = float((np.max if fault.kind == FIRES else np.min)(one.raw[~one.abstains]))
        column = {f"sender_activity:{fault.name}": np.full(table.n, stuck)}
        table = FeatureTable({**table.columns, **column}, table.n, table.statuses)
    elif fault.kind == AWAY:
        sound = replace(sound, detectors={n: d for n, d in sound.detectors.items() if n != fault.name},
                        away={fault.name: "gone"})  # fmt: skip
    for number, (start, stop) in enumerate(pairwise(rows.starts.tolist())):
        batch = sound.score(table.take(np.arange(start, stop)), None, ["acme"])
        scores = batch.of()
        without = sound.held_without_each(batch, "acme")
        out = bands.see(
            "acme",
            str(rows.sender[number]),
            scores.verdict("acme") in ("junk", "quarantine"),
            {name: verdict in ("junk", "quarantine") for name, verdict in without.items()},
            sure_alone(scores.detectors),
        )
        if out:
            scores = sound.setting_aside(batch, out)
        if fault.name in out and first is None:
            first = number + 1
        held.append(scores.verdict("acme") in ("junk", "quarantine"))
    return held, first


@pytest.mark.parametrize(
    "fault", [Fault(NOTHING), *(Fault(kind, name) for kind in (AWAY, FIRES, HOLDS_DOWN) for name in ("one", "three"))]
)
def test_what_is_held_back_is_what_serving_holds_back(fault: Fault) -> None:
    table, rows = mail()
    held, first = served(table, rows, fault)
    found = outcome_of(champion(), rows, fault, None)
    assert found.good.hits == int(np.sum(np.array(held) & ~rows.bad)) and found.good.n == int((~rows.bad).sum())
    assert found.bad.hits == int(np.sum(np.array(held) & rows.bad)) and found.bad.n == int(rows.bad.sum())
    assert found.set_aside_after == first


def test_a_detector_that_fires_on_everything_is_set_aside_and_bounded() -> None:
    _, rows = mail(3_000)
    loud = replace(rows, said={**rows.said, "two": replace(rows.said["two"], raw=rows.said["two"].raw.copy())})
    loud.said["two"].raw[0] = 9.0
    sound, fires = (outcome_of(champion(), loud, fault, None) for fault in (Fault(NOTHING), Fault(FIRES, "two")))
    assert sound.set_aside_after is None and fires.set_aside_after is not None and fires.set_aside_after < 40
    # Without bands all good mail would be held back.
    assert fires.good.hits < sound.good.hits + 60 < fires.good.n / 10
    assert fires.bad.rate > 0.5


def test_without_history_what_was_fitted_for_that_counts() -> None:
    _, rows = mail()
    quiet = {name: DetectorScores(one.raw - 50.0, one.abstains, 0.0) for name, one in rows.said.items()}
    found = outcome_of(champion(), replace(rows, blind=quiet), Fault(AWAY, HISTORY), None)
    assert found.bad.hits == 0 == found.good.hits
    assert Fault(AWAY, HISTORY) in faults_of(champion()) and len(faults_of(champion())) == 1 + 3 * 3 + 1


@pytest.mark.parametrize("share", [0.05, 0.01])
def test_bad_mail_is_thinned_and_good_mail_stays_in_order(share: float) -> None:
    _, rows = mail(2_000)
    thinned = rows.thinned(share, np.random.default_rng(3))
    assert int((~thinned.bad).sum()) == int((~rows.bad).sum())
    assert thinned.bad.mean() == pytest.approx(share, abs=0.001)
    of_good = [name for name, bad in zip(thinned.sender, thinned.bad, strict=True) if not bad]
    assert of_good == [name for name, bad in zip(rows.sender, rows.bad, strict=True) if not bad]
    assert thinned.starts[-1] == len(thinned.said["one"].raw)


class _Bundle:
    def __init__(self) -> None:
        self.record: Any = {"options": {"budgets": {"junk": 0.001}}}


def test_the_report_names_what_goes_beyond_twice_the_budget(tmp_path: Path) -> None:
    _, rows = mail()
    judge = Judge(_Bundle(), champion(), {})  # type: ignore[arg-type]
    asked = FaultsAsked(WANTED, shares=(0.05,))
    ticks: list[int] = []
    result = result_of(judge, 4, {"acme": rows}, 2, asked, {"command": "x"}, ticks.append)
    assert ticks == list(range(1, 12)) and result["tenants"]["acme"] == [int((~rows.bad).sum()), int(rows.bad.sum())]
    over = [one for one in result["shares"][0]["faults"] if one["good_held"]["rate"] > 0.002]
    assert len(beyond(result)) == len(over) > 0
    text = write_faults(tmp_path / "out", result).read_text()
    assert "# Faults of bundle 4" in text and "two fires on everything" in text and "all history away" in text
    assert len(grids_of(result)[0].rows) == 11
    good_alone = rows.take(np.flatnonzero(~rows.bad))
    with pytest.raises(DataError, match="no tenant has good and bad labelled mail"):
        result_of(judge, 4, {"acme": good_alone}, 0, asked, {})


def test_what_cannot_be_asked_for_is_said() -> None:
    with pytest.raises(ConfigError, match=r"1\.5 is no share of bad mail"):
        FaultsAsked(WANTED, shares=(1.5,))
    with pytest.raises(ConfigError, match="give one at least"):
        FaultsAsked(WANTED, messages=0)
