"""The content filter between a client and a next hop, both of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailwarden.errors import StoreUnavailable
from mailwarden.stores.quarantine import HeldFiles, Quarantine
from mailwarden.stores.sql import open_engine, upgrade
from mailwarden.testing.mail_sink import MailSink, mail_sink
from mailwarden_services.mail_gateway.content_filter import serve_filter
from mailwarden_services.mail_gateway.filter_decision import MAX_PASSES, FilterSettings
from mailwarden_services.mail_gateway.holding import QuarantineHolder
from mailwarden_services.mail_gateway.places import Place, bound_socket, read_next_hop
from mailwarden_services.mail_gateway.scoring_client import Away, MailAnswer, MailEnvelope
from mailwarden_services.mail_gateway.spooled import SpooledMessage

RAW = b"Subject: x\r\nX-Mailwarden-Verdict: deliver\r\n\r\n.dot\r\ntext\r\n"
ACCEPT = MailAnswer("accept", "deliver", (), frozenset(), ())
HOLD = MailAnswer("quarantine", "quarantine", (), frozenset(), ())


class Client:
    """A client that says what it is told to, line by line."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.socket.makefile("rb")
        assert self.reply().startswith("220")

    def reply(self) -> str:
        lines = []
        while (line := self.file.readline().decode()) and line[3:4] == "-":
            lines.append(line)
        return "".join([*lines, line])

    def say(self, *lines: str) -> list[str]:
        self.socket.sendall("".join(f"{line}\r\n" for line in lines).encode())
        return [self.reply() for _ in lines]

    def data(self, raw: bytes, replies: int = 1) -> list[str]:
        assert self.say("DATA")[0].startswith("354")
        self.socket.sendall(raw.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        return [self.reply() for _ in range(replies)]

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    url = f"sqlite:///{tmp_path / 'mailwarden.db'}"
    upgrade(url)
    return Quarantine(open_engine(url), HeldFiles(tmp_path / "quarantine"))


@contextlib.contextmanager
def content_filter(
    quarantine: Quarantine,
    sink: MailSink,
    answer: MailAnswer | Exception | Callable[[bytes], MailAnswer] = ACCEPT,
    *,
    protocol: str = "smtp",
    asked: list[tuple[MailEnvelope, bytes]] | None = None,
    **settings: Any,
) -> Iterator[Client]:
    """A running filter with this answer to all mail, and a client of it."""

    async def ask(envelope: MailEnvelope, message: SpooledMessage) -> MailAnswer:
        if asked is not None:
            asked.append((envelope, message.content()))
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, MailAnswer) else answer(message.content())

    hop = read_next_hop(f"{sink.protocol}:127.0.0.1:{sink.port}")
    chosen = FilterSettings(
        ask=ask,
        holder=QuarantineHolder(quarantine, str(hop)),
        next_hop=hop,
        hostname="filter.example.com",
        listener="test",
        **{"protocol": protocol, "hop_seconds": 5.0} | settings,
    )
    bound = bound_socket(Place("127.0.0.1", 0))
    port = bound.getsockname()[1]
    loop = asyncio.new_event_loop()
    serving = loop.create_task(serve_filter(bound, chosen))
    thread = threading.Thread(target=lambda: loop.run_until_complete(serving))
    thread.start()
    client = Client(port)
    try:
        yield client
    finally:
        client.close()
        loop.call_soon_threadsafe(serving.cancel)
        thread.join()
        loop.close()


def hello(client: Client, verb: str = "EHLO") -> str:
    return client.say(f"{verb} client.example")[0]


def test_the_transaction_goes_on_as_the_client_said_it(quarantine: Quarantine) -> None:
    asked: list[tuple[MailEnvelope, bytes]] = []
    with mail_sink() as sink, content_filter(quarantine, sink, asked=asked) as client:
        offered = hello(client)
        assert all(f"{name}\r\n" in offered for name in ("8BITMIME", "SMTPUTF8", "DSN")) and "XFORWARD NAME" in offered
        assert (
            client.say("XFORWARD ADDR=192.0.2.7 HELO=a+2Eexample IDENT=Q1", "XFORWARD NAME=[UNAVAILABLE]")
            == ["250 2.0.0 Ok\r\n"] * 2
        )
        client.say("MAIL FROM:<jö@partner.example> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=abc SIZE=100")
        client.say("RCPT TO:<bob@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@example.com")
        assert client.data(RAW) == ["250 2.0.0 kept\r\n"]
        assert client.say("MAIL FROM:<>")[0].startswith("250"), "a second message over the same connection"
        assert client.say("QUIT")[0].startswith("221")
    assert asked[0] == (
        MailEnvelope("jö@partner.example", ("bob@example.com",), "test", "192.0.2.7", "a.example", "", "Q1"),
        RAW,
    )
    said = [line for line in sink.commands if line.startswith(("XFORWARD", "MAIL", "RCPT"))]
    assert said[:3] == [
        "XFORWARD ADDR=192.0.2.7 HELO=a.example IDENT=Q1 NAME=[UNAVAILABLE]",
        "MAIL FROM:<jö@partner.example> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=abc",
        "RCPT TO:<bob@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@example.com",
    ]
    trace, _, rest = sink.transactions[0][2].partition(b"\r\n")
    assert trace.startswith(
        b"Received: from [192.0.2.7] by filter.example.com (Mailwarden content filter) with ESMTP id Q1;"
    )
    assert rest == b"Subject: x\r\n\r\n.dot\r\ntext\r\n"


