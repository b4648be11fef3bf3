"""The client over a real server: typed answers, problems as exceptions, calls made again, pages to their end."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from mailwarden.errors import ConfigError, DataError, NotFound, StoreError
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden_services.client import ApiAway, ApiDown, ApiNotAllowed, ApiNotFound, ApiRefused, AsyncClient, Client
from mailwarden_services.client import calls as client_calls

Mail = list[SimulatedMessage]
KNOWN = datetime(2026, 3, 30, 10, tzinfo=UTC)


def envelope(message: SimulatedMessage) -> dict[str, Any]:
    known = message.envelope
    assert known.received_at_us is not None
    received_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=known.received_at_us)
    return {"received_at": received_at, "mail_from": known.mail_from, "rcpt_to": known.rcpt_to}


def test_what_mail_flows_and_analysts_do_through_the_client(warden: Any, simulated: Mail) -> None:
    with warden.served() as address, Client(address, warden.keys["acme"]) as client:
        answers = [client.score(message.raw, **envelope(message)) for message in simulated[:5]]
        assert [answer.seq for answer in answers] == [1, 2, 3, 4, 5]
        assert client.score(simulated[0].raw, **envelope(simulated[0])).repeated
        assert client.score(simulated[7].raw, **envelope(simulated[7]), observe=False).seq is None
        first = answers[0].message_id
        assert client.label(first, "CP", known_at=KNOWN).repeated is False
        warden.drain()
        assert {d.message_id for d in client.decisions(limit=2)} == {a.message_id for a in answers}
        assert client.message(first).decision == answers[0] and client.message(first).label == "CP"
        said = client.message(first).vectors[0].detectors
        assert {name: one.model_version for name, one in said.items() if one.missing is None} == {
            name: one.model_version for name, one in answers[0].detectors.items()
        }
        assert {one.missing for one in said.values()} <= {None, "abstained"}
        assert client.withdraw(first, known_at=KNOWN).label == "withdrawn"
        warden.drain()
        assert [label.label for label in client.labels(limit=1)] == ["withdrawn", "CP"]
        shown = client.content(first)
        assert shown.message_id == first and shown.text
        assert [entry.what for entry in client.audit(limit=1)] == ["content.read", "label.withdraw", "label.give"]
        assert client.ready().status == "ready"


def test_problems_are_exceptions_of_the_kind_that_they_are(warden: Any) -> None:
    plain = warden.platform.tenants.issue_key("acme", "plain", 1)
    with warden.served() as address:
        with Client(address, plain) as client:
            for kind, base, call in (
                (ApiNotFound, NotFound, lambda: client.message("0" * 32)),
                (ApiNotAllowed, ConfigError, lambda: client.content("0" * 32)),
                (ApiRefused, DataError, lambda: client.score(b"")),
            ):
                with pytest.raises(kind) as raised:
                    call()
                assert isinstance(raised.value, base) and raised.value.document["detail"] == str(raised.value)
                assert raised.value.slug in ("not-found", "lacks-role", "not-a-message")
        with Client(address, "mw_wrong") as stranger, pytest.raises(ApiNotAllowed, match="working key"):
            next(stranger.decisions())
        with Client(address, plain, tenant="other") as other, pytest.raises(ApiNotAllowed, match="another"):
            next(other.decisions())
    with pytest.raises(ValueError, match="no zone"), Client(address, plain) as client:
        client.label("0" * 32, "CP", known_at=datetime(2026, 3, 30))


def test_programs_that_do_other_things_meanwhile(warden: Any, simulated: Mail) -> None:
    async def run(address: str) -> list[str]:
        async with AsyncClient(address, warden.keys["acme"]) as client:
            sent = [client.score(message.raw, **envelope(message)) for message in simulated[:4]]
            answers = await asyncio.gather(*sent)
            with pytest.raises(ApiNotFound):
                await client.message("0" * 32)
            await asyncio.to_thread(warden.drain)
            listed = [decision.message_id async for decision in client.decisions(limit=3)]
            assert sorted(listed) == sorted(answer.message_id for answer in answers)
            return listed

    with warden.served() as address:
        assert len(asyncio.run(run(address))) == 4


@pytest.fixture
def busy() -> Iterator[tuple[str, list[int], list[str]]]:
    """A server that answers with the statuses of a list, then 200; its address, the list, and what was asked."""
    statuses: list[int] = []
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status = statuses.pop(0) if statuses else 200
            body = b'{"status": "ready"}' if status == 200 else b'{"type": "urn:mailwarden:problem:store-down"}'
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if status == 200 else "application/problem+json")
            self.send_header("Content-Length", str(len(body)))
            if status in (429, 503):
                self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running = threading.Thread(target=server.serve_forever)
        running.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", statuses, asked
        server.shutdown()
        running.join()


def test_who_is_busy_is_asked_again_and_who_is_gone_is_named(
    busy: tuple[str, list[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_calls, "FIRST_PAUSE_SECONDS", 0.001)
    address, statuses, asked = busy
    statuses += [503, 429, 502]
    with Client(address) as client:
        assert client.ready().status == "ready" and len(asked) == 4
        statuses += [503] * 5
        with pytest.raises(ApiDown) as raised:
            client.ready()
        assert isinstance(raised.value, StoreError) and raised.value.slug == "store-down" and len(asked) == 9
        statuses.append(500)
        with pytest.raises(ApiDown):
            client.ready()
        assert len(asked) == 10, "an accident inside is not asked for twice"
    with Client("http://127.0.0.1:9", attempts=2) as nobody, pytest.raises(ApiAway, match=r"127\.0\.0\.1:9"):
        nobody.ready()


@pytest.mark.parametrize(
    ("value", "seconds"), [("3", 3.0), ("0", 0.0), ("999", 30.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)]
)
def test_the_pause_is_what_the_answer_asks_for(value: str, seconds: float) -> None:
    assert client_calls.pause_before(0, httpx.Response(503, headers={"Retry-After": value})) == seconds
    assert 0.1 < client_calls.pause_before(0, None) < 0.4
    assert client_calls.pause_before(20, httpx.Response(503, headers={"Retry-After": "soon"})) == 30.0
