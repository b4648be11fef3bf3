"""Facts of the subject and of the newest text."""

from __future__ import annotations

import re

from mailwarden.domain.mail.address_marks import has_lookalike_mark
from mailwarden.domain.mail.characters import NO_LOOKALIKES, Lookalikes, lookalike_words, shown
from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.long_texts import kept_of
from mailwarden.domain.mail.message import Message
from mailwarden_features.content_text.checksums import LEAST_ADDRESS, has_iban, has_wallet
from mailwarden_features.content_text.lexicon import INTENTS, MAX_WORDS, count_intents, words_of

MAX_TEXT = 6_000
"""Characters of the newest text that are kept and read: of a longer one its start, its end, and what is between them
of links, money and requests."""
MAX_SUBJECT = 1_000
MAX_QUOTED = 3_000

_TERMS = tuple(f"{intent}_terms" for intent in INTENTS)
_ASKS = ("credential", "payment", "payroll", "gift_card", "callback", "threat")

_SHORT_BODY = (75, 1_750)
_LEAST_DIGITS = 7
"""Of a telephone number; an account's has more."""

_UPPER = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LETTERS = _UPPER + _UPPER.lower()
_DIGITS = b"0123456789"
_COUNTED = r"\s*+(?:[\[(^]\d{1,3}[\])]?)?\s*+[:：]"
_REPLY = re.compile(
    r"\s*(?:re|aw|antw?|antwort|sva?|vs|rv|resp?|ref|rif|odp|odpověď|ynt|yan|cev|отв|ответ|відп|vá|válasz|răsp|απ|σχετ"
    rf"|返信|回复|回覆|回復|答复|答覆|회신|답장|답변){_COUNTED}",
    re.IGNORECASE,
)
_FORWARD = re.compile(
    r"\s*(?:fwd?|wg|tr|rv|enc|i|v[lb]|vid|doorst|pd|přep|předáno|ilt|ilet|ynl|пересл|пер|fs|továbbítás|redir|πρθ"
    rf"|転送|转发|轉寄|轉發|전달){_COUNTED}",
    re.IGNORECASE,
)
_QUOTED_BLOCK = re.compile(
    r"^[ \t>]{0,20}(?:-{2,20} ?(?:original message|forwarded message)|(?:from|von|de|da|van): \S.{0,200}"
    r"\n[ \t>]{0,20}(?:sent|to|date|gesendet|envoyé|enviado|inviato|verzonden):)",
    re.IGNORECASE | re.MULTILINE,
)
_IN_QUOTED_BLOCKS = ("original message", "forwarded message", "from: ", "von: ", "de: ", "da: ", "van: ")
_PHONE = re.compile(r"(?<![\w/.=-])(?:\+|00)?\(?\d{1,4}\)?(?:[ .-]{1,2}\(?\d{2,4}\)?){2,4}(?![\w/=-])")
# What every number in groups has, in ASCII.
_GROUPED = re.compile(r"[0-9)][ .-]{1,2}\(?[0-9]{2}")
_CURRENCY_SIGNS = "$€£¥"
_CURRENCY_WORDS = frozenset({"usd", "eur", "gbp", "dollar", "dollars", "euro", "euros", "pounds", "chf"})
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
    subject = shown(message.subject[:MAX_SUBJECT]).text
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
    body = shown(message.new_text)
    text = body.text
    if len(text) > MAX_TEXT:
        text = kept_of(text, MAX_TEXT, [url.text for url in message.urls])
    title = shown(message.subject[:MAX_SUBJECT])
    name = shown(message.sender.display_name)
    words = words_of(f"{title.text}\n{text}")
    different = set(words)
    intents = count_intents(words, different)
    is_ascii = text.isascii()
    plain = is_ascii and name.text.isascii() and title.text.isascii()
    drawn = NO_LOOKALIKES if plain else lookalike_words(f"{name.text}\n{title.text}\n{text}")
    has_body = bool(message.html or message.text_chars)
    data = text.encode("utf-8", "replace")
    digits = len(data) - len(data.translate(None, _DIGITS))
    # Numbers of telephones and accounts need digits, which are counted already where there are no others than ASCII's.
    few_digits = digits < _LEAST_DIGITS and is_ascii
    may_name_wallet = len(words) == MAX_WORDS or max(map(len, different), default=0) >= LEAST_ADDRESS
    return {
        **dict(zip(_TERMS, intents.values(), strict=True)),
        **_quoted_facts(message.quoted_text, has_body),
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
        "crypto_wallet": int(may_name_wallet and has_wallet(text)) if has_body else None,
        "zero_width_count": message.invisible_chars + body.invisible + title.invisible + name.invisible,
        "split_words": message.split_words + body.split_words + title.split_words + name.split_words,
        "confusable_ratio": _share_of(drawn) if text or title.text.strip() or name.text else None,
        "confusable_words": drawn.lookalikes,
        "name_confusable": int(_is_name_confusable(name.text, title.text, drawn)),
        "hidden_text_ratio": _hidden_ratio(message),
        "hidden_text_len": _hidden_len(message) if message.html else None,
        "preview_len": len(message.preview) if message.html else None,
        "fake_thread": int(_fake_thread(message)),
    }


def _quoted_facts(quoted: str, has_body: bool) -> dict[str, ContentValue]:
    """What quoted text asks for: anybody can write a line above their own words that says another wrote them."""
    if not quoted:
        absent = 0 if has_body else None
        return {"quoted_ask_terms": absent, "quoted_bank_details": absent}
    quoted = quoted[:MAX_QUOTED]
    words = words_of(quoted)
    counts = count_intents(words, set(words))
    return {"quoted_ask_terms": sum(counts[intent] for intent in _ASKS), "quoted_bank_details": int(has_iban(quoted))}


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
    if text.isascii() and _GROUPED.search(text) is None:
        return False
    return any(_LEAST_DIGITS <= sum(map(str.isdigit, match[0])) <= 15 for match in _PHONE.finditer(text))


def _share_of(drawn: Lookalikes) -> float:
    return drawn.lookalikes / drawn.words if drawn.words else 0.0


def _is_name_confusable(name: str, title: str, drawn: Lookalikes) -> bool:
    if name.isascii() and title.isascii():
        return False
    if has_lookalike_mark(name) or has_lookalike_mark(title):
        return True
    return drawn.lookalikes > 0 and lookalike_words(f"{name}\n{title}").lookalikes > 0


def _hidden_len(message: Message) -> int:
    return max(0, message.hidden_chars - len("".join(message.preview.split())))


def _hidden_ratio(message: Message) -> float | None:
    if not message.html:
        return None
    hidden = _hidden_len(message)
    whole = hidden + len(message.new_text) + len(message.quoted_text)
    return hidden / whole if whole else 0.0


def _fake_thread(message: Message) -> bool:
    if message.references or message.in_reply_to:
        return False
    if _REPLY.match(message.subject) or _FORWARD.match(message.subject) or message.quoted_text:
        return True
    start = message.new_text[:MAX_TEXT]
    lower = start.lower()
    # Few texts have one of these, and looking for them costs a tenth of looking for the whole.
    return any(map(lower.__contains__, _IN_QUOTED_BLOCKS)) and _QUOTED_BLOCK.search(start) is not None
