"""How fresh features are: from the API's answer to the moment when the message counts in every view of Redis."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mailwarden.errors import StoreUnavailable
from mailwarden.settings import Settings
from mailwarden.simulation.company import company
from mailwarden.stores.online.client import open_client
from mailwarden.stores.online.watermark import Marks
from mailwarden_services.bench.home import SEED, trained_home
from mailwarden_services.bench.load import OPEN_CONNECTIONS, LoadResult, generate_load
from mailwarden_services.bench.timing import percentiles
from mailwarden_services.replay.live import live_service

RATE = 100.0
POLL_SECONDS = 0.002
WARM_SECONDS = 3.0

Say = Callable[[str], None]
Moments = Sequence[tuple[int, float]]
"""Seqs, and seconds of the machine's monotonic clock."""


def measure(
    settings: Settings, *, rate: float = RATE, seconds: float = 20.0, say: Say = lambda _: None
) -> dict[str, Any]:
    """p50 and p99 of the time from an answer to its message being folded in all partitions, in an open loop.

    A service of its own as in `trained_home`; Redis is asked every `POLL_SECONDS`, so that figures are that much too
    large at most. A message that is folded before its answer arrives took nothing.
    """
    with trained_home(settings, say) as home, live_service(home.settings, home.key, home.settings.run_path) as service:
        warm = generate_load(replace(home.task(WARM_SECONDS, OPEN_CONNECTIONS), rate=rate, seed=SEED))
        answers = home.settings.run_path / "answers"
        task = replace(
            home.task(seconds, OPEN_CONNECTIONS),
            rate=rate,
            seed=SEED,
            start=2 + warm.messages + warm.failed,
            moments=str(answers),
        )
        say(f"{rate:.0f} messages/s for {seconds:.0f} s")
        with _folds(home.settings, company(SEED).tenant) as folds:
            result = _all_answered(generate_load(task))
            service.wait_folded(company(SEED).tenant, result.last_seq)
            time.sleep(10 * POLL_SECONDS)
        waits = waits_of(_read(answers), folds)
    return {
        "offered_per_second": rate,
        "messages": result.messages,
        "streams": home.settings.streams,
        "answer": {"p50_ms": result.p50_ms, "p99_ms": result.p99_ms},
        "to_folded": percentiles(waits),
        "longest_ms": round(1e3 * max(waits), 3),
        "cores": os.cpu_count(),
    }


def waits_of(answers: Moments, folds: Moments) -> list[float]:
    """Seconds from each answer until a mark reached its seq; folds: marks as they were seen, in order."""
    marks = np.array([seq for seq, _ in folds])
    seen = np.array([at for _, at in folds])
    return [max(0.0, float(seen[np.searchsorted(marks, seq)]) - at) for seq, at in answers]


def _all_answered(result: LoadResult) -> LoadResult:
    if result.failed or not result.messages:
        raise StoreUnavailable(f"{result.failed} of {result.failed + result.messages} requests were not answered")
    return result


def _read(path: Path) -> list[tuple[int, float]]:
    pairs = (line.split() for line in path.read_text().splitlines())
    return [(int(seq), float(at)) for seq, at in pairs]


@contextmanager
def _folds(settings: Settings, tenant: str) -> Iterator[list[tuple[int, float]]]:
    """How far a tenant is folded in all partitions, and when that was seen, while the block lasts."""
    found: list[tuple[int, float]] = []
    done = threading.Event()
    client = open_client(settings.redis_url.get_secret_value(), timeout_seconds=5.0)
    marks = Marks(client, settings.project, settings.streams)

    def look() -> None:
        while not done.wait(POLL_SECONDS):
            mark = marks.whole(tenant)
            if mark is not None and (not found or found[-1][0] < mark.seq):
                found.append((mark.seq, time.monotonic()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()
        client.close()
