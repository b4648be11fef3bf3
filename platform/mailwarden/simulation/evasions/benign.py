"""Harmless text that attackers put beside their own, made by seed."""

from __future__ import annotations

from functools import lru_cache
from random import Random

_WHO = ("The team", "Our committee", "The library", "Your neighbour", "The school", "Anna from the office", "Everyone")
_DOES = ("met", "walked", "talked", "went over the minutes", "sang", "planted trees", "played chess", "cooked")
_WHERE = ("in the park", "by the river", "at the station", "in room 12", "behind the hall", "near the old mill")
_WHEN = ("on Tuesday", "last week", "in the morning", "after lunch", "before the rain", "as every year")


@lru_cache(maxsize=256)
def benign(seed: int, letters: int) -> str:
    """Sentences of daily life, at least so many letters of them."""
    rng = Random(seed)
    sentences: list[str] = []
    while sum(map(len, sentences)) < letters:
        sentences.append(" ".join(rng.choice(words) for words in (_WHO, _DOES, _WHERE, _WHEN)) + ". ")
    return "".join(sentences)
