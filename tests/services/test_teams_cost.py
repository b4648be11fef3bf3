"""The price of a change, held against what the change then takes: rows, keys, bytes in Redis, seconds of Spark."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from mailwarden.domain.aggregates.definitions import ActivityView, Feature, Measure, Total
from mailwarden.domain.aggregates.windows import DAY_US, W_30D
from mailwarden.domain.mail.events import Event, keys_of
from mailwarden.materialize.job import MaterializeReport, ViewReport, materialize
from mailwarden.materialize.states import How
from mailwarden.settings import Settings
from mailwarden.stores.content_code import content_set
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lists import load_lists
from mailwarden.stores.online.client import Client, open_client
from mailwarden.stores.online.server import RedisServer
from mailwarden.stores.online.writer import LoadReport, OnlineWriter
from mailwarden.stores.spark.online_load import ViewLoad
from mailwarden.stores.spark.session import spark_session
from mailwarden_features import discover
from mailwarden_services.bootstrap import parse
from mailwarden_services.teams import log_sample
from mailwarden_services.teams.cost import DEFAULT, Cost, Rates, estimate, keep_rates, read_rates, redis_bytes
from mailwarden_services.teams.log_sample import count_rows, sample_log

VIEWS = discover().activity
START_US = 1_700_000_000_000_000


def made_events(n: int, *, seed: int = 3, people: int = 400) -> list[Event]:
    """Mail of two tenants over half a year: few busy senders and many that are seldom seen."""
    rng = random.Random(seed)
    events = []
    for i in range(n):
        tenant = rng.choice(("acme", "other"))
        number = min(int(rng.paretovariate(0.7)), people)
        outside, inside = f"s{number}@d{number % 40}.example", f"u{rng.randrange(30)}@{tenant}.example"
        outbound = rng.random() < 0.2
        sender = "" if rng.random() < 0.02 else inside if outbound else outside
        others = tuple(dict.fromkeys([outside] if outbound else [inside, f"u{rng.randrange(30)}@{tenant}.example"]))
        at_us = START_US + i * (180 * DAY_US // n) - rng.choice((0, 0, 2 * DAY_US))
        events.append(
            Event(
                tenant, i + 1, "message", f"{i:032x}", at_us, at_us, "given", "outbound" if outbound else "inbound",
                sender, sender.rpartition("@")[2], others, tuple(dict.fromkeys(o.rpartition("@")[2] for o in others)),
                size_bytes=rng.randrange(9_000), has_link=rng.random() < 0.4,
                display_name=rng.choice(("", "pat", f"name {number}")), thread=f"{rng.randrange(n // 3):x}",
                campaign=rng.choice(("", f"{number % 17:x}")), link_domain=rng.choice(("", "link.example")),
                structure=f"{number % 5:x}",
            )
        )  # fmt: skip
    return events


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cost")
    log = EventLog(Settings(home=folder).events_path)
    events = made_events(3_000)
    for start in range(0, len(events), 1_000):
        log.append(events[start : start + 1_000])
    return folder


@pytest.fixture(scope="module")
def log(home: Path) -> EventLog:
    return EventLog(Settings(home=home).events_path)


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return made_events(3_000)


def rows_of(events: Sequence[Event], view: ActivityView) -> list[tuple[str, ...]]:
    return [(event.tenant, *key) for event in events for key, _ in keys_of(view.emission, event, view.keys)]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_rows_and_keys_are_those_that_events_reach(
    view: ActivityView, log: EventLog, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_sample, "FOLDED_EVENTS", 5)
    expected = rows_of(events, view)
    found = sample_log(log, view)
    assert (found.events, found.rows, found.keys) == (3_000, len(expected), len(set(expected)))
    assert count_rows(log, view) == len(expected)
    assert found.sampled == min(len(set(expected)), log_sample.FOLDED_KEYS)


def test_many_keys_are_estimated_and_the_same_log_gives_the_same(
    log: EventLog, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    view = next(view for view in VIEWS if view.emission == "pairs")
    truth = len(set(rows_of(events, view)))
    monkeypatch.setattr(log_sample, "FOLDED_EVENTS", 5)
    monkeypatch.setattr(log_sample, "COUNTED_KEYS", 512)
    assert truth > 2 * log_sample.COUNTED_KEYS
    found = sample_log(log, view)
    # Four standard errors of 4.4%.
    assert found.keys != truth and abs(found.keys / truth - 1) < 0.18
    assert sample_log(log, view) == found


def test_a_busy_key_is_thinned_and_a_small_one_is_not(
    log: EventLog, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    view = next(view for view in VIEWS if view.keys == ())
    monkeypatch.setattr(log_sample, "FOLDED_EVENTS", 20)
    whole = sample_log(log, view)
    monkeypatch.setattr(log_sample, "FOLDED_EVENTS", 10_000)
    assert abs(whole.state_bytes / sample_log(log, view).state_bytes - 1) < 0.05


def test_an_empty_log_costs_nothing(tmp_path: Path) -> None:
    found = estimate(EventLog(tmp_path / "none"), VIEWS[0], DEFAULT, project="mailwarden", beside=())
    assert (found.sample.rows, found.redis_bytes, found.seconds) == (0, 0, 0.0)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("Redis server not installed")
    folder = Path(tempfile.mkdtemp(prefix="mailwarden-redis-"))
    with RedisServer(folder) as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture
def client(redis: RedisServer) -> Iterator[Client]:
    with open_client(redis.url, timeout_seconds=10) as client:
        client.flushall()
        yield client


def used(client: Client) -> int:
    return int(client.info("memory")["used_memory"])


@pytest.mark.parametrize(
    "fields",
    [[(22, 300)], [(24, 900), (26, 150)], [(30, 2_400), (32, 9_000)]],
    ids=["state", "state and sketch", "large"],
)
def test_a_hash_takes_the_bytes_that_are_foretold(client: Client, fields: list[tuple[float, float]]) -> None:
    before, n = used(client), 1_000
    with client.pipeline(transaction=False) as pipeline:
        for i in range(n):
            for name, value in fields:
                pipeline.hset(f"{i:070}", "f" * int(name), b"v" * int(value))
        pipeline.execute()
    a_key = (used(client) - before) / n
    assert abs(redis_bytes(hash_key=70, fields=fields, shared=False) / a_key - 1) < 0.12
    added = (30.0, 500.0)
    before = used(client)
    with client.pipeline(transaction=False) as pipeline:
        for i in range(n):
            pipeline.hset(f"{i:070}", "g" * 30, b"v" * 500)
        pipeline.execute()
    assert abs(redis_bytes(hash_key=70, fields=[added], shared=True) / ((used(client) - before) / n) - 1) < 0.15


@pytest.mark.verify
def test_a_materialisation_takes_what_was_foretold(home: Path, redis: RedisServer, client: Client) -> None:
    """Rows and keys to 5%, Redis to 15%, seconds to a factor of 5 once a rate was measured warm."""
    settings = Settings(home=home, redis_url=SecretStr(redis.url), spark_driver_memory="1g", spark_shuffle_partitions=2)
    log = EventLog(settings.events_path)
    spark = spark_session(settings, "tests")

    def make(view: ActivityView) -> tuple[Cost, ViewReport, float]:
        cost = estimate(log, view, read_rates(settings), project=settings.project, beside=())
        report = materialize(
            spark, settings, [view], content_set(discover().content, load_lists()), parse, only=[view.name]
        )
        keep_rates(settings, report, [view], log)
        found = OnlineWriter(client, settings.project, (view,)).memory(view, sample=10_000)
        assert found is not None and found.keys == report.views[0].rows
        return cost, report.views[0], found.total * found.keys

    view = next(view for view in VIEWS if view.name == "sender_activity")
    assert read_rates(settings) == DEFAULT
    cost, done, taken = make(view)
    assert done.how == "full" and abs(cost.sample.keys / done.rows - 1) < 0.05
    assert 0.85 < cost.redis_bytes / taken < 1.15, (cost.redis_bytes, taken)
    assert read_rates(settings).measured
    # The first one also started Spark's workers; the rate of the second is what a third one goes by.
    make(_again(view))
    cost, done, _ = make(_again(_again(view), "linked_more"))
    assert done.how == "full" and 1 / 5 < cost.seconds / done.seconds < 5, (cost.seconds, done.seconds)


@pytest.mark.parametrize(
    ("how", "loaded", "kept"), [("full", 500, True), ("incremental", 500, False), ("unchanged", 0, False)]
)
def test_only_what_was_computed_whole_says_how_fast(
    home: Path, log: EventLog, tmp_path: Path, how: How, loaded: int, kept: bool
) -> None:
    settings, view = Settings(home=tmp_path), next(view for view in VIEWS if view.name == "sender_activity")
    load = ViewLoad("new generation", 1, LoadReport(loaded, loaded, 1), "")
    done = ViewReport(view.name, how, 500, loaded, offline_seconds=2.0, online=load, online_seconds=4.0)
    keep_rates(settings, MaterializeReport((done,), 1, 1, 1, 6.0), VIEWS, log)
    expected = Rates(count_rows(log, view) / 2.0, loaded / 4.0, measured=True)
    assert read_rates(settings) == (expected if kept else DEFAULT)


def _again(view: ActivityView, name: str = "linked") -> ActivityView:
    """The next version of a view, with one more measure."""
    more = Feature(f"{name}_30d", Total(name, W_30D), "With a link.", "messages")
    measures = (*view.measures, Measure(name, where=("has_link", "forward")))
    return replace(view, version=view.version + 1, measures=measures, features=(*view.features, more))
