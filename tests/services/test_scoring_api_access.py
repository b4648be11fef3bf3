"""Keys with roles: what each opens, whose tenant it speaks for, and what stays closed; refusals are counted."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from mailwarden.errors import StoreUnavailable
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.sql import keys
from mailwarden.stores.sql.keys import DEFAULT_ROLES, TENANT_ROLES, new_key
from mailwarden_services.scoring_api import access, known_keys

Mail = list[SimulatedMessage]
ID = "f" * 32
CALLS = {
    "score": ("POST", "/v1/score", 422),
    "label": ("POST", "/v1/labels", 422),
    "read": ("GET", f"/v1/messages/{ID}", 404),
    "content": ("GET", f"/v1/messages/{ID}/content", 404),
    "admin": ("GET", "/v1/audit", 200),
}


def bearing(key: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in more.items()}}


def test_a_key_opens_what_its_role_is_for_and_the_refusal_names_what_it_lacks(warden: Any) -> None:
    tenants = warden.platform.tenants
    with warden.api() as api:
        for role in TENANT_ROLES:
            key = tenants.issue_key("acme", role, 1, [role])
            for needed, (method, path, status) in CALLS.items():
                response = api.client.request(method, path, headers=bearing(key))
                if needed == role:
                    assert response.status_code == status, response.text
                else:
                    assert response.status_code == 403, (role, needed, response.text)
                    body = response.json()
                    assert body["type"] == "urn:mailwarden:problem:lacks-role" and body["role"] == needed
                    assert f"`{needed}`" in body["detail"] and role in body["detail"]


def test_an_operator_names_the_tenant_and_may_all_but_read_mail(warden: Any, simulated: Mail) -> None:
    above = warden.platform.platform_keys
    operator, gateway = above.issue("ops", 1, ["operator"]), above.issue("mx", 1, ["gateway"])
    reader = above.issue("soc", 1, ["operator", "content"])
    with warden.api() as api:
        answer = api.send(simulated[0])
        path = f"/v1/messages/{answer['message_id']}"
        unnamed = api.client.get(path, headers=bearing(operator))
        assert unnamed.status_code == 422 and "X-Mailwarden-Tenant" in unnamed.json()["detail"]
        assert api.client.get(path, headers=bearing(operator, X_Mailwarden_Tenant="acme")).status_code == 200
        assert api.client.get(path, headers=bearing(operator, X_Mailwarden_Tenant="other")).status_code == 404
        nobody = api.client.get(path, headers=bearing(operator, X_Mailwarden_Tenant="nobody"))
        assert nobody.json()["type"].endswith(":no-tenant")
        content = f"{path}/content"
        assert api.client.get(content, headers=bearing(operator, X_Mailwarden_Tenant="acme")).status_code == 403
        assert api.client.get(content, headers=bearing(reader, X_Mailwarden_Tenant="acme")).status_code == 200
        assert api.client.get(path, headers=bearing(gateway, X_Mailwarden_Tenant="acme")).status_code == 403
        mine = bearing(warden.keys["acme"], X_Mailwarden_Tenant="other")
        assert api.client.get(path, headers=mine).json()["type"].endswith(":other-tenant")
        own = bearing(warden.keys["acme"], X_Mailwarden_Tenant="acme")
        assert api.client.get(path, headers=own).status_code == 200


def test_a_key_is_looked_up_off_the_event_loop(warden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    tenants = warden.platform.tenants
    key = tenants.issue_key("acme", "more", 1)
    with warden.api() as api:
        served = warden.platform.tenants
        found = served.authenticate

        def authenticate(asked: str) -> Any:
            threads.append(threading.current_thread().name)
            return found(asked)

        monkeypatch.setattr(served, "authenticate", authenticate)
        for _ in range(3):
            assert api.client.get("/v1/decisions", headers=bearing(key)).status_code == 200
    assert len(threads) == 1 and threads[0].startswith("look-ups")


def test_many_who_guess_keys_cost_the_database_one_look(warden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = _looks(warden)
    known = known_keys.KnownKeys(warden.platform.tenants)

    async def guess(n: int) -> list[bool]:
        return await asyncio.gather(*(known.may_work(new_key()) for _ in range(n)))

    assert not any(asyncio.run(guess(50))) and len(looks) == 1
    assert not asyncio.run(known.may_work("no")) and not asyncio.run(known.may_work("mw_no")) and len(looks) == 1
    # Those that come while the look holds wait for the next one, which answers all of them.
    known = known_keys.KnownKeys(warden.platform.tenants)
    monkeypatch.setattr(known_keys, "LOOK_SECONDS", 0.2)
    began = time.monotonic()
    assert not any(asyncio.run(_twice(guess)))
    assert len(looks) == 3 and time.monotonic() - began >= 0.2


async def _twice(guess: Callable[[int], Awaitable[list[bool]]]) -> list[bool]:
    return [*await guess(20), *await guess(20)]


def test_a_new_key_works_at_once_whoever_made_it(warden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def asks(key: str) -> int:
        status: int = api.client.get("/v1/decisions", headers=bearing(key)).status_code
        return status

    with warden.api() as api:
        looks = _looks(warden)
        monkeypatch.setattr(known_keys, "LOOK_SECONDS", 0.2)
        assert asks(new_key()) == 401
        monkeypatch.setattr(known_keys, "LOOK_SECONDS", 3_600.0)
        # This process knows that it made one.
        key = warden.platform.tenants.issue_key("acme", "more", 1)
        assert asks(key) == 200
        # Of another process's it hears by a look, which is waited for.
        monkeypatch.setattr(known_keys, "LOOK_SECONDS", 0.2)
        times = keys.Issued.times
        other = warden.platform.tenants.issue_key("acme", "other", 1)
        monkeypatch.setattr(keys.Issued, "times", times)
        assert asks(other) == 200
        # A revoked one is looked for among all, and no more by itself.
        warden.platform.tenants.revoke_key("acme", "other", 2)
        monkeypatch.setattr(access, "KEY_CACHE_SECONDS", 0.0)
        monkeypatch.setattr(known_keys, "LOOK_SECONDS", 0.0)
        assert [asks(other), asks(other)] == [401, 401]
        del looks[:]
        assert [asks(other) for _ in range(3)] == [401] * 3 and len(looks) == 3
        assert not any("WHERE api_keys.key_sha256" in look for look in looks)


def _looks(warden: Any) -> list[str]:
    """Grows by each question that is put to the database."""
    looks: list[str] = []

    def looked(*told: Any) -> None:
        looks.extend([told[2]] * told[2].startswith("SELECT"))

    sa.event.listen(warden.platform._engine, "before_cursor_execute", looked)
    return looks


def test_whom_the_api_knows_goes_on_while_the_database_is_away(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise StoreUnavailable("the database is away")

    monkeypatch.setattr(access, "KEY_CACHE_SECONDS", 0.0)
    with warden.api() as api:
        api.send(simulated[0])
        for name in ("authenticate", "get"):
            monkeypatch.setattr(warden.platform.tenants, name, away)
        assert api.score(simulated[1].raw, simulated[1].envelope).status_code == 200
        stranger = api.client.get("/v1/decisions", headers=bearing(warden.keys["other"]))
        assert stranger.json()["type"].endswith(":store-down")
        monkeypatch.setattr(access, "KEY_GRACE_SECONDS", 0.0)
        assert api.score(simulated[2].raw, simulated[2].envelope).status_code == 503


def test_readiness_is_told_in_a_word_and_in_full_to_who_may_know(warden: Any) -> None:
    tenants = warden.platform.tenants
    plain = tenants.issue_key("acme", "plain", 1, DEFAULT_ROLES)
    operator = warden.platform.platform_keys.issue("ops", 1, ["operator"])
    with warden.api() as api:
        del api.client.headers["authorization"]
        for headers in ({}, bearing(plain), bearing("mw_" + "a" * 43)):
            assert api.client.get("/readyz", headers=headers).json() == {"status": "ready"}
        for key in (operator, warden.keys["acme"]):
            assert api.client.get("/readyz", headers=bearing(key)).json()["model_version"] == 1


def test_refused_requests_are_counted_by_route_and_kind(warden: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with warden.api() as api:
        for _ in range(5):
            api.client.post("/v1/labels", json={"secret": "very-secret"})
        api.client.post("/v1/labels/batch", json={"labels": [{"message_id": ID, "label": "CP",
                                                              "known_at": "2026-03-30T10:00:00Z"}]})  # fmt: skip
        api.client.get("/nowhere")
        api.client.get(f"/v1/messages/{ID}", headers={"Authorization": "Bearer no"})
        text = api.client.get("/metrics").text
    found = dict(re.findall(r"^mailwarden_refused_requests_total\{(.*)\} (.*)$", text, re.MULTILINE))
    assert found == {
        'problem="bad-request",route="/v1/labels",status="422"': "5.0",
        'problem="not-found",route="/v1/labels/batch",status="404"': "1.0",
        'problem="http",route="none",status="404"': "1.0",
        'problem="not-authorised",route="/v1/messages/{message_id}",status="401"': "1.0",
    }
    logged = capsys.readouterr().out
    assert logged.count("a request was refused") == 3 + 1 + 1 + 1, "the 1st, 2nd and 4th of five"
    assert "secret" not in logged
