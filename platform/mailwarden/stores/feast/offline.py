"""Feast's offline store over the event log: point-in-time values by Spark, exactly one row out for one row in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

from feast import FeatureView, OnDemandFeatureView, RepoConfig
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from feast.utils import _get_requested_feature_views_to_features_dict
from pydantic import StrictStr
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.status import Status
from mailwarden.errors import DataError
from mailwarden.settings import Settings
from mailwarden.stores.asked import own_column
from mailwarden.stores.feast.entity_rows import ROW, EntityFrame, Kind, entity_rows
from mailwarden.stores.feast.from_message import FromMessage
from mailwarden.stores.feast.on_demand import transform_of, with_transforms
from mailwarden.stores.feast.own_facts import own_facts_of
from mailwarden.stores.feast.retrieval_job import Refused, SparkRetrievalJob
from mailwarden.stores.feast.source import TIMESTAMP_FIELD, ContentDefinition, definition_of
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.spark.as_of import ROW_ID, as_of, as_of_seq_column
from mailwarden.stores.spark.content import STATUS, content_schema
from mailwarden.stores.spark.facts import read_facts
from mailwarden.stores.spark.fold_rows import SEQ, TENANT, TIME, key_columns
from mailwarden.stores.spark.offline_table import OfflineTable
from mailwarden.stores.spark.session import spark_session
from mailwarden.stores.spark.statuses import THERE, status_of, with_presence

_STATUS, _LACKS = "__status", "__lacks"
_NTZ_EPOCH = "timestamp_ntz'1970-01-01 00:00:00'"


class MailwardenOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """The offline store's part of feature_store.yaml; what is left out comes from the environment (`MAILWARDEN_*`).

    home: as in `Settings`; the event log and the offline files lie below it. staging_location: folder, or a URI that
    Spark can write to, for `to_remote_storage`. fact_set: number of the one that values are computed
    from; by default the newest, as of the call.
    """

    type: StrictStr = "mailwarden.stores.feast.offline.MailwardenOfflineStore"
    home: StrictStr | None = None
    spark_master: StrictStr | None = None
    spark_driver_memory: StrictStr | None = None
    spark_shuffle_partitions: int | None = None
    staging_location: StrictStr | None = None
    fact_set: int | None = None

    def settings(self) -> Settings:
        """Settings with what this configuration says."""
        given = {
            name: value
            for name, value in self.model_dump(exclude={"type", "staging_location", "fact_set"}).items()
            if value is not None
        }
        return Settings(**given)


class MailwardenOfflineStore(OfflineStore):  # type: ignore[misc]
    """Values of views as they were when a message was accepted.

    Rows are asked with a sequence number: an event counts where its own lies below it. A label is an event at the
    time that it was given, so no value holds a label that was not known yet: there is nothing to switch on.
    """

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: EntityFrame | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **kwargs: Any,
    ) -> SparkRetrievalJob:
        """A job over the newest fact set and the event log as they are now; see `SparkRetrievalJob`.

        Nothing runs in Spark before it is asked.

        entity_df: a pandas or Spark frame, or the path of Parquet: the views' join keys, `event_timestamp` (UTC
        where it has no zone), `seq`, the request sources of on-demand views, `own__<fact>` (lists of strings: what
        the message itself holds in a fact, for features that compare it with the past), and any other column, which
        is passed through. Where it has `tenant` and `message_id`, what the message itself answers may be left out:
        keys but the recipient, `event_timestamp` and `seq` (which the result then shows) and the own facts are taken
        from the event log; a message that it does not hold is an error, and a null message_id gives nulls. Values of
        a key that is null or empty are null. `filter_by_created_timestamp` changes nothing: what was not known yet
        at a seq never counts. Raises DataError where a column is missing.
        """
        if entity_df is None:
            raise Refused("get_historical_features needs an entity_df: values exist for a message's keys, time and seq")
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        wanted, computed = _get_requested_feature_views_to_features_dict(feature_refs, feature_views, on_demand)
        # Feast names what on-demand views read in the order of a set, which is another in every process.
        wanted = {view: [field.name for field in view.features if field.name in wanted[view]] for view in wanted}
        settings = config.offline_store.settings()
        rows = entity_rows(entity_df, lambda: spark_session(settings, f"feast {project}"))
        keys = {column for view in wanted for column in _columns_of_keys(view, definition_of(view)).values()}
        looked_up = FromMessage.of(rows.columns, keys, own_facts_of(wanted))
        _check_columns({**rows.columns, **looked_up.kinds}, wanted, computed, full_feature_names)
        transforms = [
            transform_of(view, names, rows.columns, full_feature_names=full_feature_names)
            for view, names in computed.items()
        ]
        # Whatever is written from here on does not show in this job.
        facts = FactSets(settings.facts_path, EventLog(settings.events_path)).snapshot(config.offline_store.fact_set)
        content = {
            view: _content_files(settings, definition)
            for view in wanted
            if isinstance(definition := definition_of(view), ContentDefinition)
        }

        def plan(statuses: bool) -> tuple[DataFrame, DataFrame]:
            spark = rows.session()
            asked = looked_up.into(rows.frame(spark), lambda: read_facts(spark, facts))
            result = asked.drop(*looked_up.own)
            for view, names in wanted.items():
                definition = definition_of(view)
                keys = _columns_of_keys(view, definition)
                if isinstance(definition, ActivityView):
                    values = _activity_values(asked, definition, keys, read_facts(spark, facts), statuses)
                else:
                    values = _content_values(asked, definition, keys, content[view])
                columns = [F.col(name).alias(_column(view, name, full_feature_names)) for name in names]
                if statuses:
                    columns += [F.col(name).alias(column) for name, column in _beside_values(view, definition).items()]
                # Not a left join: a row without values would be an error of ours, and must not pass for nulls.
                result = result.join(values.select(F.col(ROW_ID).alias(ROW), *columns), ROW)
            return asked, with_transforms(result, transforms)

        return SparkRetrievalJob(plan, feature_refs, full_feature_names, config.offline_store.staging_location)

    @staticmethod
    def pull_latest_from_table_or_query(*args: Any, **kwargs: Any) -> RetrievalJob:
        """Refused: states are loaded by the batch engine, values are never pulled."""
        raise Refused("states are loaded by the batch engine; configure batch_engine as feature_store.yaml does")

    @staticmethod
    def pull_all_from_table_or_query(*args: Any, **kwargs: Any) -> RetrievalJob:
        """Refused: a view has a value at any moment, so all of its values cannot be listed."""
        raise Refused("a view has a value at every moment; ask get_historical_features for those that you need")

    @staticmethod
    def offline_write_batch(*args: Any, **kwargs: Any) -> None:
        """Refused: values are computed from the event log and never written to it."""
        raise Refused("values come from the event log; add messages by `mailwarden ingest` or the scoring API")

    @staticmethod
    def write_logged_features(*args: Any, **kwargs: Any) -> None:
        """Refused: vectors are logged with each decision."""
        raise Refused("feature vectors are logged with each decision by the scoring API")


def _check_columns(
    columns: Mapping[str, Kind],
    wanted: Mapping[FeatureView, list[str]],
    computed: Mapping[OnDemandFeatureView, list[str]],
    full_feature_names: bool,
) -> None:
    keys = {TENANT: TENANT}
    for view in wanted:
        keys |= {column: column for column in _columns_of_keys(view, definition_of(view)).values()}
    requests = {name: view.name for view in computed for name in view.get_request_data_schema()}
    missing = sorted({SEQ, TIMESTAMP_FIELD, *keys, *requests} - set(columns))
    if missing:
        asked_by = "".join(f"; {name} is a request source of {requests[name]}" for name in missing if name in requests)
        raise DataError(
            f"entity_df has no column {', '.join(missing)}; it needs the join keys of its views, {TIMESTAMP_FIELD}, "
            f"and {SEQ}: values use events with a sequence number below it. With {TENANT} and message_id, all of these "
            f"but the recipient may be left out: the event log has them{asked_by}"
        )
    kinds: dict[str, Kind] = {TIMESTAMP_FIELD: "timestamp", SEQ: "integer", **dict.fromkeys(keys, "string")}
    for name, kind in kinds.items():
        if columns[name] != kind:
            raise DataError(f"entity_df: {name} is of another type than {kind}; make it one")
    taken = set(columns)
    for view, names in [*wanted.items(), *computed.items()]:
        for name in names:
            column = _column(view, name, full_feature_names)
            if column in taken:
                raise DataError(f"column {column} would be there twice; use full_feature_names=True or rename yours")
            taken.add(column)


def _columns_of_keys(view: FeatureView, definition: ActivityView | ContentDefinition) -> dict[str, str]:
    names = key_columns(definition) if isinstance(definition, ActivityView) else (TENANT, "message_id")
    return {name: view.projection.join_key_map.get(name, name) for name in names}


def _column(view: FeatureView | OnDemandFeatureView, feature: str, full_feature_names: bool) -> str:
    return f"{view.projection.name_to_use()}__{feature}" if full_feature_names else feature


def _beside_values(view: FeatureView, definition: ActivityView | ContentDefinition) -> dict[str, str]:
    """What of a view's values is shown beside them where statuses are wanted, by the name that its column then has."""
    shown = {_STATUS: f"{view.projection.name_to_use()}__status"}
    if isinstance(definition, ActivityView):
        shown[as_of_seq_column(definition)] = f"{view.projection.name_to_use()}__as_of_seq"
    return shown


