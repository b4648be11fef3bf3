"""What each detector is worth, against a plain recount and worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings

from mailwarden.evaluation.detectors import detector_figures
from mailwarden.evaluation.scored import Said, Scored

Table = Callable[..., Scored]
BUDGET = 0.25
HELD = ("junk", "quarantine")


def caught_by(rows: list[dict[str, Any]], name: str) -> set[int]:
    """Places of bad rows above what a quarter of good ones passes; who says nothing catches nothing."""
    score = [-np.inf if row[f"{name}__log_odds"] is None else row[f"{name}__log_odds"] for row in rows]
    good = sorted((s for s, row in zip(score, rows, strict=True) if row["label"] == "ham"), reverse=True)
    limit = good[int(BUDGET * len(good) + 1e-9)] if good else np.inf
    return {at for at, row in enumerate(rows) if row["label"] not in (None, "ham") and score[at] > limit}


def test_catches_overlap_and_what_is_lost_are_what_a_recount_finds(scored: Table, mails: Any) -> None:
    @settings(deadline=None)
    @given(mails)
    def check(drawn: list[Any]) -> None:
        table = scored(drawn)
        rows = table.to_arrow().to_pylist()
        found, overlap = detector_figures(table, (BUDGET,))
        sets = {name: caught_by(rows, name) for name in ("rules", "text")}
        assert overlap.names == ("rules", "text") == tuple(one.name for one in found)
        assert overlap.caught == tuple(
            tuple(len(sets[one] & sets[two]) for two in overlap.names) for one in overlap.names
        )
        assert (overlap.any, overlap.bad) == (
            len(sets["rules"] | sets["text"]), sum(row["label"] not in (None, "ham") for row in rows)
        )  # fmt: skip
        for one in found:
            other = "text" if one.name == "rules" else "rules"
            assert (one.unique.hits, one.unique.n) == (len(sets[one.name] - sets[other]), overlap.any)
            assert one.recall[0].caught == len(sets[one.name])
            why = [row[f"{one.name}__missing"] for row in rows]
            assert (one.spoke, one.abstained, one.away) == (why.count(None), why.count("abstained"), why.count("away"))
            assert one.without is not None
            there = [row for row in rows if row["text__missing"] != "away" and row["rules__missing"] != "away"]
            lost = gained = 0
            for row in there:
                # Without one the other counts double, in the same thresholds.
                left = 2.0 * (row[f"{other}__log_odds"] or 0.0)
                if row["label"] not in (None, "ham"):
                    lost += row["verdict"] in HELD and left < 1.0
                    gained += row["verdict"] not in HELD and left >= 1.0
            assert (one.without.lost.hits, one.without.gained.hits) == (lost, gained)
            assert one.without.good == sum(row["label"] == "ham" for row in there)

    check()


def test_a_table_worked_out_by_hand(scored: Table, mail: Any) -> None:
    table = scored([
        *(mail("ham", -2.0, -2.0) for _ in range(8)),
        mail("CP", 3.0, -3.0), mail("CP", None, 3.0), mail("BE", 3.0, 3.0), mail("BE", -3.0, None),
    ])  # fmt: skip
    (rules, text), overlap = detector_figures(table, (0.01,))
    assert overlap.caught == ((2, 1), (1, 2)) and (overlap.any, overlap.bad) == (3, 4)
    assert (rules.unique.hits, text.unique.hits, rules.unique.n) == (1, 1, 3)
    # Half of the pairs of a bad and a good message are ranked wrongly by each: who says nothing ranks below all.
    assert rules.area is not None and text.area is not None and rules.area.roca == text.area.roca == 50.0
    assert rules.area.low <= 25.0 and rules.area.high >= 75.0
    assert rules.without is not None and text.without is not None
    # Held back with both: the second and third; without rules the first is, and the second is not.
    assert (rules.without.lost.hits, rules.without.lost.n, rules.without.gained.hits) == (1, 2, 1)
    assert (text.without.lost.hits, text.without.gained.hits) == (0, 0)
    assert rules.without.good_held_back_without.hits == 0
    assert rules.milliseconds == {"n": 0}


def test_what_a_detector_costs_is_told_of_where_it_was_measured(scored: Table, mail: Any) -> None:
    table = scored([mail("ham", 1.0, 1.0), mail("CP", 1.0, 1.0), mail("CP", 1.0, 1.0)])
    text = table.detectors["text"]
    table.detectors["text"] = Said(text.calibrated, text.missing, np.array([1.0, 3.0, np.nan]))  # type: ignore[index]
    _, one = detector_figures(table)[0]
    assert (one.milliseconds["n"], one.milliseconds["p50_ms"]) == (2, 2.0)


def test_labels_of_one_class_give_no_ranking_and_no_error(scored: Table, mail: Any) -> None:
    found, overlap = detector_figures(scored([mail("ham", 1.0), mail(None, 2.0)]))
    assert [one.area for one in found] == [None, None] and overlap.bad == 0
