"""The gateway's connections to the scoring API: kept, ended, slow, and not HTTP at all."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from mailwarden.errors import ConfigError
from mailwarden_services.mail_gateway.scoring_client import Away, MailAnswer, MailEnvelope, ScoringClient, read_answer
from mailwarden_services.mail_gateway.spooled import SpooledMessage

ANSWER: dict[str, Any] = {
    "action": "junk",
    "verdict": "junk",
    "add_headers": [["X-Mailwarden-Verdict", "junk"]],
    "remove_headers": ["X-MAILWARDEN-Old"],
    "remove_fields": [["Authentication-Results", 2]],
    "tenants": [
        {
            "tenant": "acme",
            "decision_id": None,
            "message_id": None,
            "verdict": "junk",
            "signals": [],
            "recipients": ["a"],
        }
    ],
    "unknown_domains": 0,
}
ENVELOPE = MailEnvelope("ann@partner.example", ("bob@example.com",), "test")
Replies = list[bytes | None]


def http(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


GOOD = http(json.dumps(ANSWER).encode())


def asked(
    replies: Replies, questions: int, tmp_path: Path, *, deadline: float = 5.0, raw: bytes = b"Subject: x\r\n\r\n"
) -> tuple[list[MailAnswer | str], list[int]]:
    """What a client makes of these replies, and the questions on each connection. None: end the connection in place of
    a reply; b"": say nothing at all."""
    given, counts = list(replies), list[int]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counts.append(0)
        at = len(counts) - 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                assert await reader.readexactly(length) == raw
                counts[at] += 1
                reply = given.pop(0)
                if reply is None:
                    return
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def run() -> list[MailAnswer | str]:
        path = tmp_path / "api.sock"
        results: list[MailAnswer | str] = []
        server = await asyncio.start_unix_server(serve, str(path))
        async with server:
            client = ScoringClient(f"unix:{path}", "mw_key", deadline_seconds=deadline)
            for _ in range(questions):
                message = SpooledMessage(10_000_000)
                message.write(raw)
                try:
                    results.append(await client.ask(ENVELOPE, message))
                except Away as error:
                    results.append(str(error))
            await client.close()
        return results

    return asyncio.run(run()), counts


def test_one_connection_serves_many_messages_and_large_ones(tmp_path: Path) -> None:
    results, counts = asked([GOOD] * 3, 3, tmp_path, raw=b"x" * 3_000_000)
    assert counts == [3] and all(isinstance(one, MailAnswer) and one.action == "junk" for one in results)
    (first, *_) = results
    assert isinstance(first, MailAnswer)
    assert first.remove_headers == {"x-mailwarden-old"} and first.remove_fields == {("authentication-results", 2)}
    assert first.tenants[0].message_id == "" and first.tenants[0].recipients == ("a",)


def test_a_kept_connection_that_had_ended_costs_nothing(tmp_path: Path) -> None:
    results, counts = asked([GOOD, None, GOOD], 2, tmp_path)
    assert [one.action for one in results if isinstance(one, MailAnswer)] == ["junk", "junk"] and counts == [2, 1]


def test_a_new_connection_that_ends_is_an_api_that_is_away(tmp_path: Path) -> None:
    results, _ = asked([None, GOOD], 2, tmp_path)
    assert "without an answer" in str(results[0]) and isinstance(results[1], MailAnswer)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"", "did not answer within 0.2 s"),
        (http(b"x" * 100)[:60], "did not answer within 0.2 s"),
        (b"220 this is SMTP\r\n", "no HTTP"),
        (http(b"{}", "503 Service Unavailable"), "answered 503"),
        (http(b'{"action": "perhaps"}'), "cannot be read"),
        (http(b"[]"), "cannot be read"),
        (http(b"not json"), "cannot be read"),
        (http(b"{}", more="X: y\r\n")[:-2] + b"\xff\xff", "cannot be read"),
    ],
)
def test_what_is_no_answer_is_an_api_that_is_away_and_the_next_message_is_asked_about(
    tmp_path: Path, reply: bytes, why: str
) -> None:
    results, _ = asked([reply, GOOD], 2, tmp_path, deadline=0.2)
    assert why in str(results[0]) and isinstance(results[1], MailAnswer)


def test_a_message_that_is_too_large_for_the_api_goes_on_unscored(tmp_path: Path) -> None:
    results, _ = asked([http(b"{}", "413 Content Too Large")], 1, tmp_path)
    assert isinstance(results[0], MailAnswer) and results[0].add_headers == (("X-Mailwarden-Not-Scored", "too large"),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"add_headers": [["X\r\nY", "1"]]},
        {"add_headers": [["X", 1]]},
        {"add_headers": ["X"]},
        {"remove_headers": ["a b"]},
        {"remove_fields": [["a", "x"]]},
        {"tenants": [{}]},
        {"action": None},
    ],
)
def test_an_answer_that_breaks_its_contract_is_not_taken(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        read_answer(ANSWER | wrong)


def test_values_keep_their_folding_and_nothing_else() -> None:
    answer = read_answer(ANSWER | {"add_headers": [["X", "a;\n\tb\r\nInjected: 1\x0b"]]})
    assert answer.add_headers == (("X", "a;\n\tb Injected: 1"),)


@pytest.mark.parametrize("api", ["ftp://x", "127.0.0.1:8080", "http://", "http://x:port"])
def test_an_address_that_is_none_is_refused(api: str) -> None:
    with pytest.raises(ConfigError, match="--api"):
        ScoringClient(api, "", deadline_seconds=1)
