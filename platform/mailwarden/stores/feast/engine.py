"""Feast's batch engine: `feast materialize` folds the event log in Spark and loads states from the executors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feast import Entity, FeatureView, RepoConfig
from feast.infra.common.materialization_job import MaterializationJob, MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.base import ComputeEngine
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from pydantic import StrictStr

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.errors import ConfigError, MailwardenError, StoreError
from mailwarden.settings import Settings
from mailwarden.stores.feast.source import definition_of, view_of
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.online.client import open_client
from mailwarden.stores.spark.facts import read_facts
from mailwarden.stores.spark.failures import translated
from mailwarden.stores.spark.load import RedisSink, newest_events
from mailwarden.stores.spark.offline_table import one_at_a_time
from mailwarden.stores.spark.online_load import OnlineLoad
from mailwarden.stores.spark.session import spark_session
from mailwarden.stores.spark.states import states


class MailwardenComputeEngineConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """The batch engine's part of feature_store.yaml; places come from the offline and the online store's parts."""

    type: StrictStr = "mailwarden.stores.feast.engine.MailwardenComputeEngine"


class MailwardenComputeEngine(ComputeEngine):  # type: ignore[misc]
    """Loads the online store with the states of whole views.

    A state holds all of a key's history, so the dates of a materialisation do not narrow it; loading again changes
    nothing. When all online views of the project are loaded together, the tenants' watermarks move up as well.
    """

    @property
    def supports_batch(self) -> bool:
        """All views of a materialisation come in one call, on one version of the event log."""
        return True

    def update(
        self,
        project: str,
        views_to_delete: Sequence[FeatureView],
        views_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
    ) -> None:
        """Nothing to prepare."""

    def teardown_infra(self, project: str, fvs: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        """Nothing to take down."""

    def materialize(
        self, registry: BaseRegistry, tasks: MaterializationTask | list[MaterializationTask], **kwargs: Any
    ) -> list[MaterializationJob]:
        """Load the views of the tasks; a job a task, failed ones with their error."""
        tasks = [tasks] if isinstance(tasks, MaterializationTask) else list(tasks)
        if not tasks:
            return []
        settings = self.repo_config.offline_store.settings()
        online = [
            definition
            for view in registry.list_feature_views(self.repo_config.project)
            if view.online and isinstance(definition := definition_of(view), ActivityView)
        ]
        sink = self.sink(self.repo_config, settings, online)
        spark = spark_session(settings, "feast materialize")
        jobs: list[MaterializationJob] = []
        with (
            one_at_a_time(settings.offline_path),
            open_client(sink.url, timeout_seconds=sink.timeout_seconds) as client,
        ):
            log = EventLog(settings.events_path)
            sets = FactSets(settings.facts_path, log)
            facts = sets.snapshot()
            events = read_facts(spark, facts)
            newest = newest_events(events)
            last_seq = {tenant: seq for tenant, (seq, _) in newest.items()}
            load = OnlineLoad(client, sink, log, facts, sets)
            for task in tasks:
                try:
                    view = view_of(task.feature_view)
                    with translated(f"loading view {view.name}"):
                        done = load.load(view, states(events, view), None, last_seq)
                    if done.waits:
                        raise StoreError(done.waits)
                    jobs.append(LoadJob(task))
                except MailwardenError as exc:
                    jobs.append(LoadJob(task, exc))
            loaded = {job.task.feature_view.name for job in jobs if job.error() is None}
            if loaded >= {view.name for view in online}:
                load.finish(newest)
        return jobs

    @staticmethod
    def sink(config: RepoConfig, settings: Settings, views: Sequence[ActivityView]) -> RedisSink:
        """The Redis of the online store's part, else of the environment; raises ConfigError where neither says."""
        given = getattr(config.online_store, "redis_url", None)
        url = (given.get_secret_value() if given is not None else "") or settings.redis_url.get_secret_value()
        if not url:
            raise ConfigError("no Redis to load: set online_store.redis_url in feature_store.yaml")
        return RedisSink(url, config.project, tuple(views), settings.streams)


class LoadJob(MaterializationJob):  # type: ignore[misc]
    """A load that is over."""

    def __init__(self, task: MaterializationTask, error: MailwardenError | None = None) -> None:
        self.task = task
        self._error = error

    def status(self) -> MaterializationJobStatus:
        """SUCCEEDED or ERROR."""
        return MaterializationJobStatus.SUCCEEDED if self._error is None else MaterializationJobStatus.ERROR

    def error(self) -> MailwardenError | None:
        """Why it failed."""
        return self._error

    def should_be_retried(self) -> bool:
        """Never by Feast; running it again is safe."""
        return False

    def job_id(self) -> str:
        """The view's name."""
        return str(self.task.feature_view.name)

    def url(self) -> str | None:
        """There is no page to look at."""
        return None
