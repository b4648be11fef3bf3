"""Small messages that were read wrongly once, one of each kind of fault, where they are at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mailwarden.domain.mail.events import direction_of
from mailwarden.domain.mail.facts import authenticated
from mailwarden.domain.mail.message import Message
from mailwarden.domain.mail.trust import Trust
from mailwarden.ingest.parse import parse_message
from mailwarden.stores.lists import load_lists
from mailwarden_features.content_attachments.view import VIEW as FILES
from mailwarden_features.content_identity.view import VIEW as IDENTITY
from mailwarden_features.content_links.view import VIEW as LINKS
from mailwarden_features.content_text.view import VIEW as TEXT

LISTS = load_lists()

CASES = Path(__file__).parents[3] / "shared" / "cases"

Right = Callable[[Message], bool]


def says(*words: str) -> Right:
    return lambda message: all(word in message.new_text for word in words)


def leads_to(host: str) -> Right:
    return lambda message: host in {url.host for url in message.urls}


def links_say(**expected: object) -> Right:
    return lambda message: expected.items() <= LINKS.compute(message, LISTS).items()


def text_says(**expected: object) -> Right:
    return lambda message: expected.items() <= TEXT.compute(message, LISTS).items()


def hides_the_ferry(message: Message) -> bool:
    shown = message.new_text.startswith("Dear customer") and "ferry" not in message.new_text
    return shown and message.hidden_text.startswith("The ferry") and message.preview == ""


ANSWER: Right = lambda m: m.new_text == "Thanks, fine with me." and "OLD WORDS" in m.quoted_text  # noqa: E731
ASKS_FOR_MONEY = text_says(bank_details=1, payment_terms=4, quoted_text_len=0)


def identity_says(**expected: object) -> Right:
    return lambda message: expected.items() <= IDENTITY.compute(message, LISTS).items()


def verdicts(message: Message) -> tuple[str | None, ...]:
    found = message.authentication
    return found.spf, found.dkim, found.dmarc


PHISH = (says("Verify your password"), leads_to("login.evil-host.example"))

RIGHT: dict[str, tuple[Right, ...]] = {
    "01": (says("Hello members"), lambda message: message.hidden_chars == 0),
    "02a": (hides_the_ferry,),
    "02b": (hides_the_ferry,),
    "02d": (hides_the_ferry,),
    "02g": (hides_the_ferry,),
    "03": (*PHISH, says("Hello Bob")),
    "04a": (*PHISH, lambda message: message.html and not message.attachments),
    "05a": (*PHISH, lambda message: "text_begins_as_file" in {defect.code for defect in message.defects}),
    "08": (lambda m: (m.urls[0].domain, m.sender.domain) == ("xn--grobank-2va.example",) * 2,),
    "09": (lambda m: [u.host for u in m.urls] == ["login.evil-host.com"],),
    "11": (
        lambda m: {u.domain for u in m.urls} == {"partner.example"},
        links_say(url_text_differs=0, url_rewritten=2, url_has_recipient=0),
    ),
    "12": (*PHISH, says("Your subscription renews today", "+1 800 555 0100")),
    "13a": (lambda m: [u.host for u in m.nested[0].urls] == ["login.evil-host.example"],),
    "14": (says("suspended"), leads_to("login.evil-host.example")),
    "15": (lambda m: any("executable" in file.traits and file.depth == 1 for file in m.inner),),
    "16a": (lambda m: {"form", "password_field"} <= set(m.inner[0].traits),),
    "17": (lambda m: FILES.compute(m, LISTS)["attachment_executable"] == 1,),
    "18": PHISH,
    "19": (lambda m: m.sender.address == "john@company.example", identity_says(from_comment_in_address=1)),
    "21": (
        text_says(name_confusable=1),
        identity_says(display_name_lookalike_mark=1, display_name_other_address=1),
    ),
    "22b": (text_says(zero_width_count=0, split_words=0, confusable_words=0),),
    "23": (text_says(confusable_words=9, name_confusable=1),),
    "24": (says("明日の会議の資料を①確認してください"),),
    "25a": (ANSWER,),
    "25c": (ANSWER,),
    "26": (ASKS_FOR_MONEY,),
    "26b": (ASKS_FOR_MONEY,),
    "27": (
        lambda m: [u.host for u in m.urls] == ["evil-host.example"] * 2,
        links_say(url_file=1, url_application=1, url_script=1),
    ),
    "28a": (lambda m: [u.url for u in m.urls] == ["https://login.evil-host.example/v?a=b:c"],),
    "32": PHISH,
    "33": (says("Verify your password, username, login. Your invoice payment is overdue"), text_says(split_words=7)),
}


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no messages in {CASES}")
@pytest.mark.parametrize("case", RIGHT)
def test_it_is_read_as_its_reader_sees_it(case: str) -> None:
    (path,) = CASES.glob(f"{case}-*.eml")
    message = parse_message(path.read_bytes())
    for number, right in enumerate(RIGHT[case]):
        assert right(message), (path.name, number, message.new_text)


OWN = frozenset({"corp.example"})
IDS = Trust(authserv_ids=frozenset({"mx.corp.example"}))
FAILED = ("fail", "none", "fail")

TRUSTED: list[tuple[str, Trust, Right]] = [
    ("06a", IDS, lambda m: verdicts(m) == ("fail", "pass", "pass")),
    ("06b", IDS, lambda m: direction_of(m.sender.domain, (*OWN,), OWN, authenticated(m)) == "internal"),
    ("07", Trust(topmost=1), lambda m: verdicts(m) == FAILED),
    ("07", Trust(hops=IDS.authserv_ids), lambda m: verdicts(m) == FAILED),
    ("07", IDS, lambda m: verdicts(m) == (None, None, None)),
]


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no messages in {CASES}")
@pytest.mark.parametrize(("case", "trust", "right"), TRUSTED)
def test_it_is_read_rightly_under_a_trust(case: str, trust: Trust, right: Right) -> None:
    (path,) = CASES.glob(f"{case}-*.eml")
    assert right(parse_message(path.read_bytes(), trust=trust))
