"""Spark's point-in-time read and its states against the recount, over many random histories in one log."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from mailwarden.domain.aggregates.definitions import (
    ActivityView,
    Distinct,
    Extreme,
    Feature,
    Held,
    Match,
    Measure,
    Peak,
    Recent,
    Total,
)
from mailwarden.domain.aggregates.fact_specs import FLAGS, MEMBERS, QUANTITY_FACTS
from mailwarden.domain.aggregates.windows import DAY_US, W_ALL
from mailwarden.domain.mail.events import Emission
from mailwarden.testing.histories import START_US
from mailwarden.testing.spark_campaign import Campaign

BATCH, ZONE = "spark.sql.execution.arrow.maxRecordsPerBatch", "spark.sql.session.timeZone"
ZONES = ("UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "Europe/London")


@pytest.fixture
def settings(spark: SparkSession) -> Iterator[SparkSession]:
    """The session, whose zone and batches a test may change."""
    before = {key: str(spark.conf.get(key)) for key in (BATCH, ZONE)}
    yield spark
    for key, value in before.items():
        spark.conf.set(key, value)


def run(spark: SparkSession, folder: Path, *, histories: int, views: int, shares: int, seed: int) -> tuple[int, int]:
    """Ask each history under `views / shares` of the views; reads and values that were compared."""
    campaign = Campaign(folder, histories, seed)
    reads = values = 0
    for number in range(views):
        spark.conf.set(ZONE, ZONES[number % len(ZONES)])
        spark.conf.set(BATCH, str((7, 1_000, 200_000)[number % 3]))
        verdict = campaign.check_reads(spark, campaign.view(number), range(number % shares, histories, shares))
        assert not verdict.wrong, verdict.wrong[0]
        reads, values = reads + verdict.reads, values + verdict.values
    return reads, values


def test_reads_of_many_histories_in_one_log_are_those_of_the_recount(settings: SparkSession, tmp_path: Path) -> None:
    reads, values = run(settings, tmp_path, histories=300, views=4, shares=2, seed=1)
    assert reads > 3_000 and values > 30_000


def everything(emission: Emission, keys: tuple[str, ...]) -> ActivityView:
    """A view with an aggregate for every flag, every quantity and every fact that has members."""
    known = [fact.name for fact in QUANTITY_FACTS if fact.on == "message"]
    measures = [Measure(flag, where=(flag,)) for flag in FLAGS]
    measures += [Measure(fact.name, fact.name, on=fact.on) for fact in QUANTITY_FACTS]
    peaks = [Peak(f"least_{name}", "min", name) for name in known] + [
        Peak(f"most_{name}", "max", name) for name in known
    ]
    extremes = [Extreme(f"first_{name}", "first", of=name) for name in known]
    distincts = [Distinct(f"different_{name}", name) for name in MEMBERS]
    recents = [Recent(f"sets_{name}", name, 3) for name in MEMBERS]
    totals = [*(m.name for m in measures), *(p.name for p in peaks), *(d.name for d in distincts)]
    return ActivityView(
        "everything", 1, "tests", "", keys, emission, tuple(measures), tuple(extremes), tuple(distincts),
        (
            *(Feature(f"all_{name}", Total(name, W_ALL), "", "1") for name in totals),
            *(Feature(f"held_{extreme.name}", Held(extreme.name), "", "1") for extreme in extremes),
            *(Feature(f"match_{recent.name}", Match(recent.name), "", "1") for recent in recents),
        ),
        tuple(peaks), tuple(recents),
    )  # fmt: skip


@pytest.mark.parametrize(("emission", "keys"), [("pairs", ("sender", "recipient")), ("facts", ("thread",))])
def test_every_flag_quantity_and_fact_is_read_as_the_recount_has_it(
    settings: SparkSession, tmp_path: Path, emission: Emission, keys: tuple[str, ...]
) -> None:
    settings.conf.set(ZONE, "America/New_York")
    verdict = Campaign(tmp_path, 40, 4).check_reads(settings, everything(emission, keys), range(40))
    assert not verdict.wrong, verdict.wrong[0]
    assert verdict.values > 20_000


def test_states_of_many_histories_in_one_log_read_as_the_recount(settings: SparkSession, tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, 25, 2)
    for number, zone in enumerate(ZONES[:2]):
        settings.conf.set(ZONE, zone)
        settings.conf.set(BATCH, "11")
        verdict = campaign.check_states(settings, campaign.view(number), at_us=START_US + 100 * DAY_US)
        assert not verdict.wrong, verdict.wrong[0]
        assert verdict.reads > 100


ELSEWHERE = """
import sys
from pathlib import Path
from mailwarden.settings import Settings
from mailwarden.stores.spark.session import spark_session
from mailwarden.testing.spark_campaign import Campaign

folder = Path(sys.argv[1])
spark = spark_session(Settings(home=folder, spark_driver_memory="1g", spark_shuffle_partitions=2), "elsewhere")
spark.conf.set("spark.sql.session.timeZone", sys.argv[2])
campaign = Campaign(folder, 60, 3)
for number in range(2):
    verdict = campaign.check_reads(spark, campaign.view(number), range(60))
    print("values", verdict.values, *verdict.wrong[:1])
spark.stop()
"""


def test_a_process_and_session_in_another_zone_read_the_same(tmp_path: Path) -> None:
    """New York's clocks: the JVM takes the zone of its process, of which it reads the log and makes timestamps."""
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path), "America/New_York"],
        env={**os.environ, "TZ": "America/New_York", "MAILWARDEN_SPARK_MASTER": "local[2]"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [line.split(maxsplit=2)[1:] for line in done.stdout.splitlines() if line.startswith("values ")]
    assert [len(words) for words in found] == [1, 1], found
    assert sum(int(words[0]) for words in found) > 5_000


@pytest.mark.verify
def test_reads_of_ten_thousand_histories_are_those_of_the_recount(settings: SparkSession, tmp_path: Path) -> None:
    """Four logs of 2,500 histories, ten views each, every history asked under two of them."""
    reads = values = 0
    for seed in range(4):
        more = run(settings, tmp_path, histories=2_500, views=10, shares=5, seed=100 + seed)
        reads, values = reads + more[0], values + more[1]
    assert reads > 100_000 and values > 1_000_000
