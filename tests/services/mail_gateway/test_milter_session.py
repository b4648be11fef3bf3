"""The milter protocol, spoken by hand: what Postfix seldom or never does, and what strangers put into it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.errors import StoreUnavailable
from mailwarden_services.mail_gateway.milter_session import MilterSession, MilterSettings
from mailwarden_services.mail_gateway.scoring_client import Away, MailAnswer, MailEnvelope, TenantDecision
from mailwarden_services.mail_gateway.spooled import SpooledMessage

ALL_ACTIONS, ALL_PROTOCOL = 0x1FF, 0x1FFFFF
TENANT = TenantDecision("acme", "m1", "dm1%", "quarantine", "SC", "It is odd: 100% so.")


def packet(letter: str, data: bytes = b"") -> bytes:
    return struct.pack("!L", len(data) + 1) + letter.encode() + data


def texts(*parts: bytes) -> bytes:
    return b"".join(part + b"\0" for part in parts)


class MailServer:
    """A mail system's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, letter: str, data: bytes = b"") -> None:
        self.writer.write(packet(letter, data))

    async def reply(self) -> tuple[str, bytes]:
        size = int.from_bytes(await self.reader.readexactly(4), "big")
        data = await self.reader.readexactly(size)
        return data[:1].decode(), data[1:]

    async def replies(self) -> list[tuple[str, bytes]]:
        """All replies up to the one that settles a message."""
        got = [await self.reply()]
        while got[-1][0] not in "carty":
            got.append(await self.reply())
        return got

    async def negotiate(self, actions: int = ALL_ACTIONS, protocol: int = ALL_PROTOCOL) -> tuple[int, int]:
        self.send("O", struct.pack("!LLL", 6, actions, protocol))
        letter, data = await self.reply()
        assert letter == "O"
        _, wanted, quiet = struct.unpack("!LLL", data)
        return wanted, quiet

    def message(
        self,
        *recipients: bytes,
        body: bytes = b"text\r\n",
        headers: tuple[tuple[bytes, bytes], ...] = ((b"Subject", b" hi"),),
    ) -> None:
        self.send("M", texts(b"<ann@partner.example>", b"SIZE=100"))
        for recipient in recipients or (b"<bob@example.com>",):
            self.send("R", texts(recipient))
        self.send("T")
        for header in headers:
            self.send("L", texts(*header))
        self.send("N")
        self.send("B", body)
        self.send("E")


Asked = list[tuple[MailEnvelope, bytes]]


def converse(
    talk: Callable[[MailServer], Coroutine[Any, Any, None]],
    answer: MailAnswer | Exception = MailAnswer("accept", "deliver", (), frozenset(), (TENANT,)),  # noqa: B008
    **settings: Any,
) -> Asked:
    """Run a conversation with a milter that has this answer to everything; what it asked."""
    asked: Asked = []

    async def ask(envelope: MailEnvelope, message: SpooledMessage) -> MailAnswer:
        asked.append((envelope, message.content()))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def run() -> None:
        ended = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await MilterSession(MilterSettings(ask=ask, **{"holder": None} | settings), reader, writer).run()
            finally:
                writer.close()
                ended.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            async with asyncio.timeout(10):
                await talk(MailServer(reader, writer))
                writer.close()
                await ended.wait()

    asyncio.run(run())
    return asked


