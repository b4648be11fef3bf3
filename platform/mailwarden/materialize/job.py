"""The whole of materialisation: content values, then states of every view, offline and online."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from pyspark.sql import SparkSession

from mailwarden.domain.content import ContentView
from mailwarden.domain.views import ActivityView
from mailwarden.errors import ConfigError
from mailwarden.materialize.content import materialize_content
from mailwarden.materialize.states import materialize_states
from mailwarden.settings import Settings
from mailwarden.stores.event_log import EventLog
from mailwarden.stores.spark.content import Parse
from mailwarden.stores.spark.fold_rows import read_events
from mailwarden.stores.spark.load import RedisSink, StateSink, load_states, newest_events

Progress = Callable[[str, int, int], None]
"""What is being done, steps done, steps in all."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ViewReport:
    """rows: new messages of the content view, keys of an activity view. loaded: states written online."""

    view: str
    rows: int
    loaded: int
    seconds: float


@dataclass(frozen=True, slots=True)
class MaterializeReport:
    """What was done. event_log_version, raw_version: of the Delta tables that were read, -1 where there is none."""

    views: tuple[ViewReport, ...]
    event_log_version: int
    raw_version: int
    tenants: int
    seconds: float

    @property
    def rows(self) -> int:
        """Rows written to offline files."""
        return sum(view.rows for view in self.views)


def materialize(
    spark: SparkSession,
    settings: Settings,
    views: Sequence[ActivityView],
    content: ContentView,
    parse: Parse,
    progress: Progress | None = None,
    *,
    sink: StateSink | None = None,
) -> MaterializeReport:
    """Bring offline files and the online store up to what the event log and the raw mail hold now.

    parse: (tenant, raw, envelope) -> Message, as at ingest. sink: where states go; by default the Redis of the
    settings. Safe to repeat and to run again after a crash: content is only computed for new messages, states replace
    the former ones at once, a key in Redis that has folded more is left alone. Raises ConfigError without a Redis,
    ContractError where a view breaks its contract, StoreError where another process materialises.
    """
    start = time.perf_counter()
    if sink is None:
        url = settings.redis_url.get_secret_value()
        if not url:
            raise ConfigError("no Redis to load: set MAILWARDEN_REDIS_URL, or hand in the sink of one that was started")
        sink = RedisSink(url, settings.project, tuple(views))
    done = 0
    total = 1 + 2 * len(views)

    def step(what: str, extra: int = 0) -> None:
        nonlocal done, total
        if progress is not None:
            progress(what, done, total + extra)
        done += 1
        total += extra

    step(content.name)
    began = time.perf_counter()
    raw_version, rows = materialize_content(spark, settings, content, parse, lambda chunks: step(content.name, chunks))
    reports = [ViewReport(content.name, rows, 0, time.perf_counter() - began)]
    snapshot = EventLog(settings.events_path).snapshot()
    events = read_events(spark, snapshot.files)
    newest = newest_events(events)
    for view in views:
        began = time.perf_counter()
        step(view.name)
        states, rows = materialize_states(spark, settings, view, snapshot, newest)
        step(f"{view.name} online")
        loaded = load_states(states, view, sink)
        reports.append(ViewReport(view.name, rows, loaded, time.perf_counter() - began))
        _log.info("view_materialized", view=view.name, rows=rows, loaded=loaded)
    for tenant, (seq, known_us) in newest.items():
        sink.set_watermark(tenant, seq, known_us)
    if progress is not None:
        progress("done", total, total)
    return MaterializeReport(tuple(reports), snapshot.version, raw_version, len(newest), time.perf_counter() - start)
