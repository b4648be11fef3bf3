"""The whole of materialisation: content values, then states of every view, offline and online."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from pyspark.sql import SparkSession

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.mail.content import ContentSet
from mailwarden.errors import ConfigError, NotFound
from mailwarden.materialize.content import ContentReport, materialize_content
from mailwarden.materialize.states import How, materialize_states
from mailwarden.settings import Settings
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.online.client import open_client
from mailwarden.stores.online.takeover import PATIENCE_SECONDS
from mailwarden.stores.online.writer import MemoryUse
from mailwarden.stores.spark.content import Parse
from mailwarden.stores.spark.fold_rows import read_events
from mailwarden.stores.spark.load import RedisSink, newest_events
from mailwarden.stores.spark.offline_table import one_at_a_time
from mailwarden.stores.spark.online_load import OnlineLoad, ViewLoad

Progress = Callable[[str, int, int], None]
"""What is being done, steps done, steps in all."""

REDIS_SECONDS = 30.0
"""How long one reply of Redis may take while a view is loaded or dropped."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ViewReport:
    """What was done to one view.

    how: `incremental` where only keys of new events, of content views only new messages, were computed. rows: all
    keys, of a content view all messages. computed: those whose value this run computed. online: None for content
    views. seconds: of the offline and of the online part; content views are computed together and share alike.
    memory: what the states take in Redis; None where none serves. changed: in words, that a content view is made by
    other code or lists than before under the same version; "" where not.
    """

    view: str
    how: How
    rows: int
    computed: int
    offline_seconds: float
    online: ViewLoad | None = None
    online_seconds: float = 0.0
    memory: MemoryUse | None = None
    changed: str = ""

    @property
    def seconds(self) -> float:
        """Of both parts."""
        return self.offline_seconds + self.online_seconds

    @property
    def loaded(self) -> int:
        """Keys written online."""
        return 0 if self.online is None else self.online.report.written

    @property
    def unchanged(self) -> int:
        """Keys left alone online, since what was there had folded as much."""
        return 0 if self.online is None else self.rows - self.online.report.written

    @property
    def computed_a_second(self) -> float:
        """Values computed and written offline, a second."""
        return self.computed / self.offline_seconds if self.offline_seconds else 0.0

    @property
    def loaded_a_second(self) -> float:
        """Keys written online, a second."""
        return self.loaded / self.online_seconds if self.online_seconds else 0.0


@dataclass(frozen=True, slots=True)
class MaterializeReport:
    """What was done.

    event_log_version, raw_version: of the Delta tables that were read, -1 where there is none. facts: number of the
    fact set that states are made of.
    """

    views: tuple[ViewReport, ...]
    event_log_version: int
    raw_version: int
    tenants: int
    seconds: float
    facts: int = 0

    @property
    def rows(self) -> int:
        """Rows that offline files hold of the views."""
        return sum(view.rows for view in self.views)

    @property
    def changed(self) -> tuple[str, ...]:
        """Which content views are made by other code or lists than before, in words."""
        return tuple(f"{view.view} {view.changed}" for view in self.views if view.changed)

    @property
    def waits(self) -> tuple[str, ...]:
        """Why views do not serve yet what was loaded, in words; empty where all do."""
        return tuple(view.online.waits for view in self.views if view.online is not None and view.online.waits)


