"""The same jobs on two threads of this machine and on a standalone cluster: a master and two workers on loopback."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyspark
import pytest
from numpy.typing import NDArray

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.finalise import finalise
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import read_slots
from mailwarden.domain.mail.events import Event
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.online.client import Client

SPARK_HOME = Path(pyspark.__file__).parent
SUBMIT = Path(__file__).parents[2] / "infra" / "spark" / "submit"
AT_US = 1_706_000_000_000_000

DRIVER = """
import pickle, sys
from pathlib import Path
from pyspark.sql import functions as F
from mailwarden.settings import Settings
from mailwarden.stores.spark.as_of import as_of
from mailwarden.stores.spark.fold_rows import read_events
from mailwarden.stores.spark.session import spark_session
from mailwarden.stores.spark.states import states

out = Path(sys.argv[2])
views, files = pickle.loads(Path(sys.argv[1]).read_bytes())
spark = spark_session(Settings(), "cluster test")
events = read_events(spark, files)
for view in views:
    states(events, view).write.parquet(str(out / view.name / "states"))
    names = {"recipient": F.col("recipients")[0]}
    asked = events.where("kind = 'message' and seq % 3 = 0").select(
        F.col("seq").alias("row_id"),
        "tenant",
        *[names.get(key, F.col(key)).alias(key) for key in view.keys],
        F.unix_micros("received_at").alias("time_us"),
        "seq",
    )
    as_of(events, asked, view).write.parquet(str(out / view.name / "as_of"))
hosts = spark.sparkContext._jsc.sc().statusTracker().getExecutorInfos()
print(spark.sparkContext.master, len(hosts) - 1)
spark.stop()
"""


SUBMITTED = """
from mailwarden.settings import Settings
from mailwarden.stores.spark.session import spark_session

