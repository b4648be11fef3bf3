"""Pieces of the content filter: where a message ends, what goes on to the next hop, who may connect."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailwarden.errors import ConfigError
from mailwarden_services.mail_gateway.data_reader import DataReader
from mailwarden_services.mail_gateway.header_fields import rewritten
from mailwarden_services.mail_gateway.holding import hashes_below_trace, shared_out
from mailwarden_services.mail_gateway.next_hop import stuffed, xforward_lines
from mailwarden_services.mail_gateway.places import (
    Place,
    bound_socket,
    check_listener,
    may_connect,
    read_networks,
    read_next_hop,
    read_place,
)
from mailwarden_services.mail_gateway.scoring_client import TenantDecision
from mailwarden_services.mail_gateway.smtp_parameters import (
    MAIL_NEEDS,
    RCPT_NEEDS,
    BadCommand,
    read_path,
    read_xforward,
)
from mailwarden_services.mail_gateway.spooled import SpooledMessage

lines = st.lists(st.text(".x\r\x00 ", max_size=6).map(str.encode), max_size=8)
cuts = st.lists(st.integers(0, 60), max_size=6)


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    marks = [0, *sorted(min(one, len(data)) for one in at), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(marks)]


@given(lines, cuts, cuts)
@example([b"."], [], [])
@example([], [1, 2, 3, 4], [])
def test_a_message_arrives_as_it_was_handed_on_however_it_is_cut(
    lines: list[bytes], cut: list[int], again: list[int]
) -> None:
    message = b"".join(line + b"\r\n" for line in lines)
    wire = b"".join(stuffed(pieces(message, cut)))
    reader, got = DataReader(), b""
    for piece in pieces(wire + b"QUIT\r\n", again):
        if reader.ended:
            reader.rest = (reader.rest or b"") + piece
        else:
            got += reader.feed(piece)
    assert reader.ended and got == message and reader.rest == b"QUIT\r\n"


@given(st.binary(max_size=60), cuts)
def test_a_message_without_a_line_end_gets_one_and_nothing_else(message: bytes, cut: list[int]) -> None:
    reader = DataReader()
    got = reader.feed(b"".join(stuffed(pieces(message, cut))))
    assert reader.ended or b"\n" in message
    if b"\n" not in message:
        assert got == (message if message.endswith(b"\r\n") or not message else message + b"\r\n")


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r"])
def test_only_crlf_dot_crlf_ends_a_message_and_no_server_behind_sees_another_end(end: bytes) -> None:
    reader = DataReader()
    got = reader.feed(b"Subject: x\r\n\r\none" + end + b"MAIL FROM:<x>\r\ntwo\r\n.\r\n")
    assert reader.ended and b"MAIL FROM" in got and got.endswith(b"two\r\n")
    wire = b"".join(stuffed([got]))
    assert b"\n.\n" not in wire and wire.count(b"\r\n.\r\n") == 1 and wire.count(b"\n") == wire.count(b"\r\n")


@given(cuts)
def test_fields_of_ours_go_out_wherever_the_message_is_cut(cut: list[int]) -> None:
    raw = (
        b"Received: x\r\nX-Mailwarden-A: 1\r\n folded\r\nSubject: a\r\n b\r\nx-MAILWARDEN-b\t: 2\r\nGone: 3\r\n"
        b"ODD: 1\r\nStays: 4\r\nodd: 2\r\n gone\r\nOdd: 3\r\n"
        b"X-Mailwarden-C: 5\r\n\r\nX-Mailwarden-Body: stays\r\n\r\nGone: stays\r\n"
    )
    got = b"".join(rewritten(pieces(raw, cut), [("X-Mailwarden-N", "new é")], {"gone"}, {("odd", 2)}, b"Top: 1\r\n"))
    assert got == (
        b"Top: 1\r\nX-Mailwarden-N: =?utf-8?b?bmV3IMOp?=\r\nReceived: x\r\nSubject: a\r\n b\r\nODD: 1\r\n"
        b"Stays: 4\r\nOdd: 3\r\n\r\n"
        b"X-Mailwarden-Body: stays\r\n\r\nGone: stays\r\n"
    )


@pytest.mark.parametrize("size", [10, 1 << 16, 1 << 19])
def test_a_line_of_any_length_hides_no_forged_field(size: int) -> None:
    kept = b"Long: " + b"x" * size + b"\r\n"
    forged = b"X-Mailwarden-A: " + b"y" * size + b"\r\n\t" + b"z" * size + b"\r\n"
    raw = kept + forged + kept + b"\tfolded" + b"x" * size + b"\r\n" + forged + b"Stays: 1\r\n\r\n" + forged
    for step in (1_000, 65_536, len(raw)):
        chunks = [raw[at : at + step] for at in range(0, len(raw), step)]
        assert b"".join(rewritten(chunks, [], ())) == raw.replace(forged, b"", 2)


def test_a_message_that_is_all_header_loses_forged_fields_too() -> None:
    assert b"".join(rewritten([b"A: 1\r\nX-Mailwarden-B: 2\r\n 3"], [], ())) == b"A: 1\r\n"
    assert b"".join(rewritten([b"A: 1\r\nX-Mailwarden-B: 2"], [], ())) == b"A: 1\r\n"
    assert b"".join(rewritten([b"no header at all"], [], ())) == b"no header at all"


def test_mail_and_rcpt_go_on_with_what_the_next_hop_offers() -> None:
    path = read_path("FROM:<> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=QQ+2B1 SMTPUTF8", "FROM:", MAIL_NEEDS)
    assert path.address == ""
    offered = {"8BITMIME": "", "DSN": "", "SMTPUTF8": ""}
    assert path.line("MAIL FROM", MAIL_NEEDS, offered) == "MAIL FROM:<> BODY=8BITMIME RET=HDRS ENVID=QQ+2B1 SMTPUTF8"
    rcpt = read_path('to: <"a b>c"@example.com> NOTIFY=NEVER ORCPT=rfc822;bob@example.com', "TO:", RCPT_NEEDS)
    assert rcpt.line("RCPT TO", RCPT_NEEDS, {}) == 'RCPT TO:<"a b>c"@example.com>'
    assert read_path("TO:<@relay.example:bob@example.com>", "TO:", RCPT_NEEDS).address == "bob@example.com"
    for wrong in ("FROM:", "FROM:<a", "FROM:<a b@x>", "FROM:<a@x>junk=", "FROM:<a@x> FOO=1", "<a@x>", "FROM:<a\r\n@x>"):
        with pytest.raises(BadCommand):
            read_path(wrong, "FROM:", MAIL_NEEDS)


def test_xforward_is_read_and_handed_on_in_lines_of_their_length() -> None:
    got = read_xforward("ADDR=192.0.2.7 HELO=a+20b NAME=[UNAVAILABLE]")
    assert got == {"ADDR": "192.0.2.7", "HELO": "a b", "NAME": ""}
    assert xforward_lines("ADDR HELO", {"ADDR": "192.0.2.7", "HELO": "x" * 490, "PORT": "1"}) == [
        "XFORWARD ADDR=192.0.2.7",
        "XFORWARD HELO=" + "x" * 490,
    ]
    with pytest.raises(BadCommand):
        read_xforward("ADDR")


def test_a_listener_that_strangers_reach_is_refused_with_what_would_make_it_right() -> None:
    remote = read_place("inet:0.0.0.0:8893")
    with pytest.raises(ConfigError, match="--allow-remote"):
        check_listener(remote, allow_remote=False, networks=(), tls=False)
    with pytest.raises(ConfigError, match="--allow-from"):
        check_listener(remote, allow_remote=True, networks=(), tls=False)
    networks = read_networks(["192.0.2.0/24", "2001:db8::1"])
    check_listener(remote, allow_remote=True, networks=networks, tls=False)
    check_listener(remote, allow_remote=True, networks=(), tls=True)
    for local in ("127.0.0.1:1", "inet:[::1]:1", "unix:/run/x.sock", "localhost:1"):
        check_listener(read_place(local), allow_remote=False, networks=(), tls=False)
    assert may_connect(("192.0.2.9", 1), networks) and may_connect(("::ffff:192.0.2.9", 1, 0, 0), networks)
    assert may_connect(("127.0.0.1", 1), networks) and not may_connect(("198.51.100.1", 1), networks)


def test_places_are_read_as_they_are_written_or_refused_in_words(tmp_path: Path) -> None:
    assert read_place("inet:[2001:db8::1]:25") == Place("2001:db8::1", 25)
    assert str(read_next_hop("lmtp:unix:/run/lmtp")) == "lmtp:unix:/run/lmtp"
    assert str(read_next_hop("127.0.0.1:10026")) == "smtp:inet:127.0.0.1:10026"
    for wrong in ("8893", "inet:x", "unix:", "127.0.0.1:99999", "[::1:25"):
        with pytest.raises(ConfigError, match="write inet:HOST:PORT"):
            read_place(wrong)
    place = Place(path=tmp_path / "a.sock")
    with bound_socket(place), pytest.raises(ConfigError, match="another gateway listens there"):
        bound_socket(place)
    bound_socket(place).close()
    with bound_socket(Place("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="is another gateway running"):
        bound_socket(Place("127.0.0.1", taken.getsockname()[1]))


def test_held_mail_is_shared_out_by_tenant_and_nobody_is_left_out() -> None:
    one = TenantDecision("one", "m", "d", "quarantine", "", "", ("Bob@one.example",))
    two = TenantDecision("two", "m", "d", "quarantine", "", "", ("carl@two.example",))
    recipients = ("carl@two.example", "bob@one.example", "dora@nobody.example")
    assert list(shared_out([one, two], recipients)) == [
        (one, ("bob@one.example", "dora@nobody.example")),
        (two, ("carl@two.example",)),
    ]
    ((nobody, all_of_them),) = shared_out([], recipients)
    assert nobody.tenant == "" and all_of_them == recipients


def test_what_was_put_on_top_of_a_message_does_not_hide_it() -> None:
    def spooled(raw: bytes) -> SpooledMessage:
        message = SpooledMessage(1 << 20)
        message.write(raw)
        return message

    raw = b"Received: from a\r\n\tby b\r\nSubject: x\r\n\r\ntext\r\n"
    whole = spooled(raw).sha256()
    top = b"Return-Path: <a@b>\r\nReceived: from c\r\n by d;\r\n\tnow\r\n"
    assert whole in hashes_below_trace(spooled(top + raw)) and whole in hashes_below_trace(spooled(raw))
    assert whole not in hashes_below_trace(spooled(b"X-Own: 1\r\n" + raw))
