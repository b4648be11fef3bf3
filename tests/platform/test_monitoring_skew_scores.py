"""Logged scores beside what is said again: each kind of difference found as such, and why what is not asked is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mailwarden.monitoring.skew_report import FeatureSkew, ScoreLine, ScoreSkew, SkewReport
from mailwarden.monitoring.skew_scores import measure_score_skew
from mailwarden.scoring.logged import RESCORED
from mailwarden.stores.lake.score_log import ScoreLog, score_schema
from mailwarden.stores.spark.snapshots import read_rows

Rows = list[dict[str, Any]]
Measure = Callable[..., ScoreSkew]


def said(seq: int, detector: str, raw: float | None, **more: Any) -> dict[str, Any]:
    recipient = more.pop("recipient", "a@x.example")
    row = dict.fromkeys(field.name for field in RESCORED)
    row |= {
        "tenant": "acme", "seq": seq, "message_id": f"m{seq}", "recipient": recipient, "received_at": seq,
        "decision_id": f"d{seq}", "bundle": 1, "detector": detector, "model": 3, "raw": raw,
        "calibrated": None if raw is None else raw / 2, "milliseconds": float(seq),
    }  # fmt: skip
    return row | more


PLAIN = [said(seq, name, seq / 7) for seq in (1, 2, 3) for name in ("one", "two")]


consulted: dict[int, bool] = {}
"""By seq, whether the costly detectors were to be asked again."""


@pytest.fixture
def measure(spark: SparkSession, tmp_path: Path) -> Measure:
    def run(
        logged: Rows, again: Rows, silent: dict[tuple[int, tuple[str, ...]], str] | None = None, seqs: Any = None
    ) -> ScoreSkew:
        log = ScoreLog(tmp_path / "scores")
        log.append(pa.Table.from_pylist([{k: row[k] for k in score_schema().names} for row in logged], score_schema()))
        pq.write_table(pa.Table.from_pylist(again, RESCORED), tmp_path / "again.parquet")
        answered = spark.read.parquet(str(tmp_path / "again.parquet"))
        vectors = spark.createDataFrame([("acme", seq) for seq in seqs or (1, 2, 3)], "tenant string, seq long")

        def answers(bundle: int, away: frozenset[str], asked: bool, messages: DataFrame) -> DataFrame | str:
            consulted.update((row["seq"], asked) for row in messages.collect())
            word = (silent or {}).get((bundle, tuple(sorted(away))))
            if word is not None:
                return word
            return answered.where(F.col("bundle") == bundle).join(messages, ["tenant", "seq"], "left_semi")

        return measure_score_skew(read_rows(spark, log.snapshot()), vectors, answers, tmp_path / "run")

    return run


def test_what_is_said_again_alike_agrees_whatever_it_took(measure: Measure) -> None:
    found = measure(PLAIN, [{**row, "milliseconds": 99.0} for row in PLAIN])
    assert found == ScoreSkew((ScoreLine(1, "one", 3, 3, 0, {}), ScoreLine(1, "two", 3, 3, 0, {})))
    assert (found.compared, found.different, found.unanswered) == (6, 0, {})


def test_each_kind_of_difference_counts(measure: Measure) -> None:
    logged = [
        said(1, "one", 1.0), said(1, "two", 1.0), said(1, "three", 1.0),
        said(2, "one", None, missing="abstained"), said(2, "two", 1.0), said(2, "three", 1.0),
        said(3, "one", None, missing="failed"), said(3, "two", None, missing="abstained"), said(3, "three", 1.0),
    ]  # fmt: skip
    again = [
        said(1, "one", 1.0 + 2**-52, calibrated=0.5), said(1, "two", 1.0, calibrated=0.5 - 2**-54),
        said(1, "three", 1.0, model=4),
        said(2, "one", None, missing="abstained"), said(2, "two", None, missing="abstained"), said(2, "three", 1.0),
        said(3, "one", None, missing="failed"), said(3, "two", None, missing="failed"), said(3, "three", 1.0),
        said(3, "three", 1.0, recipient="b@x.example"),
    ]  # fmt: skip
    found = measure(logged, again)
    assert {line.detector: (line.rows, line.compared, line.different) for line in found.lines} == {
        "one": (3, 3, 1), "two": (3, 3, 3), "three": (4, 4, 2),
    }  # fmt: skip
    assert found.different == 6 and found.unanswered == {}
    shown = {(example["seq"], example["detector"]): example for example in found.examples}
    assert shown[1, "one"]["raw"] == 1.0 and shown[1, "one"]["now_raw"] == 1.0 + 2**-52
    assert not any("@" in str(value) for example in found.examples for value in example.values())


def test_what_is_not_asked_again_is_counted_by_why(measure: Measure) -> None:
    logged = [
        *(said(seq, name, 1.0) for seq in (1, 2) for name in ("one", "two")),
        *(said(3, name, 1.0, bundle=2) for name in ("one", "two")),
        said(4, "one", 1.0, bundle=5), said(4, "two", None, bundle=5, missing="away", model=None),
        said(5, "one", 1.0, bundle=5), said(5, "two", 1.0, bundle=5),
    ]  # fmt: skip
    again = [
        said(1, "one", 1.0), said(1, "two", None, unanswered="texts gone"),
        said(4, "one", 1.0, bundle=5), said(4, "two", None, bundle=5, missing="away", model=None),
    ]  # fmt: skip
    silent = {(2, ()): "bundle gone", (5, ()): "detector away"}
    found = measure(logged, again, silent, seqs=(1, 3, 4, 5, 6, 6, 7))
    assert found.lines == (
        ScoreLine(1, "one", 2, 1, 0, {"no vector": 1}),
        ScoreLine(1, "two", 2, 0, 0, {"no vector": 1, "texts gone": 1}),
        ScoreLine(2, "one", 1, 0, 0, {"bundle gone": 1}),
        ScoreLine(2, "two", 1, 0, 0, {"bundle gone": 1}),
        ScoreLine(5, "one", 2, 1, 0, {"detector away": 1}),
        ScoreLine(5, "two", 2, 1, 0, {"detector away": 1}),
    )
    assert found.unanswered == {"no vector": 2, "texts gone": 1, "bundle gone": 2, "detector away": 2}
    assert (found.unscored, found.different) == (2, 0)


def test_a_costly_detector_is_asked_again_about_what_it_was_asked_about(measure: Measure) -> None:
    consulted.clear()
    rows = [
        said(1, "one", 1.0), said(1, "dear", None, missing="not asked"), said(2, "one", 1.0), said(2, "dear", 1.0),
        said(3, "one", 1.0), said(3, "dear", None, missing="abstained"),
    ]  # fmt: skip
    assert measure(rows, rows).different == 0
    assert consulted == {1: False, 2: True, 3: True}


def test_where_nobody_answers_all_is_counted_so(measure: Measure) -> None:
    found = measure(PLAIN, [], {(1, ()): "bundle gone"})
    assert (found.compared, found.different, found.unanswered) == (0, 0, {"bundle gone": 6})


def test_of_a_home_from_before_the_score_log_all_messages_are_without_scores(measure: Measure) -> None:
    assert measure([], [], seqs=(1, 1, 2)) == ScoreSkew((), unscored=2)


def test_a_report_does_not_agree_where_a_score_differs() -> None:
    report = SkewReport(1, (), (FeatureSkew("v", "f", 1, 1, 0, 0, 0, 0),))
    line = ScoreLine(1, "one", 3, 2, 0, {"texts gone": 1})
    assert replace(report, scores=ScoreSkew((line,))).agrees
    other = replace(report, scores=ScoreSkew((replace(line, different=1),)))
    assert not other.agrees and not other.with_content(SkewReport(1, (), ())).agrees
    told = other.as_json()
    assert (told["scores_compared"], told["scores_different"], told["scores_unanswered"]) == (2, 1, 1)
    assert told["scores"] == [
        {"bundle": 1, "detector": "one", "rows": 3, "compared": 2, "different": 1, "unanswered": {"texts gone": 1}}
    ]
