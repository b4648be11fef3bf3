"""The home that a benchmark's service runs in: a tenant with a past, models trained on it, and a day of small files."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import SecretStr

from mailwarden.domain.aggregates.windows import DAY_US, SECOND_US
from mailwarden.errors import DataError
from mailwarden.ingest.index import LabelIndex
from mailwarden.ingest.pipeline import ingest
from mailwarden.ingest.receive import Site, receive
from mailwarden.ingest.sources import open_source
from mailwarden.settings import Settings
from mailwarden.simulation.company import company
from mailwarden.simulation.corpus import write_corpus
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.simulation.simulate import START_US, simulate
from mailwarden.stores.lake.delta import bucket_of, day_column
from mailwarden.stores.lake.event_log import EventLog, events_to_table
from mailwarden.stores.sql import Tenant
from mailwarden_services.bench.load import LoadTask, write_load
from mailwarden_services.bench.load_mail import load_mail
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import with_redis
from mailwarden_services.loop import Loop

SEED = 7
DAYS, TRAIN_DAYS = 65, 30

SMALL_FILES = 500
"""Files of the event log's current day that nobody has compacted yet: one each time that accepted mail was logged."""

_MORNING_US = 6 * 3_600 * SECOND_US
"""Of its day, when a load begins: late mail is of the same day."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TrainedHome:
    """A home with a Redis, a tenant with a past, and models trained on it.

    settings: name the Redis. key: the tenant's. load: later mail, as `LoadTask.file` wants it.
    """

    settings: Settings
    key: str
    load: Path
    trained_on: int
    mean_message_bytes: int

    def task(self, seconds: float, connections: int) -> LoadTask:
        """A closed loop of the later mail from its first message on, against `live_service` in the run folder."""
        socket = str(self.settings.run_path / "api.sock")
        return LoadTask(socket, self.key, str(self.load), seconds, connections, None, start=1)


@contextmanager
def trained_home(settings: Settings, say: Say) -> Iterator[TrainedHome]:
    """A home for the time of a benchmark; all settings but home and Redis are those given."""
    with tempfile.TemporaryDirectory(prefix="mailwarden-bench-") as folder:
        home = Path(folder)
        settings = in_home(settings, home / "state")
        settings.run_path.mkdir(parents=True)
        past, later = simulated_mail()
        with with_redis(settings, keep=False) as named:
            key = _learn(Platform(named), past, home / "mail", say)
            write_load(home / "load", later, _time(past[-1]))
            yield TrainedHome(named, key, home / "load", len(past), _mean_bytes(later))


@dataclass(frozen=True, slots=True)
class LoadedHome:
    """A home whose Redis `serve` will start, and what to load it with.

    begin_us: the first time that a message of the load may bear; all of its day, and none of the tenant's is later.
    mail: name of what `load` holds. small_files: of the event log on that day.
    """

    settings: Settings
    tenant: str
    key: str
    load: Path
    begin_us: int
    mail: str
    messages: int
    mean_message_bytes: int
    small_files: int


@contextmanager
def loaded_home(
    settings: Settings,
    say: Say,
    *,
    mail: str = "",
    messages: int = 2_000,
    home: Path | None = None,
    tenant: str = "",
    in_place: bool = False,
    small_files: int = SMALL_FILES,
) -> Iterator[LoadedHome]:
    """A home to be loaded, gone afterwards; all settings but home and Redis are those given.

    home: one that is there, whose copy is used, or itself where `in_place`; one that is not there yet is made, and kept
    for the next time. tenant: of that home, by default its first. mail, messages: see `load_mail`. Raises DataError
    where the home has no tenant.
    """
    with tempfile.TemporaryDirectory(prefix="mailwarden-bench-") as name:
        folder = Path(name)
        own = in_home(settings, home or folder / "state")
        if not own.root.exists():
            _make(own, folder, small_files, say)
        if home is not None and not in_place:
            say(f"copying {home}")
            shutil.copytree(own.root, folder / "state", ignore=shutil.ignore_patterns("*.sock"))
            own = in_home(own, folder / "state")
        platform = Platform(own)
        loaded = _tenant(platform, tenant)
        begin_us = _begin_us(platform.events, loaded.name)
        files = _add_small_files(platform.events, loaded, begin_us, small_files)
        found = load_mail(mail, messages, loaded.domains[0] if loaded.domains else "example.com")
        what, sent = found or ("simulated mail", simulated_mail()[1][2 * small_files :][:messages])
        write_load(folder / "load", sent, begin_us)
        yield LoadedHome(
            own,
            loaded.name,
            platform.tenants.issue_key(loaded.name, f"bench {time.time():.0f}", round(time.time() * 1e6)),
            folder / "load",
            begin_us,
            what,
            len(sent),
            _mean_bytes(sent),
            files,
        )


def in_home(settings: Settings, home: Path) -> Settings:
    """The same settings in another home and without a Redis named."""
    # Not a copy, which would keep the paths that were already asked for.
    given = {name: getattr(settings, name) for name in Settings.model_fields}
    return Settings(**given | {"home": home, "redis_url": SecretStr("")})


def _make(settings: Settings, folder: Path, small_files: int, say: Say) -> None:
    """A home that was not there, whole or not at all."""
    made = in_home(settings, folder / "made")
    made.run_path.mkdir(parents=True)
    with with_redis(made) as named:
        platform = Platform(named)
        _learn(platform, simulated_mail()[0], folder / "mail", say)
    tenant = _tenant(platform, "")
    say(f"logging {small_files} small files")
    begin_us = _begin_us(platform.events, tenant.name)
    _add_small_files(platform.events, tenant, begin_us, small_files)
    settings.root.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(made.root, settings.root)


def simulated_mail() -> tuple[list[SimulatedMessage], list[SimulatedMessage]]:
    """The past of the simulated company, and what comes later."""
    mail = list(simulate(SEED, days=DAYS))
    past = [message for message in mail if _time(message) < START_US + TRAIN_DAYS * DAY_US]
    return past, mail[len(past) :]


def _mean_bytes(messages: Sequence[SimulatedMessage]) -> int:
    return round(sum(len(message.raw) for message in messages) / len(messages))


def _time(message: SimulatedMessage) -> int:
    assert message.envelope.received_at_us is not None
    return message.envelope.received_at_us


def _learn(platform: Platform, past: Sequence[SimulatedMessage], folder: Path, say: Say) -> str:
    """Make the tenant, take in its past, train; a key of the tenant's."""
    firm, now_us = company(SEED), START_US + TRAIN_DAYS * DAY_US
    platform.tenants.create(
        firm.tenant, domains=firm.domains, trusted_authserv_ids=(firm.authserv_id,), created_us=now_us
    )
    index = write_corpus(folder, past)
    say(f"ingesting {len(past):,} simulated messages")
    ingest(
        open_source(folder),
        tenant=firm.tenant,
        own_domains=frozenset(firm.domains),
        trusted_authserv_ids=frozenset((firm.authserv_id,)),
        event_log=platform.events,
        raw_mail=platform.raw,
        labels=LabelIndex.read(index),
    )
    loop = Loop(platform)
    say("materialising")
    loop.materialize()
    say("training")
    loop.train(now_us=now_us, known_by_us=now_us, seed=SEED, reason="bench")
    return platform.tenants.issue_key(firm.tenant, "bench", now_us)


