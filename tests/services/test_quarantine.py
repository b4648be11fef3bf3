"""Held mail over HTTP and on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.quarantine import Held, HeldMail
from mailwarden.testing.mail_sink import mail_sink

Run = Callable[..., tuple[int, str, str]]
RAW = b"Subject: =?utf-8?q?caf=C3=A9?=\r\n\r\ntext\r\n"
NOW = 1_700_000_000_000_000


def hold(warden: Any, port: int = 1, *, at: int = 0, tenant: str = "acme", message_id: str = "") -> Held:
    mail = HeldMail(
        tenant, message_id, "", "ann@partner.example", ("bob@example.com",), "It is odd.", subject="[b]café[/b]",
        next_hop=f"127.0.0.1:{port}",
    )  # fmt: skip
    (held,) = warden.platform.quarantine.hold([mail], lambda: [RAW], NOW + at)
    return held


def key(warden: Any, *roles: str) -> dict[str, str]:
    made = warden.platform.tenants.issue_key("acme", "-".join(roles), 1, roles)
    return {"Authorization": f"Bearer {made}"}


def test_a_tenant_lists_its_own_held_mail_page_by_page(warden: Any) -> None:
    made = [hold(warden, at=at) for at in range(5)]
    hold(warden, tenant="other")
    reader = key(warden, "read")
    with warden.api() as api:
        seen: list[str] = []
        asked: dict[str, Any] = {"limit": 2}
        while True:
            page = api.client.get("/v1/quarantine", params=asked, headers=reader).json()
            seen += [held["id"] for held in page["held"]]
            if page["next"] is None:
                break
            asked["after"] = page["next"]
        assert seen == [held.held_id for held in reversed(made)]
        one = api.client.get(f"/v1/quarantine/{seen[0]}", headers=reader).json()
        assert one["subject"] == "[b]café[/b]" and one["state"] == "held" and one["held_at"].endswith("Z")
        assert one["left"] == ["bob@example.com"] and one["size"] == len(RAW)
        assert api.client.get("/v1/quarantine", params={"after": "x"}, headers=reader).status_code == 422
        assert api.client.get("/v1/quarantine/q" + "0" * 32, headers=reader).status_code == 404
        assert api.client.get("/v1/quarantine", headers=key(warden, "score")).status_code == 403


def test_an_admin_releases_once_and_says_that_it_was_good(warden: Any, simulated: list[SimulatedMessage]) -> None:
    reader, admin = key(warden, "read"), key(warden, "admin")
    with warden.api() as api, mail_sink() as sink:
        message_id = api.send(simulated[0])["message_id"]
        held, theirs = hold(warden, sink.port, message_id=message_id), hold(warden, sink.port, tenant="other")
        path = f"/v1/quarantine/{held.held_id}/release"
        assert api.client.post(path, headers=reader).status_code == 403
        assert api.client.post(f"/v1/quarantine/{theirs.held_id}/release", headers=admin).status_code == 404
        sink.replies["RCPT"] = "450 not now"
        answer = api.client.post(path, headers=admin, json={})
        assert answer.status_code == 503 and "held as before" in answer.json()["detail"]
        sink.replies.clear()
        answer = api.client.post(path, headers=admin, json={"label": "ham"}).json()
        assert answer["held"]["state"] == "released" and answer["label_taken"] is True
        answer = api.client.post(path, headers=admin)
        assert answer.status_code == 422 and "it is released" in answer.json()["detail"]
        assert [raw for _, _, raw in sink.transactions] == [RAW]
    warden.drain()
    assert warden.platform.labels.latest("acme", message_id).label == "ham"
    acts = {entry.what: entry for entry in warden.platform.audit.page("acme")}
    assert acts["quarantine.release"].who == "key:admin" and acts["quarantine.release"].target == held.held_id
    assert "label.give" in acts


def test_a_release_is_delivered_whether_or_not_its_label_can_be_taken_yet(
    warden: Any, simulated: list[SimulatedMessage]
) -> None:
    """No log has the message, and it is not among the newest: it was numbered, and nobody can look it up yet."""
    admin = key(warden, "admin")
    with warden.api() as api, mail_sink() as sink:
        api.send(simulated[0])
        message_id = "1" * 32
        sequencer = warden.service.labelling._sequencing("acme")._sequencer
        sequencer.contacts_of("acme").restore("acme", "", (), 2, message_id)
        held = hold(warden, sink.port, message_id=message_id)
        answer = api.client.post(f"/v1/quarantine/{held.held_id}/release", headers=admin, json={"label": "ham"})
        assert answer.status_code == 200
        told = answer.json()
        assert (told["held"]["state"], told["label_taken"]) == ("released", False)
        assert [raw for _, _, raw in sink.transactions] == [RAW]
    acts = [entry.what for entry in warden.platform.audit.page("acme")]
    assert "quarantine.release" in acts and "label.give" not in acts


def test_an_admin_deletes_and_settles(warden: Any) -> None:
    admin = key(warden, "admin")
    with warden.api() as api, mail_sink(replies={".": ""}) as sink:
        gone, unsure = hold(warden, sink.port), hold(warden, sink.port)
        assert api.client.delete(f"/v1/quarantine/{gone.held_id}", headers=admin).json()["id"] == gone.held_id
        assert api.client.delete(f"/v1/quarantine/{gone.held_id}", headers=admin).status_code == 422
        answer = api.client.post(f"/v1/quarantine/{unsure.held_id}/release", headers=admin)
        assert answer.status_code == 503 and "may have been delivered" in answer.json()["detail"]
        listed = api.client.get("/v1/quarantine", params={"state": "releasing"}).json()["held"]
        assert [(one["id"], one["may_be_delivered"]) for one in listed] == [(unsure.held_id, True)]
        answer = api.client.post(f"/v1/quarantine/{unsure.held_id}/settle", headers=admin)
        assert answer.status_code == 422 and "is releasing" in answer.json()["detail"]


def test_the_command_line_lists_shows_releases_deletes_and_expires(run: Run, warden: Any) -> None:
    with mail_sink() as sink:
        one, two, three = (hold(warden, at=at) for at in range(3))
        code, text, _ = run("quarantine", "list", "--tenant", "acme")
        assert code == 0 and all(held.held_id in text for held in (one, two, three)) and "[b]café[/b]" in text
        code, text, _ = run("quarantine", "show", one.held_id)
        assert code == 0 and "It is odd." in text and one.sha256 in text and "our store" in text
        assert run("quarantine", "release", one.held_id)[0] == 69
        assert "cannot be" not in run("quarantine", "show", one.held_id)[1]
        code, text, _ = run("quarantine", "release", one.held_id, "--next", f"127.0.0.1:{sink.port}")
        assert code == 0 and f"{one.held_id} released" in text
    assert [raw for _, _, raw in sink.transactions] == [RAW]
    assert run("quarantine", "delete", two.held_id)[0] == 0
    assert run("quarantine", "delete", two.held_id)[0] == 65 and run("quarantine", "show", "q1")[0] == 66
    assert run("quarantine", "list", "--state", "odd")[0] == 78
    # Held in 2023: its thirty days are over.
    assert (
        run("quarantine", "expire")[1].strip() == "1 expired" and run("quarantine", "expire")[1].strip() == "0 expired"
    )
    whats = [entry.what for entry in warden.platform.audit.page("acme")]
    assert whats == ["quarantine.expire", "quarantine.delete", "quarantine.release"]


def test_gateways_that_cannot_start_say_why(run: Run, warden: Any) -> None:
    for words, why in (
        (("milter", "--listen", "inet:0.0.0.0:8893"), "--allow-remote"),
        (("milter", "--listen", "8893"), "write inet:HOST:PORT"),
        (("milter", "--when-away", "never"), "tempfail or accept"),
        (("milter", "--listen", "inet:127.0.0.1:0", "--api", "ftp://x"), "--api"),
        (("lmtp", "--next", "nowhere"), "is no place"),
        (("smtp", "--next", "127.0.0.1:1", "--tls-cert", "x.pem"), "--tls-key"),
    ):
        code, _, error = run("gateway", *words)
        assert code == 78 and why in error, (words, error)
