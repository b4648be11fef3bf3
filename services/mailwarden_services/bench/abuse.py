"""What one tenant's clients can do to another's mail by how they call: slowly, halfway, in masses, with huge mail.

For each way of abuse, and for all of them at once, the other tenant's latency in an open loop at a modest rate, and the
memory that all processes of the service hold, Redis apart (`memory`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailwarden.domain.aggregates.windows import SECOND_US
from mailwarden.settings import Settings
from mailwarden_services.bench.abuse_clients import (
    held_bodies,
    label_batches,
    large_mail,
    mail_to_many,
    slow_clients,
)
from mailwarden_services.bench.home import SMALL_FILES, LoadedHome, loaded_home
from mailwarden_services.bench.load import OPEN_CONNECTIONS, LoadTask, generate_load
from mailwarden_services.bench.memory import memory_watched
from mailwarden_services.bench.senders import Sender, sending
from mailwarden_services.bench.served import served
from mailwarden_services.bootstrap import Platform
from mailwarden_services.replay.live import LiveService

RATE = 10.0
"""Messages a second of the tenant that does nothing wrong."""
SECONDS, QUICK_SECONDS = 30.0, 6.0

SLOW_CLIENTS = 100
HELD_BODIES = 40
HELD_BYTES = 12 << 20
LARGE_MAILS = 20
LARGE_BYTES = 26 * 10**6
MANY_RECIPIENTS, RECIPIENTS = 5, 1_000
LABELS = 1_000
ABUSER = "abuser"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AbuseOptions:
    """What is measured, and on what.

    home, tenant, small_files: see `loaded_home`. serve: further words for `serve`. seconds: of each way of abuse. ways:
    by name, all by default.
    """

    home: Path | None = None
    tenant: str = ""
    serve: Sequence[str] = ()
    seconds: float = SECONDS
    ways: Sequence[str] = ()
    small_files: int = SMALL_FILES


def measure(settings: Settings, options: AbuseOptions, *, say: Say = lambda _: None) -> dict[str, Any]:
    """By way of abuse, the other tenant's p50_ms and p99_ms, peak memory, and how abuse was answered.

    settings: all but home and Redis are taken from it.
    """
    with loaded_home(settings, say, home=options.home, tenant=options.tenant, small_files=options.small_files) as home:
        platform = Platform(home.settings)
        platform.tenants.create(ABUSER, domains=("abuser.example",), created_us=1)
        key = platform.tenants.issue_key(ABUSER, "bench", 1)
        socket = str(home.settings.run_path / "api.sock")
        ways = {"alone": [], **{sender.name: [sender] for sender in _senders(socket, key, 1)}}
        ways["all at once"] = _senders(socket, key, 2)
        with served(home.settings, home.key, options.serve) as service:
            run = _Run(home, service, options.seconds)
            run.beside([], seconds=2.0)
            found = {}
            for name in options.ways or ways:
                say(f"{name}, {options.seconds:.0f} s")
                found[name] = run.beside(ways[name], options.seconds)
    return {"rate": RATE, "seconds": options.seconds, "mail": home.mail, "cores": os.cpu_count(), "ways": found}


def _senders(socket: str, key: str, part: int) -> list[Sender]:
    """Every way of abuse. What one leaves behind is the next one's burden: the least first."""
    return [
        Sender("slow clients", slow_clients, (socket, key, SLOW_CLIENTS)),
        Sender("held bodies", held_bodies, (socket, key, HELD_BODIES, HELD_BYTES)),
        Sender("label batches", label_batches, (socket, key, LABELS)),
        Sender("mail to many", mail_to_many, (socket, key, part, MANY_RECIPIENTS, RECIPIENTS)),
        Sender("large mail", large_mail, (socket, key, part, LARGE_MAILS, LARGE_BYTES)),
    ]


class _Run:
    def __init__(self, home: LoadedHome, service: LiveService, seconds: float) -> None:
        self._home, self._service = home, service
        self._number, self._at_us = 1, home.begin_us

    def beside(self, senders: Sequence[Sender], seconds: float) -> dict[str, Any]:
        """The other tenant's figures while these clients are at work."""
        task = LoadTask(
            socket=str(self._home.settings.run_path / "api.sock"),
            key=self._home.key,
            file=str(self._home.load),
            seconds=seconds,
            connections=OPEN_CONNECTIONS,
            rate=RATE,
            start=self._number,
            begin_us=self._at_us,
            times="late",
        )
        with memory_watched(self._service.process.pid) as memory, sending(senders) as answers:
            load = generate_load(task)
        sent = load.messages + load.failed
        self._number += sent
        self._at_us += sent * SECOND_US
        return {
            "requests": load.messages,
            "failed": load.failed,
            "p50_ms": load.p50_ms,
            "p99_ms": load.p99_ms,
            "memory": memory.figures(),
            "answers": {name: dict(counts) for name, counts in answers.items()},
        }
