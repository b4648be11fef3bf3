"""What a directory says of a message, and that it stays said."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mailwarden.domain.mail.directory import NO_DIRECTORY, Directory, Entry
from mailwarden.domain.mail.directory_answer import DirectoryAnswer
from mailwarden.domain.mail.message import Envelope
from mailwarden.domain.mail.reception import Reception
from mailwarden.ingest.parse import parse_message
from mailwarden.ingest.receive import Site, receive

OWN = frozenset({"acme.example"})
ENTRIES = (
    Entry("ann@acme.example", "Ann Lee", ("ann@home.example",), "CEO"),
    Entry("bob@acme.example", "Bob Stone", (), "Accountant", "", "ann@acme.example"),
    Entry("ann2@acme.example", "Ann Lee", (), "Clerk"),
    Entry("@northwind.example", "", (), "vendor"),
)
DIRECTORY = Directory.of(ENTRIES)


def said(sender: str, to: str = "bob@acme.example", directory: Directory | None = DIRECTORY) -> DirectoryAnswer:
    raw = f"From: {sender}\nTo: {to}\nSubject: a\n\nb\n".encode()
    found = receive(raw, Envelope(1, rcpt_to=(to,)), Site("t", OWN, directory=directory)).message.directory
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        (
            "Ann Lee <x@evil.example>",
            {"named": "name", "named_vip": True, "named_manager": True, "named_theirs": False},
        ),
        ("A. Lee <x@evil.example>", {"named": "initials", "named_vip": True, "named_usual": "ann@acme.example"}),
        (
            "Lee, Ann <ann@home.example>",
            {"named": "name", "named_theirs": True, "sender_vip": True, "own_domain": False},
        ),
        ("Ann Lee <ann2@acme.example>", {"named_theirs": True, "named_vip": False, "own_domain": True}),
        ("Carl <carl@northvvind.example>", {"named": "", "partner_near": "northwind.example", "own_near": ""}),
        ("Carl <carl@northwind.example>", {"partner_near": "", "sender_there": False}),
        ("Carl <carl@acrne.test>", {"own_near": "acme.example", "own_near_edits": False, "own_domain": False}),
    ],
)
def test_an_answer_names_whose_name_and_domain_it_is(sender: str, expected: dict[str, Any]) -> None:
    answer = said(sender)
    assert {name: getattr(answer, name) for name in expected} == expected
    assert (answer.listed, answer.recipient_duty, answer.recipient_vip) == (True, "finance", False)


def test_without_a_directory_own_domains_are_told_alone_and_one_that_is_away_says_nothing() -> None:
    answer = said("Ann Lee <ann@acme.example>", directory=NO_DIRECTORY)
    assert answer == DirectoryAnswer(own_domain=True)
    raw = b"From: Ann Lee <ann@acme.example>\n\nb\n"
    assert receive(raw, Envelope(1), Site("t", OWN, directory=None)).message.directory is None


def test_what_was_said_is_read_again_whatever_the_directory_says_now() -> None:
    raw = b"From: Ann Lee <x@evil.example>\nTo: bob@acme.example\n\nb\n"
    received = receive(raw, Envelope(1, rcpt_to=("bob@acme.example",)), Site("t", OWN, directory=DIRECTORY))
    assert received.envelope.reception is not None and received.message.directory is not None
    kept = Reception.from_text(received.envelope.reception.to_text())
    again = parse_message(raw, replace(received.envelope, reception=kept))
    assert again.directory == received.message.directory and again.directory.named_vip  # type: ignore[union-attr]
    stored = Site("t", OWN, stored=True, directory=Directory.of(()))
    assert receive(raw, replace(received.envelope, reception=kept), stored).message.directory == again.directory


def test_a_directory_is_the_same_after_it_was_written_and_read() -> None:
    read = Directory.from_json(json.loads(json.dumps(DIRECTORY.to_json())))
    assert read.entries == DIRECTORY.entries and read.fingerprint == DIRECTORY.fingerprint
    assert said("A Lee <x@northwnid.example>", directory=read) == said("A Lee <x@northwnid.example>")
    assert Directory.of(ENTRIES[::-1]).fingerprint == DIRECTORY.fingerprint
    assert Directory.of(ENTRIES[1:]).fingerprint != DIRECTORY.fingerprint