def _tenant(platform: Platform, name: str) -> Tenant:
    tenants = {tenant.name: tenant for tenant in platform.tenants.list()}
    if not tenants or (name and name not in tenants):
        raise DataError(f"{platform.settings.root} has no tenant {name or 'at all'}. There are: {', '.join(tenants)}.")
    return tenants[name or next(iter(tenants))]


def _begin_us(events: EventLog, tenant: str) -> int:
    """The first morning after the tenant's newest mail; yesterday's without any, or where that is yet to come."""
    yesterday_us = round(time.time() * 1e6) // DAY_US * DAY_US - DAY_US
    newest_us = events.view().newest_us(tenant) or yesterday_us
    return min(-(-(newest_us - _MORNING_US) // DAY_US) * DAY_US, yesterday_us) + _MORNING_US


def _add_small_files(events: EventLog, tenant: Tenant, begin_us: int, wanted: int) -> int:
    """Log simulated messages of the early day, two a file, until it has as many files as wanted; how many it has."""
    files = _files_of_day(events, tenant.name, begin_us)
    if files >= wanted:
        return files
    site = Site(tenant.name, frozenset(tenant.domains), frozenset(tenant.trusted_authserv_ids))
    seq, early_us = events.last_seq(tenant.name), begin_us // DAY_US * DAY_US
    messages = iter(enumerate(simulated_mail()[1]))
    for _ in range(wanted - files):
        rows = []
        for number, message in islice(messages, 2):
            seq += 1
            envelope = replace(message.envelope, received_at_us=early_us + number * 3 * SECOND_US)
            rows.append(replace(receive(message.raw, envelope, site).event, seq=seq))
        batches = events_to_table(rows).to_batches()
        events.append_stream(tenant.name, lambda _, batches=batches: batches)  # type: ignore[misc]
    return wanted


def _files_of_day(events: EventLog, tenant: str, time_us: int) -> int:
    table = events.view().table
    if table is None:
        return 0
    files = pa.table(table.get_add_actions(flatten=True))
    day = day_column(pa.array([time_us], pa.int64()))[0]
    of_day = pc.equal(files["partition.day"], day)
    return int(pc.sum(pc.and_(of_day, pc.equal(files["partition.bucket"], bucket_of(tenant)))).as_py() or 0)
