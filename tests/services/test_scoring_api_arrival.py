"""What comes through the API is kept as bulk ingest keeps it, at a time that its sender did not choose."""

from __future__ import annotations

import base64
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from mailwarden.domain.mail.message import Envelope
from mailwarden.ingest.pipeline import ingest
from mailwarden.ingest.sources import open_source
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.lake.event_log import EventLog, table_to_events
from mailwarden.stores.lake.raw_mail import RawMail
from mailwarden_services.bootstrap import Platform
from mailwarden_services.scoring_api.requests import MAX_RECIPIENTS

Mail = list[SimulatedMessage]
AT = datetime(2026, 3, 2, 10, tzinfo=UTC)
BODY = b"To: bob@own.example\r\nSubject: s\r\n\r\nhello\r\n"
FROM = b"From: ann@parts.example\r\n"
MBOX = b"From ann@parts.example Mon Mar  2 10:00:05 2026\r\n"


def hop(at: datetime) -> bytes:
    return b"Received: from a by mx.own.example; " + at.strftime("%a, %d %b %Y %H:%M:%S +0000").encode() + b"\r\n"


def test_the_api_keeps_what_bulk_ingest_keeps(warden: Any, tmp_path: Path) -> None:
    warden.platform.tenants.update("acme", domains=["mail.own.example"])
    mail = [
        hop(AT) + FROM + BODY,
        MBOX + hop(AT) + FROM + BODY,
        b"From nobody, at no time\r\n" + hop(AT) + FROM + b"X: 1\r\n" + BODY,
        b"From a@b.example Mon Mar  2 10:00:05 1903\r\n" + hop(AT) + FROM + b"X: 2\r\n" + BODY,
        hop(AT) + b"From: boss@own.example\r\nTo: eve@else.example\r\n\r\nhi",
        hop(AT) + BODY,
    ]
    (tmp_path / "mail").mkdir()
    for number, raw in enumerate(mail):
        (tmp_path / "mail" / str(number)).write_bytes(raw)
    with warden.api() as api:
        for raw in mail:
            assert api.score(raw).status_code == 200
    warden.drain()
    tenant = Platform(warden.settings).tenants.get("acme")
    log, kept = EventLog(tmp_path / "events"), RawMail(tmp_path / "raw")
    ingest(
        open_source(tmp_path / "mail"), tenant="acme", own_domains=frozenset(tenant.domains), event_log=log,
        raw_mail=kept, trusted_authserv_ids=frozenset(tenant.trusted_authserv_ids), workers=1,
    )  # fmt: skip

    def facts(events: list[Any]) -> dict[str, Any]:
        return {event.message_id: replace(event, seq=0) for event in events}

    def rows(raw_mail: RawMail) -> list[dict[str, Any]]:
        table = ds.dataset(list(raw_mail.snapshot().files)).to_table().to_pylist()
        return sorted(table, key=lambda row: str(row["message_id"]))

    scored = facts(warden.events())
    assert len(scored) == len(mail) and scored == facts(table_to_events(log.scan().read_all()))
    assert "outbound" in {event.direction for event in scored.values()}
    assert rows(Platform(warden.settings).raw) == rows(kept)


def test_a_sender_cannot_choose_the_time(warden: Any) -> None:
    dated = b"Date: Fri, 2 Mar 2035 10:00:00 +0000\r\n" + FROM + BODY
    with warden.api() as api:
        refused = api.score(dated)
        assert refused.status_code == 422 and "received_at" in refused.json()["detail"]
        assert api.score(dated, path="/v1/score?observe=false").json()["time_source"] == "date"
        assert api.score(hop(AT) + FROM + BODY).status_code == 200
        ahead = datetime.now(UTC) + timedelta(days=400)
        for raw in (hop(ahead) + FROM + BODY, MBOX.replace(b"2026", b"2035") + hop(AT) + FROM + BODY):
            assert "time clamped" in api.score(raw).json()["flags"]
        given = Envelope(int(ahead.timestamp()) * 1_000_000)
        assert "time clamped" in api.score(hop(AT) + FROM + BODY, given).json()["flags"]
    warden.drain()
    events = warden.events()
    assert [event.time_clamped for event in events] == [False, True, True, True]
    assert all(event.received_at_us <= time.time_ns() // 1_000 for event in events)


def test_a_label_is_not_given_before_its_message_came(warden: Any, simulated: Mail) -> None:
    with warden.api() as api:
        answer = api.send(simulated[0])
        for known_at in ("0001-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "2150-01-01T00:00:00Z"):
            refused = api.label(message_id=answer["message_id"], label="spam", known_at=known_at)
            assert refused.status_code == 422 and "known_at" in refused.json()["detail"]
        known = {"message_id": answer["message_id"], "label": "spam", "known_at": "2026-03-30T10:00:00Z"}
        assert api.label(**known, given_by="a\x00b").status_code == 422
        assert api.label(**{**known, "message_id": "a\x00"}).status_code == 422
        assert api.label(**known, given_by="Zoë, 2nd line").status_code == 201


def test_what_cannot_be_kept_is_refused(warden: Any) -> None:
    raw = hop(AT) + FROM + BODY
    body = {"message": base64.b64encode(raw).decode()}
    many = [f"u{number}@own.example" for number in range(MAX_RECIPIENTS + 1)]
    with warden.api() as api:
        for change in (
            {"idempotency_key": "a\x00b"},
            {"idempotency_key": "a\nb"},
            {"idempotency_key": ""},
            {"rcpt_to": many},
        ):
            assert api.client.post("/v1/score", json={**body, **change}).status_code == 422, list(change)
        assert api.score(raw, X_Mailwarden_Rcpt_To=",".join(many)).status_code == 422
        assert api.score(raw, Idempotency_Key="k" * 201).status_code == 422
        assert api.score(raw, Idempotency_Key="a\x85b".encode("latin-1")).status_code == 422
        assert api.client.post("/v1/score", json={**body, "rcpt_to": many[:-1]}).status_code == 200


def test_without_a_model_the_message_may_come_again(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailwarden.stores.sql.Registry.champion", lambda *_: None)
    with warden.api() as api:
        response = api.score(simulated[0].raw, simulated[0].envelope)
        assert (response.status_code, response.json()["type"]) == (503, "urn:mailwarden:problem:no-model")
        assert int(response.headers["retry-after"]) > 0
        assert api.client.get("/readyz").status_code == 503
    monkeypatch.undo()
    with warden.api() as api:
        assert api.send(simulated[0])["seq"] == 1


def test_the_age_of_features_is_what_they_lag_behind_accepted_mail(warden: Any) -> None:
    with warden.api() as api:

        def age(hours: int) -> Any:
            return api.score(hop(AT + timedelta(hours=hours)) + FROM + BODY).json()["features"]["age_seconds"]

        assert age(0) is None
        warden.drain()
        # A long silence is no lag.
        assert age(100) == 0.0
        assert age(101) == 360_000.0
        warden.drain()
        assert age(500) == 0.0
