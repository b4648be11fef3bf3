"""Hits of rules, counted a part at a time, as counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mailwarden.domain.detection.decision import Verdict
from mailwarden.domain.detection.rules.rule import Rule, Within
from mailwarden.domain.mail.events import LABELS
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.figures import Share
from mailwarden.evaluation.rule_hits import RuleCounts, write_rule_hits


def rule(name: str, weight: float = 0.0, action: Verdict | None = None) -> Rule:
    return Rule(name, "Words enough.", "low", Within("links:count", 1.0), (), weight, action, "CP")


RULES = [rule("adds", 1.0), rule("also", 0.5), rule("brake", -1.0), rule("acts", action="junk"), rule("never", 1.0)]
HELD = np.array(
    [
        # adds, also, brake, acts, never
        [1, 0, 0, 0, 0],  # CP, alone, in its second row
        [0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0],  # ham
        [0, 1, 1, 0, 0],  # BE: a brake is no company
        [0, 0, 0, 1, 0],  # ham
        [0, 0, 0, 0, 0],  # ham
    ],
    dtype=bool,
)
STARTS = np.array([0, 2, 3, 4, 5, 6])
LABEL = Coded.of(["CP", "ham", "BE", "ham", "ham"], LABELS)


def counted() -> RuleCounts:
    counts = RuleCounts(RULES)
    counts.add(HELD[:3], STARTS[:3], LABEL.take(np.array([0, 1])))
    counts.add(HELD[3:], STARTS[2:] - 3, LABEL.take(np.array([2, 3, 4])))
    counts.add(HELD[:0], np.array([0]), LABEL.take(np.array([], dtype=np.intp)))
    return counts


def test_a_message_is_hit_once_and_alone_where_nothing_else_speaks_against_it() -> None:
    counts = counted()
    assert counts.messages == (3, 2)
    adds, also, brake, acts, never = counts.figures()
    assert (adds.bad_hits, adds.good_hits, adds.unique_bad, adds.unique_good) == (1, 1, 1, 0)
    assert (also.bad_hits, also.good_hits, also.unique_bad, also.unique_good) == (1, 1, 1, 0)
    assert (brake.bad_hits, brake.good_hits, brake.unique_bad, brake.unique_good) == (1, 1, 0, 0)
    assert (acts.bad_hits, acts.good_hits, acts.unique_bad, acts.unique_good) == (0, 1, 0, 1)
    assert adds.precision == Share.of(1, 2) and adds.by_label == {"CP": 1, "ham": 1}
    assert never.precision.n == 0 and never.by_label == {}


def test_figures_are_written_a_row_a_rule(tmp_path: Path) -> None:
    write_rule_hits(tmp_path / "hits.parquet", counted().figures())
    rows = {row["rule"]: row for row in pq.read_table(tmp_path / "hits.parquet").to_pylist()}
    assert list(rows) == [one.name for one in RULES]
    assert (rows["adds"]["good"], rows["adds"]["bad"], rows["adds"]["hits_CP"], rows["adds"]["hits_BE"]) == (3, 2, 1, 0)
    assert rows["adds"]["precision"] == 0.5 and 0 < rows["adds"]["precision_low"] < 0.5
    assert (rows["acts"]["action"], rows["adds"]["action"]) == ("junk", None)
    assert rows["never"]["precision"] is None and rows["never"]["precision_low"] == 0.0
