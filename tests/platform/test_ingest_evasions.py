"""Whatever way a message is written, what its reader sees is read, or it is said that something was not."""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Iterator

import pytest

from mailwarden.domain.mail.message import Message
from mailwarden.domain.status import Status
from mailwarden.ingest.parse import parse_message
from mailwarden.simulation.evasions.benign import benign
from mailwarden.simulation.evasions.content import EVASIONS
from mailwarden.simulation.evasions.pieces import Pieces

LINK = "https://login.attacker-host.example/verify"
SHOWN = f"""<p>Dear customer,</p><p>the password of your mailbox expires today, and messages will be deleted.</p>
<p><a href="{LINK}">Confirm the account</a> before midnight, or access is suspended.</p>"""
HEADERS = (
    b"From: Desk <desk@notice.example>\nTo: bob@corp.example\nSubject: Notice\nDate: Mon, 2 Mar 2026 10:00:00 +0000\n"
)
WORDS = ("password", "mailbox", "expires", "deleted", "Confirm", "account", "suspended")
PICTURES = ("image only",)


def everything(message: Message) -> Iterator[tuple[str, list[str]]]:
    """Texts and the domains of links, of the message and of what is inside."""
    yield message.new_text, [url.domain for url in message.urls]
    for file in message.inner:
        yield file.text, [url.domain for url in file.urls]
    for nested in message.nested:
        yield from everything(nested)


def read(name: str) -> Message:
    return parse_message(EVASIONS[name](Pieces(HEADERS, SHOWN), 3))


@pytest.mark.parametrize("name", EVASIONS)
def test_the_link_is_found(name: str) -> None:
    found = list(everything(read(name)))
    assert any("attacker-host.example" in domains for _, domains in found), found


@pytest.mark.parametrize(
    "name", [name for name in EVASIONS if name not in PICTURES and not name.startswith("lookalike")]
)
def test_the_words_are_read_as_shown(name: str) -> None:
    text = "\n".join(text for text, _ in everything(read(name)))
    assert [word for word in WORDS if word not in text] == []


@pytest.mark.parametrize("name", [name for name in EVASIONS if name.startswith("hidden")])
def test_hidden_text_is_counted_and_not_read(name: str) -> None:
    message = read(name)
    assert benign(3, 100)[:60] not in message.new_text
    assert message.hidden_chars > 400
    assert message.status_of(("text",)) is Status.PRESENT


@pytest.mark.parametrize("name", [name for name in EVASIONS if name.startswith(("invisible", "split"))])
def test_words_that_are_divided_are_counted(name: str) -> None:
    assert read(name).split_words > 5


@pytest.mark.parametrize("name", ["lookalike: fullwidth letters", "lookalike: mathematical letters"])
def test_letters_of_another_form_are_the_letters(name: str) -> None:
    text = unicodedata.normalize("NFKC", read(name).new_text)
    assert all(word.lower() in text.lower() for word in WORDS)


def test_the_message_itself_is_read_without_any_evasion() -> None:
    body = b"MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n"
    message = parse_message(HEADERS + body + base64.encodebytes(SHOWN.encode()))
    assert all(word in message.new_text for word in WORDS)
    assert (message.hidden_chars, message.split_words) == (0, 0)