def materialize(
    spark: SparkSession,
    settings: Settings,
    views: Sequence[ActivityView],
    content: ContentSet,
    parse: Parse,
    progress: Progress | None = None,
    *,
    only: Sequence[str] = (),
    afresh: bool = False,
    patience_seconds: float = PATIENCE_SECONDS,
) -> MaterializeReport:
    """Bring offline files and the online store up to what the newest fact set and the raw mail hold now.

    States that were made of another fact set than the newest are made anew, as a generation of their own.
    parse: (tenant, raw, envelope) -> Message, as at ingest. only: names of the views to compute and load anew, each
    as a generation of its own that takes over when it is whole; of content views what they lack is computed; the
    others are left alone. afresh: the same of all views with states. patience_seconds: how long writers may take to
    take a generation over before the report says what is waited for instead. Safe to repeat, to cut off anywhere and
    to run while mail flows: content is only computed for new messages, or anew where its code or lists changed, states
    only of keys with new events, and a key in Redis that has folded more is left alone. Raises ConfigError without a
    Redis, NotFound on an unknown view, ContractError where a view breaks its contract, DataError where rows were lost
    on the way, StoreError where another process materialises.
    """
    start = time.perf_counter()
    url = settings.redis_url.get_secret_value()
    if not url:
        raise ConfigError("no Redis to load: set MAILWARDEN_REDIS_URL, or hand in settings of one that was started")
    chosen = _chosen(views, content, only)
    of_content = content.only(view.name for view in content.views if not only or view.name in only)
    steps = _Steps(progress, bool(of_content.views) + 2 * len(chosen))
    reports: list[ViewReport] = []
    raw_version = -1
    with one_at_a_time(settings.offline_path), open_client(url, timeout_seconds=REDIS_SECONDS) as client:
        if of_content.views:
            steps.begin("content views")
            with _timed() as took:
                raw_version, found = materialize_content(
                    spark, settings, of_content, parse, lambda chunks: steps.begin("content views", chunks)
                )
            share = took() / len(found)
            reports += [_content_report(one, share) for one in found]
        log = EventLog(settings.events_path)
        sets = FactSets(settings.facts_path, log)
        facts = sets.snapshot()
        newest = newest_events(read_events(spark, facts.log.files))
        last_seq = {tenant: seq for tenant, (seq, _) in newest.items()}
        sink = RedisSink(url, settings.project, tuple(views), settings.streams)
        online = OnlineLoad(client, sink, log, facts, sets, patience_seconds=patience_seconds)
        for view in chosen:
            steps.begin(view.name)
            anew = afresh or bool(only)
            with _timed() as took:
                offline = materialize_states(spark, settings, view, facts, last_seq, afresh=anew)
            offline_seconds = took()
            steps.begin(f"{view.name} online")
            with _timed() as took:
                load = online.load(view, offline.states, offline.keys, last_seq, afresh=anew, say=steps.say)
            report = ViewReport(
                view.name,
                offline.how,
                offline.keys,
                offline.computed,
                offline_seconds,
                load,
                took(),
                online.writer.memory(view),
            )
            reports.append(report)
            steps.say(
                f"{view.name}: {report.computed:,} of {report.rows:,} keys computed ({offline.how}), "
                f"{report.loaded:,} written online ({load.how} {load.generation}), "
                f"{report.loaded_a_second:,.0f} a second"
            )
            _log.info(
                "view_materialized",
                view=view.name,
                how=offline.how,
                rows=report.rows,
                computed=report.computed,
                online=load.how,
                generation=load.generation,
                loaded=report.loaded,
                bytes=load.report.bytes,
                waits=load.waits,
            )
        if not only and not any(report.online and report.online.waits for report in reports):
            online.finish(newest)
    steps.done()
    seconds = time.perf_counter() - start
    return MaterializeReport(tuple(reports), facts.log.version, raw_version, len(newest), seconds, facts.number)


def _content_report(found: ContentReport, seconds: float) -> ViewReport:
    changed = ""
    if found.anew:
        changed = (
            f"is made by other code, lists or parser than before under the same version: {found.computed:,} messages "
            "were computed anew; run `mailwarden train`, since detectors learned from the former values"
        )
        if found.left_behind:
            changed += f"; {found.left_behind:,} whose raw mail is gone were left behind"
        _log.warning("content_view_changed", view=found.view, computed=found.computed, left_behind=found.left_behind)
    how: How = "full" if found.anew else "incremental"
    return ViewReport(found.view, how, found.rows, found.computed, seconds, changed=changed)


def _chosen(views: Sequence[ActivityView], content: ContentSet, only: Sequence[str]) -> list[ActivityView]:
    names = [*(view.name for view in content.views), *(view.name for view in views)]
    for name in only:
        if name not in names:
            raise NotFound(f"there is no view {name!r}; there are {', '.join(names)}")
    return [view for view in views if not only or view.name in only]


class _Steps:
    """Counts steps for whoever watches."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total
        self._doing = ""

    def begin(self, what: str, extra: int = 0) -> None:
        self._total += extra
        self._doing = what
        self.say(what)
        self._done += 1

    def say(self, words: str) -> None:
        if self._progress is not None:
            self._progress(words, min(self._done, self._total), self._total)

    def done(self) -> None:
        self._done = self._total
        self.say("done")


@contextmanager
def _timed() -> Iterator[Callable[[], float]]:
    began = time.perf_counter()
    yield lambda: time.perf_counter() - began