def test_many_messages_go_over_one_connection_with_late_macros_and_aborts_between() -> None:
    async def talk(mta: MailServer) -> None:
        _, quiet = await mta.negotiate()
        assert quiet & 0x3F == 0 and quiet & 0x100000, "nothing is left out, and values come as they are"
        mta.send("D", b"C" + texts(b"j", b"mx.example.com", b"{daemon_name}", b"ORIGINATING"))
        mta.send("C", b"client.example\0" + b"4" + struct.pack("!H", 4711) + b"192.0.2.7\0")
        mta.send("H", texts(b"client.example"))
        mta.send("D", b"M" + texts(b"{auth_authen}", b"bob@example.com"))
        mta.send("M", texts(b"<one@partner.example>"))
        mta.send("R", texts(b"<bob@example.com>"))
        mta.send("A")
        mta.send("D", b"M" + texts(b"i", b"EARLY1"))
        mta.message()
        assert (await mta.replies())[-1][0] == "c"
        mta.send("D", b"M" + texts(b"{auth_authen}", b"carl@example.com"))
        mta.send("M", texts(b"<>"))
        mta.send("R", texts(b"<bob@example.com>"))
        mta.send("D", b"E" + texts(b"i", b"LATE2"))
        mta.send("E", b"all of the body\r\n")
        assert (await mta.replies())[-1][0] == "c"
        mta.send("K")
        mta.send("C", b"other\0L" + struct.pack("!H", 0) + b"/run/socket\0")
        mta.message()
        assert (await mta.replies())[-1][0] == "c"
        mta.send("Q")

    first, second, third = converse(talk, listener="")
    assert first[0] == MailEnvelope(
        "ann@partner.example", ("bob@example.com",), "ORIGINATING", "192.0.2.7", "client.example", "", "EARLY1"
    )
    assert first[1] == b"Subject: hi\r\n\r\ntext\r\n"
    assert second[0].queue_id == "LATE2" and second[0].auth_user == "carl@example.com" and second[0].mail_from == ""
    assert second[1] == b"\r\nall of the body\r\n"
    assert third[0].client_ip == "" and third[0].listener == "milter" and third[0].helo == ""


def test_a_mail_system_that_offers_little_gets_a_reply_to_each_command_and_plain_headers() -> None:
    async def talk(mta: MailServer) -> None:
        wanted, quiet = await mta.negotiate(actions=0x1, protocol=0)
        assert (wanted, quiet) == (0x1, 0)
        for letter, data in (
            ("C", b"x\0U"),
            ("H", texts(b"x")),
            ("M", texts(b"<a@x.example>")),
            ("R", texts(b"<b@example.com>")),
            ("T", b""),
            ("L", texts(b"Subject", b"folded\n\tvalue")),
            ("N", b""),
            ("B", b"text\r\n"),
        ):
            mta.send(letter, data)
            assert await mta.reply() == ("c", b"")
        mta.send("E")
        assert await mta.replies() == [("i", b"\0\0\0\0X-Mailwarden-Verdict\0 quarantine\0"), ("c", b"")]

    asked = converse(
        talk, MailAnswer("quarantine", "quarantine", (("X-Mailwarden-Verdict", "quarantine"),), frozenset(), (TENANT,))
    )
    assert asked[0][1] == b"Subject: folded\r\n\tvalue\r\n\r\ntext\r\n"


def test_forged_fields_go_from_the_last_to_the_first_and_ours_end_up_on_top_in_order() -> None:
    answer = MailAnswer(
        "junk", "junk", (("A", "1;\n\t2"), ("X-Mailwarden-B", "zwei\n\tÜÜ")), frozenset({"odd"}), (), {("subject", 2)}
    )

    async def talk(mta: MailServer) -> None:
        await mta.negotiate()
        names = (b"X-Mailwarden-Verdict", b"Odd", b"x-mailwarden-VERDICT", b"Subject", b"ODD ", b"oddly", b"SUBJECT")
        mta.message(headers=tuple((name, b" 1") for name in names))
        assert await mta.replies() == [
            *(("m", b"\0\0\0\2" + name) for name in (b"odd\0\0", b"subject\0\0", b"x-mailwarden-verdict\0\0")),
            *(("m", b"\0\0\0\1" + name) for name in (b"odd\0\0", b"x-mailwarden-verdict\0\0")),
            ("i", b"\0\0\0\0X-Mailwarden-B\0 =?utf-8?b?endlaSDDnMOc?=\0"),
            ("i", b"\0\0\0\0A\0 1;\n\t2\0"),
            ("c", b""),
        ]

    converse(talk, answer)


