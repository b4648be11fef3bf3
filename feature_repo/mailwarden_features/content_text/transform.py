"""Facts of the subject and of the newest text."""

from __future__ import annotations

import re

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Message
from mailwarden_features.content_text.checksums import has_iban, has_wallet
from mailwarden_features.content_text.lexicon import count_intents, words_of

MAX_TEXT = 6_000
"""Characters of the newest text that are kept and read."""
MAX_SUBJECT = 1_000

_SHORT_BODY = (75, 1_750)
_LEAST_DIGITS = 7
"""Of a telephone number; an account's has more."""

_UPPER = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LETTERS = _UPPER + _UPPER.lower()
_DIGITS = b"0123456789"
_REPLY = re.compile(r"\s*(?:re|aw|sv|antw|rv|res|ref|odp|vs|回复|答复)\s*+(?:\[\d{1,3}\])?\s*+[:：]", re.IGNORECASE)
_FORWARD = re.compile(r"\s*(?:fwd?|wg|tr|rv|enc|i|vl|doorst|转发)\s*[:：]", re.IGNORECASE)
_QUOTED_BLOCK = re.compile(
    r"^[ \t>]{0,20}(?:-{2,20} ?(?:original message|forwarded message)|(?:from|von|de|da|van): \S.{0,200}"
    r"\n[ \t>]{0,20}(?:sent|to|date|gesendet|envoyé|enviado|inviato|verzonden):)",
    re.IGNORECASE | re.MULTILINE,
)
_PHONE = re.compile(r"(?<![\w/.=-])(?:\+|00)?\(?\d{1,4}\)?(?:[ .-]{1,2}\(?\d{2,4}\)?){2,4}(?![\w/=-])")
_CURRENCY_SIGNS = "$€£¥"
_CURRENCY_WORDS = frozenset({"usd", "eur", "gbp", "dollar", "dollars", "euro", "euros", "pounds", "chf"})
_HIDDEN_CHARACTERS = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]"
)
_LETTERS_RUN = re.compile(r"[^\W\d_]+")
_LATIN = re.compile("[A-Za-z]")
_LOOKALIKE = re.compile("[\u0370-\u03ff\u0400-\u052f\u0530-\u058f\u13a0-\u13ff]")
_STYLED = re.compile("[\uff21-\uff5a\U0001d400-\U0001d7ff\u2460-\u24ff]")
_GENERIC_GREETING = re.compile(
    r"\s{0,20}(?:dear|hello|hi|attention|attn|valued|sehr geehrte[r]?|estimado|cher|chère|gentile)[ ,:]{1,3}"
    r"(?:sir|madam|customer|client|user|friend|member|account|email|e-mail|valued|kunde|cliente|client|beneficiary|"
    r"webmail|owner|winner|colleague|beloved|damen)",
    re.IGNORECASE,
)


def compute(message: Message, lists: Lists) -> dict[str, ContentValue]:
    """The values of one message, null where a part is absent; pure, bounded, never raising."""
    return subject_facts(message, message.header("subject") is not None) | text_facts(message)


def subject_facts(message: Message, present: bool) -> dict[str, ContentValue]:
    """What the Subject shows; every value null where there is no Subject header."""
    if not present:
        return dict.fromkeys(
            (
                "subject", "subject_len", "subject_is_reply", "subject_is_forward", "subject_upper_share",
                "subject_digit_count", "subject_punctuation_count", "subject_non_ascii_share",
            )
        )  # fmt: skip
    subject = message.subject[:MAX_SUBJECT]
    data = subject.encode("utf-8", "replace")
    return {
        "subject": subject,
        "subject_len": len(subject),
        "subject_is_reply": int(_REPLY.match(subject) is not None),
        "subject_is_forward": int(_FORWARD.match(subject) is not None),
        "subject_upper_share": _upper_share(data),
        "subject_digit_count": len(data) - len(data.translate(None, _DIGITS)),
        "subject_punctuation_count": subject.count("!") + subject.count("?") + subject.count("$"),
        "subject_non_ascii_share": _non_ascii_share(subject),
    }


