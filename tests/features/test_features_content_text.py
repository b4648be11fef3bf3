from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.message import Message
from mailwarden.stores.lists import load_lists
from mailwarden.testing.messages import empty_message, message_of
from mailwarden_features.content_text.checksums import has_iban, has_wallet
from mailwarden_features.content_text.lexicon import INTENTS, count_intents, words_of
from mailwarden_features.content_text.view import VIEW

LISTS = load_lists()


def computed(message: Message) -> Mapping[str, ContentValue]:
    return VIEW.compute(message, LISTS)


def intents_of(text: str) -> dict[str, int]:
    words = words_of(text)
    return count_intents(words, set(words))


def value(name: str, **changes: Any) -> ContentValue:
    return computed(message_of(**changes))[name]


WESTERN = st.text(st.sampled_from([bytes([code]).decode("cp1252", "ignore") or "?" for code in range(256)]))


@given(WESTERN | st.text())
def test_words_are_the_same_byte_by_byte_and_letter_by_letter(text: str) -> None:
    assert words_of(text) == re.findall(r"[^\W_]+", text.lower())[:1_500]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("new_text", None),
        ("new_text_len", None),
        ("bank_details", None),
        ("phone_in_short_body", None),
        ("subject", None),
        ("subject_is_reply", None),
        ("hidden_text_ratio", None),
        ("confusable_ratio", None),
        ("fake_thread", 0),
        ("payment_terms", 0),
    ],
)
def test_of_nothing_what_cannot_be_computed_is_null_and_what_was_looked_for_is_0(
    name: str, expected: ContentValue
) -> None:
    assert computed(empty_message())[name] == expected


@pytest.mark.parametrize(
    ("intent", "text"),
    [
        ("urgency", "Please do it ASAP, action required!"),
        ("credential", "Verify your password here."),
        ("credential", "Bitte bestätigen Sie Ihr Passwort"),
        ("payment", "See the new bank details for the wire-transfer."),
        ("payment", "Veuillez effectuer le virement"),
        ("payroll", "Change my direct deposit before the next pay period"),
        ("gift_card", "I need five Google Play cards"),
        ("callback", "Call our toll-free helpline"),
        ("threat", "I recorded you with your webcam"),
        ("job", "Work from home, no experience needed"),
        ("secrecy", "I'm in a meeting, keep this between us"),
        ("scam", "As next of kin claim your inheritance"),
    ],
)
def test_intents_are_found_in_their_words(intent: str, text: str) -> None:
    assert value(f"{intent}_terms", new_text=text) >= 1  # type: ignore[operator]
    assert value(f"{intent}_terms", subject=text) >= 1  # type: ignore[operator]


def test_a_term_counts_once_and_only_as_a_whole_word() -> None:
    assert value("payroll_terms", new_text="salary " * 50) == 1
    assert value("urgency_terms", new_text="basaplomb, insurgently") == 0
    counts = intents_of("The committee met on Tuesday and read the minutes.")
    assert counts == dict.fromkeys(INTENTS, 0)


@pytest.mark.parametrize("terms", [pytest.param(terms, id=intent) for intent, terms in INTENTS.items()])
def test_every_term_can_be_found(terms: str) -> None:
    for term in filter(str.strip, terms.split(";")):
        assert sum(intents_of(f"well {term} then").values()) >= 1, term


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Pay to DE89 3704 0044 0532 0130 00 BIC COBADEFF", True),
        ("Pay to DE89370400440532013000.", True),
        ("IBAN: NL91 ABNA 0417 1643 00", True),
        ("Pay to DE89 3704 0044 0532 0130 01", False),
        ("Order AB12 HELLO WORLD THIS IS TEXT", False),
        ("no account at all", False),
    ],
)
def test_bank_details_prove_themselves(text: str, found: bool) -> None:
    assert has_iban(text) is found
    assert value("bank_details", new_text=text) == int(found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("send to 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2 today", True),
        ("send to 3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", True),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", True),
        ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0", True),
        ("send to 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3", False),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", False),
        ("x1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", False),
    ],
)
def test_wallets_prove_themselves(text: str, found: bool) -> None:
    assert has_wallet(text) is found
    assert value("crypto_wallet", new_text=text) == int(found)


