"""A sequencer in a process of its own, with nothing beside it: what a tenant's mail needs of the one that numbers it.

`python -m mailwarden_services.bench.sequencer_alone` runs it; `sequencing_cost` has messages scored by processes and
taken in over its socket, as another shard does it, and reads what its threads use.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mailwarden import logs
from mailwarden.settings import Settings
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.spool import Spool
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import ChildProcess, environment_of, wait_until
from mailwarden_services.reading.lanes import Lane
from mailwarden_services.scoring_api.intake import Intake
from mailwarden_services.scoring_worker.workers import ScoringWorkers
from mailwarden_services.sequencer.remote import There, answering
from mailwarden_services.sequencer.sequencer import Sequencer
from mailwarden_services.sequencer.sequencing import Here

WARM_MESSAGES = 50
AT_A_TIME = 4
"""Messages under way: few, so that hardly any share a write of the spool."""


def sequencing_cost(settings: Settings, tenant: str, mail: Sequence[SimulatedMessage]) -> dict[str, Any]:
    """CPU-milliseconds a message of the event loop ("loop_ms") and of the thread that numbers and writes ("spool_ms").

    settings: name a Redis, and a home that nobody serves. mail: `WARM_MESSAGES` more than are counted. Both together
    are "cpu_ms": they share an interpreter, so that one core is the most that they get; "ceiling" is how many messages
    a second that is.
    """
    with _running(settings) as process:
        used = asyncio.run(_taken_in(settings, tenant, mail, process.pid))
    counted = len(mail) - WARM_MESSAGES
    loop_ms, spool_ms = (1e3 * seconds / counted for seconds in used)
    whole = loop_ms + spool_ms
    return {
        "messages": counted,
        "loop_ms": round(loop_ms, 4),
        "spool_ms": round(spool_ms, 4),
        "cpu_ms": round(whole, 4),
        "ceiling": round(1e3 / whole),
    }


@contextmanager
def _running(settings: Settings) -> Iterator[ChildProcess]:
    path = settings.sequencer_socket(0)
    path.unlink(missing_ok=True)
    process = ChildProcess(__name__, [], environment_of(settings), settings.run_path / "sequencer.log")
    try:
        wait_until(path.exists, process, seconds=60, what="the sequencer's start")
        yield process
    finally:
        process.stop()


async def _taken_in(settings: Settings, tenant: str, mail: Sequence[SimulatedMessage], pid: int) -> tuple[float, float]:
    """Have all mail scored and taken in; what the sequencer's threads used for it but the first."""
    platform = Platform(settings)
    workers = ScoringWorkers(settings, platform.activity, platform.content, lanes=(Lane(None, AT_A_TIME, 0),))
    version, there = platform.serving_version(), There(settings.sequencer_socket(0), 0)
    assert version is not None
    intake = Intake(
        workers=workers,
        sequencing=lambda _: there,
        version=lambda: version,
        decisions=platform.decisions,
        events=platform.events,
    )
    owner = platform.tenants.get(tenant)

    async def take_in(several: Sequence[SimulatedMessage]) -> None:
        left = iter(several)

        async def one_after_another() -> None:
            for message in left:
                await intake.decide(owner, message.raw, message.envelope)

        await asyncio.gather(*(one_after_another() for _ in range(AT_A_TIME)))

    workers.start(version)
    try:
        await take_in(mail[:WARM_MESSAGES])
        before = threads_cpu(pid)
        await take_in(mail[WARM_MESSAGES:])
        after = threads_cpu(pid)
    finally:
        await there.close()
        workers.stop()
    return after[0] - before[0], after[1] - before[1]


def threads_cpu(pid: int) -> tuple[float, float]:
    """CPU seconds of a process's main thread, and of all its others together (proc(5), schedstat)."""
    seconds = {
        int(folder.name): int((folder / "schedstat").read_text().split()[0]) / 1e9
        for folder in Path(f"/proc/{pid}/task").iterdir()
    }
    return seconds[pid], sum(seconds.values()) - seconds[pid]


async def _answer(settings: Settings) -> None:
    platform = Platform(settings)
    with Spool(settings.spool_path, fsync=settings.spool_fsync) as spool:
        contacts = Contacts(settings.contacts_path, platform.facts)
        campaigns = Campaigns(settings.campaigns_path, platform.facts)
        sequencer = Sequencer(
            spool=spool,
            events=platform.events,
            contacts=contacts,
            campaigns=campaigns,
            stale_after_seconds=settings.stale_after_seconds,
        )
        sequencer.learn([tenant.name for tenant in platform.tenants.list()])
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with answering(Here(sequencer), settings.sequencer_socket(0)):
            await stop.wait()
    contacts.close()
    campaigns.close()


if __name__ == "__main__":
    logs.configure()
    asyncio.run(_answer(Settings()))
