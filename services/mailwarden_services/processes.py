"""What a process and all that it started use of the machine (proc(5))."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE_SECONDS = 0.5
_MODULES = {"feature_writer": "writer", "signals": "signals", "shard": "api"}
_NAMED = "mw-"


def tree(pid: int) -> list[int]:
    """A process and all that it started, directly or not, that are still there."""
    found, look = [], [pid]
    while look:
        here = look.pop()
        found.append(here)
        look += _children(here)
    return found


def parts_of(pid: int) -> dict[str, list[int]]:
    """The processes of a `serve` by what they do: "api", itself the first and each other shard's, "writer" of features,
    "signals", "reading" of mail.

    "redis" where it has started one; any other by what it says of itself: the thread name `mw-NAME` of a process
    (`prctl(PR_SET_NAME)`), else the module that it runs, as in `-m mailwarden_services.NAME`. Whatever says nothing,
    as children of multiprocessing do, reads mail; what a named process has started goes with it.
    """
    parts: dict[str, list[int]] = {"api": [pid], "writer": [], "signals": [], "reading": []}
    look = [(child, "") for child in _children(pid)]
    while look:
        here, of = look.pop()
        name = _part(here) or of
        parts.setdefault(name or "reading", []).append(here)
        look += [(child, "" if name == "api" else name) for child in _children(here)]
    return parts


def _children(pid: int) -> list[int]:
    """Children of a process; they are listed by the thread that started them."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _part(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    if name.startswith(_NAMED):
        return name.removeprefix(_NAMED)
    if "redis-server" in words[0]:
        return "redis"
    module = next((after for word, after in itertools.pairwise(words) if word == "-m"), "")
    package, _, last = module.partition("mailwarden_services.")
    return "" if package or not last else _MODULES.get(last, last.partition(".")[0])


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its tree so far, with that of processes which ended and were waited for."""
    return _own_seconds(tree(pid))


@contextmanager
def parts_cpu(pid: int) -> Iterator[dict[str, float]]:
    """CPU seconds that each of `parts_of` uses inside the block, filled in at its end."""
    used: dict[str, float] = {}
    before = {name: _own_seconds(pids) for name, pids in parts_of(pid).items()}
    yield used
    after = {name: _own_seconds(pids) for name, pids in parts_of(pid).items()}
    used.update({name: after.get(name, 0.0) - before.get(name, 0.0) for name in before | after})


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


def proportional_bytes(pid: int) -> int:
    """Memory that a process holds now, a page that n processes share as an nth, with what is swapped out (PSS); 0 where
    it is gone or another user's."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    fields = (line.split() for line in lines[1:])
    return sum(1_024 * int(words[1]) for words in fields if words[0] in ("Pss:", "SwapPss:"))


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
