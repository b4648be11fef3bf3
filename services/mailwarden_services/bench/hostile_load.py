"""What one tenant's hostile mail does to another's requests: latency beside it, against latency without it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from mailwarden.domain.aggregates.windows import DAY_US
from mailwarden.settings import Settings
from mailwarden.simulation.simulate import START_US, simulate
from mailwarden.testing.hostile.kinds import KINDS, LADDERS, Input
from mailwarden_services.bench.abuse_clients import send_files
from mailwarden_services.bench.home import SEED, trained_home
from mailwarden_services.bench.memory import memory_watched
from mailwarden_services.bench.senders import Sender, sending
from mailwarden_services.bench.timing import percentiles
from mailwarden_services.bootstrap import Platform
from mailwarden_services.processes import parts_of
from mailwarden_services.replay.live import LiveService, live_service

SENDERS = 4
"""Connections over which hostile mail is sent at once, each as fast as it is answered."""

INPUTS = 120
"""Hostile messages that are made before, and sent again and again with another time of arrival."""

PAUSE_SECONDS = 0.02
"""Between two requests of the other client, which asks as a monitor or a quiet mail flow does."""

_SIZES = tuple(size for ladder in LADDERS for size in ladder)

Say = Callable[[str], None]


def measure(settings: Settings, *, seconds: float = 30.0, say: Say = lambda _: None) -> dict[str, Any]:
    """p50 and p99 of `/healthz` and of `/v1/score` for one tenant, alone and while another's hostile mail is scored.

    The other tenant's mail is of every kind in `testing.hostile`, at its sizes up to 10 MB, over `SENDERS` connections
    at once. On the same machine: the senders' CPU and the requests' own count into its cores. settings: all but home
    and Redis are taken from it.
    """
    with trained_home(settings, say) as home:
        platform = Platform(home.settings)
        platform.tenants.create("hostile", domains=("hostile.example",), created_us=1)
        key = platform.tenants.issue_key("hostile", "bench", 1)
        folder = home.settings.root / "hostile"
        say(f"making {INPUTS} hostile messages")
        _write_inputs(folder)
        with live_service(home.settings, home.key, home.settings.run_path) as service:
            say(f"alone for {seconds:.0f} s")
            alone = _asked(service, seconds, 0)
            say(f"beside hostile mail for {seconds:.0f} s")
            socket = str(home.settings.run_path / "api.sock")
            senders = [Sender("hostile", send_files, (socket, key, str(folder), number)) for number in range(SENDERS)]
            with memory_watched(service.process.pid) as memory, sending(senders) as sent:
                beside = _asked(service, seconds, 1)
            processes = {name: len(pids) for name, pids in parts_of(service.process.pid).items()}
    return {
        "alone": alone,
        "beside": beside,
        "hostile": dict(sent["hostile"]),
        "peak_bytes": memory.figures()["peak_bytes"],
        "processes": processes,
        "senders": SENDERS,
    }


def _write_inputs(folder: Path) -> None:
    folder.mkdir()
    chance = Random(SEED)
    for number, kind in enumerate(chance.sample(sorted(KINDS), min(INPUTS, len(KINDS)))):
        (folder / f"{number}").write_bytes(Input(kind, number, chance.choice(_SIZES)).make())


def _asked(service: LiveService, seconds: float, part: int) -> dict[str, Any]:
    """Latencies of requests one after another for a while, in milliseconds."""
    found: dict[str, list[float]] = {"healthz": [], "score": []}
    mail = list(simulate(SEED + 1, days=4))
    at_us = START_US + (100 + part) * DAY_US
    until = time.perf_counter() + seconds
    for number in count():
        if time.perf_counter() > until:
            break
        began = time.perf_counter()
        service.call("GET", "/healthz")
        found["healthz"].append(time.perf_counter() - began)
        time.sleep(PAUSE_SECONDS)
        message = mail[number % len(mail)]
        envelope = replace(message.envelope, received_at_us=at_us + number * 1_000_000)
        found["score"].append(service.score(message.raw, envelope)[1])
        time.sleep(PAUSE_SECONDS)
    return {name: {"requests": len(times), **percentiles(times)} for name, times in found.items()}
