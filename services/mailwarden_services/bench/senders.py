"""Clients that mean no good, each a process of its own, while a block runs; at its end, what they were answered."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from mailwarden.errors import StoreUnavailable

BEGIN_SECONDS = 120
END_SECONDS = 180

Tell = Callable[[str], None]
"""Counts one outcome: a status, or the name of what went wrong."""


class Stop(Protocol):
    """Set when a client shall end."""

    def is_set(self) -> bool:
        """Whether it shall."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait so many seconds for it; whether it shall."""
        ...


@dataclass(frozen=True, slots=True)
class Sender:
    """One client. work: a module-level function of the arguments, `Stop` and `Tell`; it has begun once it tells."""

    name: str
    work: Callable[..., None]
    arguments: tuple[Any, ...] = ()


@contextmanager
def sending(senders: Sequence[Sender]) -> Iterator[dict[str, Counter[str]]]:
    """Have clients at work from the block's begin to its end; filled in at its end: by name, outcomes and how many.

    Raises StoreUnavailable where one does not begin.
    """
    context = multiprocessing.get_context("spawn")
    told, stop = context.Queue(), context.Event()
    processes = [context.Process(target=_run, args=(sender, stop, told), daemon=True) for sender in senders]
    found: dict[str, Counter[str]] = {sender.name: Counter() for sender in senders}
    ended = 0
    try:
        for process in processes:
            process.start()
        # The first outcome of each: from then on all of them are under way.
        for _ in processes:
            if told.get(timeout=BEGIN_SECONDS) != "begun":
                ended += 1
                raise StoreUnavailable("a client of the benchmark ended before it began")
        yield found
    finally:
        stop.set()
        while ended < len(processes):
            said = told.get(timeout=END_SECONDS)
            if said != "begun":
                name, counts = json.loads(said)
                found[name].update(counts)
                ended += 1
        for process in processes:
            process.join()


def _run(sender: Sender, stop: Any, told: Any) -> None:
    counts: Counter[str] = Counter()

    def tell(outcome: str) -> None:
        if not counts:
            told.put("begun")
        counts[outcome] += 1

    try:
        sender.work(*sender.arguments, stop, tell)
    finally:
        told.put(json.dumps([sender.name, counts]))
