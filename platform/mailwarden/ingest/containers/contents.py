"""What one opened file holds, gathered while it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mailwarden.domain.mail.inner import Trait
from mailwarden.domain.status import Status
from mailwarden.ingest.budget import UNPACKED, Limit
from mailwarden.ingest.reading import Reading

MAX_WHOLE = 8 << 20
"""Bytes of one file inside of another that are read; what is longer is read as far as this."""

_TRAIT_OF: dict[Status, Trait] = {
    Status.ENCRYPTED: "encrypted", Status.DAMAGED: "damaged", Status.OVER_BUDGET: "over_budget",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside of a file. size: as the container says. read: its first bytes, as many as are asked for and may be
    had; b"" where it is encrypted or cannot be read. encrypted: it says so."""

    name: str
    size: int
    read: Callable[[int], bytes]
    encrypted: bool = False


def member_of(name: str, data: bytes) -> Member:
    """A file that is unpacked already."""
    return Member(name, len(data), lambda most: data[:most])


@dataclass(slots=True)
class Contents:
    """What an opener found. name: of the file itself. links: addresses as written with the text seen; members: in
    order; images: image files of its pages; messages: raw messages."""

    reading: Reading
    part: int
    name: str = ""
    traits: set[Trait] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)

    def unread(self, status: Status) -> None:
        """Something in the file was not read, and why."""
        self.traits.add(_TRAIT_OF[status])
        self.reading.unread("inner", status)

    def take(self, wanted: int, limit: Limit = UNPACKED) -> int:
        """How much of it may be had; where that is less, the file and the message say so."""
        granted = self.reading.take(limit, wanted, self.part)
        if granted < wanted and limit.aspects:
            self.traits.add("over_budget")
        return granted


Opener = Callable[[bytes, Contents], None]
"""Looks into a file's bytes; what it raises makes the file damaged, and loses nothing else."""
