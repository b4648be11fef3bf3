"""content_text: what subject and newest text say."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentFeature, ContentView, count, flag, real
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.content_text.lexicon import INTENTS
from mailwarden_features.content_text.transform import compute

_NO_BODY = "not computable: no text and no HTML body"
_NO_HTML = "not computable: no HTML body"
_NO_SUBJECT = "not computable: no Subject header"

_INTENTS = tuple(
    count(f"{intent}_terms", f"Different {intent.replace('_', ' ')} terms in subject and newest text.", "terms")
    for intent in INTENTS
)

VIEW = ContentView(
    name="content_text",
    version=1,
    owner="content-analysis",
    description="What subject and newest text say, and what is done to hide it.",
    features=(
        ContentFeature(
            "subject",
            "string",
            "Subject as a reader sees it, at most 1,000 characters.",
            "text",
            _NO_SUBJECT,
            text=True,
        ),
        count("subject_len", "Length of the subject.", "characters", _NO_SUBJECT),
        flag("subject_is_reply", "The subject begins with RE: or its like in other languages.", _NO_SUBJECT),
        flag("subject_is_forward", "The subject begins with FW: or its like in other languages.", _NO_SUBJECT),
        real(
            "subject_upper_share",
            "Capitals among the subject's ASCII letters.",
            "0..1",
            "not computable: no Subject header, or no ASCII letter in it",
        ),
        count("subject_digit_count", "Digits in the subject.", "characters", _NO_SUBJECT),
        count("subject_punctuation_count", "Of ! ? $ in the subject.", "characters", _NO_SUBJECT),
        real(
            "subject_non_ascii_share",
            "Characters beyond ASCII in the subject.",
            "0..1",
            "not computable: no Subject header, or an empty one",
        ),
        *_INTENTS,
        ContentFeature(
            "new_text",
            "string",
            "The newest text; of a long one start, end and what matters, 6,000 in all.",
            "text",
            _NO_BODY,
            text=True,
        ),
        count("new_text_len", "Length of the newest text, quotes apart.", "characters", _NO_BODY),
        count("quoted_text_len", "Length of the quoted text.", "characters", _NO_BODY),
        real(
            "text_upper_share",
            "Capitals among the newest text's ASCII letters.",
            "0..1",
            "not computable: no body, or no ASCII letter in it",
        ),
        real(
            "text_digit_share",
            "Digits among the newest text's bytes in UTF-8.",
            "0..1",
            "not computable: no newest text",
        ),
        real(
            "text_non_ascii_share",
            "Characters beyond ASCII in the newest text.",
            "0..1",
            "not computable: no newest text",
        ),
        count("exclamation_count", "Exclamation marks in the newest text.", "characters", _NO_BODY),
        count("money_count", "Currency signs and words in subject and newest text.", "occurrences", _NO_BODY),
        flag("generic_greeting", "The text opens with 'Dear customer' or its like.", _NO_BODY),
        flag("phone_in_short_body", "A telephone number in a newest text of 75 to 1,750 characters.", _NO_BODY),
        flag("bank_details", "An IBAN with a right checksum in the newest text.", _NO_BODY),
        flag("crypto_wallet", "A Bitcoin-like address with a right checksum in the newest text.", _NO_BODY),
        count(
            "zero_width_count",
            "Invisible and overriding characters in name, subject and text that no writing system asks for.",
            "characters",
        ),
        count("split_words", "Words that invisible characters, hidden text, empty tags or cells divide.", "words"),
        real(
            "confusable_ratio",
            "Words of name, subject and text spelt in letters that only look Latin (UTS 39), of all.",
            "0..1",
            "not computable: no name, subject or text",
        ),
        count("confusable_words", "Words of name, subject and text in letters that only look Latin.", "words"),
        flag("name_confusable", "Name or subject has such a word, or an address with another sign than @."),
        real("hidden_text_ratio", "HTML text that a reader does not see, a preview apart, of all.", "0..1", _NO_HTML),
        count("hidden_text_len", "Characters of that hidden text, blanks apart.", "characters", _NO_HTML),
        count("preview_len", "Length of a short hidden text in front, which lists show.", "characters", _NO_HTML),
        count("quoted_ask_terms", "Terms of access, money, calls and threats in the quoted text.", "terms", _NO_BODY),
        flag("quoted_bank_details", "An IBAN with a right checksum in the quoted text.", _NO_BODY),
        flag("fake_thread", "Looks like a reply or forward, without References and In-Reply-To."),
    ),
    compute=compute,
    reads=("headers", "text"),
    cost_us=140,
)

feature_view = feature_view_of(VIEW)
