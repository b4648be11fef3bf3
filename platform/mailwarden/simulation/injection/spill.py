"""Attacks that wait on disk for their place in a host's mail."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path

NATIVE = "from the account itself"


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack to inject.

    raw: as its first receiver kept it, or as made for the host. label: a category. source: where it is from. means: how
    it was made, "as it came" for real mail. campaign: shared by one run's messages, "" where unknown. at_us: when it
    came, or for one that was made, arrives; None where nothing says. recipient: whom it was made for, "" for real mail.
    means NATIVE: it bears the host's own form already.
    """

    raw: bytes
    label: str
    source: str
    means: str = "as it came"
    campaign: str = ""
    at_us: int | None = None
    recipient: str = ""


class Spill:
    """Attacks in one file, read back by number; of each, 16 bytes stay in memory. chosen: those to inject."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._starts = array("q", [0])
        self.times = array("q")
        self.chosen: list[int] = []

    def __len__(self) -> int:
        return len(self.times)

    def add(self, attack: Attack) -> None:
        """Put one behind the others."""
        words = (attack.label, attack.source, attack.means, attack.campaign, attack.recipient)
        head = "\0".join(words).encode("utf-8", "surrogateescape")
        self._file.seek(self._starts[-1])
        written = self._file.write(len(head).to_bytes(4, "big") + head + attack.raw)
        self._starts.append(self._starts[-1] + written)
        self.times.append(-1 if attack.at_us is None else attack.at_us)

    def read(self, number: int) -> Attack:
        """The attack of that number, from 0."""
        start, end = self._starts[number], self._starts[number + 1]
        self._file.seek(start)
        data = self._file.read(end - start)
        cut = 4 + int.from_bytes(data[:4], "big")
        label, source, means, campaign, recipient = data[4:cut].decode("utf-8", "surrogateescape").split("\0")
        at_us = self.times[number]
        return Attack(data[cut:], label, source, means, campaign, None if at_us < 0 else at_us, recipient)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
