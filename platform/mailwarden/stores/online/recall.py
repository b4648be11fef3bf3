"""What a writer wrote lately, so that it notices a Redis that went back to an earlier moment."""

from __future__ import annotations

from mailwarden.errors import StoreUnavailable

MANY = 50_000
"""States remembered at least: Redis loses seconds of its writes at most (`appendfsync everysec`, a failover)."""

StateName = tuple[bytes, int, int]
"""Redis key, number of the view, generation."""


class Recall:
    """The last seq of each state written lately.

    A state that has folded less than was written to it was lost, and with it others: to fold anything newer would
    hide the gap for good. The events are still in the streams, to be read from their beginning.
    """

    def __init__(self, many: int = MANY) -> None:
        self._many = many
        self._new: dict[StateName, int] = {}
        self._old: dict[StateName, int] = {}

    def check(self, name: StateName, seq: int) -> None:
        """Raise StoreUnavailable, and begin anew, where a state has folded less than it had."""
        wrote = self._new.get(name) or self._old.get(name)
        if wrote is not None and seq < wrote:
            self._new, self._old = {}, {}
            raise StoreUnavailable(
                f"Redis went back: a state that had folded seq {wrote} has folded seq {seq}; streams are read again"
            )

    def wrote(self, name: StateName, seq: int) -> None:
        """Remember what a state has folded now."""
        if len(self._new) >= self._many:
            self._new, self._old = {}, self._new
        self._new[name] = seq
