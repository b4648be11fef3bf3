"""What more shards and workers cost, by CPU accounting: two cores cannot show what twenty would give.

1. CPU a message of all our processes, served with one shard and one worker, and with two of each: the same mail of the
   same tenants, who have no past, each over one connection: one tenant after another, so that processes wait for
   messages and not for cores, and all at once, where they share the cores and their caches. Then every state is held
   against the naive recount of the log that was written.
2. What cannot be multiplied. A tenant has one sequencer: what that uses, alone in a process, with scoring and HTTP in
   others. All tenants of a home share one Redis, unless it is a cluster: what that used in 1.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pydantic import SecretStr

from mailwarden.domain.mail.events import Event
from mailwarden.errors import StoreUnavailable
from mailwarden.settings import Settings
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.lake.event_log import table_to_events
from mailwarden.stores.shards import shard_of
from mailwarden.testing.naive_states import check_states
from mailwarden_services.bench.arrivals import ARRIVALS
from mailwarden_services.bench.home import LoadedHome, in_home, loaded_home, simulated_mail
from mailwarden_services.bench.load import LoadTask, generate_load, write_load
from mailwarden_services.bench.load_mail import load_mail
from mailwarden_services.bench.sequencer_alone import WARM_MESSAGES as SEQUENCER_WARM
from mailwarden_services.bench.sequencer_alone import sequencing_cost
from mailwarden_services.bench.served import served, wait_done
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import own_server, wait_until, with_redis
from mailwarden_services.processes import parts_cpu
from mailwarden_services.replay.live import LiveService, rfc3339

LAYOUTS = ((1, 1), (2, 2))
"""Shards and workers of each."""

TENANTS = 4
"""As many on each of two shards."""

WARM_MESSAGES = 40
"""Of each tenant."""

LOAD_SECONDS = 900.0
START_SECONDS = 120.0
SEQUENCED = 1_000
RECOUNTED = 20
"""Of so many keys one is recounted."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ScaleOptions:
    """mail: see `load_mail`. home: see `loaded_home`. messages: of each layout, all tenants together."""

    mail: str = ""
    home: Path | None = None
    messages: int = 2_000


def measure(settings: Settings, options: ScaleOptions, *, say: Say = lambda _: None) -> dict[str, Any]:
    """CPU-milliseconds a message of each layout by part, their ratio, and of what cannot be multiplied.

    settings: all but home and Redis are taken from it. Raises AssertionError where a state is not the log's.
    """
    with (
        loaded_home(settings, say, mail=options.mail, messages=50, home=options.home, small_files=0) as home,
        tempfile.TemporaryDirectory(prefix="mw-scale-") as name,
    ):
        run = _Run(home, options, Path(name), say)
        run.make_tenants()
        layouts = {f"{shards} x {workers}": run.layout(shards, workers) for shards, workers in LAYOUTS}
        sequencing = run.sequencing()
    first, last = layouts.values()
    redis_ms = max(each["parts"]["redis"] for each in layouts.values())
    return {
        "mail": home.mail,
        "tenants": TENANTS,
        "cores": os.cpu_count(),
        "machine_load": [round(one, 2) for one in os.getloadavg()],
        "layouts": layouts,
        "ratio": round(last["cpu_ms"] / first["cpu_ms"], 3),
        "ratio_at_once": round(last["at_once"]["cpu_ms"] / first["at_once"]["cpu_ms"], 3),
        "sequencing": sequencing,
        "redis": {"cpu_ms": redis_ms, "ceiling": round(1e3 / redis_ms) if redis_ms else None},
    }


