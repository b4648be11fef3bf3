"""A feature that the trees read, and how it is called in a reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A feature by full name. words: what its value is, for a reader of mail; flag: the value is 0 or 1."""

    name: str
    words: str
    flag: bool = False
