"""Servers of the tests' own (PostgreSQL, Redis), databases on them, and views and events to fill them with."""

from __future__ import annotations

import itertools
import os
import pwd
import random
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa
from pyspark.sql import SparkSession

from mailwarden.domain.aggregates.definitions import (
    ActivityView,
    Age,
    Distinct,
    Extreme,
    Feature,
    History,
    Measure,
    Ratio,
    Total,
)
from mailwarden.domain.aggregates.finalise import finalise
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import read_slots
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.windows import (
    DAY_US,
    HOUR_US,
    SECOND_US,
    W_1D,
    W_1H,
    W_7D,
    W_30D,
    W_90D_MATURED,
    W_ALL,
    W_MATURED,
)
from mailwarden.domain.mail.events import Event, direction_of, keys_of
from mailwarden.settings import Settings
from mailwarden.stores.online.client import Client, open_client
from mailwarden.stores.online.server import RedisServer
from mailwarden.stores.spark.session import spark_session
from mailwarden.stores.sql import open_engine, upgrade

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL, without a database, of a server on a socket in a folder of its own; stopped at the end."""
    binaries = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]), reverse=True
    )
    if not binaries or shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL server not installed")
    folder = Path(tempfile.mkdtemp(prefix="mailwarden-pg-"))
    run_as = ["setpriv", "--pdeathsig=INT"]  # the server must not outlive tests that are killed
    if os.geteuid() == 0:  # initdb refuses root
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        run_as += [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
    data = folder / "data"
    subprocess.run(
        [*run_as, str(binaries[0]), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True,
        capture_output=True,
        cwd="/",
    )
    settings = ["listen_addresses=", f"unix_socket_directories={folder}", "fsync=off", "max_connections=30"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*run_as, str(binaries[0].parent / "postgres"), "-D", str(data)]
            + [word for setting in settings for word in ("-c", setting)],
            stdout=log,
            stderr=log,
            cwd="/",
        )
    try:
        _await_socket(server, folder)
        yield f"postgresql://postgres@/{{database}}?host={folder}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def sql_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'mailwarden.db'}"
        return
    server: str = request.getfixturevalue("postgresql_server")
    database = f"test_{next(_NUMBERS)}"
    engine = sa.create_engine(
        server.format(database="postgres").replace("postgresql:", "postgresql+psycopg:"),
        isolation_level="AUTOCOMMIT",
    )
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {database}"))
    yield server.format(database=database)
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {database} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def sql_engine(sql_url: str) -> Iterator[sa.Engine]:
    """Engine on a migrated database that holds nothing."""
    upgrade(sql_url)
    engine = open_engine(sql_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis server of the tests' own, on a socket; stopped at the end."""
    if shutil.which("redis-server") is None:
        pytest.skip("Redis server not installed")
    folder = Path(tempfile.mkdtemp(prefix="mailwarden-redis-"))
    with RedisServer(folder) as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty Redis database."""
    with open_client(redis_server.url, timeout_seconds=10) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def activity_views() -> tuple[ActivityView, ...]:
    """A view over each set of keys, with every kind of aggregate, feature and window."""
    measures = (
        Measure("received", where=("forward",)),
        Measure("written_to", where=("reverse",)),
        Measure("with_link", where=("forward", "has_link")),
        Measure("bytes", of="size_bytes", where=("forward",)),
        Measure("bad", of="labelled_bad", on="label"),
        Measure("codes", of="late_qr_code_count", on="signal"),
    )
    extremes = (Extreme("first_seen", "first"), Extreme("last_seen", "last", ("forward",)))
    features = (
        Feature("known", History(), "seen before", ""),
        Feature("received_1h", Total("received", W_1H), "messages", "messages"),
        Feature("received_30d", Total("received", W_30D), "messages", "messages"),
        Feature("written_to_all", Total("written_to", W_ALL), "messages", "messages"),
        Feature("link_rate_7d", Ratio("with_link", "received", W_7D), "share", "0..1"),
        Feature("bad_rate", Ratio("bad", "received", W_90D_MATURED, (0.5, 1.0)), "share", "0..1"),
        Feature("bytes_7d", Total("bytes", W_7D), "bytes", "bytes"),
        Feature("codes_30d", Total("codes", W_30D), "codes", "codes"),
        Feature("days_known", Age("first_seen"), "age", "days"),
        Feature("days_since", Age("last_seen"), "age", "days"),
    )
    senders = (Distinct("senders", "sender", ("forward",)),)
    recipients = (Distinct("recipients", "recipients", ("forward",)),)
    return (
        ActivityView(
            "sender_activity", 1, "tests", "", ("sender",), "participants", measures, extremes, recipients,
            (*features, Feature("recipients_7d", Total("recipients", W_7D), "addresses", "addresses")),
        ),
        ActivityView(
            "sender_domain_activity", 1, "tests", "", ("sender_domain",), "participant_domains", measures, extremes,
            senders, (*features, Feature("senders_30d", Total("senders", W_30D), "addresses", "addresses")),
        ),
        ActivityView(
            "recipient_activity", 2, "tests", "", ("recipient",), "recipients", measures, extremes, (), features
        ),
        ActivityView(
            "relationship", 1, "tests", "", ("sender", "recipient"), "pairs", measures, extremes, (), features
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def mail_events() -> Callable[..., list[Event]]:
    """Events of one tenant, in order of seq from 1: late ones, labels, outbound mail, mail to several."""

    def make(n: int, *, seed: int = 0, tenant: str = "acme") -> list[Event]:
        rng = random.Random(seed)
        start = 1_700_000_000 * SECOND_US
        events = []
        for i, moment in enumerate(sorted(rng.randrange(60 * DAY_US) for _ in range(n))):
            outside = f"s{rng.randrange(8)}@far.example"
            names = [f"u{rng.randrange(5)}@acme.example" for _ in range(rng.choice((1, 1, 2, 4)))]
            inside = tuple(dict.fromkeys(names))
            outbound = rng.random() < 0.25
            at_us = start + moment - (rng.randrange(3 * DAY_US) if rng.random() < 0.1 else 0)
            is_label = rng.random() < 0.1
            events.append(
                Event(
                    tenant, i + 1, "label" if is_label else "message", f"{i:032x}", at_us,
                    at_us + (DAY_US if is_label else 0), "given", "outbound" if outbound else "inbound",
                    inside[0] if outbound else outside, "acme.example" if outbound else "far.example",
                    (outside,) if outbound else inside, ("far.example",) if outbound else ("acme.example",),
                    size_bytes=rng.randrange(5000), has_link=rng.random() < 0.5, labelled_bad=int(is_label),
                )
            )  # fmt: skip
        return events

    return make


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[Client]:
    """Client of an empty Redis database."""
    with open_client(redis_url, timeout_seconds=10) as client:
        yield client


def _await_socket(server: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(300):
        if (folder / ".s.PGSQL.5432").exists():
            ready = subprocess.run(["pg_isready", "-h", str(folder)], capture_output=True, check=False, cwd="/")
            if ready.returncode == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError("PostgreSQL did not start:\n" + (folder / "log").read_text(errors="replace"))


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The one Spark session of the tests: two threads, few partitions."""
    settings = Settings(home=tmp_path_factory.mktemp("spark"), spark_driver_memory="1g", spark_shuffle_partitions=2)
    session = spark_session(settings, "tests")
    yield session
    session.stop()


