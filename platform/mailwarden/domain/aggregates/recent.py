"""Bounded recent sets: the latest different sets of names that a key used, and how close another comes to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Self

from mailwarden.domain.aggregates.windows import NOTHING

MEMBERS_KEPT = 64
"""A larger set is stood for by its 64 smallest hashes: a bottom-k sketch, from which overlap is estimated."""

MOST_KEPT = 64
"""Sets that one aggregate may keep."""

Members = tuple[int, ...]

_HEAD = 3
"""Words before the members of an entry: time, seq, how many members."""

_single: dict[str, Members] = {}
_SINGLES_KEPT = 100_000


def own_set(names: Iterable[str]) -> Members:
    """A set of names as its smallest 64-bit hashes, ascending; empty for none. Empty names are nobody's."""
    sets = [_single.get(name) or _hashed(name) for name in names]
    if len(sets) == 1:
        return sets[0]
    return tuple(sorted({member for members in sets for member in members})[:MEMBERS_KEPT])


def _hashed(name: str) -> Members:
    if not name:
        return ()
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    if len(_single) >= _SINGLES_KEPT:
        _single.clear()
    found = _single[name] = (int.from_bytes(digest, "little", signed=True),)
    return found


class RecentSets:
    """At most `keep` different sets, those with the latest (time, seq) of use; any order of use gives the same."""

    __slots__ = ("_last", "_newest", "keep")

    def __init__(self, keep: int) -> None:
        self.keep = keep
        # In ascending order of use, so that the first one is the one to drop.
        self._last: dict[Members, tuple[int, int]] = {}
        self._newest = (NOTHING, NOTHING)

    def add(self, members: Members, time_us: int, seq: int) -> None:
        """Note a use of a set; an empty one is passed over."""
        if not members:
            return
        last, use = self._last, (time_us, seq)
        if use > self._newest:
            self._newest = use
            last.pop(members, None)
            last[members] = use
        elif last.get(members, (NOTHING, NOTHING)) < use:
            last[members] = use
            self._last = last = dict(sorted(last.items(), key=itemgetter(1)))
        if len(last) > self.keep:
            del last[next(iter(last))]

    def merge(self, other: Self) -> None:
        """Add another's uses."""
        for members, (time_us, seq) in other._last.items():
            self.add(members, time_us, seq)

    def uses(self) -> Iterator[tuple[Members, tuple[int, int]]]:
        """Each set with the (time, seq) of its last use, the latest one last."""
        return iter(self._last.items())

    def words(self) -> list[int]:
        """As int64 words: for each set its time, seq, number of members and members, the latest use first."""
        out: list[int] = []
        for members, (time_us, seq) in reversed(self._last.items()):
            out += (time_us, seq, len(members), *members)
        return out

    @classmethod
    def read(cls, keep: int, words: Sequence[int]) -> Self:
        """What `words` wrote."""
        self = cls(keep)
        offset, found = 0, []
        while offset < len(words):
            time_us, seq, size = words[offset : offset + _HEAD]
            offset += _HEAD
            found.append((tuple(int(word) for word in words[offset : offset + size]), (int(time_us), int(seq))))
            offset += int(size)
        if found:
            self._newest = found[0][1]
        self._last = dict(reversed(found))
        return self
