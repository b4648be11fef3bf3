"""How much each detector's word on the category counts is learned from held-out attacks."""

from __future__ import annotations

import numpy as np
import pytest

from mailwarden.domain.detection.naming import Naming, Word
from mailwarden.training.naming import fit_naming

CODES = ("CP", "MW", "EX", "BE")


def attacks(n: int, seed: int) -> tuple[dict[str, Word], list[str]]:
    """One that is mostly right, one that guesses, and one of one kind whose log-odds tell when it is."""
    rng = np.random.default_rng(seed)
    truth = [CODES[at] for at in rng.integers(0, 4, n)]
    guess = [CODES[at] for at in rng.integers(0, 4, n)]
    good = [code if right else other for code, other, right in zip(truth, guess, rng.random(n) < 0.7, strict=True)]
    is_malware = np.array([code == "MW" for code in truth])
    odds = np.where(is_malware, 4.0, -4.0) + rng.normal(size=n)
    nowhere = np.zeros(n, dtype=bool)
    return {
        "good": Word(good, np.full(n, 3.0), nowhere),
        "guess": Word(guess, np.full(n, 3.0), nowhere),
        "malware": Word(["MW"] * n, odds, nowhere),
    }, truth


def right(naming: Naming, words: dict[str, Word], truth: list[str]) -> float:
    return float(np.mean([a == b for a, b in zip(naming.named(words, len(truth)), truth, strict=True)]))


def test_who_guesses_loses_its_voice_and_together_they_name_more_rightly_than_the_best() -> None:
    naming = fit_naming(*attacks(400, 1))
    voices = naming.voices
    loud = {name: voice.base + 3.0 * voice.slope for name, voice in voices.items()}
    assert loud["guess"] < 0.3 * loud["good"] and voices["malware"].slope > 0.3
    words, truth = attacks(1000, 2)
    best = float(np.mean([a == b for a, b in zip(words["good"].codes, truth, strict=True)]))
    assert right(naming, words, truth) > best + 0.03


def test_a_category_that_held_out_mail_lacks_can_still_be_named() -> None:
    words, truth = attacks(400, 1)
    seen = np.array([code != "EX" for code in truth])
    naming = fit_naming(
        {name: word.take(seen) for name, word in words.items()}, [code for code in truth if code != "EX"]
    )
    later, wanted = attacks(1000, 2)
    named = naming.named(later, len(wanted))
    assert np.mean([a == "EX" for a, b in zip(named, wanted, strict=True) if b == "EX"]) > 0.6


@pytest.mark.parametrize("n", [0, 1])
def test_of_few_attacks_all_voices_stay_about_equal(n: int) -> None:
    words, truth = attacks(400, 1)
    first = np.arange(400) < n
    found = fit_naming({name: word.take(first) for name, word in words.items()}, truth[:n]).voices.values()
    assert all(abs(voice.base - 1.0) < 0.5 and abs(voice.slope - 0.25) < 0.5 for voice in found)


def test_the_same_attacks_give_the_same_voices() -> None:
    assert fit_naming(*attacks(300, 3)) == fit_naming(*attacks(300, 3))
