"""One message that comes by every way there is: scored, by a mail system, learnt, ingested. It is counted once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.mail.events import keys_of
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden_services.bootstrap import Platform

Run = Callable[..., tuple[int, str, str]]

MINUTE_US = 60_000_000
QUEUE = {"X-Mailwarden-Queue-Id": "4F1C2"}


@pytest.fixture
def bad(seen_through: SimulatedMessage) -> SimulatedMessage:
    """An attack from outside that the models see through."""
    return seen_through


@contextlib.contextmanager
def gateway(warden: Any) -> Iterator[Any]:
    key = Platform(warden.settings).platform_keys.issue("mx", 1, ["gateway"])
    with warden.api() as api:
        api.client.headers["Authorization"] = f"Bearer {key}"
        yield api


def carried(message: SimulatedMessage, number: int, *rcpt_to: str) -> SimulatedMessage:
    """As another carrier hands it over, some minutes later."""
    assert message.envelope.received_at_us is not None
    later_us = message.envelope.received_at_us + number * MINUTE_US
    envelope = replace(message.envelope, received_at_us=later_us, rcpt_to=rcpt_to or message.envelope.rcpt_to)
    trace = f"Received: from mx{number}.acme.example by mx.acme.example; {formatdate(later_us / 1e6)}\n"
    return replace(message, raw=trace.encode() + message.raw, envelope=envelope)


def hand_over(api: Any, message: SimulatedMessage, **headers: str) -> dict[str, Any]:
    response = api.score(message.raw, message.envelope, path="/v1/mail", **headers)
    assert response.status_code == 200, response.text
    (part,) = response.json()["tenants"]
    found: dict[str, Any] = part
    return found


def test_a_message_that_comes_by_every_way_counts_once(
    warden: Any, bad: SimulatedMessage, run: Run, tmp_path: Path
) -> None:
    mine = bad.envelope.rcpt_to
    domain = mine[0].rpartition("@")[2]
    eve, alias = f"eve@{domain}", f"alias@{domain}"
    own = warden.headers()
    with gateway(warden) as api:
        first = api.send(bad, **own)
        again = hand_over(api, carried(bad, 1), **QUEUE)
        assert (first["seq"], again["repeated"], again["decision_id"]) == (1, True, first["decision_id"])
        wider = hand_over(api, carried(bad, 2, *mine, eve), **QUEUE)
        queued = hand_over(api, carried(bad, 3, alias), **QUEUE)
        for part in (wider, queued):
            assert part["repeated"] and part["decision_id"] != first["decision_id"]
            assert (part["verdict"], part["category"]) == (first["verdict"], first["category"])
        spam = {"Rcpt": mine[0], **own}
        assert api.client.post("/learnspam", content=carried(bad, 4).raw, headers=spam).status_code == 200
        assert api.client.post("/learnspam", content=carried(bad, 5).raw, headers=spam).status_code == 208
        keyed = api.score(carried(bad, 6).raw, carried(bad, 6).envelope, Idempotency_Key="k", **own).json()
        assert keyed["repeated"] and keyed["decision_id"] == first["decision_id"]
    warden.drain()
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "7.eml").write_bytes(carried(bad, 7, eve).raw)
    code, out, err = run("ingest", str(tmp_path / "mail"), "--tenant", "acme")
    assert code == 0, out + err
    messages = [event for event in warden.events() if event.kind == "message"]
    assert [(event.recipients, event.copy_of) for event in messages] == [
        (mine, ""),
        ((eve,), first["message_id"]),
        ((alias,), first["message_id"]),
    ]
    assert {event.received_at_us for event in messages} == {bad.envelope.received_at_us}
    (label,) = [event for event in warden.events() if event.kind == "label"]
    assert (label.label, label.message_id, label.copy_of) == ("spam", first["message_id"], "")


def test_of_further_copies_recipients_alone_are_folded(warden: Any, bad: SimulatedMessage) -> None:
    domain = bad.envelope.rcpt_to[0].rpartition("@")[2]
    with gateway(warden) as api:
        hand_over(api, bad)
        hand_over(api, carried(bad, 1, *bad.envelope.rcpt_to, f"eve@{domain}"))
    warden.drain()
    first, further = warden.events()
    assert further.copy_of == first.message_id
    reached = {view.name: dict(keys_of(view.emission, further, view.keys)) for view in warden.platform.activity}
    assert {name for name, keys in reached.items() if keys} == {"recipient_activity", "relationship"}
    assert set(reached["recipient_activity"]) == {(f"eve@{domain}",)}
    assert warden.states() == warden.folded([first, further])
