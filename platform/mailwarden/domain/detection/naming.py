"""Which category a message is of, by all detectors that name one: each has a voice, louder the surer it is.

A detector's word for a category adds `base + slope * log-odds` to it, of its calibrated log-odds for that message; the
category of the highest sum is named. Who abstains or is away has no word. Two numbers a detector, and none a category:
so a category of which held-out mail had none can be named, and one that was frequent there is not preferred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.mail.events import CATEGORIES

UNNAMED = "SP"
"""What a message is that no detector names."""

_SUREST = 6.0


@dataclass(frozen=True, slots=True)
class Voice:
    """What a detector's word counts: base, and what a unit of its log-odds adds; neither is below 0."""

    base: float
    slope: float

    def adds(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) what its word adds at these log-odds; below 0 where it is sure that its own word does not hold."""
        return self.base + self.slope * sureness(log_odds)


@dataclass(frozen=True, slots=True)
class Word:
    """What one detector says of n messages.

    codes: n of `events.CATEGORIES`. log_odds: (n,) calibrated. silent: (n,) where it says nothing.
    """

    codes: Sequence[str]
    log_odds: NDArray[np.float64]
    silent: NDArray[np.bool_]

    def take(self, where: NDArray[np.bool_]) -> Word:
        """Of the messages where it is True."""
        codes = [code for code, here in zip(self.codes, where.tolist(), strict=True) if here]
        return Word(codes, self.log_odds[where], self.silent[where])


@dataclass(frozen=True, slots=True)
class Naming:
    """voices: by name of detector."""

    voices: Mapping[str, Voice]

    def sums(self, words: Mapping[str, Word], n: int) -> NDArray[np.float64]:
        """(n, len(CATEGORIES)): what the words of detectors add up to; those without a voice count for nothing."""
        out = np.zeros((n, len(CATEGORIES)))
        for name, word in words.items():
            voice = self.voices.get(name)
            if voice is None:
                continue
            adds = voice.adds(word.log_odds)
            said = np.flatnonzero(~word.silent)
            out[said, [CATEGORIES.index(word.codes[row]) for row in said.tolist()]] += adds[said]
        return out

    def named(self, words: Mapping[str, Word], n: int) -> list[str]:
        """n codes; `UNNAMED` where no word counts."""
        sums = self.sums(words, n)
        likeliest = sums.argmax(axis=1)
        return [CATEGORIES[at] if row[at] > 0.0 else UNNAMED for at, row in zip(likeliest.tolist(), sums, strict=True)]


def sureness(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) calibrated log-odds as they count: what is sure beyond 400 to 1 counts no more."""
    return np.clip(log_odds, -_SUREST, _SUREST)
