"""Text from a grammar: symbols in braces stand for one of their phrases."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

Grammar = Mapping[str, Sequence[str]]

_SYMBOL = re.compile(r"\{(\w+)\}")


def expand(rng: random.Random, template: str, grammar: Grammar, values: Mapping[str, str]) -> str:
    """The template with every `{symbol}` filled from values first, else by a phrase of the grammar, to any depth.

    Raises KeyError for a symbol that neither knows.
    """

    def fill(match: re.Match[str]) -> str:
        symbol = match.group(1)
        value = values.get(symbol)
        if value is not None:
            return value
        phrases = grammar[symbol]
        phrase = phrases[int(rng.random() * len(phrases))]
        return _SYMBOL.sub(fill, phrase) if "{" in phrase else phrase

    return _SYMBOL.sub(fill, template)


def mistype(rng: random.Random, text: str, rate: float) -> str:
    """The text with letters swapped or lost inside words; rate: chance a word."""
    words = text.split(" ")
    for _ in range(int(len(words) * rate + rng.random())):
        i = int(rng.random() * len(words))
        word = words[i]
        if len(word) > 4 and word.isalpha():
            j = 1 + int(rng.random() * (len(word) - 3))
            swapped = word[:j] + word[j + 1] + word[j] + word[j + 2 :]
            words[i] = swapped if rng.random() < 0.6 else word[:j] + word[j + 1 :]
    return " ".join(words)
