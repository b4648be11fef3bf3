"""The one Spark session of a process, on this machine or on a cluster."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
from pyspark.errors import PySparkException, PySparkRuntimeError
from pyspark.sql import SparkSession

from mailwarden.errors import ConfigError
from mailwarden.settings import Settings

RECORDS_PER_BATCH = 200_000
"""Rows an Arrow batch: a read over a batch is vectorised, so few and large; bytes are bounded apart."""

BYTES_PER_BATCH = "64m"

_LOGGING = Path(__file__).with_name("log4j2.properties")

SORT_PAGE = "2m"
"""Memory that a sort holds at least. A training set joins dozens of views one by one, each with sorts that are open at
once; by default a page is 1/32 of the memory, and so many leave none for the last (`UNABLE_TO_ACQUIRE_MEMORY`)."""

_log = structlog.get_logger(__name__)


def spark_session(settings: Settings, app: str) -> SparkSession:
    """The session of this process, started at the first call: UTC, Arrow, no UI; raises ConfigError without Java.

    Under `spark-submit` (a driver in a Kubernetes pod is) the master and the driver's memory and JVM options are
    those that were submitted. Elsewhere they come from the settings, and `PYSPARK_SUBMIT_ARGS` adds what a cluster
    needs besides. Executors run the interpreter named by `PYSPARK_PYTHON`, by default at the path of this one: each
    node needs these packages there, and the folders of the settings under the same path.
    """
    _check_java()
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    builder = (
        SparkSession.builder.appName(app)
        .config("spark.sql.shuffle.partitions", settings.spark_shuffle_partitions)
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", RECORDS_PER_BATCH)
        .config("spark.sql.execution.arrow.maxBytesPerBatch", BYTES_PER_BATCH)
        .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
        .config("spark.buffer.pageSize", SORT_PAGE)
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.log.level", "ERROR")
        .config("spark.sql.warehouse.dir", str(settings.run_path / "warehouse"))
    )
    # Spark reads the interpreter of its workers from the environment alone.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if not submitted:
        builder = (
            builder.master(settings.spark_master)
            .config("spark.driver.memory", settings.spark_driver_memory)
            .config(
                "spark.driver.extraJavaOptions",
                f"-Dlog4j2.configurationFile={_LOGGING.as_uri()} -Dderby.system.home={settings.run_path}",
            )
        )
        if _on_this_machine(settings.spark_master):
            # Before the JVM starts: it looks the machine's own name up otherwise, and warns of what it finds.
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
            builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
    try:
        session: SparkSession = builder.getOrCreate()
    except (PySparkException, PySparkRuntimeError, OSError) as exc:
        raise ConfigError(
            f"Spark did not start on {settings.spark_master}: {exc}; check MAILWARDEN_SPARK_MASTER, "
            "MAILWARDEN_SPARK_DRIVER_MEMORY and the Java installation"
        ) from exc
    if not submitted and settings.spark_master.startswith("local"):
        _without_side_files(session)
    _log.debug("spark_session", app=app, master=settings.spark_master)
    return session


def _without_side_files(session: SparkSession) -> None:
    """Have files written without a file of checksums beside each, in this JVM.

    Hadoop without its native library starts a `chmod` for each file that it creates, the one of checksums as well:
    of a history of years, with a partition a day and view, that is most of what materialising takes. Pages of Parquet
    bear checksums of their own.
    """
    jvm: Any = session._jvm
    jvm.org.apache.hadoop.fs.FileSystem.getLocal(session._jsc.hadoopConfiguration()).setWriteChecksum(False)


def _on_this_machine(master: str) -> bool:
    """Whether executors reach the driver over loopback; elsewhere Spark finds the address, or SPARK_LOCAL_IP is it."""
    return master.startswith("local") or urlsplit(master).hostname in ("127.0.0.1", "localhost", "::1")


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java")
    if java is None or not os.access(java, os.X_OK):
        where = f"JAVA_HOME={home}" if home else "PATH"
        raise ConfigError(f"no Java at {where}; install OpenJDK 17 headless (apt install openjdk-17-jre-headless)")
