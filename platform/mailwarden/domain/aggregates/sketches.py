"""Distinct counts by Apache DataSketches HLL, kept as unions so that the order of arrival cannot show."""

from __future__ import annotations

from functools import lru_cache

import datasketches as ds

LG_K = 12
"""2**12 registers: relative standard error about 1.6%; exact, after rounding, while a set is small."""

_TYPE = ds.tgt_hll_type.HLL_4


LISTED = 380
"""Up to as many members a sketch lists them, and its estimate is their number."""


def coupon_of(name: str) -> int:
    """What a sketch lists of a name: two names of one coupon are one to it, about one pair in 2**26."""
    sketch = ds.hll_sketch(LG_K, _TYPE)
    sketch.update(name)
    # A compact sketch of one member is a preamble of two words, then the coupon.
    return int.from_bytes(sketch.serialize_compact()[-4:], "little")


@lru_cache(maxsize=20_000)
def _alone(name: str) -> bytes:
    """The compact sketch of a set of one name: most sets have no more, and need not be opened to take or to hold it."""
    union = ds.hll_union(LG_K)
    union.update(name)
    return bytes(union.get_result(_TYPE).serialize_compact())


class DistinctUnion:
    """A set's HLL, with an estimate that depends on the set alone and not on the order that built it.

    A streamed sketch estimates from the order of its updates. The composite estimator, which reads the registers
    alone, is what a union of two register-mode sketches uses; so an estimate is taken from a union of the sketch
    with itself (which has the same registers).
    """

    __slots__ = ("_bytes", "_estimate", "_lazy")

    def __init__(self, data: bytes | None = None) -> None:
        # A state holds dozens of sketches of which an event touches few: the rest stay bytes.
        self._lazy: ds.hll_union | None = None
        self._bytes = data or None
        self._estimate: int | None = None

    def _union(self) -> ds.hll_union:
        if self._lazy is None:
            self._lazy = ds.hll_union(LG_K)
            if self._bytes:
                self._lazy.update(ds.hll_sketch.deserialize(self._bytes))
        return self._lazy

    def add(self, value: str) -> bool:
        """Fold one value, hashed as its UTF-8 bytes (as Spark's `hll_sketch_agg` hashes a string).

        Returns True where the set certainly held the value before; False where it did not, or cannot tell.
        """
        if self._lazy is None:
            alone = _alone(value)
            if self._bytes is None or self._bytes == alone:
                new, self._bytes, self._estimate = self._bytes is None, alone, 1
                return not new
        union = self._union()
        before = union.get_estimate()
        union.update(value)
        if union.get_estimate() != before:
            self._estimate = self._bytes = None
            return False
        if before < LISTED:
            return True
        self._bytes = None
        return False

    def merge(self, data: bytes) -> None:
        """Fold a serialised sketch."""
        self._union().update(ds.hll_sketch.deserialize(data))
        self._estimate = self._bytes = None

    def estimate(self) -> int:
        """Rounded number of different values."""
        if self._estimate is None:
            union = self._union()
            estimate = union.get_estimate()
            if estimate >= LISTED:
                sketch = union.get_result(_TYPE)
                doubled = ds.hll_union(LG_K)
                doubled.update(sketch)
                doubled.update(sketch)
                estimate = doubled.get_estimate()
            self._estimate = round(estimate)
        return self._estimate

    def to_bytes(self) -> bytes:
        """Compact serialised sketch, readable by Spark's `hll_union` functions."""
        if self._bytes is None:
            self._bytes = bytes(self._union().get_result(_TYPE).serialize_compact())
        return self._bytes
