"""What a message through HTTP costs, and how long it takes: real-looking mail, beside rspamd in the same run.

1. CPU a message of all our processes, one connection, closed loop, by how messages arrive (`arrivals`); rspamd has the
   same messages before each and after the last, so that whatever else the machine does weighs on both.
2. The same of both at a low rate, where each message finds the processor's caches cold.
   Its figure is as a mail system uses it, which names the client; once more it is told no name, asks a DNS that is not
   there for it, and takes twice as much, since each message that waited finds the caches cold.
3. The most that the service takes, then latency at half of it, as it is and without the spool's syncs.
4. The first again after one message that bears the year 2030.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

from mailwarden.domain.aggregates.windows import SECOND_US
from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import StoreUnavailable
from mailwarden.settings import Settings
from mailwarden_services.bench import rspamd
from mailwarden_services.bench.disk import sync_times
from mailwarden_services.bench.home import SMALL_FILES, LoadedHome, loaded_home
from mailwarden_services.bench.load import OPEN_CONNECTIONS, LoadResult, LoadTask, generate_load
from mailwarden_services.bench.rspamd import Rspamd
from mailwarden_services.bench.served import served, wait_done
from mailwarden_services.processes import parts_cpu
from mailwarden_services.replay.live import LiveService

CONNECTIONS = 4
"""Of the flat-out loop: enough to keep all processes busy."""

WARM_MESSAGES = 150
LOW_RATE = 20.0
LOW_MESSAGES = 400
WAITING_MESSAGES = 150
"""Of rspamd while it waits for the DNS on each."""

IDLE_SECONDS = 5.0
LOAD_SECONDS = 600.0
"""The most that one load may take."""

AHEAD_US = 1_900_000_000 * SECOND_US
"""A time in the year 2030."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """What is measured, and on what.

    mail: see `load_mail`. home, tenant, in_place, small_files: see `loaded_home`. serve: words for it. messages: of
    each load. times: arrivals to measure CPU with. ahead: once more after a message of 2030. latency: also low rate,
    flat out, half load. peer: beside rspamd where it is installed.
    """

    mail: str = ""
    home: Path | None = None
    tenant: str = ""
    in_place: bool = False
    serve: Sequence[str] = ()
    messages: int = 2_000
    times: Sequence[str] = ("strict", "ties", "late")
    ahead: bool = True
    latency: bool = True
    peer: bool = True
    small_files: int = SMALL_FILES


QUICK = HttpOptions(messages=400, times=("late",), ahead=False, latency=False)


def measure(settings: Settings, options: HttpOptions, *, say: Say = lambda _: None) -> dict[str, Any]:
    """CPU-milliseconds a message by part, ratios to rspamd, and latencies; see the module.

    settings: all but home and Redis are taken from it.
    """
    with ExitStack() as stack:
        peer = stack.enter_context(rspamd.running_rspamd()) if options.peer and rspamd.installed() else None
        home = stack.enter_context(
            loaded_home(
                settings,
                say,
                mail=options.mail,
                messages=options.messages,
                home=options.home,
                tenant=options.tenant,
                in_place=options.in_place,
                small_files=options.small_files,
            )
        )
        run = _Run(home, options, peer, say)
        if peer is not None:
            say("rspamd compiles its expressions")
            peer.warm(run.task(WARM_MESSAGES, 1))
        with run.service(fsync=True) as service:
            cpu = {name: run.price(service, name) for name in options.times}
            idle = run.idle(service)
            low = run.low(service) if options.latency else None
            flat = run.flat_out(service) if options.latency else None
            rate = 0.0 if flat is None else flat["messages_per_second"] / 2
            half = run.half_load(service, rate) if options.latency else None
        unsynced = None
        if options.latency:
            with run.service(fsync=False) as service:
                unsynced = run.half_load(service, rate)
        if options.ahead:
            with run.service(fsync=True) as service:
                run.send_ahead(service)
                cpu["ahead"] = run.price(service, "late")
        waiting = run.waiting_peer()
    if waiting is not None:
        for each in (*cpu.values(), low, flat, half):
            if each is not None:
                each["ratio_to_waiting"] = round(each["cpu_ms"] / waiting, 2)
    return {
        "mail": home.mail,
        "messages": options.messages,
        "mean_message_bytes": home.mean_message_bytes,
        "small_files": home.small_files,
        "cores": os.cpu_count(),
        "machine_load": [round(one, 2) for one in os.getloadavg()],
        "cpu": cpu,
        "spread": round(max(each["cpu_ms"] for each in cpu.values()) / min(each["cpu_ms"] for each in cpu.values()), 3),
        "rspamd_cpu_ms": run.peer_costs or None,
        "rspamd_without_host_name": waiting,
        "idle_cpu_ms_a_second": idle,
        "low_rate": low,
        "flat_out": flat,
        "half_load": half,
        "half_load_without_sync": unsynced,
        "sync": run.syncs,
    }


@dataclass
class _Run:
    """One run: where it is with its messages' numbers and times."""

    home: LoadedHome
    options: HttpOptions
    peer: Rspamd | None
    say: Say
    number: int = 1
    at_us: int = 0
    peer_costs: list[float] = field(default_factory=list)
    syncs: dict[str, Any] = field(default_factory=dict)

    def task(self, messages: int, connections: int, rate: float | None = None, times: str = "late") -> LoadTask:
        """The next messages, later than those before; each task's are its own."""
        self.at_us = max(self.at_us, self.home.begin_us)
        task = LoadTask(
            socket=str(self.home.settings.run_path / "api.sock"),
            key=self.home.key,
            file=str(self.home.load),
            seconds=LOAD_SECONDS,
            connections=connections,
            rate=rate,
            start=self.number,
            messages=messages,
            begin_us=self.at_us,
            times=times,
        )
        self.number += messages
        self.at_us += (messages if times == "strict" else messages // 3 + 10) * SECOND_US
        return task

    @contextmanager
    def service(self, *, fsync: bool) -> Iterator[LiveService]:
        """A service that has answered some messages and folded them."""
        self.say("starting `serve`" if fsync else "starting `serve` without the spool's syncs")
        settings = self.home.settings.model_copy(update={"spool_fsync": fsync})
        with served(settings, self.home.key, self.options.serve) as service:
            wait_done(
                self.home.settings,
                service,
                self.home.tenant,
                self._sent(self.task(WARM_MESSAGES, CONNECTIONS)).last_seq,
            )
            yield service

    def _sent(self, task: LoadTask) -> LoadResult:
        result = generate_load(task)
        if result.failed or not result.messages:
            raise StoreUnavailable(
                f"{result.failed} of {result.failed + result.messages} requests got no score of their own"
            )
        return result

    def _costed(self, service: LiveService, task: LoadTask) -> dict[str, Any]:
        """A load's figures, with what the service used until all of it was folded and logged."""
        with parts_cpu(service.process.pid) as used:
            result = self._sent(task)
            wait_done(self.home.settings, service, self.home.tenant, result.last_seq)
        parts = {name: round(1e3 * seconds / result.messages, 3) for name, seconds in used.items()}
        return {**asdict(result), "cpu_ms": round(sum(parts.values()), 3), "parts": parts}

    def _peer_cost(self, task: LoadTask) -> float | None:
        if self.peer is None:
            return None
        before = self.peer.cpu_seconds()
        result = self.peer.load(task)
        return round(1e3 * (self.peer.cpu_seconds() - before) / result.messages, 3)

    def price(self, service: LiveService, times: str) -> dict[str, Any]:
        """CPU a message of one kind of arrivals, one connection; `ratio` to rspamd before and after."""
        self.say(f"{self.options.messages:,} messages, times: {times}")
        task = self.task(self.options.messages, 1, times=times)
        before = self._peer_cost(task)
        found = self._costed(service, task)
        after = self._peer_cost(task)
        if before is not None and after is not None:
            self.peer_costs += [before, after]
            found |= {"rspamd_cpu_ms": round(mean((before, after)), 3)}
            found |= {"ratio": round(found["cpu_ms"] / found["rspamd_cpu_ms"], 2)}
        return found

    def idle(self, service: LiveService) -> float:
        """CPU-milliseconds a second of all processes while nothing comes."""
        with parts_cpu(service.process.pid) as used:
            time.sleep(IDLE_SECONDS)
        return round(1e3 * sum(used.values()) / IDLE_SECONDS, 2)

    def low(self, service: LiveService) -> dict[str, Any]:
        """Both at a low rate, open loop."""
        self.say(f"{LOW_RATE:.0f} messages/s")
        task = self.task(min(LOW_MESSAGES, self.options.messages), OPEN_CONNECTIONS, LOW_RATE)
        found = {"offered_per_second": LOW_RATE, **self._costed(service, task)}
        peer = self._peer_cost(task)
        if peer is not None:
            found |= {"rspamd_cpu_ms": peer, "ratio": round(found["cpu_ms"] / peer, 2)}
        return found

    def flat_out(self, service: LiveService) -> dict[str, Any]:
        """Closed loop over several connections."""
        self.say("flat out")
        return self._costed(service, self.task(self.options.messages, CONNECTIONS))

    def half_load(self, service: LiveService, rate: float) -> dict[str, Any]:
        """Open loop at a rate."""
        self.say(f"half load, {rate:.0f} messages/s")
        spool = self.home.settings.spool_path
        self.syncs.setdefault("before", sync_times(spool))
        found = self._costed(service, self.task(self.options.messages, OPEN_CONNECTIONS, rate))
        self.syncs["after"] = sync_times(spool)
        return {"offered_per_second": round(rate, 1), **found}

    def send_ahead(self, service: LiveService) -> None:
        """Have one message of the past that bears the year 2030, as spam does."""
        envelope = Envelope(AHEAD_US, "ahead@load.example.com", ("person0@example.com",))
        answer, _ = service.score(b"Subject: Offer\r\nMessage-ID: <ahead@load.example.com>\r\n\r\nBuy.\r\n", envelope)
        wait_done(self.home.settings, service, self.home.tenant, answer.get("seq", 0))

    def waiting_peer(self) -> float | None:
        """rspamd where nobody tells it the client's host name: each message waits for a DNS that is not there."""
        if self.peer is None:
            return None
        self.say("rspamd without a host name")
        return self._peer_cost(replace(self.task(WAITING_MESSAGES, 1), named_client=False))
