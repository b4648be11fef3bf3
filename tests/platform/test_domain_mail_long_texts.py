from __future__ import annotations

import pytest

from mailwarden.domain.mail.long_texts import ends_of, kept_of

FILLER = "the captain reads the weather aloud and the ferry leaves. "
REQUEST = "Please pay $4,500 to account DE89 3704 0044 0532 0130 00 today."


@pytest.mark.parametrize("before", [0, 500, 5_000, 60_000, 99_000])
def test_what_a_message_is_about_is_kept_wherever_it_stands(before: int) -> None:
    text = (FILLER * 2_000)[:before] + REQUEST + (FILLER * 2_000)[: 100_000 - before]
    kept = kept_of(text, 6_000)
    assert len(kept) <= 6_000
    assert "pay $4,500" in kept or REQUEST[:20] in kept
    assert kept.startswith(text[:2_000]) and kept.endswith(text[-1_000:])


def test_links_by_their_words_and_written_ones_are_kept() -> None:
    text = FILLER * 500 + "press the green knob" + FILLER * 500 + " http://evil.example/x " + FILLER * 500
    kept = kept_of(text, 6_000, ["press the green knob"])
    assert "green knob" in kept and "http://evil.example/x" in kept


def test_links_are_found_out_of_their_order_and_behind_many_that_the_text_has_not() -> None:
    text = FILLER * 500 + "press the green knob" + FILLER * 500 + "pull the red lever" + FILLER * 500
    kept = kept_of(text, 6_000, ["pull the red lever", *(f"absent {n}" for n in range(30)), "press the green knob"])
    assert "green knob" in kept and "red lever" in kept


def test_a_short_text_is_kept_whole_and_a_long_one_of_nothing_too_is_filled() -> None:
    assert kept_of("short", 6_000) == "short"
    assert 5_900 < len(kept_of(FILLER * 1_000, 6_000)) <= 6_000
    assert len(kept_of(REQUEST * 3_000, 6_000)) <= 6_000
    assert len(kept_of("İ$" * 50_000, 6_000)) <= 6_000


def test_ends() -> None:
    start, end = ends_of(1_000, 400)
    assert (start, 1_000 - end) == (300, 100)