def test_a_refusal_has_no_percent_sign_and_mail_that_is_held_bears_no_verdict() -> None:
    async def refused(mta: MailServer) -> None:
        await mta.negotiate()
        mta.message()
        assert await mta.replies() == [("y", b"550 5.7.1 Refused as unwanted mail (dm1)\0")]

    async def held(mta: MailServer) -> None:
        await mta.negotiate()
        mta.message()
        assert await mta.replies() == [("q", b"Mailwarden: It is odd: 100% so.\0"), ("c", b"")]

    converse(refused, MailAnswer("reject", "quarantine", (), frozenset(), (TENANT,)))
    converse(held, MailAnswer("quarantine", "quarantine", (("X-Mailwarden-Verdict", "x"),), frozenset(), (TENANT,)))


@pytest.mark.parametrize("error", [Away("gone"), RuntimeError("a defect")])
def test_a_message_that_is_not_answered_for_is_tried_later_or_marked(error: Exception) -> None:
    async def later(mta: MailServer) -> None:
        await mta.negotiate()
        for _ in range(2):
            mta.message()
            assert await mta.replies() == [("y", b"451 4.7.1 The mail filter does not answer; try again later\0")]

    async def marked(mta: MailServer) -> None:
        await mta.negotiate()
        mta.message(headers=((b"X-Mailwarden-Not-Scored", b" no"),))
        got = await mta.replies()
        if isinstance(error, Away):
            assert [letter for letter, _ in got] == ["m", "i", "c"] and b"filter away" in got[1][1]

    converse(later, error)
    converse(marked, error, when_away="accept")


def test_mail_stays_held_by_the_mail_system_where_the_quarantine_cannot_be_written() -> None:
    class Broken:
        async def released(self, *_: object) -> None:
            raise StoreUnavailable("no database")

        async def hold_in_mta(self, *_: object) -> None:
            raise StoreUnavailable("no database")

    async def talk(mta: MailServer) -> None:
        await mta.negotiate()
        mta.message()
        assert [letter for letter, _ in await mta.replies()] == ["q", "c"]

    converse(talk, MailAnswer("quarantine", "quarantine", (), frozenset(), (TENANT,)), holder=Broken())


@pytest.mark.parametrize(
    "sent",
    [b"\0\0\0\0", b"\xff\xff\xff\xffB", packet("O", b"short"), packet("O", struct.pack("!LLL", 2, 1, 1)), packet("!")],
)
def test_what_is_no_milter_protocol_ends_the_connection_and_nothing_else(sent: bytes) -> None:
    async def talk(mta: MailServer) -> None:
        mta.writer.write(sent)
        assert await mta.reader.read() == b""

    assert converse(talk) == []


anything = st.binary(max_size=80).map(lambda data: data.replace(b"\0", b""))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(anything, anything), max_size=5), anything, anything, anything)
def test_whatever_strangers_write_is_asked_about_as_it_is(fields, helo, sender, body) -> None:
    async def talk(mta: MailServer) -> None:
        await mta.negotiate()
        mta.send("D", b"C" + texts(b"{client_name}", helo))
        mta.send("C", helo + b"\x006" + struct.pack("!H", 1) + b"IPv6:2001:db8::7\0")
        mta.send("H", texts(helo))
        mta.send("M", texts(b"<" + sender + b">"))
        mta.send("R", texts(b"<" + sender + b">"))
        for field in fields:
            mta.send("L", texts(*field))
        mta.send("N")
        mta.send("B", body)
        mta.send("E")
        assert (await mta.replies())[-1] == ("c", b"")

    ((envelope, raw),) = converse(talk)
    lines = (name + b":" + value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n" for name, value in fields)
    assert raw == b"".join(lines) + b"\r\n" + body
    assert envelope.client_ip == "2001:db8::7"
    for name, value in envelope.headers(__import__("datetime").datetime(2026, 1, 1)):
        assert name.startswith(b"X-Mailwarden-") and not any(byte < 32 or byte == 127 for byte in value)


def test_a_message_over_the_limit_is_not_scored_and_kept_no_further_than_that() -> None:
    async def talk(mta: MailServer) -> None:
        await mta.negotiate()
        mta.send("M", texts(b"<a@x.example>"))
        mta.send("R", texts(b"<b@example.com>"))
        mta.send("N")
        for _ in range(40):
            mta.send("B", b"x" * 65_535)
        mta.send("E")
        await mta.replies()

    ((_, kept),) = converse(talk, max_bytes=1_500_000)
    assert len(kept) == 1_500_000
