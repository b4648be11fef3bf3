from __future__ import annotations

import time
from collections.abc import Mapping
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.mail.content import ContentValue, ContentView
from mailwarden.domain.mail.message import Envelope, Message, Url
from mailwarden.ingest.parse import parse_message
from mailwarden.stores.content_code import content_set
from mailwarden.stores.lists import load_lists
from mailwarden.testing.messages import message_of
from mailwarden_features import discover

RECEIVED_US = 1_709_640_000_000_000  # 2024-03-05 12:00 UTC
CONTENT = content_set(discover().content, load_lists())


def computed(message: Message) -> Mapping[str, ContentValue]:
    """Every feature of every view by its own name; none may fail."""

    def fail(view: ContentView, exc: Exception) -> None:
        raise exc

    found = CONTENT.values_of(message, fail)
    return {
        feature.name: value
        for view in CONTENT.views
        for feature, value in zip(view.features, found.values[view.name], strict=True)
    }


def link(url: str, text: str = "", host: str = "shop.parts.example", domain: str = "parts.example") -> Url:
    return Url(url, text, host, domain, "html")


def test_a_whole_message_from_its_bytes() -> None:
    mail = EmailMessage()
    mail["From"] = '"Ann Lee" <ann@parts.example>'
    mail["To"] = "lee@corp.example"
    mail["Subject"] = "RE: URGENT invoice 12!"
    mail["Message-ID"] = "<1.2@parts.example>"
    mail["Date"] = "Tue, 5 Mar 2024 13:00:00 +0000"
    mail.set_content("Dear customer,\nplease see the new bank details: $ 1,200.\n")
    parsed = parse_message(bytes(mail), Envelope(RECEIVED_US, "ann@parts.example", ("lee@corp.example",)))
    facts = computed(parsed)
    wanted = {
        "subject": "RE: URGENT invoice 12!", "subject_is_reply": 1, "subject_digit_count": 2, "fake_thread": 1,
        "generic_greeting": 1, "money_count": 1, "html": 0, "date_skew_hours": 1.0, "message_id_domain_matches": 1,
        "all_bcc": 0, "to_count": 1, "recipient_count": 1, "url_count": 0, "legacy_charset": 0,
    }  # fmt: skip
    assert {name: facts[name] for name in wanted} == wanted
    assert str(facts["new_text"]).startswith("Dear customer,\nplease")


@settings(max_examples=60, deadline=None)
@given(raw=st.binary(max_size=400), subject=st.text(max_size=60), body=st.text(max_size=300))
def test_never_raises_and_always_answers_the_same(raw: bytes, subject: str, body: str) -> None:
    hostile = b"Subject: " + subject.encode("utf-8", "replace") + b"\n\n" + body.encode("utf-8", "replace") + raw
    for parsed in (parse_message(raw), parse_message(hostile), message_of(subject=subject, new_text=body)):
        assert computed(parsed) == computed(parsed)


@pytest.mark.parametrize(
    "text",
    ["1 " * 3000, "(" * 6000, "A" * 6000, "DE12" * 1500, "a@" * 3000, "> " * 3000, "From: x\n" * 700, "p\u0430" * 3000,
     "1BvBMSEY" * 700, "1-" * 3000, "\u200b" * 6000, "-" * 6000, " " * 6000],
    ids=lambda text: repr(text[:8]),
)  # fmt: skip
def test_no_text_makes_it_slow(text: str) -> None:
    urls = tuple(link(f"https://h{i}.example/?u=" + text.replace(" ", "%20")[:3000], text[:500]) for i in range(60))
    body = text[:1700]
    started = time.process_time()
    for part in (text, body):
        computed(message_of(new_text=part, subject=text[:1000], urls=urls, html=True, recipients=("lee@corp.example",)))
    assert time.process_time() - started < 0.25
