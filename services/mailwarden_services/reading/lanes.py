"""Who is read next: lanes by size, in each of them every tenant in turn.

Reading is linear in a message's size and scoring in its recipients, so that both say what a message may cost. A short
one never waits for a long one, and one tenant's flood never stands before another's message:

1. A message goes to the first lane that takes its size; each lane has processes of its own, the wider ones nicer.
2. In a lane tenants take turns; a tenant's messages are read in the order in which they came.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mailwarden_services.reading.child import Child, Consult, Work

KIB = 1024


@dataclass(frozen=True, slots=True)
class Lane:
    """Processes for messages of up to `most` bytes, None for any size. nice: added to their niceness."""

    most: int | None
    processes: int
    nice: int


def lanes_of(workers: int) -> tuple[Lane, ...]:
    """Lanes with so many processes for short messages, and one each for longer ones.

    Most mail is shorter than the first lane's limit, and nearly all of it than the second's.
    """
    return Lane(128 * KIB, workers, 0), Lane(KIB * KIB, 1, 5), Lane(None, 1, 10)


class Lanes:
    """Child processes that work on messages by size and by tenant.

    work: see `child.Work`. cpu_seconds, wall_seconds: see `Child`. Raises, from `ask`, what `Child.ask` raises.
    """

    def __init__(self, work: Work, *, cpu_seconds: float, wall_seconds: float, lanes: Sequence[Lane]) -> None:
        self._lanes = [
            (lane.most, _Queue([Child(work, cpu_seconds=cpu_seconds, wall_seconds=wall_seconds, nice=lane.nice)
                                for _ in range(lane.processes)]))
            for lane in lanes
        ]  # fmt: skip

    async def ask(self, what: Any, *, tenant: str, size: int, consult: Consult | None = None) -> Any:
        """What the work makes of it, in the tenant's turn. size: bytes of the message, and what else of it costs
        as much. consult: see `Child.ask`."""
        queue = next(queue for most, queue in self._lanes if most is None or size <= most)
        return await queue.ask(what, tenant, consult)

    async def each(self, what: Any) -> list[Any]:
        """What every process makes of something, each when it is free, one after another; raises what the first did."""
        return [await queue.ask_one(child, what) for _, queue in self._lanes for child in queue.children]

    def work_with(self, work: Work) -> None:
        """The work of every process that starts from now on."""
        for _, queue in self._lanes:
            for child in queue.children:
                child.work = work

    def start(self) -> None:
        """Have all processes run."""
        for _, queue in self._lanes:
            for child in queue.children:
                child.start()

    def stop(self) -> None:
        """End all processes."""
        for _, queue in self._lanes:
            for child in queue.children:
                child.stop()

    @property
    def ended(self) -> int:
        """How many processes were ended, or ended by themselves, in the middle of a message."""
        return sum(child.ended for _, queue in self._lanes for child in queue.children)


class _Queue:
    """One lane. Invariant: a tenant is in `_waiting` exactly while it has a message there; the first has its turn."""

    def __init__(self, children: list[Child]) -> None:
        self.children = children
        self._free = list(children)
        self._waiting: OrderedDict[str, deque[asyncio.Future[Child]]] = OrderedDict()
        self._wanted: dict[Child, asyncio.Future[None]] = {}

    async def ask(self, what: Any, tenant: str, consult: Consult | None = None) -> Any:
        child = self._free.pop() if self._free else await self._turn(tenant)
        try:
            return await child.ask(what, consult)
        finally:
            self._hand_on(child)

    async def ask_one(self, child: Child, what: Any) -> Any:
        """Ask this child, as soon as it is free."""
        if child in self._free:
            self._free.remove(child)
        else:
            wanted = self._wanted[child] = asyncio.get_running_loop().create_future()
            try:
                await wanted
            except asyncio.CancelledError:
                if wanted.done() and not wanted.cancelled():
                    self._hand_on(child)
                raise
        try:
            return await child.ask(what)
        finally:
            self._hand_on(child)

    async def _turn(self, tenant: str) -> Child:
        turn: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._hand_on(turn.result())
            raise

    def _hand_on(self, child: Child) -> None:
        wanted = self._wanted.pop(child, None)
        if wanted is not None and not wanted.done():
            wanted.set_result(None)
            return
        while self._waiting:
            tenant, turns = next(iter(self._waiting.items()))
            turn = turns.popleft()
            if turns:
                self._waiting.move_to_end(tenant)
            else:
                del self._waiting[tenant]
            if not turn.done():
                turn.set_result(child)
                return
        self._free.append(child)
