"""Skew of scores: what each detector said of a decision against what it says of the same vector now."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from mailwarden.monitoring.skew_report import ScoreLine, ScoreSkew

_MESSAGE = ("tenant", "seq")
_ROW = (*_MESSAGE, "recipient", "detector")
_SAID = ("model", "raw", "calibrated", "missing")
"""What is compared; milliseconds are the machine's."""
_DECIDED_BY, _AWAY, _ASKED = "decided_by", "away", "asked"
_LOGGED, _THERE, _WHY, _DIFFERS = "logged", "there", "why", "differs"

NO_VECTOR = "no vector"
"""Why there is no answer to a row of the score log whose vector is not in the vector log."""

_Group = tuple[int, tuple[str, ...], bool]
"""A bundle, which of its detectors were away, in order, and whether the costly ones were asked."""

_EXAMPLES = 5

Answers = Callable[[int, frozenset[str], bool, DataFrame], DataFrame | str]
"""What a bundle says of messages: its version, which of its detectors are to be away, whether costly ones are asked,
`tenant` and `seq` of each.

Gives rows as the score log has them, and `unanswered`: in words, why there is no answer to a row. Gives such words
alone where there is an answer to none.
"""


def measure_score_skew(scores: DataFrame, vectors: DataFrame, answers: Answers, scratch: Path) -> ScoreSkew:
    """Have every decision's detectors asked again about its logged vector, and compare to the last bit.

    scores: rows of the score log. vectors: of the vector log. Each bundle is asked about its own decisions,
    with those of its detectors away that were away then, and its costly ones where they were asked then. scratch:
    folder for what they say, as Parquet, removed after.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="skew-scores-") as folder:
        # Written down once, since each bundle is asked by itself.
        decided = str(Path(folder) / "decided")
        _decided(scores).write.parquet(decided)
        messages = scores.sparkSession.read.parquet(decided)
        said, silent = _said(messages, answers, str(Path(folder) / "said"))
        joined = _beside(scores, messages, said, silent)
        unscored = vectors.select(*_MESSAGE).distinct().join(messages, list(_MESSAGE), "left_anti").count()
        found = ScoreSkew(_lines(joined), unscored)
        return replace(found, examples=_examples(joined)) if found.different else found


def _decided(scores: DataFrame) -> DataFrame:
    """A row a message: the bundle that decided, which of its detectors were away, and whether costly ones were asked:
    about a message all of them are, or none."""
    away = F.sort_array(F.collect_set(F.when(F.col("missing") == "away", F.col("detector"))))
    # Of an unknown bundle nothing can be asked.
    bundle = F.coalesce(F.max("bundle"), F.lit(0))
    asked = ~F.max(F.coalesce(F.col("missing") == "not asked", F.lit(False)))
    return scores.groupBy(*_MESSAGE).agg(bundle.alias(_DECIDED_BY), away.alias(_AWAY), asked.alias(_ASKED))


def _said(messages: DataFrame, answers: Answers, path: str) -> tuple[DataFrame | None, dict[_Group, str]]:
    """What bundles say of their own messages, None where none says anything; and why some say nothing."""
    silent: dict[_Group, str] = {}
    written = False
    for row in messages.select(_DECIDED_BY, _AWAY, _ASKED).distinct().orderBy(_DECIDED_BY, _ASKED).collect():
        group = int(row[_DECIDED_BY]), tuple(row[_AWAY]), bool(row[_ASKED])
        found = answers(group[0], frozenset(group[1]), group[2], messages.where(_is(group)).select(*_MESSAGE))
        if isinstance(found, str):
            silent[group] = found
        else:
            found.write.mode("append").parquet(path)
            written = True
    return messages.sparkSession.read.parquet(path) if written else None, silent


def _is(group: _Group) -> Column:
    bundle, away, asked = group
    same = (F.col(_DECIDED_BY) == bundle) & (F.concat_ws(",", _AWAY) == ",".join(away))
    return same & (F.col(_ASKED) == asked)


def _beside(scores: DataFrame, messages: DataFrame, said: DataFrame | None, silent: Mapping[_Group, str]) -> DataFrame:
    """Logged rows with what is said now (`now_`), why there is no answer, and whether one differs."""
    logged = scores.join(messages, list(_MESSAGE)).withColumn(_LOGGED, F.lit(True))
    if said is None:
        nothing = [F.lit(None).cast(scores.schema[name].dataType).alias(f"now_{name}") for name in _SAID]
        joined = logged.select("*", *nothing, F.lit(None).cast("string").alias(_WHY), F.lit(False).alias(_THERE))
    else:
        now = [F.col(name).alias(f"now_{name}") for name in _SAID]
        own = said.select(*_ROW, F.col("bundle").alias("now_bundle"), *now, F.col("unanswered").alias(_WHY))
        joined = logged.join(own.withColumn(_THERE, F.lit(True)), list(_ROW), "full_outer")
        joined = joined.withColumn(_DECIDED_BY, F.coalesce(_DECIDED_BY, "now_bundle"))
    why = F.lit(NO_VECTOR)
    for group, words in silent.items():
        why = F.when(_is(group), F.lit(words)).otherwise(why)
    why = F.when(F.coalesce(F.col(_THERE), F.lit(False)), F.col(_WHY)).otherwise(why)
    same = F.coalesce(F.col(_LOGGED), F.lit(False))
    for name in _SAID:
        same = same & F.col(name).eqNullSafe(F.col(f"now_{name}"))
    return joined.withColumn(_WHY, why).withColumn(_DIFFERS, F.col(_WHY).isNull() & ~same)


def _lines(joined: DataFrame) -> tuple[ScoreLine, ...]:
    by = F.col(_DECIDED_BY).alias("bundle"), F.col("detector"), F.col(_WHY).alias("why")
    counted = joined.groupBy(*by).agg(F.count("*").alias("n"), F.sum(F.col(_DIFFERS).cast("long")).alias("different"))
    found: dict[tuple[int, str], dict[str | None, Row]] = {}
    for row in counted.collect():
        found.setdefault((int(row["bundle"]), str(row["detector"])), {})[row["why"]] = row
    lines = []
    for (bundle, detector), rows in sorted(found.items()):
        unanswered = {why: int(row["n"]) for why, row in sorted(rows.items(), key=str) if why is not None}
        compared = rows.get(None)
        n, different = (0, 0) if compared is None else (int(compared["n"]), int(compared["different"]))
        lines.append(ScoreLine(bundle, detector, n + sum(unanswered.values()), n, different, unanswered))
    return tuple(lines)


def _examples(joined: DataFrame) -> tuple[dict[str, Any], ...]:
    """A few of what differs: seqs and scores, no names."""
    shown = joined.where(_DIFFERS).select(
        F.col(_DECIDED_BY).alias("bundle"), "detector", "seq", *_SAID, *(f"now_{name}" for name in _SAID)
    )
    return tuple(row.asDict() for row in shown.orderBy("seq", "detector").limit(_EXAMPLES).collect())
