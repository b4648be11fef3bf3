from __future__ import annotations

from dataclasses import astuple
from datetime import UTC, datetime

import pytest

from mailwarden.domain.mail.message import Envelope, Message
from mailwarden.domain.status import Status
from mailwarden.ingest.mbox import split_mbox_from
from mailwarden.ingest.parse import parse_message


def codes(message: Message) -> set[str]:
    return {defect.code for defect in message.defects}


def us(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()) * 1_000_000


def headed(*lines: str, body: str = "hi") -> Message:
    return parse_message("\r\n".join([*lines, "", body]).encode())


def test_headers_keep_their_order_and_spelling() -> None:
    message = headed("X-b: 2", "x-A: 1", "X-B:  folded\r\n value", "From: a@b.example")
    assert message.headers == (("X-b", "2"), ("x-A", "1"), ("X-B", "folded value"), ("From", "a@b.example"))
    assert message.header("x-b") == "2"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("=?utf-8?B?R3LDvMOfZQ==?= aus =?iso-8859-1?Q?K=F6ln?=", "Grüße aus Köln"),
        ("=?utf-8?Q?Gr=C3?= =?utf-8?Q?=BC=C3=9Fe?= =?utf-8?Q?_!?=", "Grüße !"),
        ("=?no-such-charset?Q?caf=C3=A9?=", "café"),
        ("=?utf-8?B?aGVsbG8?=", "hello"),
        ("=?utf-8?X?aGVsbG8?=", "=?utf-8?X?aGVsbG8?="),
        ("100% =?", "100% =?"),
    ],
)
def test_encoded_words(written: str, read: str) -> None:
    assert headed(f"Subject: {written}").subject == read


def test_raw_eight_bit_headers() -> None:
    assert parse_message("Subject: Grüße\n\n".encode()).subject == "Grüße"
    message = parse_message("Subject: Grüße\n\n".encode("latin-1"))
    assert message.subject == "Grüße"
    assert "header_8bit" in codes(message)


@pytest.mark.parametrize(
    ("written", "address", "name"),
    [
        ("Ann Lee <Ann@Mail.Example.com>", "ann@mail.example.com", "Ann Lee"),
        ('"Lee, Ann" <ann@example.com>', "ann@example.com", "Lee, Ann"),
        ("Lee, Ann <ann@example.com>", "ann@example.com", "Lee, Ann"),
        ("ann@example.com (Ann Lee)", "ann@example.com", "Ann Lee"),
        ("=?utf-8?Q?Lee=2C_Ann_=3Cc=40x.example=3E?= <ann@example.com>", "ann@example.com", "Lee, Ann <c@x.example>"),
        ('"ceo@corp.example" <ann@example.com>', "ann@example.com", "ceo@corp.example"),
        ("<ann@example.com>", "ann@example.com", ""),
        ("Ann ann@example.com", "ann@example.com", "Ann"),
    ],
)
def test_mailboxes(written: str, address: str, name: str) -> None:
    message = headed(f"From: {written}")
    assert (message.sender.address, message.sender.display_name) == (address, name)
    assert message.sender.domain == "example.com"
    assert "several_authors" not in codes(message)


def test_groups_and_lists() -> None:
    message = headed("To: Team: a@x.example, B <b@x.example>;, c@x.example", "Cc: undisclosed-recipients:;")
    assert [box.address for box in message.to] == ["a@x.example", "b@x.example", "c@x.example"]
    assert message.cc == ()


def test_the_first_of_several_authors_is_the_sender() -> None:
    message = headed("From: a@x.example, b@y.example", "Sender: s@z.example")
    assert message.sender.address == "a@x.example"
    assert "several_authors" in codes(message)


def test_sender_falls_back() -> None:
    assert headed("Sender: s@z.example").sender.address == "s@z.example"
    assert parse_message(b"\n", Envelope(mail_from="e@z.example")).sender.address == "e@z.example"
    named = parse_message(b"From: The Boss\n\n", Envelope(mail_from="e@z.example"))
    assert (named.sender.address, named.sender.display_name) == ("e@z.example", "The Boss")


RECEIVED = (
    "Received: from evil.example (x for <forged@x.example> [192.0.2.7]) by mx.corp.example (8.13) with ESMTP id 1 "
    "for <Real@corp.example>; Sun, 8 Apr 2007 13:07:21 -0400 (EDT)"
)


def test_received_is_read() -> None:
    hop = headed(RECEIVED, "Received: nonsense").hops[0]
    assert (hop.from_host, hop.from_ip, hop.by_host) == ("evil.example", "192.0.2.7", "mx.corp.example")
    assert hop.for_address == "real@corp.example"
    assert hop.received_at_us == us(2007, 4, 8, 17, 7, 21)


