"""All kinds of hostile messages, and the inputs that a campaign makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from mailwarden.testing.hostile.body_kinds import BODY_KINDS
from mailwarden.testing.hostile.container_kinds import CONTAINER_KINDS
from mailwarden.testing.hostile.encoding_kinds import ENCODING_KINDS
from mailwarden.testing.hostile.header_kinds import HEADER_KINDS
from mailwarden.testing.hostile.image_kinds import IMAGE_KINDS
from mailwarden.testing.hostile.shapes import Kind
from mailwarden.testing.hostile.signature_kinds import SIGNATURE_KINDS
from mailwarden.testing.hostile.structure_kinds import STRUCTURE_KINDS
from mailwarden.testing.hostile.style_kinds import STYLE_KINDS

KINDS: dict[str, Kind] = {
    **HEADER_KINDS,
    **STRUCTURE_KINDS,
    **BODY_KINDS,
    **ENCODING_KINDS,
    **STYLE_KINDS,
    **IMAGE_KINDS,
    **CONTAINER_KINDS,
    **SIGNATURE_KINDS,
}
"""Name to kind; a name says what is hostile in it."""

LADDERS = ((100_000, 1_000_000, 10_000_000), (8_000, 64_000, 512_000), (32_000, 400_000, 5_000_000))
"""Sizes in bytes that growth is measured over: what is quadratic inside of a limit shows on the small ones."""


class Input(NamedTuple):
    """One hostile input, by which it is made again. seed: which of a kind's forms; size: bytes."""

    kind: str
    seed: int
    size: int

    def make(self) -> bytes:
        """The raw message."""
        return KINDS[self.kind](self.size, Random(f"{self.kind} {self.seed}"))


def inputs(seeds: range, kinds: tuple[str, ...] = tuple(KINDS)) -> Iterator[Input]:
    """Every kind at the three sizes of a ladder, once a seed; seeds take turns with the ladders."""
    for kind in kinds:
        for seed in seeds:
            for size in LADDERS[seed % len(LADDERS)]:
                yield Input(kind, seed, size)