class Histories:
    """Made-up events, views over them, and what one fold after another says of them."""

    hostile = ("a\x00b@x.test", "\"'; drop--@y.test", "ä☃𝕏@ü.test", "l" * 3000 + "@z.test", " @ ", "1", "12", "2")

    @staticmethod
    def view(emission: str = "participants", *, distincts: bool = True, name: str = "who") -> ActivityView:
        """A view with every kind of aggregate and feature."""
        keys = ("sender", "recipient") if emission == "pairs" else ("sender",)
        features = [
            Feature("seen", History(), "seen before", "flag"),
            Feature("got_1h", Total("got", W_1H), "received", "messages"),
            Feature("got_30d", Total("got", W_30D), "received", "messages"),
            Feature("bytes_1d", Total("bytes", W_1D), "size", "bytes"),
            Feature("written_to_all", Total("written_to", W_ALL), "written to", "messages"),
            Feature("bad_rate", Ratio("bad", "got", W_MATURED, (1.0, 3.0)), "bad", "share"),
            Feature("link_rate_30d", Ratio("links", "got", W_30D), "links", "share"),
            Feature("age", Age("first"), "since first", "days"),
            Feature("since", Age("last_out"), "since written to", "days"),
        ]
        if distincts:
            features.append(Feature("people_all", Total("people", W_ALL), "people", "people"))
            features.append(Feature("people_1d", Total("people", W_1D), "people", "people"))
        return ActivityView(
            name=name,
            version=1,
            owner="tests",
            description="for tests",
            keys=keys,
            emission=emission,  # type: ignore[arg-type]
            measures=(
                Measure("got", where=("forward",)),
                Measure("written_to", where=("reverse", "outbound")),
                Measure("bytes", of="size_bytes"),
                Measure("links", where=("has_link", "unauthenticated")),
                Measure("bad", of="labelled_bad", where=("forward",), on="label"),
            ),
            extremes=(Extreme("first", "first"), Extreme("last_out", "last", where=("reverse",))),
            distincts=(Distinct("people", "recipients", where=("forward",)),) if distincts else (),
            features=tuple(features),
        )

    @classmethod
    def events(cls, n: int, *, seed: int = 0, tenants: Sequence[str] = ("t1", "t2"), names: int = 6) -> list[Event]:
        """Events of few keys: hot ones, late ones, mail to oneself, no sender, labels, hostile names."""
        rng = random.Random(seed)
        people = [f"p{i}@{'own' if i % 2 else 'else'}.test" for i in range(names)] + list(cls.hostile)
        own = frozenset({"own.test"})
        out = []
        for i in range(n):
            tenant = rng.choice(tenants)
            sender = "" if rng.random() < 0.05 else people[min(int(rng.expovariate(0.5)), len(people) - 1)]
            recipients = tuple(dict.fromkeys(rng.choices(people, k=rng.choice((0, 1, 1, 1, 2, 4)))))
            if rng.random() < 0.05 and sender:
                recipients = (sender,)
            domain = sender.rpartition("@")[2]
            domains = tuple(dict.fromkeys(r.rpartition("@")[2] for r in recipients))
            label = rng.random() < 0.15
            bad = rng.choice((-1, 0, 1)) if label else 0
            received = 1_200_000_000_000_000 + i * HOUR_US + rng.choice((0, 0, 0, 1, -3 * HOUR_US, -9 * DAY_US))
            out.append(
                Event(
                    tenant=tenant,
                    seq=i + 1,
                    kind="label" if label else "message",
                    message_id=f"{i:032x}",
                    received_at_us=received,
                    known_at_us=received + (DAY_US if label else 0),
                    time_source="envelope",
                    direction=direction_of(domain, domains, own),
                    sender=sender,
                    sender_domain=domain,
                    recipients=recipients,
                    recipient_domains=domains,
                    size_bytes=rng.randrange(10_000),
                    has_link=rng.random() < 0.5,
                    authenticated=rng.choice((None, True, False)),
                    reply_to_differs=rng.choice((None, True, False)),
                    label="spam" if label else "",
                    labelled_bad=bad,
                    labelled_good=-bad,
                )
            )
        return out

    @staticmethod
    def table(events: Sequence[Event]) -> pa.Table:
        """Events as an Arrow table with the event log's column names."""
        instant = pa.timestamp("us", tz="UTC")
        columns = {}
        for field in fields(Event):
            values = [getattr(event, field.name) for event in events]
            if field.name in ("received_at_us", "known_at_us"):
                columns[field.name.removesuffix("_us")] = pa.array(values, pa.int64()).cast(instant)
            elif field.name in ("recipients", "recipient_domains"):
                columns[field.name] = pa.array([list(value) for value in values], pa.list_(pa.string()))
            else:
                columns[field.name] = pa.array(values)
        return pa.table(columns)

    @staticmethod
    def states(view: ActivityView, events: Sequence[Event], before: int | None = None) -> dict[object, EntityState]:
        """States by (tenant, key parts...), folded one event after another, up to but without a seq."""
        layout = layout_of(view)
        out: dict[object, EntityState] = {}
        for event in events:
            if before is not None and event.seq >= before:
                continue
            directions = defaultdict(list)
            for key, forward in keys_of(view.emission, event, view.keys):
                directions[event.tenant, *key].append(forward)
            for key, ways in directions.items():
                out.setdefault(key, EntityState(layout)).fold(event, ways)
        return out

    @classmethod
    def values(cls, view: ActivityView, state: EntityState | None, at_us: int) -> tuple[list[float | None], int]:
        """Feature values of a state at a time with None for null, and the last seq behind them."""
        layout = layout_of(view)
        at = np.array([at_us], dtype=np.int64)
        slots, times, matches, seen, last = read_slots(layout, [state.to_bytes() if state else None], at)
        row = finalise(layout, slots, times, matches, seen, at)[0].tolist()
        return [None if value != value else value for value in row], int(last[0])


@pytest.fixture(scope="session")
def histories() -> Histories:
    """Made-up events and what one fold after another says of them."""
    return Histories()
