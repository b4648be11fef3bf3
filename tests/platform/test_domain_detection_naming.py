"""All detectors name a category together, each as loudly as it is sure."""

from __future__ import annotations

import numpy as np
import pytest

from mailwarden.domain.detection.naming import Naming, Voice, Word
from mailwarden.domain.mail.events import CATEGORIES


def word(*codes: str, odds: float = 0.0, silent: bool = False) -> Word:
    return Word(codes, np.full(len(codes), odds), np.full(len(codes), silent))


NAMING = Naming({"a": Voice(1.0, 0.0), "b": Voice(0.4, 0.5), "c": Voice(0.7, 0.0)})


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"a": word("CP"), "b": word("MW")}, "CP"),
        ({"a": word("CP"), "b": word("MW", odds=2.0)}, "MW"),
        # Two that agree outvote one that is louder than each.
        ({"a": word("CP"), "b": word("MW"), "c": word("MW")}, "MW"),
        # Who is sure that its word does not hold takes away from it.
        ({"b": word("MW", odds=-4.0), "c": word("MW")}, "SP"),
        ({"a": word("CP", silent=True), "c": word("EX")}, "EX"),
        ({"stranger": word("EX", odds=6.0)}, "SP"),
        ({}, "SP"),
    ],
)
def test_the_highest_sum_of_words_is_named(words: dict[str, Word], named: str) -> None:
    assert NAMING.named(words, 1) == [named]


def test_what_is_sure_beyond_a_bound_counts_no_more() -> None:
    sums = NAMING.sums({"b": word("MW", "CP", odds=50.0)}, 2)
    assert sums[0, CATEGORIES.index("MW")] == sums[1, CATEGORIES.index("CP")] == 0.4 + 0.5 * 6.0
    assert np.count_nonzero(sums) == 2


def test_each_message_has_words_of_its_own() -> None:
    words = {
        "a": word("CP", "SP", "EX"),
        "b": Word(["MW"] * 3, np.array([0.0, 4.0, 4.0]), np.array([False, False, True])),
    }
    assert NAMING.named(words, 3) == ["CP", "MW", "EX"]
