"""Data sets for those who know pandas and SQL: plain Parquet of the values that serving has, and a card beside."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any

from feast import FeatureService, FeatureStore
from feast.errors import FeatureServiceNotFoundException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.status import Status
from mailwarden.errors import DataError, NotFound, did_you_mean
from mailwarden.stores.asked import OWN
from mailwarden.stores.feast.source import ContentDefinition, definition_of
from mailwarden.stores.lake.fact_sets import FactSnapshot
from mailwarden.stores.spark.failures import translated
from mailwarden.stores.spark.offline_table import OfflineTable
from mailwarden.training.rows import write_training_rows
from mailwarden.training.splits import Split

DATA, CARD = "data", "dataset.json"
"""What an exported folder holds: a folder of Parquet, and the card."""

_ALL = "all"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What a data set is to hold.

    service: name of a FeatureService. cutoff_us: labels known later are not seen. from_us, until_us: messages received
    in that time, its end not in it, None for open; all microseconds UTC. tenant: None for all. splits: parts; a row
    that is in none is left out. unlabelled: messages without a label too, with a null one.
    """

    service: str
    cutoff_us: int
    from_us: int | None = None
    until_us: int | None = None
    tenant: str | None = None
    splits: tuple[Split, ...] = ()
    unlabelled: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)


def export_dataset(
    session: Callable[[], SparkSession],
    store: FeatureStore,
    facts: FactSnapshot,
    out: Path,
    options: ExportOptions,
    progress: Callable[[str], None] = lambda stage: None,
) -> dict[str, Any]:
    """Write a data set to a new folder and return its card.

    session: gives the Spark session, once all else is known to be well. facts: of which rows are
    made. `DATA` holds one row a recipient of a message: its keys, seq, message_id, event_timestamp, label, weight,
    split, a column `view__feature` a feature, and for each view `view__status` and, of activity views,
    `view__as_of_seq`. `CARD` says what was asked and what there is, with options.record. The folder is there whole or
    not at all. Raises NotFound where there is no such service, DataError where the folder exists or no message is left.
    """
    # Spark has a working directory of its own: that of when it was started.
    out = out.absolute()
    if out.exists():
        raise DataError(f"{out} exists; choose another folder, or remove it first")
    service = _service(store, options.service)
    spark = session()
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        progress("reading rows")
        asked = write_training_rows(
            spark,
            facts,
            partial / "rows",
            cutoff_us=options.cutoff_us,
            tenant=options.tenant,
            from_us=options.from_us,
            until_us=options.until_us,
            unlabelled=options.unlabelled,
        )
        with translated("splitting rows"):
            kept = _split(spark.read.parquet(str(partial / "rows")), options.splits)
            kept.write.parquet(str(partial / "asked"))
            n = spark.read.parquet(str(partial / "asked")).count()
        if n == 0:
            raise DataError("no message is in any split; move their bounds, or name other tenants")
        progress(f"features of {options.service}")
        job = store.get_historical_features(str(partial / "asked"), service, full_feature_names=True).with_statuses()
        job.to_parquet(str(partial / DATA), leave_out=OWN)
        progress("counting")
        with translated("counting what was exported"):
            card = _card(spark.read.parquet(str(partial / DATA)), store, service, options)
        card |= {
            "rows": n,
            "rows_in_no_split": asked - n,
            "event_log_version": facts.log.version,
            "fact_set": facts.number,
            **options.record,
        }
        (partial / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
        for folder in ("rows", "asked"):
            shutil.rmtree(partial / folder)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return card


def _written(time_us: int | None) -> str | None:
    return None if time_us is None else (_EPOCH + timedelta(microseconds=time_us)).isoformat()


def _service(store: FeatureStore, name: str) -> FeatureService:
    try:
        return store.get_feature_service(name)
    except FeatureServiceNotFoundException as exc:
        known = sorted(service.name for service in store.list_feature_services())
        hint = did_you_mean(name, known) or f" There are {', '.join(known) or 'none'}."
        raise NotFound(f"there is no FeatureService {name!r}.{hint}") from exc


def _split(rows: DataFrame, splits: Sequence[Split]) -> DataFrame:
    if not splits:
        return rows.withColumn("split", F.lit(_ALL))
    chosen = reduce(lambda found, split: found.when(split.holds, split.name), splits, F.when(F.lit(False), ""))
    return rows.withColumn("split", chosen).where(F.col("split").isNotNull())


def _card(data: DataFrame, store: FeatureStore, service: FeatureService, options: ExportOptions) -> dict[str, Any]:
    views: dict[str, Any] = {}
    features: list[dict[str, Any]] = []
    content: list[str] = []
    for projection in service.feature_view_projections:
        definition = definition_of(store.get_feature_view(projection.name))
        name = projection.name_to_use()
        views[name] = {"version": definition.version, "owner": definition.owner}
        if isinstance(definition, ActivityView):
            views[name]["fingerprint"] = f"{layout_of(definition).fingerprint & (1 << 64) - 1:016x}"
        if isinstance(definition, ContentDefinition):
            content.append(name)
            offline = store.config.offline_store.settings().offline_path
            manifest = OfflineTable(offline, definition.name, definition.version).manifest()
            views[name]["fingerprint"] = None if manifest is None else f"{manifest.fingerprint:016x}"
        told = {feature.name: feature for feature in definition.features}
        features += [
            {
                "column": f"{name}__{one.name}",
                "dtype": told[one.name].dtype,
                "unit": told[one.name].unit,
                "null": told[one.name].null,
                "description": told[one.name].description,
            }
            for one in projection.features
        ]
    lacking = {name: F.sum((F.col(f"{name}__status") == Status.UNAVAILABLE.value).cast("long")) for name in content}
    return {
        "service": options.service,
        "from": _written(options.from_us),
        "until": _written(options.until_us),
        "labels_known_by": _written(options.cutoff_us),
        "tenant": options.tenant,
        "unlabelled": options.unlabelled,
        "splits": _counts(data),
        "content_unavailable": _row(data, lacking),
        "views": views,
        "features": features,
    }


def _counts(data: DataFrame) -> dict[str, Any]:
    """By split its rows and messages, and messages by label; a row a split and label is all that reaches the driver."""
    counted = (
        data.groupBy("split", F.coalesce("label", F.lit("")).alias("label"))
        .agg(F.count("*").alias("rows"), F.count_distinct("tenant", "message_id").alias("messages"))
        .orderBy("split", "label")
        .collect()
    )
    found: dict[str, Any] = defaultdict(lambda: {"rows": 0, "messages": 0, "labels": {}})
    for row in counted:
        part = found[row["split"]]
        part["rows"] += row["rows"]
        part["messages"] += row["messages"]
        part["labels"][row["label"] or "none"] = row["messages"]
    return dict(found)


def _row(data: DataFrame, columns: Mapping[str, Column]) -> dict[str, int]:
    if not columns:
        return {}
    (row,) = data.agg(*[column.alias(name) for name, column in columns.items()]).collect()
    return {name: int(row[name] or 0) for name in columns}
