"""What is wrong with a view, in words."""

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
