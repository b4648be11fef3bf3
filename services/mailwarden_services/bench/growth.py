"""Growth: what a row of history costs as the history grows fiftyfold, and what that means for a cluster."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.errors import DataError
from mailwarden.settings import Settings
from mailwarden.stores.spark.as_of import ROW_ID, as_of
from mailwarden.stores.spark.fold_rows import SEQ, TIME, key_columns, read_events
from mailwarden.stores.spark.session import spark_session
from mailwarden.stores.spark.states import states
from mailwarden_features import discover
from mailwarden_services.bench.made_history import HOT_DOMAIN, write_history
from mailwarden_services.processes import tree, watched

SIZES = (1_000_000, 10_000_000, 50_000_000)
VIEW = "sender_domain_activity"
"""The view whose hottest key holds a tenth of the history."""

EVENTS_A_REQUEST = 50
_WARM = 100_000
_EXECUTORS, _EXECUTOR_MB, _DRIVER_MB = 2, 3_072, 1_024
_ROWS_A_TASK = 500_000
"""Fewest tasks for a history: more of them would cost more than they save."""

DAILY, CLUSTER_CORES = 100_000_000, 64
"""Messages a day that a cluster is reckoned for, and the cores that it has."""

JOBS = ("states", "as_of")

Say = Callable[[str], None]


def measure(settings: Settings, *, sizes: Sequence[int] = SIZES, say: Say = lambda _: None) -> dict[str, Any]:
    """Cost of a row at each size, on one session with two executors as processes of their own.

    For each size: events are made, then the states of every key of one view (job `states`), and the point-in-time
    read of one message in `EVENTS_A_REQUEST` (job `as_of`) are written as Parquet. cpu_s_a_million and
    wall_s_a_million: of all processes and of the clock, a million events. driver_mb: the most that driver and its JVM
    held, heap_mb: what the JVM's heap held after a collection. ratio: the largest size's cost over the smallest's;
    marginal: that of an event more between the two largest sizes, over that between the two smallest.
    Everything is kept in a temporary folder.
    """
    if len(sizes) < 2 or any(size < 10 for size in sizes) or list(sizes) != sorted(set(sizes)):
        raise DataError(f"sizes of histories must ascend and be two or more, 10 events at least: {list(sizes)}")
    view = discover().by_name(VIEW)
    assert isinstance(view, ActivityView)
    with tempfile.TemporaryDirectory(prefix="mailwarden-growth-") as folder, _session(settings, Path(folder)) as spark:
        warm = min(_WARM, sizes[0])
        say(f"warming up on {warm:,} events")
        _one_size(spark, view, warm, Path(folder) / "warm")
        found = []
        for size in sizes:
            say(f"{size:,} events")
            found.append(_one_size(spark, view, size, Path(folder)))
            say(", ".join(f"{job} {found[-1][job]['cpu_s_a_million']} CPU s a million" for job in JOBS))
    return {
        "view": view.name,
        "sizes": found,
        "ratios": _ratios(found),
        "cluster": cluster_for(found[-1]),
        "cores": os.cpu_count(),
        "note": f"{HOT_DOMAIN} holds a tenth of the events at every size; one request in {EVENTS_A_REQUEST} events",
    }


def cluster_for(largest: Mapping[str, Any], daily: int = DAILY) -> dict[str, Any]:
    """What `daily` messages a day ask of a cluster at the cost of a row of the largest size measured.

    core_hours: a day's messages folded into one view's states, and training values read for one of them in
    `EVENTS_A_REQUEST` over the history of that day. year_core_hours: the states of a year built anew, and
    year_hours_on_cores the hours that this takes on `cores` cores as fast as the ones measured, if they share evenly.
    """
    day = {job: largest[job]["cpu_s_a_million"] * daily / 1e6 / 3_600 for job in JOBS}
    return {
        "messages_a_day": daily,
        "events_a_request": EVENTS_A_REQUEST,
        "core_hours": {job: round(hours, 2) for job, hours in day.items()},
        "year_core_hours": round(365 * day["states"], 1),
        "cores": CLUSTER_CORES,
        "year_hours_on_cores": round(365 * day["states"] / CLUSTER_CORES, 2),
    }


def _ratios(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    smallest, largest = found[0], found[-1]
    ratios = {
        f"{job}_{unit}": largest[job][f"{unit}_s_a_million"] / smallest[job][f"{unit}_s_a_million"]
        for job in JOBS
        for unit in ("cpu", "wall")
    }
    ratios |= {name: largest[name] / smallest[name] for name in ("driver_mb", "heap_mb")}
    if len(found) > 2:
        ratios |= {f"{job}_marginal": _slope(job, *found[-2:]) / _slope(job, *found[:2]) for job in JOBS}
    return {name: round(value, 2) for name, value in ratios.items()}


def _slope(job: str, small: Mapping[str, Any], large: Mapping[str, Any]) -> float:
    """CPU seconds of an event more."""
    return float((large[job]["cpu_s"] - small[job]["cpu_s"]) / (large["events"] - small["events"]))


@contextmanager
def _session(settings: Settings, folder: Path) -> Iterator[SparkSession]:
    """A driver with executors as processes of their own, so that the driver's memory is the driver's."""
    own = settings.model_copy(
        update={
            "home": folder / "home",
            "spark_master": f"local-cluster[{_EXECUTORS},1,{_EXECUTOR_MB}]",
            "spark_driver_memory": f"{_DRIVER_MB}m",
        }
    )
    if SparkSession.getActiveSession() is not None:
        raise DataError("growth needs a Spark of its own, and this process has one already; run it alone")
    before = os.environ.get("PYSPARK_SUBMIT_ARGS")
    os.environ["PYSPARK_SUBMIT_ARGS"] = (
        f"--conf spark.executor.memory={_EXECUTOR_MB}m --conf spark.local.dir={folder / 'spill'} pyspark-shell"
    )
    try:
        spark = spark_session(own, "growth")
        yield spark
        spark.stop()
    finally:
        if before is None:
            del os.environ["PYSPARK_SUBMIT_ARGS"]
        else:
            os.environ["PYSPARK_SUBMIT_ARGS"] = before


def _one_size(spark: SparkSession, view: ActivityView, size: int, folder: Path) -> dict[str, Any]:
    home = folder / str(size)
    spark.conf.set("spark.sql.shuffle.partitions", max(_EXECUTORS, -(-size // _ROWS_A_TASK)))
    started = time.perf_counter()
    events = read_events(spark, write_history(spark, size, home / "events"))
    found: dict[str, Any] = {"events": size, "made_s": round(time.perf_counter() - started, 1)}
    driver = _driver()
    most = 0
    jobs = {"states": states(events, view), "as_of": as_of(events, _requests(events, view), view)}
    for name, rows in jobs.items():
        started = time.perf_counter()
        with watched(driver) as usage:
            rows.write.parquet(str(home / name))
        wall = time.perf_counter() - started
        most = max(most, usage.driver_bytes)
        found[name] = {
            "rows_out": spark.read.parquet(str(home / name)).count(),
            "wall_s": round(wall, 2),
            "cpu_s": round(usage.cpu_seconds, 2),
            "wall_s_a_million": round(wall / size * 1e6, 3),
            "cpu_s_a_million": round(usage.cpu_seconds / size * 1e6, 3),
            "executors_mb": round(usage.others_bytes / 1e6),
        }
    found |= {"driver_mb": round(most / 1e6), "heap_mb": round(_live_heap(spark) / 1e6, 1)}
    shutil.rmtree(home)
    return found


def _requests(events: DataFrame, view: ActivityView) -> DataFrame:
    asked = events.where((F.col("kind") == "message") & (F.xxhash64(SEQ) % EVENTS_A_REQUEST == 0))
    return asked.select(F.col(SEQ).alias(ROW_ID), *key_columns(view), F.unix_micros("received_at").alias(TIME), SEQ)


def _driver() -> tuple[int, ...]:
    """This process and its JVM, without the executors that the JVM started."""
    own = os.getpid()
    jvm = [pid for pid in tree(own) if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] == str(own)]
    return (own, *jvm)


def _live_heap(spark: SparkSession) -> int:
    """Bytes of the driver's JVM heap that a collection leaves."""
    runtime = spark.sparkContext._jvm.java.lang.Runtime.getRuntime()
    runtime.gc()
    return int(runtime.totalMemory() - runtime.freeMemory())
