"""A column of words as numbers, so that millions of rows hold no object each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mailwarden.errors import DataError

NONE = -1


@dataclass(frozen=True, slots=True)
class Coded:
    """codes: (n,) int32 places in `words`, -1 for none. words: each once; in order where no vocabulary was given."""

    codes: NDArray[np.int32]
    words: tuple[str, ...]

    @classmethod
    def of(cls, values: pa.Array | pa.ChunkedArray | Sequence[str | None], words: Sequence[str] | None = None) -> Coded:
        """A column of strings; null and "" are none.

        words: the vocabulary, the words that occur by default. Raises DataError on a value that is not in it.
        """
        column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, pa.large_string())
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        column = column.cast(pa.large_string())
        there = pc.unique(column.drop_null()).to_pylist()
        known = tuple(sorted({*there} - {""})) if words is None else tuple(words)
        strange = sorted({*there} - {"", *known})
        if strange:
            raise DataError(f"{strange[0]!r} is none of {', '.join(known)}.")
        places = pc.index_in(column, value_set=pa.array(known, pa.large_string()))
        return cls(pc.fill_null(places, NONE).to_numpy(zero_copy_only=False).astype(np.int32), known)

    @classmethod
    def flags(cls, values: NDArray[np.bool_], yes: str, no: str) -> Coded:
        """(n,) booleans as two words."""
        return cls(np.where(values, 1, 0).astype(np.int32), (no, yes))

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: NDArray[np.intp]) -> Coded:
        """The rows at these positions, in their order."""
        return Coded(self.codes[rows], self.words)

    def among(self, words: Collection[str]) -> NDArray[np.bool_]:
        """(n,) where one of these words stands."""
        return np.append([word in words for word in self.words], False).astype(np.bool_)[self.codes]

    def has(self, word: str) -> NDArray[np.bool_]:
        """(n,) where this word stands; nowhere where it is no word of the column."""
        if word not in self.words:
            return np.zeros(len(self.codes), dtype=np.bool_)
        return np.asarray(self.codes == self.words.index(word))

    def counts(self, chosen: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """(len(words),) how often each word stands, among the chosen rows."""
        codes = self.codes if chosen is None else self.codes[chosen]
        return np.bincount(codes[codes >= 0], minlength=len(self.words)).astype(np.int64)

    def word(self, row: int) -> str:
        """What stands in a row, "" for none."""
        code = int(self.codes[row])
        return "" if code < 0 else self.words[code]

    def to_arrow(self) -> pa.DictionaryArray:
        """As an Arrow dictionary of strings, none as null."""
        nothing = self.codes < 0
        return pa.DictionaryArray.from_arrays(
            pa.array(np.where(nothing, 0, self.codes), pa.int32(), mask=nothing),
            pa.array(self.words or ("",), pa.string()),
        )


def joined(parts: Sequence[Coded]) -> Coded:
    """Columns one behind the other; their words are put together, in the order of the first where all have the same."""
    words = parts[0].words
    if all(part.words == words for part in parts):
        return Coded(np.concatenate([part.codes for part in parts]), words)
    every = tuple(sorted({word for part in parts for word in part.words}))
    place = {word: at for at, word in enumerate(every)}
    codes = []
    for part in parts:
        # The last place is that of none.
        onto = np.array([*(place[word] for word in part.words), NONE], dtype=np.int32)
        codes.append(onto[part.codes])
    return Coded(np.concatenate(codes), every)


def rarely_others(column: Coded, least: int, others: str = "others") -> Coded:
    """The same with words that stand fewer than `least` times taken together as one."""
    seldom = column.counts() < least
    if not seldom.any():
        return column
    kept = [word for word, few in zip(column.words, seldom.tolist(), strict=True) if not few]
    words = (*sorted({*kept} - {others}), others)
    onto = np.array(
        [
            *(words.index(others if few else word) for word, few in zip(column.words, seldom.tolist(), strict=True)),
            NONE,
        ],
        dtype=np.int32,
    )
    return Coded(onto[column.codes], words)
