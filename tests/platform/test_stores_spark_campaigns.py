"""Campaigns as the numbering process gave them, as Spark finds them in the log, and as the recount does: all one."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from mailwarden.domain.mail.campaigns import SLOTS
from mailwarden.domain.mail.clusters import Member
from mailwarden.domain.mail.events import Event
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.spark.campaigns import campaigns as campaigns_of
from mailwarden.testing.naive_campaigns import naive_campaigns

DAY_US = 86_400_000_000


def made_up(rng: random.Random) -> str:
    """A signature near to one of a few texts, or sharing single bands with most, or none."""
    if rng.random() < 0.05:
        return ""
    slots = [rng.randrange(256) for _ in range(SLOTS)]
    kept, first, text = rng.choice((0, 6, 14, 26, 34, 48, 70, 94)), rng.randrange(SLOTS), rng.randrange(5)
    for at in range(first, first + kept):
        slots[at % SLOTS] = text
    return base64.b64encode(bytes(slots) + rng.choice((4, 9, 20, 60, 500)).to_bytes(2, "little")).decode()


def history(rng: random.Random, tenant: str, messages: int, folder: Path, log: EventLog, capacity: int) -> None:
    """A tenant's messages given to a home's campaigns one by one and in bulk, with restarts in the midst of it."""
    campaigns = Campaigns(folder, save_every=7, capacity=capacity)
    campaigns.prepare(tenant, log.view())
    written: list[Event] = []
    seq = 0
    for _ in range(messages):
        seq += rng.randrange(1, 4)
        # Mail comes late, and at one time: only seq orders it.
        at_us = 1_176_000_000_000_000 + rng.randrange(3) * DAY_US
        signature = made_up(rng)
        # Where campaigns cannot be read a message goes on without.
        campaign = campaigns.find(tenant, signature) if rng.random() > 0.05 else ""
        if campaign:
            campaigns.take(tenant, Member(seq, campaign, signature))
        event = Event(tenant, seq, "message", f"{tenant}-{seq}", at_us, at_us, "envelope", "inbound", "a@x.example",
                      "x.example", (), (), campaign=campaign, signature=signature)  # fmt: skip
        written.append(event)
        if rng.random() < 0.05:
            log.append(written)
            written = []
            campaigns.close()
            for file in folder.glob("*") if rng.random() < 0.5 else ():
                file.unlink()
            campaigns = Campaigns(folder, save_every=7, capacity=capacity)
            campaigns.prepare(tenant, log.view())
    log.append(written)
    campaigns.close()


def run(spark: SparkSession, folder: Path, *, tenants: int, messages: int, capacity: int, seed: int) -> int:
    """Messages that were compared."""
    rng, log = random.Random(seed), EventLog(folder / "events")
    for number in range(tenants):
        history(rng, f"tenant{number}", messages, folder / f"campaigns{number}", log, capacity)
    events = spark.read.parquet(*log.snapshot().files)
    found: dict[str, dict[int, str]] = {}
    for row in campaigns_of(events, capacity).collect():
        found.setdefault(row.tenant, {})[row.seq] = row.campaign
    compared = 0
    for tenant in log.tenants():
        given = [event for part in log.after(tenant, 0) for event in part if event.campaign]
        logged = {event.seq: event.campaign for event in given}
        recounted = naive_campaigns(((event.seq, event.signature) for event in given), capacity=capacity)
        assert found[tenant] == logged == dict(zip(logged, recounted, strict=True))
        assert len(set(logged.values())) < len(logged)
        compared += len(logged)
    return compared


def test_log_spark_and_recount_name_the_same_campaigns(spark: SparkSession, tmp_path: Path) -> None:
    assert run(spark, tmp_path, tenants=5, messages=60, capacity=20, seed=1) > 200


@pytest.mark.verify
def test_log_spark_and_recount_name_the_same_campaigns_in_many_histories(spark: SparkSession, tmp_path: Path) -> None:
    small = run(spark, tmp_path / "small", tenants=40, messages=120, capacity=30, seed=2)
    large = run(spark, tmp_path / "large", tenants=4, messages=250, capacity=65_536, seed=3)
    assert small + large > 5_000
