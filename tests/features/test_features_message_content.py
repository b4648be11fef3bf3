from __future__ import annotations

import base64
import time
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.aggregates.windows import HOUR_US
from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.message import Attachment, Authentication, Envelope, Hop, Mailbox, Message, Url
from mailwarden.ingest.parse import parse_message
from mailwarden.testing.check_view import empty_message
from mailwarden_features.message_content.checksums import has_iban, has_wallet
from mailwarden_features.message_content.lexicon import INTENTS, count_intents, words_of
from mailwarden_features.message_content.transform import compute

RECEIVED_US = 1_709_640_000_000_000  # 2024-03-05 12:00 UTC


def message(**changes: Any) -> Message:
    fields = {name: getattr(empty_message(), name) for name in Message.__slots__}
    return Message(**(fields | {"text_chars": len(changes.get("new_text", ""))} | changes))


def value(name: str, **changes: Any) -> ContentValue:
    return compute(message(**changes))[name]


def link(url: str, text: str = "", host: str = "shop.parts.example", domain: str = "parts.example") -> Url:
    return Url(url, text, host, domain, "html")


def attachment(filename: str, content_type: str, size: int = 100) -> Attachment:
    return Attachment(filename, "application/octet-stream", content_type, size, "0" * 64)


SENDER = Mailbox("ann@parts.example", "Ann Lee", "parts.example")
OTHER = Mailbox("ann.lee@gmail.com", "Ann Lee", "gmail.com")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("new_text", None), ("new_text_len", None), ("bank_details", None), ("phone_in_short_body", None),
        ("subject", None), ("subject_is_reply", None), ("hidden_text_ratio", None), ("reply_to_differs", None),
        ("reply_to_freemail", None), ("return_path_differs", None), ("self_addressed", None), ("all_bcc", None),
        ("dmarc", None), ("dmarc_pass", None), ("dkim_aligned", None), ("url_domain_count", None),
        ("url_has_recipient", None), ("attachment_executable", None), ("date_skew_hours", None),
        ("message_id_len", None), ("odd_time_zone", None), ("confusable_ratio", None),
        ("url_count", 0), ("attachment_count", 0), ("fake_thread", 0), ("payment_terms", 0), ("missing_date", 1),
        ("missing_message_id", 1), ("hop_count", 0), ("html", 0),
    ],
)  # fmt: skip
def test_of_nothing_what_cannot_be_computed_is_null_and_what_was_looked_for_is_0(
    name: str, expected: ContentValue
) -> None:
    assert compute(empty_message())[name] == expected


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
    counts = count_intents(words_of("The committee met on Tuesday and read the minutes."))
    assert counts == dict.fromkeys(INTENTS, 0)


@pytest.mark.parametrize("terms", [pytest.param(terms, id=intent) for intent, terms in INTENTS.items()])
def test_every_term_can_be_found(terms: str) -> None:
    for term in filter(str.strip, terms.split(";")):
        assert sum(count_intents(words_of(f"well {term} then")).values()) >= 1, term


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


def test_who_writes_and_where_the_answer_goes() -> None:
    facts = compute(
        message(sender=SENDER, reply_to=(OTHER,), return_path="bounce@mailer.example", recipients=("lee@corp.example",))
    )
    assert (facts["reply_to_differs"], facts["reply_to_freemail"], facts["return_path_differs"]) == (1, 1, 1)
    assert (facts["sender_freemail"], facts["all_bcc"], facts["self_addressed"]) == (0, 1, 0)
    facts = compute(
        message(sender=SENDER, reply_to=(SENDER,), return_path="b@mail.parts.example", to=(SENDER,),
                recipients=(SENDER.address,))
    )  # fmt: skip
    assert (facts["reply_to_differs"], facts["reply_to_freemail"], facts["return_path_differs"]) == (0, 0, 0)
    assert (facts["all_bcc"], facts["self_addressed"]) == (0, 1)
    facts = compute(message(sender=SENDER, return_path=""))
    assert (facts["return_path_empty"], facts["return_path_differs"]) == (1, None)
    posing = Mailbox("x9@post.example", "ceo@corp.example", "post.example")
    assert value("display_name_other_address", sender=posing) == 1
    assert value("display_name_other_address", sender=SENDER) == 0


