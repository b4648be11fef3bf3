"""Memory of a service's processes over time, each shared page counted once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mailwarden_services.processes import parts_of, proportional_bytes

SAMPLE_SECONDS = 0.5


@dataclass
class MemoryWatch:
    """Samples: seconds since the begin, and bytes by part of the service (`parts_of`), Redis left out."""

    samples: list[tuple[float, dict[str, int]]] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """peak_bytes of all together, their parts at that moment, and the curve as [seconds, bytes]."""
        curve = [(round(at, 1), sum(parts.values())) for at, parts in self.samples]
        peak = max(range(len(curve)), key=lambda i: curve[i][1])
        return {"peak_bytes": curve[peak][1], "parts": self.samples[peak][1], "curve": [list(each) for each in curve]}


@contextmanager
def memory_watched(pid: int, *, every: float = SAMPLE_SECONDS) -> Iterator[MemoryWatch]:
    """Watch a `serve` inside the block: PSS of all its processes (proc(5), smaps_rollup), with what is swapped out.

    A page that n of them share counts as n nths in each, so that their sum is what they hold together; pages of files
    count as far as they are mapped. The page cache does not count.
    """
    watch, done = MemoryWatch(), threading.Event()
    began = time.monotonic()

    def look() -> None:
        while True:
            at = time.monotonic() - began
            parts = {
                name: sum(map(proportional_bytes, pids)) for name, pids in parts_of(pid).items() if name != "redis"
            }
            watch.samples.append((at, parts))
            if done.wait(every):
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield watch
    finally:
        done.set()
        watcher.join()
