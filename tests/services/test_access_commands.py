"""Commands over keys, the audit log, and mail shown at a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from mailwarden.domain.mail.message import Envelope
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden_services.bootstrap import Platform

Run = Callable[..., tuple[int, str, str]]
RAW = (
    b"From: M <mallory@evil.example>\r\nTo: bob@acme.example\r\nSubject: \xe2\x80\xaehello\r\n"
    b"Content-Type: text/html\r\n\r\n"
    b'<p>see <a href="http://evil.example/x">here</a></p><p style="display:none">unseen words</p>\r\n'
)
AT = Envelope(1_772_700_000_000_000, "mallory@evil.example", ("bob@acme.example",))


def test_keys_are_issued_with_roles_and_listed_with_them(run: Run, warden: Any) -> None:
    code, made, _ = run("tenant", "key", "acme", "--label", "soc", "--role", "content", "--role", "read")
    tenants = Platform(warden.settings).tenants
    assert code == 0 and tenants.authenticate(made.strip()).roles == {"content", "read"}
    code, plain, _ = run("tenant", "key", "acme", "--label", "plain")
    assert tenants.authenticate(plain.strip()).roles == {"score", "label", "read"}
    listed = run("tenant", "keys", "acme")[1]
    assert "read, content" in listed and "score, label, read" in listed
    code, _, errors = run("tenant", "key", "acme", "--label", "odd", "--role", "operator")
    assert code == 65 and "score, label, read, content, admin" in errors
    code, above, _ = run("operator", "key", "--role", "gateway", "--label", "mx1")
    assert tenants.authenticate(above.strip()).tenant is None
    assert "gateway" in run("operator", "keys")[1]
    assert run("operator", "revoke", "--label", "mx1")[0] == 0
    assert tenants.authenticate(above.strip()) is None


def test_what_commands_do_is_on_record(run: Run, warden: Any) -> None:
    run("tenant", "create", "t1", "--domain", "t1.example")
    run("tenant", "key", "t1", "--label", "one")
    run("tenant", "policy", "t1", "--block", "mallory@bad.example")
    run("tenant", "policy", "t1")
    run("tenant", "trust", "t1", "--id", "mx.t1.example")
    run("tenant", "revoke", "t1", "--label", "one")
    run("operator", "key", "--role", "operator")
    code, text, _ = run("audit", "list", "--tenant", "t1")
    acts = [what for what in re.findall(r"(?:tenant|key|policy)\.[a-z]+", text)]
    assert code == 0
    assert acts == ["key.revoke", "policy.trust", "policy.change", "key.issue", "tenant.create"]
    assert "cli:" in text and "mallory@bad.example" in text
    assert "mw_" not in run("audit", "list")[1]
    assert len(re.findall("key.issue", run("audit", "list", "--what", "key.issue")[1])) == 2


def test_mail_is_shown_from_the_stores_and_from_an_api_alike(
    run: Run, warden: Any, simulated: list[SimulatedMessage], monkeypatch: Any
) -> None:
    with warden.api() as api:
        message_id = api.score(RAW, AT).json()["message_id"]
    for settled in (False, True):
        if settled:
            warden.drain()
        code, text, errors = run("show", "d" + message_id, "--tenant", "acme")
        assert code == 0, errors
        assert "hxxp://evil[.]example/x" in text and "HIDDEN" in text and "unseen words" in text
        assert "http://" not in text and "\x1b" not in text and "\u202e" not in text
    assert run("show", "0" * 32, "--tenant", "acme")[0] == 66
    assert run("show", message_id, "--tenant", "other")[0] == 66
    with warden.served() as address:
        monkeypatch.setenv("MAILWARDEN_API_KEY", warden.keys["acme"])
        code, again, errors = run("show", message_id, "--api", address)
        assert (code, again) == (0, text), errors
        monkeypatch.setenv("MAILWARDEN_API_KEY", "mw_wrong")
        assert run("show", message_id, "--api", address)[0] == 78
    read = [entry.who for entry in Platform(warden.settings).audit.page("acme", what="content")]
    assert len(read) == 3 and read[0] == "key:tests" and read[1].startswith("cli:")