def test_what_the_next_hop_does_not_offer_is_neither_offered_nor_said(quarantine: Quarantine) -> None:
    with mail_sink() as sink:
        sink.extensions = ("PIPELINING",)
        with content_filter(quarantine, sink) as client:
            offered = hello(client)
            assert "DSN" not in offered and "SMTPUTF8" not in offered
            client.say("XFORWARD ADDR=192.0.2.7", "MAIL FROM:<a@x.example> BODY=8BITMIME RET=HDRS")
            assert client.say("MAIL FROM:<a@x.example>")[0].startswith("503")
    assert sink.commands[-1] == "MAIL FROM:<a@x.example>" and not any("XFORWARD" in line for line in sink.commands)


def test_refusals_of_the_next_hop_are_its_own(quarantine: Quarantine) -> None:
    refusals = {"RCPT TO:<no": "550 5.1.1 Nobody", ". ": "554 5.6.0 Not this"}
    with mail_sink(replies=refusals) as sink:  # noqa: SIM117
        with content_filter(quarantine, sink) as client:
            hello(client)
            assert client.say("DATA")[0].startswith("503")
            got = client.say("MAIL FROM:<a@x.example>", "RCPT TO:<no@example.com>", "RCPT TO:<yes@example.com>")
            assert got == ["250 2.0.0 Ok\r\n", "550 5.1.1 Nobody\r\n", "250 2.0.0 Ok\r\n"]
            assert client.data(RAW) == ["554 5.6.0 Not this\r\n"]
            sink.replies["MAIL"] = "451 4.3.0 Not now"
            assert client.say("MAIL FROM:<a@x.example>") == ["451 4.3.0 Not now\r\n"]


@pytest.mark.parametrize("hop", ["smtp", "lmtp"])
def test_by_lmtp_each_recipient_has_a_reply(quarantine: Quarantine, hop: Any) -> None:
    with mail_sink(hop, {". two": "452 4.2.2 Full"}) as sink:  # noqa: SIM117
        with content_filter(quarantine, sink, protocol="lmtp") as client:
            assert hello(client).startswith("500") and "250" in hello(client, "LHLO")
            client.say("MAIL FROM:<a@x.example>", "RCPT TO:<one@x.example>", "RCPT TO:<two@x.example>")
            got = client.data(RAW, replies=2)
    kept = "250 2.0.0 kept\r\n"
    assert got == ([kept, "452 4.2.2 Full\r\n"] if hop == "lmtp" else [kept, kept])


def test_from_smtp_to_lmtp_recipients_go_one_at_a_time(quarantine: Quarantine) -> None:
    with mail_sink("lmtp") as sink, content_filter(quarantine, sink) as client:
        hello(client)
        got = client.say("MAIL FROM:<a@x.example>", "RCPT TO:<one@x.example>", "RCPT TO:<two@x.example>")
        assert [reply[:3] for reply in got] == ["250", "250", "452"]
        assert client.data(RAW) == ["250 2.0.0 kept\r\n"]


@pytest.mark.parametrize("action", ["quarantine", "reject"])
def test_behind_the_queue_nothing_is_refused_and_before_it_a_refusal_is_one(
    quarantine: Quarantine, action: Any
) -> None:
    answer = MailAnswer(action, "quarantine", (), frozenset(), ())
    with mail_sink() as sink:
        for before_queue in (False, True):
            with content_filter(quarantine, sink, answer, before_queue=before_queue) as client:
                hello(client)
                client.say("MAIL FROM:<a@x.example>", "RCPT TO:<bob@example.com>")
                (got,) = client.data(RAW)
                refused = before_queue and action == "reject"
                assert got.startswith("550 5.7.1" if refused else "250 2.0.0 Ok: held")
                assert client.say("MAIL FROM:<b@x.example>")[0].startswith("250"), "the next hop forgot the held one"
    assert sink.transactions == [] and "RSET" in sink.commands
    held = quarantine.page(None)
    assert len(held) == (2 if action == "quarantine" else 1)
    assert quarantine.content(held[0]) == RAW and held[0].next_hop == f"smtp:inet:127.0.0.1:{sink.port}"