spark = spark_session(Settings(), "submitted")
assert spark.range(2, numPartitions=2).mapInArrow(lambda batches: batches, "id long").count() == 2
print(spark.sparkContext.master, spark.conf.get("spark.sql.session.timeZone"), spark.conf.get("spark.driver.memory"))
spark.stop()
"""


def plain_environment() -> dict[str, str]:
    """The environment without what other Spark processes of these tests need."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class StandaloneCluster:
    """A master and two workers of one core each, every one a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        port, self._status = free_port(), free_port()
        self.master = f"spark://127.0.0.1:{port}"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start("master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(self._status))
        for number in range(2):
            words = ["--host", "127.0.0.1", "--webui-port", str(free_port()), "-c", "1", "-m", "1g"]
            self._start("worker.Worker", *words, "-d", str(folder / f"work-{number}"), self.master)

    def _start(self, what: str, *words: str) -> None:
        command = [str(SPARK_HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{what}"]
        environment = plain_environment() | {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}
        # They must not outlive tests that are killed.
        guard = ["setpriv", "--pdeathsig=TERM"] if shutil.which("setpriv") else []
        log = self._folder / f"{what}-{len(self._processes)}.log"
        with log.open("wb") as out:
            self._processes.append(
                subprocess.Popen([*guard, *command, *words], env=environment, stdout=out, stderr=out)
            )

    def workers(self) -> int:
        """How many workers the master knows to be alive."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._status}/json/", timeout=2) as answer:
                return int(json.load(answer)["aliveworkers"])
        except (OSError, ValueError):
            return 0

    def await_workers(self, seconds: float = 240) -> None:
        """Wait for both workers."""
        for _ in range(int(seconds * 5)):
            if self.workers() == 2:
                return
            if any(process.poll() is not None for process in self._processes):
                break
            time.sleep(0.2)
        logs = "\n".join(log.read_text(errors="replace")[-2000:] for log in sorted(self._folder.glob("*.log")))
        raise RuntimeError(f"the cluster did not start:\n{logs}")

    def executors(self) -> int:
        """How many executors were ever started."""
        return sum(1 for _ in self._folder.glob("work-*/app-*/[0-9]*"))

    def stop(self) -> None:
        """Stop the workers, then the master."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneCluster]:
    started = StandaloneCluster(tmp_path_factory.mktemp("cluster"))
    try:
        started.await_workers()
        yield started
    finally:
        started.stop()


def run_driver(folder: Path, master: str, job: Path) -> tuple[Path, str]:
    out = folder / ("cluster" if master.startswith("spark:") else "local")
    environment = plain_environment() | {
        "MAILWARDEN_HOME": str(folder / "home"),
        "MAILWARDEN_SPARK_MASTER": master,
        "MAILWARDEN_SPARK_DRIVER_MEMORY": "512m",
        "MAILWARDEN_SPARK_SHUFFLE_PARTITIONS": "2",
        # What the settings have no word for is handed to Spark as it stands.
        "PYSPARK_SUBMIT_ARGS": "--conf spark.executor.memory=512m pyspark-shell",
    }
    command = [sys.executable, "-c", DRIVER, str(job), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return out, done.stdout.strip().splitlines()[-1]


def rows_of(folder: Path, keys: list[str]) -> pa.Table:
    table = ds.dataset(folder, format="parquet").to_table()
    return table.sort_by([(key, "ascending") for key in keys])


def values_of(view: ActivityView, states: pa.Table) -> NDArray[np.float64]:
    """What states read, since equal sketches may be written in other bytes."""
    layout = layout_of(view)
    at_us = np.full(states.num_rows, AT_US, dtype=np.int64)
    reads = read_slots(layout, states["state"].to_pylist(), at_us)
    return finalise(layout, reads.slots, reads.times, reads.matches, reads.seen, at_us)


def test_a_cluster_writes_what_one_machine_writes(
    cluster: StandaloneCluster,
    tmp_path: Path,
    activity_views: tuple[ActivityView, ...],
    mail_events: Callable[..., list[Event]],
) -> None:
    log = EventLog(tmp_path / "events")
    for seed, tenant in enumerate(("acme", "other")):
        log.append(mail_events(300, seed=seed, tenant=tenant))
    job = tmp_path / "job.pickle"
    views = [view for view in activity_views if view.emission in ("participants", "pairs")]
    assert any(view.distincts for view in views)
    job.write_bytes(pickle.dumps((views, log.snapshot().files)))
    here, said_here = run_driver(tmp_path, "local[2]", job)
    there, said_there = run_driver(tmp_path, cluster.master, job)
    assert said_here == "local[2] 0"
    assert said_there == f"{cluster.master} 2"
    for view in views:
        keys = ["tenant", *view.keys]
        one, other = rows_of(here / view.name / "states", keys), rows_of(there / view.name / "states", keys)
        assert one.num_rows > 10
        assert one.select([*keys, "last_seq"]).equals(other.select([*keys, "last_seq"]))
        assert np.array_equal(values_of(view, one), values_of(view, other), equal_nan=True)
        one, other = rows_of(here / view.name / "as_of", ["row_id"]), rows_of(there / view.name / "as_of", ["row_id"])
        assert one.num_rows > 100
        assert one.equals(other)


@pytest.mark.verify
def test_what_was_submitted_keeps_the_master_and_memory_that_it_was_submitted_with(
    cluster: StandaloneCluster, tmp_path: Path
) -> None:
    main = tmp_path / "main" / "main.py"
    main.parent.mkdir()
    main.write_text(SUBMITTED)
    environment = plain_environment() | {
        "MAILWARDEN_HOME": str(tmp_path / "home"),
        "MAILWARDEN_SPARK_MASTER": "local[1]",
        "MAILWARDEN_SPARK_DRIVER_MEMORY": "3g",
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    words = ["--master", cluster.master, "--driver-memory", "600m", "--conf", "spark.executor.memory=512m", str(main)]
    done = subprocess.run(
        [str(SPARK_HOME / "bin" / "spark-submit"), *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip().splitlines()[-1] == f"{cluster.master} UTC 600m"


@pytest.mark.verify
def test_submit_runs_a_command_whose_executors_load_redis(
    cluster: StandaloneCluster,
    tmp_path: Path,
    redis_url: str,
    redis_client: Client,
    mail_events: Callable[..., list[Event]],
) -> None:
    before = cluster.executors()
    EventLog(tmp_path / "home" / "lake" / "events").append(mail_events(200))
    environment = plain_environment() | {
        "COLUMNS": "200",
        "PYTHON": sys.executable,
        "MAILWARDEN_HOME": str(tmp_path / "home"),
        "MAILWARDEN_REDIS_URL": redis_url,
        "MAILWARDEN_SPARK_DRIVER_MEMORY": "512m",
        "MAILWARDEN_SPARK_SHUFFLE_PARTITIONS": "2",
    }
    words = ["--master", cluster.master, "--conf", "spark.executor.memory=512m"]
    done = subprocess.run(
        [str(SUBMIT), *words, "--", "materialize", "--view", "tenant_activity"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "tenant_activity" in done.stdout
    held = [name for key in redis_client.scan_iter(_type="hash") for name in redis_client.hkeys(key)]
    assert any(name.startswith(b"tenant_activity@") for name in held)
    # Each executor has a folder at its worker: the job was theirs and not the driver's.
    assert cluster.executors() == before + 2
