"""Hostile messages read one after another, and what each cost: processor time, memory, what was lost."""

from __future__ import annotations

import gc
import math
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from multiprocessing import get_context
from typing import NamedTuple, get_args

from mailwarden.domain.mail.message import Aspect, Message
from mailwarden.testing.hostile.kinds import Input
from mailwarden.testing.hostile.made import made_message
from mailwarden.testing.hostile.shapes import SENDER, SUBJECT

Read = Callable[[bytes], Message]
"""What is tried: it reads a message and computes all that is computed of it; a module's function, for processes."""

_FLOOR_SECONDS = 0.02
"""What the clock and the machine's other work make of the smallest inputs."""


class Cost(NamedTuple):
    """What one input cost. seconds: of this process's processor time; above_idle_mb: the highest resident memory of a
    process that read this kind alone, above what it held before; lost: its own headers are not in the message;
    failed: the parser's last resort, or the exception's name."""

    input: Input
    seconds: float
    above_idle_mb: float
    lost: bool
    failed: str


def attack(tried: Iterable[Input], read: Read, processes: int = 2) -> Iterator[Cost]:
    """Every input read, those of one kind and seed in a process of their own, in the order given."""
    groups = [tuple(group) for _, group in groupby(tried, key=lambda one: (one.kind, one.seed))]
    with get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
        for costs in pool.imap(_Attack(read), groups):
            yield from costs


class _Attack:
    def __init__(self, read: Read) -> None:
        self.read = read

    def __call__(self, group: tuple[Input, ...]) -> list[Cost]:
        # What the process that tests has on its heap is not of the message, nor what a first one loads.
        gc.freeze()
        self.read(made_message(0))
        idle = _highest_mb()
        return [cost_of(one, self.read, idle) for one in group]


def cost_of(one: Input, read: Read, idle_mb: float) -> Cost:
    """One input read here and now. idle_mb: what the process held before, in megabytes of resident memory."""
    raw = one.make()
    start = time.process_time()
    try:
        message = read(raw)
    except Exception as error:
        return Cost(one, time.process_time() - start, _highest_mb() - idle_mb, True, type(error).__name__)
    seconds = time.process_time() - start
    lost = message.subject != SUBJECT or message.sender.address != SENDER
    failed = next((defect.detail for defect in message.defects if defect.code == "parser_failed"), "")
    return Cost(one, seconds, _highest_mb() - idle_mb, lost, failed)


def _highest_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def growth(costs: Iterable[Cost]) -> dict[tuple[str, int], float]:
    """Exponent of time over size, by kind and seed: 1 is linear, 0 constant."""
    found: dict[tuple[str, int], float] = {}
    for key, group in groupby(costs, key=lambda cost: (cost.input.kind, cost.input.seed)):
        points = [(math.log(cost.input.size), math.log(max(_FLOOR_SECONDS, cost.seconds))) for cost in group]
        x_mean = sum(x for x, _ in points) / len(points)
        y_mean = sum(y for _, y in points) / len(points)
        spread = sum((x - x_mean) ** 2 for x, _ in points)
        found[key] = sum((x - x_mean) * (y - y_mean) for x, y in points) / spread if spread else 0.0
    return found


class Failure(NamedTuple):
    """A made message that was not read. number: by which `made_message` makes it again."""

    number: int
    what: str


def read_made(
    numbers: range, read: Read, processes: int = 2, each: int = 2_000
) -> Iterator[tuple[range, list[Failure]]]:
    """Made messages of these numbers read in runs, each run with its failures; a campaign goes on from any run."""
    runs = [numbers[start : start + each] for start in range(0, len(numbers), each)]
    with get_context("fork").Pool(processes) as pool:
        yield from zip(runs, pool.imap(_Made(read), runs), strict=True)


class _Made:
    def __init__(self, read: Read) -> None:
        self.read = read

    def __call__(self, numbers: range) -> list[Failure]:
        failures: list[Failure] = []
        for number in numbers:
            try:
                message = self.read(made_message(number))
            except Exception as error:
                failures.append(Failure(number, f"{type(error).__name__}: {error}"[:200]))
                continue
            failures += [
                Failure(number, f"{defect.code} {defect.detail}")
                for defect in message.defects
                if defect.code in _DAMAGE
            ]
        return failures


_DAMAGE = frozenset(f"{aspect}_unreadable" for aspect in get_args(Aspect)) | {"parser_failed"}
"""Defects of what raised while it was read: counted too, since each is a bug behind its last resort."""