def test_recipients_come_from_the_nearest_witness() -> None:
    headers = [RECEIVED, "To: other@y.example, Other <OTHER@y.example>"]
    assert headed(*headers).recipients == ("real@corp.example",)
    assert headed(headers[1]).recipients == ("other@y.example",)
    raw = "\n".join([*headers, "", ""]).encode()
    assert parse_message(raw, Envelope(rcpt_to=("A@z.example", "a@z.example"))).recipients == ("a@z.example",)


def test_event_time_takes_the_best_source() -> None:
    date = "Date: Mon, 9 Apr 2007 00:00:00 +0000"
    given = parse_message(f"{RECEIVED}\n{date}\n\n".encode(), Envelope(received_at_us=us(2008, 1, 1)))
    assert (given.received_at_us, given.time_source) == (us(2008, 1, 1), "envelope")
    assert given.date_us == us(2007, 4, 9)
    received = headed(RECEIVED, date)
    assert (received.received_at_us, received.time_source) == (us(2007, 4, 8, 17, 7, 21), "received")
    dated = headed("Received: from a by b; soon", date)
    assert (dated.received_at_us, dated.time_source) == (us(2007, 4, 9), "date")
    nothing = headed("Date: whenever")
    assert (nothing.received_at_us, nothing.time_source) == (None, "none")
    assert {"date_unreadable", "no_time"} <= codes(nothing)


def test_a_time_ahead_of_the_clock_is_set_back_whatever_it_is_read_from() -> None:
    clock = us(2026, 3, 2, 10)
    raw = b"Received: from a by b; Mon, 2 Mar 2062 10:00:00 +0000\r\nFrom: a@b.example\r\n\r\nx"
    for given, borne in ((None, us(2062, 3, 2, 10)), (us(2030, 1, 1), us(2030, 1, 1))):
        message = parse_message(raw, Envelope(given, clock_us=clock))
        assert (message.received_at_us, message.claimed_at_us) == (clock, borne)
        assert "time_clamped" in [defect.code for defect in message.defects]
    just = us(2026, 3, 2, 10, 5)
    message = parse_message(raw, Envelope(just, clock_us=clock))
    assert (message.received_at_us, message.claimed_at_us) == (just, None)
    assert parse_message(raw).received_at_us == us(2062, 3, 2, 10)


def test_an_mbox_line_is_read_in_the_receivers_zone() -> None:
    raw = b"From ann@x.example  Sun Apr  8 13:07:32 2007\n" + RECEIVED.encode() + b"\n\nhi"
    message = parse_message(raw)
    assert (message.received_at_us, message.time_source) == (us(2007, 4, 8, 17, 7, 32), "mbox_from")
    line, rest = split_mbox_from(raw)
    assert line is not None
    assert (line.mail_from, line.received_at_us) == ("ann@x.example", us(2007, 4, 8, 17, 7, 32))
    assert rest.startswith(b"Received:")
    assert message.new_text == "hi"


@pytest.mark.parametrize("year", ["1899", "1989", "2100", "9744", "0000", "99999"])
def test_absurd_times_fall_through(year: str) -> None:
    message = headed(f"Received: from a by b; 1 Jan {year} 00:00:00 +0000", "Date: 1 Jan 2001 00:00:00 +0000")
    assert (message.received_at_us, message.time_source) == (us(2001, 1, 1), "date")
    assert codes(message) & {"received_date_absurd", "received_date_unreadable"}
    assert headed(f"Date: 1 Jan {year} 00:00:00 +0000").date_us is None


def test_ids() -> None:
    message = headed("Message-ID: <1@x>", "In-Reply-To: <2@x>", "References: <3@x>\r\n <4@x> <3@x>")
    assert message.message_id_header == "1@x"
    assert message.in_reply_to == ("2@x",)
    assert message.references == ("3@x", "4@x")


RESULTS = (
    "mx.corp.example 1; spf=fail (b=c; dmarc=pass) smtp.mailfrom=ann@bad.example;\r\n dkim=pass header.d=list.example; "
    'dkim=pass reason="ok; dmarc=none" header.i=@mail.example.com; dmarc=fail header.from=example.com; arc=none'
)


def authentication(*headers: str, trusted: str = "MX.corp.example") -> tuple[str | bool | None, ...]:
    raw = "\r\n".join(["From: ann@example.com", *headers, "", ""]).encode()
    found = parse_message(raw, trusted_authserv_ids=frozenset({trusted} if trusted else ())).authentication
    return astuple(found)[:7]


