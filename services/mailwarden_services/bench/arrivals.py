"""When the messages of a load arrive: strictly one after another, or as an MTA's whole seconds and queues have it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate
from random import Random

from mailwarden.domain.aggregates.windows import SECOND_US

_TIED = (3, 2, 4, 1, 5, 3)
"""Messages that bear one second, second by second, again and again: three on average."""
_ENDS = tuple(accumulate(_TIED))

LATE_SECONDS = (60, 5 * 3_600)
"""How late a late message is: minutes to hours."""


def strict(number: int) -> int:
    """A second for each message.

    >>> [strict(number) // SECOND_US for number in range(3)]
    [0, 1, 2]
    """
    return number * SECOND_US


def ties(number: int) -> int:
    """Whole seconds, of which each holds three messages or so.

    >>> [ties(number) // SECOND_US for number in range(8)]
    [0, 0, 0, 1, 1, 2, 2, 2]
    """
    rounds, rest = divmod(number, _ENDS[-1])
    return (rounds * len(_TIED) + bisect_right(_ENDS, rest)) * SECOND_US


def late(number: int) -> int:
    """As `ties`, and a tenth of the messages bears a time of minutes to hours before."""
    chance = Random(number)
    if chance.random() >= 0.1:
        return ties(number)
    return ties(number) - chance.randint(*LATE_SECONDS) * SECOND_US


ARRIVALS: Mapping[str, Callable[[int], int]] = {"strict": strict, "ties": ties, "late": late}
"""By name: microseconds from the load's begin to the time that its nth message (from 0 on) bears."""
