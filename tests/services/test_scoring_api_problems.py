"""What goes wrong is told as RFC 9457 says, and never as an accident of the inside."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from typing import Any

import pytest

from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import StoreUnavailable
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.spool import Spool

Mail = list[SimulatedMessage]
HOP = b"Received: from mx.x.example by mx.acme.example; Mon, 2 Mar 2026 10:00:00 +0000\r\n"
MAIL = HOP + b"From: a@x.example\r\nSubject: hello\r\n\r\nhello\r\n"
RFC822 = {"Content-Type": "message/rfc822"}
NOON = Envelope(1_772_700_000_000_000)


def check(response: Any, status: int, slug: str, *words: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["type"] == f"urn:mailwarden:problem:{slug}"
    assert body["status"] == status and body["title"] and body["detail"]
    for word in words:
        assert word in body["detail"]


def test_who_shows_no_working_key_is_not_let_in(warden: Any) -> None:
    with warden.api() as api:
        for value in (
            "",
            "Bearer",
            "Bearer wrong",
            "Bearer mw_" + "a" * 43,
            f"Basic {warden.keys['acme']}",
            "Bearer é",
        ):
            response = api.client.post("/v1/score", content=MAIL, headers={"Authorization": value.encode()})
            check(response, 401, "not-authorised", "Bearer mw_")
            assert response.headers["www-authenticate"] == "Bearer"
        lower = {"Authorization": f"bearer {warden.keys['acme']}", **RFC822}
        assert api.client.post("/v1/score", content=MAIL, headers=lower).status_code == 200


@pytest.mark.parametrize("path", ["/v1/score", "/v1/mail"])
def test_routes_answered_before_the_framework_refuse_as_it_does(warden: Any, path: str) -> None:
    with warden.api() as api:
        ours = RFC822 | {"Authorization": f"Bearer {warden.keys['acme']}"}
        unsure = api.client.post(f"{path}?observe=perhaps", content=MAIL, headers=ours)
        check(unsure, 422, "bad-request", "query.observe")
        check(api.client.get(path, headers=ours), 405, "http")
        assert api.client.post(f"{path}/", content=MAIL, headers=ours).status_code == 200
        assert api.client.post(f"{path}?observe=no", content=MAIL, headers=ours).status_code == 200
        counted = api.client.get("/metrics").text
        assert f'mailwarden_refused_requests_total{{problem="bad-request",route="{path}",status="422"}} 1.0' in counted


def test_too_much_is_refused_whether_it_is_declared_or_streamed(warden: Any) -> None:
    warden.settings = warden.settings.model_copy(update={"max_message_bytes": 1_000})
    sent = 0

    def stream() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 500
            yield MAIL + b"x" * (500 - len(MAIL))

    with warden.api() as api:
        declared = api.client.post("/v1/score", content=MAIL + b"x" * 1_000, headers=RFC822)
        check(declared, 413, "too-large", "1000 bytes")
        assert declared.json()["limit"] == 1_000
        check(api.client.post("/v1/score", content=stream(), headers=RFC822), 413, "too-large")
        fits = MAIL + b"x" * (1_000 - len(MAIL))
        assert api.client.post("/v1/score", content=fits, headers=RFC822).status_code == 200
        as_json = {"message": base64.b64encode(fits + b"xxxxx").decode()}
        check(api.client.post("/v1/score", json=as_json), 413, "too-large")
        check(api.client.post("/v1/score", json={"message": "A" * 200_000}), 413, "too-large")
        check(api.client.post("/v1/labels", content=b" " * 70_000), 413, "too-large")


def test_what_is_no_message_is_told_so(warden: Any) -> None:
    with warden.api() as api:
        check(api.client.post("/v1/score", content=MAIL, headers={"Content-Type": "text/html"}), 415,
              "unsupported-type", "text/html", "message/rfc822")  # fmt: skip
        check(api.score(b"", NOON), 422, "not-a-message", "header")
        check(api.score(b"\r\n\r\njust words", NOON), 422, "not-a-message", "header")
        check(api.score(b"Subject: no time\r\n\r\nhello"), 422, "not-a-message", "received_at")
        absurd = {"received_at": "0001-01-01T00:00:00Z"}
        check(api.client.post("/v1/score", content=b"Subject: x\r\n\r\n", params=absurd, headers=RFC822), 422,
              "not-a-message", "no time")  # fmt: skip
        check(api.client.post("/v1/score", json={"message": "%%%"}), 422, "not-a-message", "base64")
        check(api.client.post("/v1/score?received_at=yesterday", content=MAIL, headers=RFC822), 422, "bad-request",
              "received_at")  # fmt: skip
        check(api.client.post("/v1/score?received_at=2026-03-02T10:00:00", content=MAIL, headers=RFC822), 422,
              "bad-request", "zone")  # fmt: skip
        check(api.client.post("/v1/score?observe=perhaps", content=MAIL, headers=RFC822), 422, "bad-request", "observe")


def test_bad_json_is_told_by_its_field_and_never_by_its_value(warden: Any) -> None:
    secret = "very-secret-words"
    bodies: list[Any] = [
        b"{", b"[]", b'"x"', b"\xff\xfe", b"null", {"message": 5}, {}, {"message": "", "raw": secret},
        {"message": "QQ==", "received_at": secret}, {"message": "QQ==", "rcpt_to": secret},
        {"message": "QQ==", "idempotency_key": secret * 100},
    ]  # fmt: skip
    with warden.api() as api:
        for body in bodies:
            sent = {"content": body} if isinstance(body, bytes) else {"json": body}
            response = api.client.post("/v1/score", headers={"Content-Type": "application/json"}, **sent)
            check(response, 422, "bad-request")
            assert response.json()["errors"] and secret not in response.text
        check(api.client.post("/v1/score/batch", json={"messages": []}), 422, "bad-request", "messages")
        check(api.client.post("/v1/score/batch", json={"messages": [{"message": "QQ=="}] * 101}), 422, "bad-request")
        check(api.client.post("/v1/labels", content=b"{"), 422, "bad-request")


def test_what_is_not_there_is_a_problem_too(warden: Any) -> None:
    with warden.api() as api:
        for method, path, status in (("GET", "/v2/score", 404), ("GET", "/v1/score", 405), ("DELETE", "/healthz", 405)):
            check(api.client.request(method, path), status, "http")


def test_a_broken_disk_is_a_503_and_the_message_may_come_again(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Spool._write

    def refuse(self: Spool, group: Any) -> Any:
        raise OSError("no space left on device")

    with warden.api() as api:
        monkeypatch.setattr(Spool, "_write", refuse)
        response = api.score(simulated[0].raw, simulated[0].envelope)
        check(response, 503, "store-down")
        assert response.headers["retry-after"] == "1"
        monkeypatch.setattr(Spool, "_write", written)
        answer = api.send(simulated[0])
        assert answer["repeated"] is False
        monkeypatch.setattr(Spool, "_write", refuse)
        label = {"message_id": answer["message_id"], "label": "spam", "known_at": "2026-03-30T10:00:00Z"}
        check(api.label(**label), 503, "store-down")
        monkeypatch.setattr(Spool, "_write", written)
        assert api.label(**label).json()["repeated"] is False
    warden.drain()
    events = warden.events()
    assert [e.kind for e in events] == ["message", "label"]
    assert sum(e.labelled_bad for e in events) == 1


def test_without_a_database_a_message_is_decided_and_flagged_but_a_stranger_stays_out(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise StoreUnavailable("the database is away")

    with warden.api() as api:
        api.send(simulated[1])
        for store in (warden.platform.decisions, warden.platform.labels):
            for name in ("by_message", "by_idempotency_key", "latest", "history"):
                if hasattr(store, name):
                    monkeypatch.setattr(store, name, away)
        monkeypatch.setattr(warden.platform.tenants, "authenticate", away)
        # It came later than a newer one, and the index knows that it was not seen before.
        answer = api.send(simulated[0])
        assert answer["degraded"] is False and answer["flags"] == []
        # Whether a key was used before only the database knows.
        keyed = api.send(simulated[2], Idempotency_Key="k1")
        assert keyed["degraded"] is True and keyed["flags"] == ["duplicate check unavailable"]
        label = {"message_id": answer["message_id"], "label": "spam", "known_at": "2026-03-30T10:00:00Z"}
        check(api.label(**label), 503, "store-down")
        check(api.client.post("/v1/score", content=MAIL, headers=warden.headers("other") | RFC822), 503, "store-down")
    warden.drain()
    assert [e.seq for e in warden.events()] == [1, 2, 3]


@pytest.mark.parametrize("accident", ["begin", "accept"])
def test_an_accident_inside_says_nothing_of_the_inside(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch, accident: str
) -> None:
    with warden.api() as api:

        def broken(*_: Any, **__: Any) -> None:
            raise RuntimeError("a secret of the inside")

        monkeypatch.setattr(warden.service.intake._sequencing("acme")._sequencer, accident, broken)
        response = api.score(simulated[0].raw, simulated[0].envelope)
        check(response, 500, "internal")
        assert "secret" not in response.text
        # No worker is ended for it, and the message may come again.
        monkeypatch.undo()
        assert warden.service.intake._workers.ended == 0
        assert api.send(simulated[0])["seq"] == 1


def hostile() -> Iterator[tuple[str, bytes]]:
    rng = random.Random(5)
    for n in range(25):
        yield f"noise {n}", rng.randbytes(rng.randrange(2_000))
    for n in range(25):
        damaged = bytearray(MAIL * 3)
        for _ in range(rng.randrange(1, 30)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        yield f"damaged {n}", bytes(damaged)
    yield "huge header", b"Subject: " + b"a" * 1_000_000 + b"\r\n\r\nhi"
    yield "many headers", b"X: y\r\n" * 50_000 + b"\r\nhi"
    yield "many recipients", b"To: " + b", ".join(b"u%d@x.example" % i for i in range(5_000)) + b"\r\n\r\nhi"
    yield "surrogates", "From: \ud800 <\udcff@x.example>\r\nSubject: \udfff\r\n\r\n".encode("utf-8", "surrogatepass")
    yield "nul", b"From: a\x00b <a\x00@x.example>\r\nTo: \x00@\x00\r\nSubject: \x00\r\n\r\n\x00"
    yield (
        "deep",
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n"
        + b"--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n" * 500,
    )
    yield "encoded words", b"From: =?utf-8?b?" + b"/" * 5_000 + b"?= <=?utf-16?q?=D8=00?=@x.example>\r\n\r\n"
    yield (
        "unknown charset",
        b"Subject: =?nonsense?q?=FF?=\r\nContent-Type: text/plain; charset=nonsense\r\n\r\n\xff\xfe",
    )
    yield "sent to itself", b"From: a@x.example\r\nTo: a@x.example, A@X.EXAMPLE\r\n\r\nhi"


@pytest.mark.parametrize("envelope", [
    NOON,
    Envelope(631_152_000_000_000, "", ("",)),
    Envelope(4_102_444_799_999_999, "x" * 900, ("@", "a@" + "b." * 400 + "c", "é@é")),
], ids=["plain", "1990", "2099"])  # fmt: skip
def test_no_bytes_break_it(warden: Any, envelope: Envelope) -> None:
    accepted = 0
    with warden.api() as api:
        for name, raw in hostile():
            body = {
                "message": base64.b64encode(raw).decode(),
                "received_at": "1990-01-01T00:00:00Z" if envelope.mail_from == "" else "2099-12-31T23:59:59.999999Z",
                "mail_from": envelope.mail_from,
                "rcpt_to": list(envelope.rcpt_to),
            }  # fmt: skip
            plain = envelope is NOON
            response = api.score(raw, envelope) if plain else api.client.post("/v1/score", json=body)
            assert response.status_code in (200, 422), (name, response.text)
            accepted += response.status_code == 200 and not response.json()["repeated"]
    assert accepted > 20
    warden.drain()
    events = warden.events()
    assert len(events) == accepted == warden.platform.decisions.count("acme")
    assert warden.states() == warden.folded(events)
