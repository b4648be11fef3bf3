"""Scoring over HTTP: forms of asking, counting once, tenants apart, and no trace where none is wanted."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailwarden.domain.mail.message import Envelope
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.online.client import open_client
from mailwarden.stores.spool_reader import SpoolReader
from mailwarden_detectors import discover
from mailwarden_services.feature_writer.writer import READER_NAME
from mailwarden_services.scoring_api import access

Mail = list[SimulatedMessage]


def rfc(message: SimulatedMessage) -> str:
    time_us = message.envelope.received_at_us
    assert time_us is not None
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).isoformat()


def as_json(message: SimulatedMessage, **more: Any) -> dict[str, Any]:
    return {
        "message": base64.b64encode(message.raw).decode(),
        "received_at": rfc(message),
        "mail_from": message.envelope.mail_from,
        "rcpt_to": list(message.envelope.rcpt_to),
        **more,
    }


def test_an_answer_says_all_that_a_caller_needs(warden: Any, simulated: Mail) -> None:
    with warden.api() as api:
        answers = [api.send(m) for m in simulated[-120:]]
    answer = answers[0]
    assert 0.0 <= answer["score"] <= 1.0
    assert answer["decision_id"] == "d" + answer["message_id"] and len(answer["message_id"]) == 32
    assert (answer["seq"], answer["model_version"], answer["repeated"]) == (1, 1, False)
    # Specialists abstain from what is none of their business.
    assert {"header_rules", "message_text", "behaviour"} <= set(answer["detectors"]) <= set(discover())
    assert all(0.0 <= detector["score"] <= 1.0 for detector in answer["detectors"].values())
    versions = {name: detector["model_version"] for name, detector in answer["detectors"].items()}
    # In the registry, where each is the first of its name.
    assert versions == dict.fromkeys(versions, 1)
    assert answer["features"] == {"as_of_seq": None, "age_seconds": None}
    assert (answer["degraded"], answer["flags"], answer["time_source"]) == (False, [], "envelope")
    assert {a["direction"] for a in answers} == {"inbound", "outbound", "internal"}
    stopped = [a for a in answers if a["verdict"] != "deliver"]
    assert stopped
    for a in stopped:
        assert a["category"] and 1 <= len(a["signals"]) <= 5
        for signal in a["signals"]:
            assert " " in signal["words"] and "_" not in signal["words"].split()[0] and signal["weight"] > 0
    assert all(a["category"] is None for a in answers if a["verdict"] == "deliver")
    pairs = [(m.label != "ham", a["verdict"] != "deliver") for m, a in zip(simulated[-120:], answers, strict=True)]
    caught = [stopped for bad, stopped in pairs if bad]
    held_back = [stopped for bad, stopped in pairs if not bad]
    assert sum(caught) / len(caught) > 0.5 > 0.2 > sum(held_back) / len(held_back)


def test_every_form_of_asking_means_the_same_message(warden: Any, simulated: Mail) -> None:
    message = next(m for m in simulated if len(m.envelope.rcpt_to) > 1 and m.envelope.mail_from)
    with warden.api() as api:
        first = api.send(message)
        query = {
            "received_at": rfc(message),
            "mail_from": message.envelope.mail_from,
            "rcpt_to": list(message.envelope.rcpt_to),
        }
        by_query = api.client.post(
            "/v1/score", content=message.raw, params=query, headers={"Content-Type": "application/octet-stream"}
        ).json()
        by_json = api.client.post("/v1/score", json=as_json(message)).json()
        batch = api.client.post("/v1/score/batch", json={"messages": [as_json(message)]}).json()["results"][0]
        backwards = Envelope(
            message.envelope.received_at_us, message.envelope.mail_from, message.envelope.rcpt_to[::-1]
        )
        turned = api.score(message.raw, backwards).json()
    for again in (by_query, by_json, batch, turned):
        assert again == {**first, "repeated": True}


def test_a_batch_is_in_order_and_one_bad_message_does_not_spoil_it(warden: Any, simulated: Mail) -> None:
    good = simulated[:3]
    bodies = [
        as_json(good[0]),
        {"message": "no base64!"},
        as_json(good[1], idempotency_key="k"),
        as_json(good[2], idempotency_key="k"),
        {"message": base64.b64encode(b"Subject: no time\r\n\r\nhello").decode()},
        as_json(good[2]),
    ]
    with warden.api() as api:
        response = api.client.post("/v1/score/batch", json={"messages": bodies})
        assert response.status_code == 200
        results = response.json()["results"]
        problems = [r.get("problem", {}).get("type", "").rpartition(":")[2] for r in results]
        assert problems == ["", "not-a-message", "", "bad-data", "not-a-message", ""]
        assert [r["seq"] for r in results if "seq" in r] == [1, 2, 3]
        unseen = api.client.post("/v1/score/batch", json={"messages": [as_json(simulated[9])], "observe": False})
        assert unseen.json()["results"][0]["decision_id"] is None
    warden.drain()
    assert [e.seq for e in warden.events()] == [1, 2, 3]


def test_an_idempotency_key_gives_the_same_answer_and_counts_once(warden: Any, simulated: Mail) -> None:
    one, two, three = simulated[:3]
    with warden.api() as api:
        first = api.send(one, Idempotency_Key="key-1")
        assert api.send(one, Idempotency_Key="key-1") == {**first, "repeated": True}
        refused = api.score(two.raw, two.envelope, Idempotency_Key="key-1")
        assert refused.status_code == 422 and "key-1" in refused.json()["detail"]
        assert api.score(two.raw, two.envelope, Idempotency_Key="key-2").json()["seq"] == 2
    with warden.api("other") as other:
        assert other.send(three, Idempotency_Key="key-1")["repeated"] is False
    warden.drain()
    with warden.api() as api:
        # Now the spool is empty: what is known stands in the database.
        assert api.send(one, Idempotency_Key="key-1") == {**first, "repeated": True}
        assert api.score(three.raw, three.envelope, Idempotency_Key="key-1").status_code == 422
    warden.drain()
    assert [(e.tenant, e.seq) for e in warden.events()] == [("acme", 1), ("acme", 2), ("other", 1)]


@pytest.mark.parametrize("logged", [False, True], ids=["spooled", "logged"])
def test_a_repeat_counts_once_also_after_a_restart(warden: Any, simulated: Mail, logged: bool) -> None:
    with warden.api() as api:
        answers = [api.send(m) for m in simulated[:5]]
    if logged:
        warden.drain()
    with warden.api() as api:
        assert [api.send(m) for m in simulated[:5]] == [{**a, "repeated": True} for a in answers]
        assert api.send(simulated[5])["seq"] == 6
        envelope = simulated[0].envelope
        assert envelope.received_at_us is not None
        # The same bytes that arrive days later are another message.
        later = Envelope(envelope.received_at_us + 2 * 86_400_000_000, envelope.mail_from, envelope.rcpt_to)
        assert api.score(simulated[0].raw, later).json()["seq"] == 7
    warden.drain()
    events = warden.events()
    assert [e.seq for e in events] == [1, 2, 3, 4, 5, 6, 7]
    assert warden.platform.decisions.count("acme") == 7
    assert warden.states() == warden.folded(events)


def test_without_observing_nothing_is_left_behind(warden: Any, simulated: Mail, seen_through: SimulatedMessage) -> None:
    with warden.api() as api:
        seen = api.send(simulated[0])
        warden.drain()
        before = warden.online(), warden.events(), warden.platform.decisions.count("acme")
        reader = SpoolReader(warden.settings.spool_path, READER_NAME)
        response = api.score(seen_through.raw, seen_through.envelope, path="/v1/score?observe=false")
        answer = response.json()
        assert (answer["decision_id"], answer["seq"], answer["repeated"]) == (None, None, False)
        assert answer["verdict"] != "deliver" and answer["signals"]
        assert reader.lag_bytes() == 0
        assert (
            api.label(message_id=answer["message_id"], label="CP", known_at="2026-03-03T00:00:00Z").status_code == 404
        )
        # It is not remembered either: asked for real it is new, and gets the next seq.
        assert api.send(seen_through)["seq"] == seen["seq"] + 1
        reader.close()
        assert (warden.online(), warden.events(), warden.platform.decisions.count("acme")) == before


def test_the_next_message_of_a_sender_is_scored_knowing_this_one(warden: Any, simulated: Mail) -> None:
    envelope = Envelope(1_772_700_000_000_000, "a@vendor.example", ("b@acme.example",))
    with warden.api() as api:
        for number in range(3):
            later = Envelope(1_772_700_000_000_000 + number * 3_600_000_000, envelope.mail_from, envelope.rcpt_to)
            answer = api.score(f"From: a@vendor.example\r\nSubject: {number}\r\n\r\nhi".encode(), later).json()
            assert answer["features"]["as_of_seq"] == (None if number == 0 else number)
            assert answer["features"]["age_seconds"] == (None if number == 0 else 0.0)
            warden.drain()
    vectors = warden.platform.vectors.scan().read_all().sort_by("seq").to_pylist()
    assert [row["sender_activity__as_of_seq"] for row in vectors][1:] == [1, 2]
    assert [row["sender_activity__status"] for row in vectors] == ["never_seen", "present", "present"]
    assert [row["relationship__messages_all"] for row in vectors] == [None, 1.0, 2.0]


def test_no_tenant_sees_another(warden: Any, simulated: Mail) -> None:
    message = simulated[0]
    with warden.api() as acme:
        first = acme.send(message)
        strangers = warden.headers("other")
        sent = {"X-Mailwarden-Received-At": rfc(message), **strangers}
        second = acme.client.post("/v1/score", content=message.raw, headers=sent).json()
        assert second["repeated"] is False and second["seq"] == 1 and second["message_id"] != first["message_id"]
        label = {"decision_id": first["decision_id"], "label": "spam", "known_at": "2026-03-03T00:00:00Z"}
        assert acme.client.post("/v1/labels", json=label, headers=strangers).status_code == 404
        warden.drain()
        assert acme.client.post("/v1/labels", json=label, headers=strangers).status_code == 404
        assert acme.client.post("/v1/labels", json=label).status_code == 201
    warden.drain()
    assert warden.platform.decisions.count("acme") == warden.platform.decisions.count("other") == 1
    assert warden.platform.labels.count("other") == 0
    assert {key for key in warden.online() if b"acme" in key and b"other" in key} == set()


def test_a_key_works_until_it_is_revoked(warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "KEY_CACHE_SECONDS", 0.0)
    with warden.api() as api:
        api.send(simulated[0])
        warden.platform.tenants.revoke_key("acme", "tests", 5)
        refused = api.score(simulated[1].raw, simulated[1].envelope)
        assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
        assert api.client.post("/v1/labels", json={}).status_code == 401
        assert api.client.post("/v1/score/batch", json={}).status_code == 401
        assert api.client.get("/healthz").status_code == 200
    with open_client(warden.settings.redis_url.get_secret_value()) as client:
        assert client.dbsize() == 0
