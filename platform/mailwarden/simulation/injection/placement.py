"""Which attack stands where: times spread over a host's mail, and the rank of every message by its arrival."""

from __future__ import annotations

import random
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from mailwarden.errors import DataError
from mailwarden.simulation.mime import US_PER_S


@dataclass(frozen=True, slots=True)
class Placed:
    """An attack's place. number: in the spill; at_us: when it arrives; rank: among all messages, from 0."""

    number: int
    at_us: int
    rank: int


class Timeline:
    """The arrival times of a host's mail, 8 bytes a message; one without a time has that of the one before it."""

    def __init__(self) -> None:
        self._times = array("q")

    def __len__(self) -> int:
        return len(self._times)

    def add(self, at_us: int | None) -> None:
        """The next message of the source."""
        self._times.append(at_us if at_us is not None else self._times[-1] if self._times else 0)

    def order(self) -> list[int]:
        """Numbers of messages by arrival, then by their order in the source."""
        return sorted(range(len(self._times)), key=self._times.__getitem__)

    def at(self, number: int) -> int:
        """When a message arrived."""
        return self._times[number]


def wanted(host: int, share: float) -> int:
    """How many attacks make that share (0 to below 1) of host and attacks together."""
    return round(host * share / (1 - share))


def draw_times(timeline: Timeline, order: Sequence[int], count: int, after: int, rng: random.Random) -> list[int]:
    """Times for so many attacks, ascending: as dense as the host's mail is behind its first `after` messages.

    Raises DataError where no mail is behind these.
    """
    if after >= len(order):
        raise DataError(
            f"simulate: the host has {len(order)} messages, so that nothing stands behind the first {after}. "
            "Give a smaller --after"
        )
    first = after
    times = []
    for turn in range(count):
        # One in each of as many even stretches: the share is the same early and late.
        low = first + (len(order) - first) * turn // count
        high = max(low + 1, first + (len(order) - first) * (turn + 1) // count)
        times.append(between(timeline, order, rng.randrange(low, high), rng))
    return sorted(times)


def between(timeline: Timeline, order: Sequence[int], rank: int, rng: random.Random) -> int:
    """A whole second between a message's arrival and that of the next, at most an hour later."""
    start = timeline.at(order[rank])
    end = timeline.at(order[rank + 1]) if rank + 1 < len(order) else start
    later = rng.randint(0, max(0, min(end - start, 3_600 * US_PER_S)) // US_PER_S)
    return -(-start // US_PER_S) * US_PER_S + later * US_PER_S


def ranks(
    timeline: Timeline, order: Sequence[int], placed: Sequence[tuple[int, int]]
) -> tuple[array[int], dict[int, list[Placed]]]:
    """The rank of each message of the host, and the attacks behind each of them, all by arrival.

    placed: (number in the spill, time) of attacks. An attack stands behind the host's mail of its second, and is put
    into form beside the message before it, the first one where there is none.
    """
    ascending = sorted(placed, key=lambda one: (one[1], one[0]))
    host_times = [timeline.at(number) for number in order]
    rank_of = array("q", bytes(8 * len(order)))
    beside: dict[int, list[Placed]] = {}
    taken = 0
    behind: list[int] = [0] * (len(order) + 1)
    where: list[int] = []
    for _, at_us in ascending:
        place = bisect_right(host_times, at_us)
        where.append(place)
        behind[place] += 1
    for place, number in enumerate(order):
        taken += behind[place]
        rank_of[number] = place + taken
    for turn, ((attack, at_us), place) in enumerate(zip(ascending, where, strict=True)):
        anchor = order[max(0, place - 1)]
        beside.setdefault(anchor, []).append(Placed(attack, at_us, place + turn))
    return rank_of, beside
