"""`POST /v1/mail`: one message, the tenants that it concerns, one action; over a real platform."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from mailwarden.domain.detection.action import ACTIONS
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden_services.bootstrap import Platform
from mailwarden_services.scoring_api import tenant_directory
from mailwarden_services.scoring_api.problems import no_model


def policy_of(warden: Any, tenant: str, **policy: Any) -> None:
    Platform(warden.settings).tenants.update(tenant, policy=policy)  # type: ignore[arg-type]


@contextlib.contextmanager
def gateway(warden: Any, **settings: Any) -> Iterator[Any]:
    """The API for one that hands over mail of all tenants."""
    warden.settings = warden.settings.model_copy(update=settings)
    key = Platform(warden.settings).platform_keys.issue("mx", 1, ["gateway"])
    with warden.api() as api:
        api.client.headers["Authorization"] = f"Bearer {key}"
        yield api


def hand_over(api: Any, message: SimulatedMessage, *rcpt_to: str, **headers: str) -> dict[str, Any]:
    named = {f"X-Mailwarden-{name.replace('_', '-')}": value for name, value in headers.items()}
    envelope = replace(message.envelope, rcpt_to=rcpt_to or message.envelope.rcpt_to)
    response = api.score(message.raw, envelope, path="/v1/mail", **named)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


@pytest.fixture(autouse=True)
def looked_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_directory, "REFRESH_SECONDS", 0.0)


@pytest.fixture
def bad(seen_through: SimulatedMessage) -> SimulatedMessage:
    """An attack from outside that the models see through."""
    return seen_through


def test_a_message_of_two_tenants_is_one_event_in_each_with_its_own_recipients(
    warden: Any, bad: SimulatedMessage
) -> None:
    mine = bad.envelope.rcpt_to[0]
    with gateway(warden) as api:
        found = hand_over(api, bad, mine, "eve@other.example", "x@nowhere.example", "y@nowhere.example")
    assert [part["tenant"] for part in found["tenants"]] == ["acme", "other"] and found["unknown_domains"] == 1
    assert found["verdict"] != "deliver" and found["action"] == "accept" and found["add_headers"] == []
    assert [part["recipients"] for part in found["tenants"]] == [[mine], ["eve@other.example"]]
    told = {
        "tenant",
        "recipients",
        "decision_id",
        "message_id",
        "verdict",
        "action",
        "category",
        "signals",
        "starter",
        "degraded",
        "flags",
    }
    assert all(set(part) == {*told, "repeated"} for part in found["tenants"])
    warden.drain()
    assert [(e.tenant, e.seq, e.recipients) for e in warden.events()] == [
        ("acme", 1, (mine,)),
        ("other", 1, ("eve@other.example",)),
    ]


def test_the_action_is_the_strictest_that_all_accept_and_follows_a_switch_of_mode(
    warden: Any, bad: SimulatedMessage
) -> None:
    mine = bad.envelope.rcpt_to[0]
    with gateway(warden) as api:
        policy_of(warden, "acme", mode="enforce", reject="banner")
        alone = hand_over(api, bad, mine)
        assert alone["action"] == "reject" and alone["add_headers"][0] == ["X-Mailwarden-Verdict", alone["verdict"]]
        assert hand_over(api, bad, mine, "eve@other.example")["action"] == "accept"
        policy_of(warden, "other", mode="enforce")
        both = hand_over(api, bad, mine, "eve@other.example")
        actions = [part["action"] for part in both["tenants"]]
        assert both["action"] == min(actions, key=ACTIONS.index) == actions[1] != "accept"
        assert all(part["repeated"] for part in both["tenants"])
        policy_of(warden, "acme", mode="monitor")
        again = hand_over(api, bad, mine)
        assert (again["action"], again["verdict"], again["add_headers"]) == ("accept", alone["verdict"], [])


def test_mail_that_a_user_sends_is_learnt_from_and_left_alone(warden: Any, bad: SimulatedMessage) -> None:
    mine = bad.envelope.rcpt_to[0]
    policy_of(warden, "acme", mode="enforce", reject="banner")
    policy_of(warden, "other", mode="enforce")
    sent = replace(bad, raw=b"X-Mailwarden-Verdict: deliver\r\n" + bad.raw)
    with gateway(warden, listeners="submission=acme:outbound") as api:
        by_user = hand_over(api, sent, "x@far.example", "eve@other.example", Auth_User=mine)
        by_listener = hand_over(api, sent, "y@far.example", Auth_User="bob", Listener="submission")
        claimed = hand_over(api, bad, mine)
    assert by_user["action"] == by_listener["action"] == "accept" and by_user["unknown_domains"] == 0
    assert [part["tenant"] for part in by_user["tenants"]] == ["acme", "other"]
    assert by_user["tenants"][1]["action"] != "accept"
    assert by_listener["remove_headers"] == [] and claimed["action"] == "reject"
    warden.drain()
    ways = {(e.tenant, e.recipients): e.direction for e in warden.events()}
    assert ways["acme", ("x@far.example", "eve@other.example")] == ways["acme", ("y@far.example",)] == "outbound"
    assert ways["other", ("eve@other.example",)] == ways["acme", (mine,)] == "inbound"
    # What the mail system said is kept with the mail, so that its facts can be derived anew.
    kept = {row.rcpt_to: row.envelope for row in Platform(warden.settings).raw.scan("acme")}
    assert kept["x@far.example", "eve@other.example"].auth_user == mine
    assert kept[("y@far.example",)].flow == "outbound"


def test_mail_of_nobody_passes_and_is_counted_and_a_new_tenant_is_known_at_once(
    warden: Any, bad: SimulatedMessage
) -> None:
    with gateway(warden) as api:
        found = hand_over(api, bad, "x@fresh.example")
        assert (found["action"], found["verdict"], found["tenants"], found["unknown_domains"]) == (
            "accept", "deliver", [], 1,
        )  # fmt: skip
        assert 'mailwarden_mail_not_scored_total{reason="unknown_domain"} 1.0' in api.client.get("/metrics").text
        Platform(warden.settings).tenants.create("fresh", domains=["fresh.example"], created_us=5)
        hand_over(api, bad, "x@fresh.example")
        assert hand_over(api, bad, "x@fresh.example")["tenants"][0]["tenant"] == "fresh"


def test_bytes_that_are_no_message_get_what_unread_mail_does(warden: Any, bad: SimulatedMessage) -> None:
    policy_of(warden, "acme", mode="enforce", unread="junk")
    with gateway(warden) as api:
        found = hand_over(api, replace(bad, raw=b"\n\nno header at all"))
        assert (found["action"], found["tenants"][0]["degraded"]) == ("junk", True)
        assert "No header was found" in found["tenants"][0]["flags"][0]
    warden.drain()
    assert warden.events() == []


def test_a_tenants_key_hands_over_its_own_mail_and_no_key_none(warden: Any, bad: SimulatedMessage) -> None:
    mine = bad.envelope.rcpt_to[0]
    with warden.api("other") as api:
        found = hand_over(api, bad, mine, "eve@other.example")
        assert [part["tenant"] for part in found["tenants"]] == ["other"]
        assert hand_over(api, bad, mine)["tenants"] == []
        labelling = Platform(warden.settings).tenants.issue_key("other", "labels", 1, ["label"])
        lacking = {"Authorization": f"Bearer {labelling}"}
        assert api.client.post("/v1/mail", content=bad.raw, headers=lacking).status_code == 403
        for wrong in ("", "Bearer ", "Bearer wrong"):
            answer = api.client.post("/v1/mail", content=bad.raw, headers={"Authorization": wrong})
            assert answer.status_code == 401


def test_without_a_time_mail_is_of_now(warden: Any, bad: SimulatedMessage) -> None:
    with gateway(warden) as api:
        before = warden.service.flow.clock()
        beside = {"Rcpt-To": bad.envelope.rcpt_to[0], "Queue-Id": "4F1", "Client-Ip": "203.0.113.5"}
        named = {f"X-Mailwarden-{name}": value for name, value in beside.items()}
        assert api.client.post("/v1/mail", content=bad.raw, headers=named).json()["tenants"]
        after = warden.service.flow.clock()
    warden.drain()
    (event,) = warden.events()
    (row,) = Platform(warden.settings).raw.scan("acme")
    assert before <= event.received_at_us <= after and event.time_source == "envelope"
    assert row.envelope.queue_id == "4F1" and row.envelope.reception is not None
    assert row.envelope.reception.client_ip == "203.0.113.5"


def test_where_one_tenant_cannot_decide_nobodys_action_is_answered(warden: Any, bad: SimulatedMessage) -> None:
    mine = bad.envelope.rcpt_to[0]
    with gateway(warden) as api:
        decide = warden.service.intake.decide

        async def away(tenant: Any, *args: Any, **more: Any) -> Any:
            if tenant.name == "other":
                raise no_model()
            return await decide(tenant, *args, **more)

        warden.service.intake.decide = away
        envelope = replace(bad.envelope, rcpt_to=(mine, "eve@other.example"))
        assert api.score(bad.raw, envelope, path="/v1/mail").status_code == 503
        warden.service.intake.decide = decide
        tenants = hand_over(api, bad, mine, "eve@other.example")["tenants"]
        assert [part["repeated"] for part in tenants] == [True, False]
