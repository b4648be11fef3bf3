"""Skew of content: logged values of content views against what the serving code gives of the raw mail now."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from mailwarden.domain.mail.content import ContentFeature, ContentSet, ContentView
from mailwarden.domain.status import Status
from mailwarden.errors import DataError
from mailwarden.monitoring.skew_report import FeatureSkew, SkewReport, ViewSkew
from mailwarden.stores.lake.delta import Snapshot
from mailwarden.stores.spark.content import RAW_COLUMNS, Parse, column_of, content

_KEYS = ["tenant", "message_id"]
_EXAMPLES = 5


def read_raw(spark: SparkSession, raw: Snapshot) -> DataFrame:
    """Raw mail of a snapshot, as content is computed from it."""
    if not raw.files:
        return spark.createDataFrame([], RAW_COLUMNS)
    return spark.read.schema(RAW_COLUMNS).parquet(*raw.files)


def measure_content_skew(
    raw: DataFrame,
    vectors: DataFrame,
    views: ContentSet,
    parse: Parse,
    scratch: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> SkewReport:
    """Recompute the content of every logged message from its raw mail, and compare it to the last bit.

    raw: columns `RAW_COLUMNS`. vectors: as `skew.read_vectors` gives them; texts are not among them. parse: as at
    scoring. Only rows logged under a view's present version and fingerprint are compared; rows of others, and of
    messages whose raw mail is gone, are counted apart. Where the clock ended the reading of a message, its status
    stands for itself and no value is compared. scratch: folder for the staged rows, removed after. Raises DataError
    where raw mail holds a message twice.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="skew-content-") as folder:
        known = views.only(view.name for view in views.views if column_of(view.name, "version") in vectors.columns)
        logged = vectors.select("tenant", "message_id", "seq", *(name for v in known.views for name in _columns(v)))
        progress("content views")
        path = str(Path(folder) / "content")
        # Written down once, since every view is counted by itself and the parser is what costs.
        _beside_recomputed(raw, logged, known, parse).write.parquet(path)
        staged = vectors.sparkSession.read.parquet(path)
        n, written = vectors.count(), staged.count()
        if n != written:
            raise DataError(
                f"{n} logged vectors meet {written} messages by (tenant, message_id): raw mail holds a message twice; "
                "compare its rows of one message_id"
            )
        lines: list[FeatureSkew] = []
        found: list[ViewSkew] = []
        examples: list[dict[str, Any]] = []
        for view in views.views:
            if column_of(view.name, "version") not in vectors.columns:
                found.append(ViewSkew(view.name, n, 0, 0, 0, {0: n}, {}, 0, 0))
                continue
            comparison = _Comparison(staged, view, views.fingerprints[view.name])
            found.append(comparison.view_line)
            lines += comparison.feature_lines
            examples += comparison.examples()
    return SkewReport(n, tuple(found), tuple(lines), tuple(examples[:_EXAMPLES]))


def _compared(view: ContentView) -> list[ContentFeature]:
    return [feature for feature in view.features if not feature.text]


def _columns(view: ContentView) -> list[str]:
    names = ["status", "version", "fingerprint", *(feature.name for feature in _compared(view))]
    return [column_of(view.name, name) for name in names]


def _truth(view: ContentView, name: str) -> str:
    return f"truth__{column_of(view.name, name)}"


def _is_current(view: ContentView, fingerprint: int) -> Column:
    same = (F.col(column_of(view.name, "version")) == view.version) & (
        F.col(column_of(view.name, "fingerprint")) == fingerprint
    )
    return F.coalesce(same, F.lit(False))


def _beside_recomputed(raw: DataFrame, logged: DataFrame, views: ContentSet, parse: Parse) -> DataFrame:
    """Logged rows with what is computed now (`truth__`), null where the raw mail is gone."""
    if not views.views:
        return logged
    wanted = F.lit(False)
    for view in views.views:
        wanted = wanted | _is_current(view, views.fingerprints[view.name])
    asked = raw.join(logged.where(wanted).select(*_KEYS).distinct(), _KEYS, "left_semi")
    recomputed = content(asked, views, parse)
    names = [
        (view, name) for view in views.views for name in ("status", *(feature.name for feature in _compared(view)))
    ]
    truth = recomputed.select(*_KEYS, *(F.col(column_of(v.name, name)).alias(_truth(v, name)) for v, name in names))
    return logged.join(truth, _KEYS, "left")


