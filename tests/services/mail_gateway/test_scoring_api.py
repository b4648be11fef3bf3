"""The milter between a real Postfix and the scoring API itself."""

from __future__ import annotations

from email import message_from_bytes
from pathlib import Path
from typing import Any

import httpx
import pytest

from mailwarden.simulation.company import company
from mailwarden.testing.postfix import Postfix, wait_for, why_not, without_trace


def test_mail_is_decided_marked_and_held_as_its_tenant_says(warden: Any, open_folder: Path, gateway_type: Any) -> None:
    if words := why_not():
        pytest.skip(words)
    domain = company(7).domains[0]
    tenants = warden.platform.tenants
    tenants.update("acme", policy={"block_senders": ["bad.example"], "headers_in_monitor": True})

    def mail(sender: str, subject: str) -> bytes:
        text = f"From: {sender}\r\nTo: bob@{domain}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@x.example>\r\n"
        forged = "X-Mailwarden-Verdict: deliver\r\n"
        return f"{text}{forged}\r\nThe minutes of our meeting.\r\n".encode()

    with warden.served() as address:
        gateway = gateway_type(["milter", "--api", address], warden.settings.root, key=warden.keys["acme"])
        milter = {"smtpd_milters": f"inet:127.0.0.1:{gateway.port}", "virtual_mailbox_domains": domain}
        postfix = Postfix(open_folder / "real", milter)
        try:
            gateway.start()
            with postfix:
                to = [f"bob@{domain}"]
                assert postfix.send(mail("ann@bad.example", "one"), sender="ann@bad.example", to=to)[0] == 250
                wait_for(postfix.delivered, "mail in monitor")
                got = message_from_bytes(postfix.delivered()[0])
                assert got.get_all("X-Mailwarden-Verdict") == ["quarantine"]
                tenants.update("acme", policy=tenants.get("acme").policy | {"mode": "enforce"})
                raw = mail("mallory@bad.example", "two")

                def action() -> str:
                    asked = {"observe": "false", "rcpt_to": to[0]}
                    bearer = {"Authorization": f"Bearer {warden.keys['acme']}", "Content-Type": "message/rfc822"}
                    answer = httpx.post(f"{address}/v1/mail", params=asked, headers=bearer, content=raw)
                    return str(answer.json()["action"])

                wait_for(lambda: action() == "quarantine", "the API to know of the mode", seconds=30)
                assert postfix.send(raw, sender="mallory@bad.example", to=to)[0] == 250
                assert len(postfix.queue("hold")) == 1
                (held,) = warden.platform.quarantine.page("acme")
                assert held.recipients == (f"bob@{domain}",) and "bad.example" in held.reason and held.subject == "two"
                before = len(postfix.delivered())
                releases = warden.platform.releases
                releases.postsuper = " ".join(postfix.command("postsuper"))
                assert releases.release(held.held_id, who="test").state == "released"
                wait_for(lambda: len(postfix.delivered()) > before, "the released mail")
                newest = max(postfix.delivered_files(), key=lambda file: file.stat().st_mtime_ns)
                forged = b"X-Mailwarden-Verdict: deliver\r\n"
                assert without_trace(newest.read_bytes()) == raw.replace(forged, b"")
        finally:
            gateway.stop()
    assert [entry.what for entry in warden.platform.audit.page("acme")] == ["quarantine.release"]
    decided = warden.platform.decisions
    warden.drain()
    assert decided.by_message("acme", held.message_id) is not None
