"""Messages through HTTP: the most that a service of its own takes, then latency at half of it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from mailwarden.domain.aggregates.windows import DAY_US
from mailwarden.errors import StoreUnavailable
from mailwarden.ingest.index import LabelIndex
from mailwarden.ingest.pipeline import ingest
from mailwarden.ingest.sources import open_source
from mailwarden.settings import Settings
from mailwarden.simulation.company import company
from mailwarden.simulation.corpus import write_corpus
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.simulation.simulate import START_US, simulate
from mailwarden_services.bench.load import OPEN_CONNECTIONS, LoadResult, LoadTask, generate_load, write_load
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import with_redis
from mailwarden_services.loop import Loop
from mailwarden_services.processes import parts_cpu
from mailwarden_services.replay.live import LiveService, live_service

SEED = 7
DAYS, TRAIN_DAYS = 40, 30
CONNECTIONS = 4
"""Of the closed loop: enough to keep one process busy."""

WARM_SECONDS = 3.0
DRAIN_SECONDS = 120.0

Say = Callable[[str], None]


def measure(settings: Settings, *, seconds: float = 15.0, say: Say = lambda _: None) -> dict[str, Any]:
    """Messages a second, CPU-milliseconds a message, and p50 and p99 at half of that rate.

    A service in a home, with a Redis and on a socket of its own, over models trained on simulated mail. The load
    comes from another process on the same machine and counts into its cores. flat_out: closed loop of `CONNECTIONS`
    connections. half_load: open loop, latency from when a request was due. cpu_ms: of API, reading processes and
    feature writer a message; the writer's includes what it did after the load ended, for the same messages.
    settings: all but home and Redis are taken from it.
    """
    with trained_home(settings, say) as home, live_service(home.settings, home.key, home.settings.run_path) as service:
        task = home.task(WARM_SECONDS, CONNECTIONS)
        say("warming up")
        warm = generate_load(task)
        sent = 1 + warm.messages + warm.failed + CONNECTIONS
        say(f"flat out for {seconds:.0f} s")
        flat_task = replace(task, seconds=seconds, start=sent)
        with parts_cpu(service.process.pid) as flat_cpu:
            flat = _loaded(service, flat_task)
        sent += flat.messages + flat.failed + CONNECTIONS
        rate = flat.messages_per_second / 2
        say(f"half of that, {rate:.0f} messages/s, for {seconds:.0f} s")
        half_task = replace(task, seconds=seconds, connections=OPEN_CONNECTIONS, rate=rate, start=sent, seed=SEED)
        with parts_cpu(service.process.pid) as half_cpu:
            half = _loaded(service, half_task)
    return {
        "messages_trained_on": home.trained_on,
        "mean_message_bytes": home.mean_message_bytes,
        "flat_out": _figures(flat, flat_cpu),
        "half_load": {"offered_per_second": round(rate, 1), **_figures(half, half_cpu)},
        "note": "simulated mail; load generator, API, feature writer and Redis share the machine's cores",
        "cores": os.cpu_count(),
    }


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
        settings = settings.model_copy(update={"home": home / "state"})
        settings.run_path.mkdir(parents=True)
        mail = list(simulate(SEED, days=DAYS))
        split_us = START_US + TRAIN_DAYS * DAY_US
        past = [message for message in mail if _time(message) < split_us]
        later = mail[len(past) :]
        with with_redis(settings.model_copy(update={"redis_url": SecretStr("")}), keep=False) as named:
            key = _learn(Platform(named), past, home / "mail", split_us, say)
            write_load(home / "load", later, _time(past[-1]))
            mean_bytes = round(sum(len(message.raw) for message in later) / len(later))
            yield TrainedHome(named, key, home / "load", len(past), mean_bytes)


def _time(message: SimulatedMessage) -> int:
    assert message.envelope.received_at_us is not None
    return message.envelope.received_at_us


def _learn(platform: Platform, past: Sequence[SimulatedMessage], folder: Path, now_us: int, say: Say) -> str:
    """Make the tenant, take in its past, train; a key of the tenant's."""
    firm = company(SEED)
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


def _loaded(service: LiveService, task: LoadTask) -> LoadResult:
    """Run a load, then wait until the feature writer has folded the last message of it."""
    result = generate_load(task)
    if result.failed or not result.messages:
        raise StoreUnavailable(
            f"{result.failed} of {result.failed + result.messages} requests were not answered by 200"
        )
    deadline = time.monotonic() + DRAIN_SECONDS
    while True:
        try:
            service.wait_folded(company(SEED).tenant, result.last_seq)
            return result
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise


def _figures(result: LoadResult, cpu: dict[str, float]) -> dict[str, Any]:
    measured = asdict(result)
    del measured["last_seq"]
    return {**measured, "cpu_ms": {name: round(1e3 * used / result.messages, 2) for name, used in cpu.items()}}
