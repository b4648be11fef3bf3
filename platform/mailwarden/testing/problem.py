"""What is wrong with a team's view or detector, in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong and how to mend it. feature: "" where the view as a whole is meant."""

    view: str
    feature: str
    words: str

    def __str__(self) -> str:
        place = f"{self.view}:{self.feature}" if self.feature else self.view
        return f"{place}: {self.words}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule of the contract that a detector breaks.

    check: the rule's name, one of `check_detector.CHECKS`. words: what is wrong. mend: what to do about it.
    """

    detector: str
    check: str
    words: str
    mend: str

    def __str__(self) -> str:
        return f"{self.detector}, {self.check}: {self.words}; {self.mend}"