def _activity_values(
    rows: DataFrame, view: ActivityView, keys: dict[str, str], events: DataFrame, statuses: bool
) -> DataFrame:
    if isinstance(rows.schema[TIMESTAMP_FIELD].dataType, T.TimestampNTZType):
        at_us = F.expr(f"timestampdiff(MICROSECOND, {_NTZ_EPOCH}, {TIMESTAMP_FIELD})")
    else:
        at_us = F.unix_micros(TIMESTAMP_FIELD)
    own = sorted({own_column(recent.of) for recent in view.recents} & set(rows.columns))
    requests = rows.select(
        F.col(ROW).alias(ROW_ID),
        *[F.col(column).alias(key) for key, column in keys.items()],
        F.col(SEQ).cast("long").alias(SEQ),
        at_us.alias(TIME),
        *[F.col(name).cast("array<string>").alias(name) for name in own],
    )
    if not statuses:
        return as_of(events, requests, view)
    values = as_of(events, requests, with_presence(view))
    empty = [F.coalesce(F.col(column) == "", F.lit(True)) for column in keys.values()]
    lacks: Column = reduce(Column.__or__, [*empty, F.col(SEQ).isNull(), F.col(TIMESTAMP_FIELD).isNull()])
    there = [F.col(name) for name in THERE]
    status = status_of(F.col(_LACKS), F.col(as_of_seq_column(view)), *there)
    lacking = rows.select(F.col(ROW).alias(ROW_ID), lacks.alias(_LACKS))
    return values.join(lacking, ROW_ID).withColumn(_STATUS, status).drop(_LACKS, *THERE)


def _content_files(settings: Settings, definition: ContentDefinition) -> tuple[str, ...]:
    table = OfflineTable(settings.offline_path, definition.name, definition.version)
    manifest = table.manifest()
    return tuple(table.files(manifest)) if manifest is not None else ()


def _content_values(
    rows: DataFrame, definition: ContentDefinition, keys: dict[str, str], files: tuple[str, ...]
) -> DataFrame:
    asked = rows.select(F.col(ROW).alias(ROW_ID), *[F.col(column).alias(key) for key, column in keys.items()])
    schema = T.StructType([*content_schema(definition.features), T.StructField(STATUS, T.StringType())])
    spark = rows.sparkSession
    values = spark.read.schema(schema).parquet(*files) if files else spark.createDataFrame([], schema)
    # Not computed yet, or its raw mail was gone before it was.
    said = F.coalesce(F.col(STATUS), F.lit(Status.PRESENT.value))
    found = F.when(F.col("_there"), said).otherwise(Status.UNAVAILABLE.value)
    beside = asked.join(values.withColumn("_there", F.lit(True)), list(keys), "left")
    return beside.withColumn(_STATUS, found).drop("_there", STATUS)