def test_a_telephone_number_counts_in_a_short_body_only() -> None:
    text = "Your subscription was renewed for 399 dollars. To cancel the charge call +1 (888) 555-0142 at once."
    assert value("phone_in_short_body", new_text=text) == 1
    assert value("phone_in_short_body", new_text=text.partition("call")[0] + "write to us by post, if you like.") == 0
    assert value("phone_in_short_body", new_text="call 888 555 0142") == 0
    assert value("phone_in_short_body", new_text=text + " and so on" * 300) == 0


@pytest.mark.parametrize(
    ("changes", "fake"),
    [
        ({"subject": "RE: our call"}, 1),
        ({"subject": "AW: Rechnung"}, 1),
        ({"subject": "Fwd: notes"}, 1),
        ({"subject": "RE: our call", "references": ("a@b",)}, 0),
        ({"subject": "RE: our call", "in_reply_to": ("a@b",)}, 0),
        ({"subject": "Regarding: our call"}, 0),
        ({"new_text": "See below\n-----Original Message-----\nold"}, 1),
        ({"new_text": "See below\nFrom: Bob Roe\nSent: Monday\nold"}, 1),
        ({"new_text": "See below", "quoted_text": "> old"}, 1),
        ({"new_text": "Nothing below"}, 0),
    ],
)
def test_fake_threads(changes: dict[str, Any], fake: int) -> None:
    assert value("fake_thread", **changes) == fake


def test_characters_that_deceive() -> None:
    assert value("confusable_ratio", new_text="p\u0430ypal account") == 0.5  # a Cyrillic letter among Latin ones
    assert value("confusable_ratio", new_text="привет мир") == 0.0
    assert value("confusable_ratio", new_text="naïve café") == 0.0
    assert value("confusable_ratio", new_text="\U0001d5e3\U0001d5ee\U0001d606 now") == 0.5
    assert value("zero_width_count", new_text="pass\u200bwo\u200brd") == 2
    assert value("hidden_text_ratio", html=True, hidden_chars=30, new_text="x" * 10) == 0.75
    assert value("hidden_text_ratio", html=True, new_text="x") == 0.0


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("zero_width_count", {"new_text": "password", "invisible_chars": 3}, 3),
        ("zero_width_count", {"subject": "Pass\u00adword"}, 1),
        ("zero_width_count", {"new_text": "می\u200cخواهم"}, 0),
        ("split_words", {"new_text": "password", "split_words": 2, "subject": "in\u200bvoice"}, 3),
        ("confusable_words", {"new_text": "Your раураӏ account"}, 1),
        ("confusable_words", {"new_text": "Сухо в лесу, рос сахар"}, 0),
        ("name_confusable", {"subject": "раураӏ for you", "new_text": "hello"}, 1),
        ("name_confusable", {"subject": "hello", "new_text": "раураӏ for you"}, 0),
        ("name_confusable", {"subject": "from ceo＠corp.example"}, 1),
        ("hidden_text_len", {"html": True, "hidden_chars": 30, "preview": "ten letter s"}, 20),
        ("hidden_text_ratio", {"html": True, "hidden_chars": 10, "preview": "ten letter s", "new_text": "x"}, 0.0),
        ("preview_len", {"html": True, "preview": "Winter"}, 6),
        ("preview_len", {"new_text": "x"}, None),
        ("quoted_ask_terms", {"new_text": "see below", "quoted_text": "pay the invoice by wire transfer"}, 2),
        ("quoted_ask_terms", {"new_text": "see below"}, 0),
        ("quoted_bank_details", {"new_text": "x", "quoted_text": "to DE89 3704 0044 0532 0130 00"}, 1),
        ("subject_is_reply", {"subject": "Odp: plan", "headers": (("Subject", "x"),)}, 1),
        ("subject_is_reply", {"subject": "Re[2]: plan", "headers": (("Subject", "x"),)}, 1),
        ("subject_is_forward", {"subject": "轉寄: plan", "headers": (("Subject", "x"),)}, 1),
        ("subject_is_forward", {"subject": "Visit: plan", "headers": (("Subject", "x"),)}, 0),
    ],
)
def test_what_is_hidden_disguised_or_quoted(name: str, changes: dict[str, Any], expected: ContentValue) -> None:
    assert value(name, **changes) == expected


def test_of_a_long_text_what_matters_is_kept() -> None:
    filler = "the captain reads the weather aloud. " * 400
    text = value("new_text", new_text=f"{filler}pay $4,500 to the new account{filler}")
    assert isinstance(text, str) and len(text) <= 6_000 and "pay $4,500" in text