@dataclass
class _Run:
    home: LoadedHome
    options: ScaleOptions
    folder: Path
    say: Say

    def make_tenants(self) -> None:
        """Tenants without a past, as many on each of two shards, with keys and mail of their own."""
        tenants = Platform(self.home.settings).tenants
        self.keys: dict[str, str] = {}
        self.mail: dict[str, Sequence[SimulatedMessage]] = {}
        names = (f"scale{number}" for number in count(1))
        while len(self.keys) < TENANTS:
            name = next(names)
            if shard_of(name, 2) != len(self.keys) % 2:
                continue
            domain = f"{name}.example"
            tenants.create(name, domains=(domain,), created_us=1)
            self.keys[name] = tenants.issue_key(name, "bench", 1)
            self.mail[name] = _mail(self.options.mail, self.options.messages, domain)
            write_load(self.folder / name, self.mail[name], self.home.begin_us)

    def _copy(self, name: str) -> Settings:
        copy = self.folder / "homes" / name
        shutil.copytree(self.home.settings.root, copy, ignore=shutil.ignore_patterns("*.sock"))
        return in_home(self.home.settings, copy)

    def layout(self, shards: int, workers: int) -> dict[str, Any]:
        """CPU-milliseconds a message by part, until all is folded and logged; events and values that were recounted."""
        self.say(f"{self.options.messages:,} messages, {shards} shards x {workers} workers")
        settings = self._copy(f"{shards}x{workers}").model_copy(update={"shards": shards, "workers": workers})
        words = ["--shards", str(shards), "--workers", str(workers)]
        with served(settings, next(iter(self.keys.values())), words) as service:
            for name, key in self.keys.items():
                ready = partial(_numbers, service, key, self.home.begin_us)
                wait_until(ready, service.process, seconds=START_SECONDS, what=f"the shard of {name}")
            self._load(settings, service, 1, WARM_MESSAGES, at_once=True)
            each = self.options.messages // TENANTS
            alone = self._costed(settings, service, 1 + WARM_MESSAGES, each, at_once=False)
            at_once = self._costed(settings, service, 1 + WARM_MESSAGES + each, each, at_once=True)
            self.say("recounting")
            events, values = self._recount(settings, service)
        return {**alone, "at_once": at_once, "events": events, "values_recounted": values}

    def _costed(
        self, settings: Settings, service: LiveService, start: int, messages: int, *, at_once: bool
    ) -> dict[str, Any]:
        began = time.monotonic()
        with parts_cpu(service.process.pid) as used:
            sent = self._load(settings, service, start, messages, at_once=at_once)
        seconds = time.monotonic() - began
        parts = {name: round(1e3 * spent / sent, 3) for name, spent in used.items()}
        return {
            "messages": sent,
            "messages_per_second": round(sent / seconds, 1),
            "cpu_ms": round(sum(parts.values()), 3),
            "parts": parts,
        }

    def _load(self, settings: Settings, service: LiveService, start: int, messages: int, *, at_once: bool) -> int:
        """Have every tenant's messages answered, folded and logged; how many there were."""

        def one(name: str) -> int:
            task = LoadTask(
                socket=str(settings.run_path / "api.sock"),
                key=self.keys[name],
                file=str(self.folder / name),
                seconds=LOAD_SECONDS,
                connections=1,
                rate=None,
                start=start,
                messages=messages,
                begin_us=self.home.begin_us + start * 1_000_000,
                times="late",
            )
            result = generate_load(task)
            if result.failed or result.messages != messages:
                raise StoreUnavailable(f"{result.failed} requests of {name} were not answered by 200")
            return result.last_seq

        with ThreadPoolExecutor(TENANTS if at_once else 1) as pool:
            last = dict(zip(self.keys, pool.map(one, self.keys), strict=True))
        for name, seq in last.items():
            wait_done(settings, service, name, seq)
        return messages * len(last)

    def _recount(self, settings: Settings, service: LiveService) -> tuple[int, int]:
        """Hold all states of the tenants against the log; what a signal adds meanwhile has it done once more."""
        platform = Platform(settings.model_copy(update={"redis_url": SecretStr(own_server(settings).url)}))
        catalog = platform.online_writer.generations.catalog()
        while True:
            events = [event for name in self.keys for event in self._events(platform, service, name)]
            try:
                values = check_states(platform.settings, platform.activity, catalog, events, naive_every=RECOUNTED)
                return len(events), values
            except AssertionError:
                logged = sum(len(self._events(platform, service, name)) for name in self.keys)
                if logged == len(events):
                    raise

    @staticmethod
    def _events(platform: Platform, service: LiveService, tenant: str) -> list[Event]:
        """All that the log has of a tenant, and Redis too."""
        events = table_to_events(platform.events.scan(tenant).read_all())
        if events:
            service.wait_folded(tenant, max(event.seq for event in events))
        return events

    def sequencing(self) -> dict[str, Any]:
        """What one tenant's sequencer uses."""
        self.say(f"a sequencer alone, {SEQUENCED:,} messages")
        tenant, arrival = next(iter(self.keys)), ARRIVALS["late"]
        mail = self.mail[tenant]
        sent = []
        for number in range(min(SEQUENCED, self.options.messages) + SEQUENCER_WARM):
            message = mail[number % len(mail)]
            envelope = replace(message.envelope, received_at_us=self.home.begin_us + arrival(number))
            sent.append(replace(message, raw=b"X-Number: %d\r\n" % number + message.raw, envelope=envelope))
        with ExitStack() as stack:
            named = stack.enter_context(with_redis(self._copy("alone"), keep=False))
            return sequencing_cost(named, tenant, sent)


def _numbers(service: LiveService, key: str, at_us: int) -> bool:
    """Whether the shard of a key's tenant answers; leaves no trace."""
    path = f"/v1/score?{urlencode({'observe': 'false', 'received_at': rfc3339(at_us)})}"
    named = {"Authorization": f"Bearer {key}", "Content-Type": "message/rfc822"}
    return service.call("POST", path, b"Subject: ready?\r\n\r\n", named)[0] == 200


def _mail(chosen: str, messages: int, domain: str) -> list[SimulatedMessage]:
    found = load_mail(chosen, messages, domain)
    if found is not None:
        return found[1]
    sent = []
    for message in simulated_mail()[1][:messages]:
        recipients = tuple(f"{one.partition('@')[0]}@{domain}" for one in message.envelope.rcpt_to)
        sent.append(replace(message, envelope=replace(message.envelope, rcpt_to=recipients)))
    return sent
