"""Why a value is there, or is not: one enumeration from Spark to the model, logged with every vector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType


class Status(StrEnum):
    """What a view's values of one message are worth; every one but `PRESENT` and `STALE` says why nulls are null.

    present: computed, or read from a state that holds something. stale: the same, of a pipeline that lags; never that
    the sender is silent. never_seen: the key has no history. none_in_window: it has, outside of every window.
    not_computable: the message lacks what the view is of (no Reply-To, no link). unavailable: the store did not
    answer, or the view is not served. encrypted, damaged: a part could not be opened, or not be read. over_budget: a
    limit, which is a count of work, cut the reading short. deadline: the clock ended it.
    """

    PRESENT = "present"
    STALE = "stale"
    NEVER_SEEN = "never_seen"
    NONE_IN_WINDOW = "none_in_window"
    NOT_COMPUTABLE = "not_computable"
    UNAVAILABLE = "unavailable"
    ENCRYPTED = "encrypted"
    DAMAGED = "damaged"
    OVER_BUDGET = "over_budget"
    DEADLINE = "deadline"


CODES: Mapping[Status, int] = MappingProxyType({status: number for number, status in enumerate(Status)})
"""Each status as a number, as arrays of rows hold it; 0 is present."""

_BY_SEVERITY = (
    Status.PRESENT, Status.NOT_COMPUTABLE, Status.UNAVAILABLE, Status.ENCRYPTED, Status.DAMAGED, Status.OVER_BUDGET,
    Status.DEADLINE,
)  # fmt: skip
"""Of several reasons why a message was not read in full the one to log, the last of these."""


def worst(statuses: Iterable[Status]) -> Status:
    """The one that weighs most among those that the reading of one message gives; present where there is none.

    >>> worst([Status.DAMAGED, Status.OVER_BUDGET, Status.PRESENT])
    <Status.OVER_BUDGET: 'over_budget'>
    """
    return max(statuses, key=_BY_SEVERITY.index, default=Status.PRESENT)