class _Comparison:
    """One view's logged rows beside what its function gives of the raw mail."""

    def __init__(self, staged: DataFrame, view: ContentView, fingerprint: int) -> None:
        self.view, self._features = view, _compared(view)
        self._status = F.col(column_of(view.name, "status"))
        self._truth_status = F.col(_truth(view, "status"))
        self._there = staged.where(_is_current(view, fingerprint) & self._truth_status.isNotNull())
        counted = self._count(staged, fingerprint)
        others: Counter[int] = Counter()
        changed = gone = compared = 0
        statuses: Counter[str] = Counter()
        sums: Counter[str] = Counter()
        for row in counted:
            n = int(row["n"])
            if row["version"] != view.version:
                others[int(row["version"] or 0)] += n
            elif not row["current"]:
                changed += n
            elif not row["there"]:
                gone += n
            else:
                compared += n
                statuses[str(row["status"])] += n
                sums.update({name: int(row[name] or 0) for name in self._sums()})
        self.view_line = ViewSkew(
            view.name,
            sum(others.values()) + changed + gone + compared,
            compared,
            0,
            0,
            dict(sorted(others.items())),
            dict(sorted(statuses.items())),
            sums["status_mismatches"],
            0,
            changed,
            gone,
        )
        self.feature_lines = [
            FeatureSkew(view.name, feature.name, sums["valued"], 0, sums[f"m{i}"], sums[f"l{i}"], sums[f"r{i}"], 0)
            for i, feature in enumerate(self._features)
            if compared
        ]

    def _sums(self) -> dict[str, Column]:
        # What the clock cut short has values of its own, which nothing gives again.
        ended = (self._status == Status.DEADLINE.value) | (self._truth_status == Status.DEADLINE.value)
        valued = ~F.coalesce(ended, F.lit(False))
        cut_when_logged = F.coalesce(self._status == Status.DEADLINE.value, F.lit(False))
        sums = {
            "status_mismatches": ~self._status.eqNullSafe(self._truth_status) & ~cut_when_logged,
            "valued": valued,
        }
        for index, feature in enumerate(self._features):
            logged, truth = self._pair(feature)
            sums[f"m{index}"] = valued & ~logged.eqNullSafe(truth)
            sums[f"l{index}"] = valued & logged.isNull() & truth.isNotNull()
            sums[f"r{index}"] = valued & logged.isNotNull() & truth.isNull()
        return sums

    def _pair(self, feature: ContentFeature) -> tuple[Column, Column]:
        return F.col(column_of(self.view.name, feature.name)), F.col(_truth(self.view, feature.name))

    def _count(self, staged: DataFrame, fingerprint: int) -> list[Row]:
        """How many rows there are and what is wrong with them, by version, fingerprint, raw mail and status."""
        by = (
            F.col(column_of(self.view.name, "version")).alias("version"),
            _is_current(self.view, fingerprint).alias("current"),
            self._truth_status.isNotNull().alias("there"),
            self._status.alias("status"),
        )
        sums = [F.sum(where.cast("long")).alias(name) for name, where in self._sums().items()]
        counted: list[Row] = staged.groupBy(*by).agg(F.count("*").alias("n"), *sums).collect()
        return counted

    def examples(self) -> list[dict[str, Any]]:
        """A few of the mismatches of this view: seqs, values, kinds of missing, no names."""
        found: list[dict[str, Any]] = []
        if self.view_line.status_mismatches:
            wrong = self._there.where(self._sums()["status_mismatches"])
            found += self._shown("", wrong, self._status, self._truth_status)
        for index, (feature, line) in enumerate(zip(self._features, self.feature_lines, strict=False)):
            if line.mismatches and len(found) < _EXAMPLES:
                found += self._shown(feature.name, self._there.where(self._sums()[f"m{index}"]), *self._pair(feature))
        return found

    def _shown(self, feature: str, rows: DataFrame, logged: Column, truth: Column) -> Sequence[dict[str, Any]]:
        shown = rows.select("seq", logged.alias("logged"), truth.alias("truth")).orderBy("seq").limit(2)
        return [{"view": self.view.name, "feature": feature, **row.asDict()} for row in shown.collect()]
