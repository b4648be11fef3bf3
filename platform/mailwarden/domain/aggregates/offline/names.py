"""The names that rows hold, each text once, and what is counted and kept of them over many keys at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from mailwarden.domain.aggregates.offline.dominance import BoolArray, IntArray
from mailwarden.domain.aggregates.recent import Members, own_set


@dataclass(frozen=True)
class Names:
    """texts: different names. codes: (m,) int64, places in `texts`, row after row. bounds: (n + 1,) int64, where each
    row's codes begin, and where the last ones end."""

    texts: Sequence[str]
    codes: IntArray
    bounds: IntArray

    @classmethod
    def of(cls, rows: Iterable[Sequence[str] | None]) -> Self:
        """From each row's names, None for none; empty names are nobody's."""
        numbers: dict[str, int] = {}
        codes: list[int] = []
        bounds = [0]
        for names in rows:
            codes += [numbers.setdefault(name, len(numbers)) for name in names or () if name]
            bounds.append(len(codes))
        return cls(list(numbers), np.array(codes, dtype=np.int64), np.array(bounds, dtype=np.int64))

    def of_row(self, row: int) -> list[str]:
        """The names of one row."""
        return [self.texts[code] for code in self.codes[self.bounds[row] : self.bounds[row + 1]].tolist()]

    def slice(self, start: int, stop: int) -> Names:
        """Rows from start to stop."""
        bounds = self.bounds[start : stop + 1]
        return Names(self.texts, self.codes[bounds[0] : bounds[-1]], bounds - bounds[0])

    def where(self, keep: BoolArray) -> Names:
        """The same rows; those not kept hold no names."""
        lengths = np.diff(self.bounds)
        bounds = np.zeros(len(self.bounds), dtype=np.int64)
        np.cumsum(np.where(keep, lengths, 0), out=bounds[1:])
        return Names(self.texts, self.codes[np.repeat(keep, lengths)], bounds)

    def rows(self) -> IntArray:
        """(m,) the row that each code stands in."""
        return np.repeat(np.arange(len(self.bounds) - 1), np.diff(self.bounds))


class NumberedSets:
    """Different sets of names, numbered from 0 in the order of their coming. `members` gives them as arrays."""

    def __init__(self) -> None:
        self._numbers: dict[Members, int] = {}

    def number(self, members: Members) -> int:
        """The number of a set; -1 of the empty one."""
        return self._numbers.setdefault(members, len(self._numbers)) if members else -1

    def of_rows(self, names: Names) -> IntArray:
        """(n,) the number of each row's set."""
        lengths = np.diff(names.bounds)
        found = np.full(len(lengths), -1, dtype=np.int64)
        alone = np.flatnonzero(lengths == 1)
        codes, place = np.unique(names.codes[names.bounds[alone]], return_inverse=True)
        single = [self.number(own_set((names.texts[code],))) for code in codes.tolist()]
        found[alone] = np.array(single, dtype=np.int64)[place]
        known: dict[bytes, int] = {}
        for row in np.flatnonzero(lengths > 1).tolist():
            content = names.codes[names.bounds[row] : names.bounds[row + 1]].tobytes()
            number = known.get(content)
            if number is None:
                number = known[content] = self.number(own_set(names.of_row(row)))
            found[row] = number
        return found

    def listed(self) -> list[Members]:
        """All sets, in the order of their numbers."""
        return list(self._numbers)

    def arrays(self) -> tuple[IntArray, IntArray]:
        """Members of all sets one after another, and (n_sets + 1,) where each begins."""
        sets = self.listed()
        bounds = np.zeros(len(sets) + 1, dtype=np.int64)
        np.cumsum([len(members) for members in sets], out=bounds[1:])
        return np.array([member for members in sets for member in members], dtype=np.int64), bounds
