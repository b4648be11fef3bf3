"""What a process and all that it started use of the machine (proc(5))."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE_SECONDS = 0.5
_MODULES = {"writer": b"mailwarden_services.feature_writer", "signals": b"mailwarden_services.signals"}


def tree(pid: int) -> list[int]:
    """A process and all that it started, directly or not, that are still there."""
    found, look = [], [pid]
    while look:
        here = look.pop()
        found.append(here)
        try:
            for task in Path(f"/proc/{here}/task").iterdir():
                look += [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def parts_of(pid: int) -> dict[str, list[int]]:
    """The processes of a `serve` by what they do: "api" itself, "writer" of features, "signals", "reading" of mail."""
    parts: dict[str, list[int]] = {"api": [pid], "writer": [], "signals": [], "reading": []}
    # Children are listed by the thread that started them.
    lists = [(task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    for child in " ".join(lists).split():
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        module = next((name for name in _MODULES if _MODULES[name] in command), "reading")
        parts[module] += tree(int(child))
    return parts


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its tree so far, with that of processes which ended and were waited for."""
    return _own_seconds(tree(pid))


@contextmanager
def parts_cpu(pid: int) -> Iterator[dict[str, float]]:
    """CPU seconds that each of `parts_of` uses inside the block, filled in at its end."""
    used: dict[str, float] = {}
    before = {name: _own_seconds(pids) for name, pids in parts_of(pid).items()}
    yield used
    used.update({name: _own_seconds(pids) - before[name] for name, pids in parts_of(pid).items()})


def _own_seconds(pids: list[int]) -> float:
    """Of these processes themselves, and of those that they waited for."""
    ticks = 0
    for each in pids:
        try:
            words = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += sum(map(int, words[11:15]))
    return ticks / _TICKS


def resident_bytes(pid: int) -> int:
    """Memory that a process holds now; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0


@dataclass(slots=True)
class Usage:
    """What was used inside a block. driver_bytes: the most that the named processes held together; others_bytes: the
    most that the rest of the tree did.
    """

    cpu_seconds: float = 0.0
    driver_bytes: int = 0
    others_bytes: int = 0


@contextmanager
def watched(driver: tuple[int, ...]) -> Iterator[Usage]:
    """Watch this process's tree inside the block; driver: the processes whose memory is told apart."""
    usage, done = Usage(), threading.Event()

    def look() -> None:
        while True:
            others = [pid for pid in tree(os.getpid()) if pid not in driver]
            usage.driver_bytes = max(usage.driver_bytes, sum(map(resident_bytes, driver)))
            usage.others_bytes = max(usage.others_bytes, sum(map(resident_bytes, others)))
            if done.wait(_SAMPLE_SECONDS):
                return

    before = cpu_seconds(os.getpid())
    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield usage
    finally:
        done.set()
        watcher.join()
        usage.cpu_seconds = cpu_seconds(os.getpid()) - before