def test_authentication_keeps_none_error_and_silence_apart() -> None:
    for verdict, numbers in (("pass", (1, 0)), ("fail", (0, 1)), ("none", (0, 0)), ("temperror", (0, 0))):
        facts = compute(message(authentication=Authentication(dmarc=verdict, dkim_aligned=False)))
        assert (facts["dmarc"], facts["dmarc_pass"], facts["dmarc_fail"]) == (verdict, *numbers)
        assert facts["dkim_aligned"] == 0
        assert (facts["spf"], facts["spf_pass"], facts["spf_fail"]) == (None, None, None)
    assert value("spf_fail", authentication=Authentication(spf="softfail")) == 1


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [
        ("url_text_differs", link("https://evil.example/", "www.bank.example/login"), 1),
        ("url_text_differs", link("https://shop.parts.example/", "https://parts.example"), 0),
        ("url_text_differs", link("https://shop.parts.example/", "click here."), 0),
        ("url_ip_host", link("http://10.0.0.1/", host="10.0.0.1", domain="10.0.0.1"), 1),
        ("url_punycode", link("https://xn--pypal-4ve.example/", host="xn--pypal-4ve.example"), 1),
        ("url_shortener", link("https://bit.ly/x", host="bit.ly", domain="bit.ly"), 1),
        ("url_free_host", link("https://x.pages.dev/", host="x.pages.dev", domain="x.pages.dev"), 1),
        ("url_free_host", link("https://parts.example/"), 0),
        ("url_open_redirect", link("https://shop.parts.example/r?u=https://evil.example/a"), 1),
        ("url_open_redirect", link("https://shop.parts.example/r?u=https%3A%2F%2Fevil.example"), 1),
        ("url_open_redirect", link("https://shop.parts.example/r?u=https://www.parts.example/a"), 0),
        ("url_has_recipient", link("https://parts.example/?e=lee@corp.example"), 1),
        ("url_has_recipient", link("https://parts.example/?e=lee%40corp.example"), 1),
        ("url_has_recipient", link("https://parts.example/" + base64.b64encode(b"lee@corp.example").decode()), 1),
        ("url_has_recipient", link("https://parts.example/#" + base64.b64encode(b"LEE@corp.example").decode()), 1),
        ("url_has_recipient", link("https://parts.example/?e=someone@corp.example"), 0),
        ("url_userinfo", link("https://bank.example@evil.example/"), 1),
        ("url_port", link("https://parts.example:8443/"), 1),
        ("url_port", link("https://parts.example:443/"), 0),
        ("url_plain_http_share", link("http://parts.example/"), 1.0),
        ("url_sender_domain_share", link("https://parts.example/"), 1.0),
        ("url_path_depth_max", link("https://parts.example/a/b/c"), 2),
        ("url_subdomains_max", link("https://a.b.parts.example/", host="a.b.parts.example"), 2),
        ("url_executable", link("https://parts.example/invoice.exe?x=1"), 1),
        ("url_executable", link("https://parts.example/invoice.pdf"), 0),
    ],
)
def test_links(name: str, url: Url, expected: ContentValue) -> None:
    assert value(name, urls=(url,), sender=SENDER, recipients=("lee@corp.example",)) == expected


@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [
        ("attachment_executable", attachment("a.txt", "application/vnd.microsoft.portable-executable"), 1),
        ("attachment_executable", attachment("a.SCR", "application/octet-stream"), 1),
        ("attachment_executable", attachment("a.pdf", "application/pdf"), 0),
        ("attachment_double_extension", attachment("invoice.pdf.exe", "text/plain"), 1),
        ("attachment_double_extension", attachment("invoice.pdf          .exe", "text/plain"), 1),
        ("attachment_double_extension", attachment("backup.txt.gz", "application/gzip"), 0),
        ("attachment_double_extension", attachment("v1.2.pdf", "application/pdf"), 0),
        ("attachment_type_differs", attachment("photo.jpg", "application/vnd.microsoft.portable-executable"), 1),
        ("attachment_type_differs", attachment("photo.jpg", "image/png"), 0),
        ("attachment_macro_capable", attachment("a.docm", "application/vnd.ms-word.document.macroenabled.12"), 1),
        ("attachment_office",
         attachment("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"), 1),
        ("attachment_archive", attachment("a.iso", "application/x-iso9660-image"), 1),
        ("attachment_html", attachment("a.shtml", "text/html"), 1),
        ("attachment_bytes_max", attachment("a", "text/plain", size=7), 7),
    ],
)  # fmt: skip
def test_attachments(name: str, file: Attachment, expected: int) -> None:
    assert value(name, attachments=(file,)) == expected


def test_times_and_hops() -> None:
    hops = (Hop("mx.parts.example", "", "", "", RECEIVED_US), Hop("pc", "", "", "", RECEIVED_US - 2 * HOUR_US))
    times = {"received_at_us": RECEIVED_US, "date_us": RECEIVED_US + HOUR_US, "time_source": "received"}
    facts = compute(message(hops=hops, **times))
    assert (facts["hop_count"], facts["hop_span_hours"], facts["date_skew_hours"]) == (2, 2.0, 1.0)
    assert (facts["hop_order_broken"], facts["helo_unqualified"]) == (0, 0)
    assert value("hop_order_broken", hops=hops[::-1]) == 1
    assert value("helo_unqualified", hops=hops[::-1]) == 1
    assert value("date_skew_hours", received_at_us=RECEIVED_US, date_us=RECEIVED_US, time_source="date") is None
    # The Date handed over again as time of receipt tells nothing more, unless a hop bears witness.
    assert value("date_skew_hours", received_at_us=RECEIVED_US, date_us=RECEIVED_US) is None
    for zone, odd in (("+0000", 0), ("+0530", 0), ("-0330", 0), ("-1700", 1), ("+0117", 1), ("GMT", 0), ("", 1)):
        assert value("odd_time_zone", headers=(("Date", f"Tue, 5 Mar 2024 10:00:00 {zone}"),)) == odd, zone


def test_a_whole_message_from_its_bytes() -> None:
    mail = EmailMessage()
    mail["From"] = '"Ann Lee" <ann@parts.example>'
    mail["To"] = "lee@corp.example"
    mail["Subject"] = "RE: URGENT invoice 12!"
    mail["Message-ID"] = "<1.2@parts.example>"
    mail["Date"] = "Tue, 5 Mar 2024 13:00:00 +0000"
    mail.set_content("Dear customer,\nplease see the new bank details: $ 1,200.\n")
    parsed = parse_message(bytes(mail), Envelope(RECEIVED_US, "ann@parts.example", ("lee@corp.example",)))
    facts = compute(parsed)
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
    for parsed in (parse_message(raw), parse_message(hostile), message(subject=subject, new_text=body)):
        assert compute(parsed) == compute(parsed)


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
        compute(message(new_text=part, subject=text[:1000], urls=urls, html=True, recipients=("lee@corp.example",)))
    assert time.process_time() - started < 0.25
