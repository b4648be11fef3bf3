"""What stays the same of a message while its sender varies the rest, and that no bytes break it."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.mail.campaigns import signature_of
from mailwarden.domain.mail.facts import event_of
from mailwarden.domain.mail.fingerprints import (
    attachment_of,
    folded_name,
    link_domain_of,
    structure_of,
    thread_of,
)
from mailwarden.domain.mail.message import Attachment, Mailbox, Message, Url
from mailwarden.ingest.parse import parse_message

HEADERS = b"""From: Ann Lee <ann@parts.example>
To: Bob Stone <bob.stone@corp.example>
Subject: hello
Date: Tue, 5 Mar 2024 10:00:00 +0000
Message-ID: <20240305100000.4a5b6c@parts.example>
MIME-Version: 1.0
User-Agent: Mutt/1.5.9i (2005-02-14; Linux)

"""
TEXT = b"Dear %s, your parcel %d waits at http://x%d.example/p and will go back on Monday. Write to %s at once, please."


def parsed(headers: bytes = HEADERS, body: bytes = b"") -> Message:
    return parse_message(headers + body)


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("Ann Lee", "ann lee"),
        ('  "ANN\u00a0\u2003lee" ', "ann lee"),
        ("\uff21\uff4e\uff4e Lee", "ann lee"),  # full-width letters
        ("A\u200bnn\u202e Lee\u00ad", "ann lee"),
        ("Stra\u00dfe", "strasse"),
        ("\u0410nn Lee", "\u0430nn lee"),  # a Cyrillic A stays one
        ("ann@parts.example", ""),
        ("'Ann@Parts.example'", ""),
        ("", ""),
        ("\u200b\u200b", ""),
        ("x" * 1000, "x" * 128),
        ("\ufdfa" * 1000, None),
    ],
)
def test_a_name_is_folded_as_readers_read_it(written: str, folded: str | None) -> None:
    found = folded_name(Mailbox("ann@parts.example", written, "parts.example"))
    assert len(found) <= 128 and (folded is None or found == folded)


def test_a_thread_is_named_by_the_message_that_began_it() -> None:
    def thread(*lines: bytes) -> str:
        return thread_of(parse_message(b"\n".join((b"From: a@b.example", *lines)) + b"\n\n"))

    root = thread(b"Message-ID: <1@b.example>")
    assert re.fullmatch(r"[0-9a-f]{32}", root)
    assert thread(b"Message-ID: <3@b.example>", b"In-Reply-To: <1@b.example>") == root
    both = b"References: <1@b.example> <2@b.example>"
    assert thread(b"Message-ID: <3@b.example>", b"In-Reply-To: <2@b.example>", both) == root
    assert thread(b"Message-ID: <2@b.example>") != root
    assert thread() == ""


def test_the_link_is_the_first_that_leaves_the_sender() -> None:
    def lead(*domains: str) -> str:
        urls = tuple(Url(f"http://{d}/", "", d, d, "text") for d in domains)
        return link_domain_of(replace(parsed(), urls=urls))

    assert lead() == ""
    assert lead("parts.example", "", "shop.example", "evil.example") == "shop.example"
    assert lead("", "parts.example") == "parts.example"


def test_the_attachment_is_the_largest() -> None:
    def part(size: int, name: str) -> Attachment:
        return Attachment("f", "a/b", "a/b", size, name * 64)

    assert attachment_of(parsed()) == ""
    assert attachment_of(replace(parsed(), attachments=(part(3, "a"), part(9, "b"), part(9, "c")))) == "b" * 64


def test_a_structure_is_the_mailers_and_neither_the_relays_nor_the_days() -> None:
    def structure(headers: bytes) -> str:
        return structure_of(parse_message(headers))

    mine = structure(HEADERS)
    assert re.fullmatch(r"[0-9a-f]{16}", mine)
    relayed = b"Received: from a by b; x\nX-Spam-Score: 1\nDelivered-To: x\nARC-Seal: y\n" + HEADERS
    answered = HEADERS.replace(b"Subject: hello", b"Subject: RE: x\nIn-Reply-To: <1@b.example>")
    later = HEADERS.replace(b"20240305100000.4a5b6c", b"20250101120000.ffee01").replace(b"1.5.9i", b"2.2.1")
    for same in (relayed, answered, later):
        assert structure(same) == mine
    lines = HEADERS.split(b"\n")
    swapped = b"\n".join([lines[1], lines[0], *lines[2:]])
    other_mailer = HEADERS.replace(b"Mutt/1.5.9i", b"KMail/1.9")
    other_form = HEADERS.replace(b"20240305100000.4a5b6c", b"CAKx_Zq+w1=9aB")
    other_host = HEADERS.replace(b"4a5b6c@parts", b"4a5b6c@else")
    bare_host = HEADERS.replace(b"4a5b6c@parts.example", b"4a5b6c@pc1")
    different = [swapped, other_mailer, other_form, other_host, bare_host, HEADERS.replace(b"Message-ID", b"X-Id")]
    assert len({mine, *map(structure, different)}) == 7
    assert structure(b"") == ""


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_have_bounded_fingerprints(raw: bytes) -> None:
    message = parse_message(b"From: " + raw + b"\nMessage-ID: <" + raw + b">\nX-Mailer: " + raw + b"\n\n" + raw)
    assert len(folded_name(message.sender)) <= 128
    for found, sizes in ((thread_of, (0, 32)), (signature_of, (0, 128)), (structure_of, (0, 16))):
        assert len(found(message)) in sizes
    folded_name(message.sender).encode()


def test_hostile_sizes_take_no_longer_than_any_message() -> None:
    junk = [b"a" * 200_000, b"(" * 200_000, b"a@" * 100_000, "\ufdfa".encode() * 50_000, b"http://" * 30_000]
    for body in junk:
        headers = b"".join(b"X-H%d: 1\n" % i for i in range(900))
        message = parse_message(
            headers + b"From: =?utf-8?q?" + body[:20_000] + b"?= <a@b.example>\nUser-Agent: " + body[:30_000]
            + b"\nMessage-ID: <" + body[:30_000] + b">\n\n" + body
        )  # fmt: skip
        began = time.thread_time()
        for found in (thread_of, signature_of, structure_of, link_domain_of):
            found(message)
        folded_name(message.sender)
        # CPU seconds, far from what anything quadratic in such a message would take.
        assert time.thread_time() - began < 2.0


def test_an_event_bears_the_fingerprints_of_its_message() -> None:
    message = parse_message(
        HEADERS.replace(b"Subject", b"In-Reply-To: <1@b.example>\nSubject")
        + TEXT % (b"Bob", 1, 1, b"x@b.example")
    )  # fmt: skip
    event = event_of(message, tenant="t", own_domains=frozenset({"corp.example"}), seq=1, received_at_us=1,
                     mail_from=None, rcpt_to=())  # fmt: skip
    assert (event.display_name, event.thread) == ("ann lee", thread_of(message))
    assert (event.signature, event.structure) == (signature_of(message), structure_of(message))
    assert (event.link_domain, event.attachment, event.reply) == ("x1.example", "", True)
    assert (event.new_recipients, event.campaign) == ((), "") and all((event.thread, event.signature, event.structure))
    plain = event_of(parsed(), tenant="t", own_domains=frozenset(), seq=1, received_at_us=1, mail_from=None, rcpt_to=())
    assert plain.reply is False and plain.link_domain == ""