def test_authentication_of_a_trusted_server_is_read() -> None:
    expected = ("fail", "pass", "fail", "none", "bad.example", "example.com", True)
    assert authentication(f"Authentication-Results: {RESULTS}") == expected


def test_forged_authentication_is_ignored() -> None:
    forged = "Authentication-Results: mx.evil.example; spf=pass; dkim=pass header.d=example.com; dmarc=pass"
    nothing = (None, None, None, None, "", "", None)
    assert authentication(forged) == nothing
    assert authentication(f"Authentication-Results: {RESULTS}", trusted="") == nothing
    # One in the trusted name below the hop by which the message came in may be the sender's own.
    below = "Authentication-Results: mx.corp.example; spf=pass; dkim=pass header.d=example.com; dmarc=pass"
    own = "Authentication-Results: mx.corp.example; spf=softfail smtp.mailfrom=x.example"
    hop = "Received: from x.example (x.example [192.0.2.7]) by mx.corp.example; Mon, 29 Dec 2025 09:00:00 +0000"
    assert authentication(forged, own, hop, below) == ("softfail", None, None, None, "x.example", "", None)
    assert authentication(own.replace("spf", "dkim"))[-1] is False


def test_lines_that_are_no_headers() -> None:
    skipped = headed("Subject: s", "what is this", "From: a@b.example")
    assert (skipped.subject, skipped.sender.address) == ("s", "a@b.example")
    assert "header_without_colon" in codes(skipped)
    ended = parse_message(b"Subject: s\nfirst line of the body\nand more\n")
    assert ended.new_text == "first line of the body\nand more"
    assert "headers_not_ended" in codes(ended)
    text = parse_message(b"just words\nno headers\n")
    assert text.new_text == "just words\nno headers"
    assert "no_headers" in codes(text)


def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    message = parse_message(b"\xef\xbb\xbfSubject: s\n\n\xef\xbb\xbfhi")
    assert (message.subject, message.new_text) == ("s", "hi")


def test_bare_carriage_returns_end_lines() -> None:
    message = parse_message(b"Subject: s\rFrom: a@b.example\r\rhello")
    assert (message.subject, message.new_text) == ("s", "hello")
    assert "bare_cr" in codes(message)


@pytest.mark.parametrize(
    "flood",
    [b"X: a\r\n" * 1_200, b"To: a@b.example\n" * 100_000, (b"X: " + b"a" * 30_000 + b"\n") * 10],
)
def test_a_flood_of_headers_before_them_loses_none_that_a_message_needs(flood: bytes) -> None:
    message = parse_message(
        flood + b"From: Ann\n\t<ann@x.example>\nSUBJECT: kept\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n"
        b"Subject: another\nContent-Type: text/html\n\n<p>words"
    )
    assert message.sender.address == "ann@x.example" and message.sender.display_name == "Ann"
    assert message.subject == "kept" and message.date_us is not None
    assert message.new_text == "words"
    assert message.status_of(("headers",)) is Status.OVER_BUDGET


def test_a_limit_in_the_middle_of_a_name_does_not_begin_the_body() -> None:
    for before in range(8):
        flood = b"X: %s\n" % (b"a" * 1_020) * 256
        message = parse_message(flood[: -before - 1] + b"\nFrom: ann@x.example\nSubject: kept\n\nwords")
        assert message.sender.address == "ann@x.example" and message.subject == "kept" and message.new_text == "words"
        assert message.status_of(("headers",)) is Status.OVER_BUDGET


def test_a_long_value_keeps_both_its_ends() -> None:
    message = parse_message(b'From: "' + b"Ann " * 30_000 + b'" <ann@x.example>\nSubject: kept\n\nwords')
    assert message.sender.address == "ann@x.example" and message.sender.display_name.startswith("Ann Ann")
    assert message.status_of(("headers",)) is Status.OVER_BUDGET


@pytest.mark.parametrize("line", [b"garbage", b"X" * 201 + b": a", b"\x0c", b"\xff\xfe"])
def test_a_broken_first_line_loses_no_headers(line: bytes) -> None:
    message = parse_message(line + b"\nFrom: ann@x.example\nSubject: kept\n\nwords")
    assert message.sender.address == "ann@x.example" and message.subject == "kept" and message.new_text == "words"
    assert "header_without_colon" in codes(message)


def test_words_alone_are_no_headers() -> None:
    assert parse_message(b"Dear Ann\nhttp://x.example\n").new_text == "Dear Ann\nhttp://x.example"