def test_what_cannot_be_kept_or_is_not_answered_for_is_left_with_the_client(
    quarantine: Quarantine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreUnavailable("no room")

    with mail_sink() as sink:
        for answer, when_away, wanted in (
            (Away("gone"), "tempfail", "451 4.7.1"),
            (RuntimeError("a defect"), "tempfail", "451 4.7.1"),
            (Away("gone"), "accept", "250 2.0.0 kept"),
            (HOLD, "tempfail", "451 4.3.0"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(quarantine, "hold", full)
                with content_filter(quarantine, sink, answer, when_away=when_away) as client:
                    hello(client)
                    client.say("MAIL FROM:<a@x.example>", "RCPT TO:<bob@example.com>")
                    assert client.data(RAW)[0].startswith(wanted)
    ((_, _, marked),) = sink.transactions
    assert b"\r\nX-Mailwarden-Not-Scored: filter away\r\n" in marked and b"Verdict" not in marked


def test_a_next_hop_that_goes_away_leaves_the_mail_with_the_client(quarantine: Quarantine) -> None:
    with mail_sink(replies={". ": ""}) as sink, content_filter(quarantine, sink) as client:
        hello(client)
        client.say("MAIL FROM:<a@x.example>", "RCPT TO:<bob@example.com>")
        assert client.data(RAW)[0].startswith("451 4.4.1")
        sink.replies.clear()
        got = client.say("MAIL FROM:<a@x.example>", "RCPT TO:<bob@example.com>")
        assert [reply[:3] for reply in got] == ["250", "250"] and client.data(RAW) == ["250 2.0.0 kept\r\n"]
    with content_filter(quarantine, sink) as client:
        assert hello(client).startswith("421 4.4.1")


def test_mail_in_a_circle_ends_in_the_quarantine(quarantine: Quarantine) -> None:
    with mail_sink() as sink, content_filter(quarantine, sink) as client:
        hello(client)
        raw = RAW
        for _ in range(MAX_PASSES):
            client.say("MAIL FROM:<a@x.example>", "RCPT TO:<bob@example.com>")
            assert client.data(raw) == ["250 2.0.0 kept\r\n"]
            raw = sink.transactions[-1][2]
        client.say("MAIL FROM:<a@x.example>", "RCPT TO:<bob@example.com>")
        assert client.data(raw)[0].startswith("250 2.0.0 Ok: held")
    (held,) = quarantine.page("")
    assert "circle" in held.reason and len(sink.transactions) == MAX_PASSES


def test_a_message_too_large_is_refused_before_and_after_it_was_sent(quarantine: Quarantine) -> None:
    with mail_sink() as sink, content_filter(quarantine, sink, hard_bytes=2_000, max_bytes=500) as client:
        assert "SIZE 2000" in hello(client)
        assert client.say("MAIL FROM:<a@x.example> SIZE=2001")[0].startswith("552")
        client.say("MAIL FROM:<a@x.example>", "RCPT TO:<bob@example.com>")
        assert client.data(b"x" * 3_000 + b"\r\n")[0].startswith("552")
        client.say("MAIL FROM:<a@x.example>", "RCPT TO:<bob@example.com>")
        assert client.data(RAW + b"x" * 1_000 + b"\r\n") == ["250 2.0.0 kept\r\n"]
    assert b"X-Mailwarden-Not-Scored: too large" in sink.transactions[0][2]


def test_the_standard_librarys_client_and_a_pipelined_one_get_through(quarantine: Quarantine) -> None:
    with mail_sink() as sink, content_filter(quarantine, sink) as client:
        port = client.socket.getpeername()[1]
        with smtplib.SMTP("127.0.0.1", port) as smtp:
            smtp.sendmail("a@x.example", ["bob@example.com", "carl@example.com"], RAW)
        hello(client)
        client.socket.sendall(b"MAIL FROM:<a@x.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n")
        assert [client.reply()[:3] for _ in range(3)] == ["250", "250", "354"]
        client.socket.sendall(b".\r\nNOOP\r\nQUIT\r\n")
        assert [client.reply()[:3] for _ in range(3)] == ["250", "250", "221"]
    assert [to for _, to, _ in sink.transactions] == [("bob@example.com", "carl@example.com"), ("bob@example.com",)]
    assert sink.transactions[1][2].count(b"\r\n") == 1