def text_facts(message: Message) -> dict[str, ContentValue]:
    """What the newest text says; intents are counted over subject and newest text together.

    A value is null where there is neither text nor HTML body, except counts over both, which look at the subject too.
    """
    text = message.new_text[:MAX_TEXT]
    subject = message.subject[:MAX_SUBJECT]
    words = words_of(f"{subject}\n{text}")
    different = set(words)
    intents = count_intents(words, different)
    shown = f"{message.sender.display_name}\n{subject}\n{text}"
    plain = shown.isascii()
    has_body = bool(message.html or message.text_chars)
    data = text.encode("utf-8", "replace")
    digits = len(data) - len(data.translate(None, _DIGITS))
    # Numbers of telephones and accounts need digits, which are counted already where there are no others than ASCII's.
    few_digits = digits < _LEAST_DIGITS and text.isascii()
    values: dict[str, ContentValue] = {f"{intent}_terms": count for intent, count in intents.items()}
    values |= {
        "new_text": text if has_body else None,
        "new_text_len": len(message.new_text) if has_body else None,
        "quoted_text_len": len(message.quoted_text) if has_body else None,
        "text_upper_share": _upper_share(data) if has_body else None,
        "text_digit_share": digits / len(data) if data else None,
        "text_non_ascii_share": _non_ascii_share(text) if has_body else None,
        "exclamation_count": text.count("!") if has_body else None,
        "money_count": sum(map(text.count, _CURRENCY_SIGNS)) + sum(map(words.count, different & _CURRENCY_WORDS)),
        "generic_greeting": int(_GENERIC_GREETING.match(text) is not None) if has_body else None,
        "phone_in_short_body": (
            int(not few_digits and _phone_in_short_body(text, len(message.new_text))) if has_body else None
        ),
        "bank_details": int(not few_digits and has_iban(text)) if has_body else None,
        "crypto_wallet": int(has_wallet(text)) if has_body else None,
        "zero_width_count": 0 if plain else len(_HIDDEN_CHARACTERS.findall(shown)),
        "confusable_ratio": _confusable_ratio(shown, plain),
        "hidden_text_ratio": _hidden_ratio(message),
        "fake_thread": int(_fake_thread(message)),
    }
    return values


def _upper_share(data: bytes) -> float | None:
    lower = len(data.translate(None, _LETTERS))
    letters = len(data) - lower
    if not letters:
        return None
    return (len(data) - len(data.translate(None, _UPPER))) / letters


def _non_ascii_share(text: str) -> float | None:
    if not text:
        return None
    return 0.0 if text.isascii() else 1.0 - len(text.encode("ascii", "ignore")) / len(text)


def _phone_in_short_body(text: str, length: int) -> bool:
    if not _SHORT_BODY[0] <= length <= _SHORT_BODY[1]:
        return False
    return any(_LEAST_DIGITS <= sum(map(str.isdigit, match[0])) <= 15 for match in _PHONE.finditer(text))


def _confusable_ratio(shown: str, plain: bool) -> float | None:
    if not shown.strip():
        return None
    if plain or (_LOOKALIKE.search(shown) is None and _STYLED.search(shown) is None):
        return 0.0
    words = _LETTERS_RUN.findall(shown)
    odd = sum(map(_is_confusable, words))
    return odd / len(words) if words else 0.0


def _is_confusable(word: str) -> bool:
    """Letters of two scripts that look alike in one word, or letters that are only dressed up as Latin."""
    if word.isascii():
        return False
    return _STYLED.search(word) is not None or (_LOOKALIKE.search(word) is not None and _LATIN.search(word) is not None)


def _hidden_ratio(message: Message) -> float | None:
    if not message.html:
        return None
    visible = len(message.new_text) + len(message.quoted_text)
    whole = message.hidden_chars + visible
    return message.hidden_chars / whole if whole else 0.0


def _fake_thread(message: Message) -> bool:
    if message.references or message.in_reply_to:
        return False
    if _REPLY.match(message.subject) or _FORWARD.match(message.subject) or message.quoted_text:
        return True
    return _QUOTED_BLOCK.search(message.new_text, 0, MAX_TEXT) is not None
