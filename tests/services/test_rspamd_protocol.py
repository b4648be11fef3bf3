"""rspamd's protocol as its clients speak it, byte by byte; the real clients are in test_rspamd_tools."""

from __future__ import annotations

import re
from typing import Any

import pytest
import zstandard
from pydantic import SecretStr
from starlette.datastructures import Headers

from mailwarden.errors import ConfigError
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden_services.bootstrap import Platform
from mailwarden_services.scoring_api.rspamd import envelope_of_headers, rspamd_actions_of
from mailwarden_services.scoring_api.rspamd_listener import rspamd_socket

Mail = list[SimulatedMessage]


def test_the_envelope_is_read_from_its_headers() -> None:
    pairs = [
        ("IP", "203.0.113.5:2525"), ("Helo", "mx.far.example"), ("From", "<ann@far.example>"),
        ("Rcpt", "<bob@acme.example>"), ("Rcpt", "eve@acme.example"), ("Queue-ID", "4F1"), ("User", "bob@acme.example"),
    ]  # fmt: skip
    found = envelope_of_headers(Headers(raw=[(name.lower().encode(), value.encode()) for name, value in pairs]))
    assert (found.mail_from, found.rcpt_to) == ("ann@far.example", ("bob@acme.example", "eve@acme.example"))
    assert (found.queue_id, found.auth_user, found.received_at_us) == ("4F1", "bob@acme.example", None)
    assert found.reception is not None and found.reception.client_ip == "203.0.113.5"
    assert envelope_of_headers(Headers({"From": "<>", "Deliver-To": "bob@acme.example", "IP": "unix"})).mail_from == ""
    assert envelope_of_headers(Headers({"Deliver-To": "bob@acme.example"})).rcpt_to == ("bob@acme.example",)
    nobody = envelope_of_headers(Headers({"User": "a\x7fb", "Helo": "x\x01"}))
    assert (nobody.auth_user, nobody.mail_from, nobody.reception) == (None, None, None)
    assert envelope_of_headers(Headers({"Rcpt": "bücher@acme.example".encode().decode("latin-1")})).rcpt_to == (
        "bücher@acme.example",
    )


def test_actions_are_those_of_rspamd_and_the_default_holds_nothing_up() -> None:
    assert rspamd_actions_of("") == {
        "accept": "no action",
        "banner": "rewrite subject",
        "junk": "add header",
        "quarantine": "add header",
        "reject": "reject",
    }
    assert rspamd_actions_of("quarantine = quarantine, banner=no action")["quarantine"] == "quarantine"
    for wrong in ("junk", "junk=bin", "accept=reject", "spam=reject"):
        with pytest.raises(ConfigError, match="MAILWARDEN_RSPAMD_ACTIONS"):
            rspamd_actions_of(wrong)


def test_a_listener_that_all_can_reach_needs_a_password(warden: Any) -> None:
    with pytest.raises(ConfigError, match="MAILWARDEN_RSPAMD_PASSWORD"):
        rspamd_socket("0.0.0.0:0", warden.settings)
    for place in ("[::]:0", "8080", "127.0.0.1:x", "127.0.0.1:99999"):
        with pytest.raises(ConfigError):
            rspamd_socket(place, warden.settings)
    with rspamd_socket("127.0.0.1:0", warden.settings) as held:
        taken = held.getsockname()[1]
        with pytest.raises(ConfigError, match="cannot be listened on"):
            rspamd_socket(f"127.0.0.1:{taken}", warden.settings)
    protected = warden.settings.model_copy(update={"rspamd_password": SecretStr("secret")})
    rspamd_socket("0.0.0.0:0", protected).close()


@pytest.fixture
def bad(seen_through: SimulatedMessage) -> SimulatedMessage:
    return seen_through


def test_what_comes_of_a_message_is_told_in_rspamds_words(warden: Any, bad: SimulatedMessage) -> None:
    policy: Any = {"mode": "enforce", "reject": "banner"}
    Platform(warden.settings).tenants.update("acme", policy=policy)
    with warden.api() as api:
        asked = {"Rcpt": bad.envelope.rcpt_to[0], "From": bad.envelope.mail_from or ""}
        found = api.client.request("GET", "/checkv2", content=bad.raw, headers=asked).json()
        assert (found["action"], found["is_skipped"]) == ("reject", False)
        assert found["messages"]["smtp_message"].startswith("Message refused, reference d")
        assert found["score"] >= found["required_score"] == found["thresholds"]["add header"]
        assert found["message-id"] != "undef" and "<" not in found["message-id"]
        for name, symbol in found["symbols"].items():
            assert re.fullmatch(r"MW_[A-Z0-9_]+", name) and symbol["name"] == name and symbol["description"]
        assert "X-Mailwarden-Verdict" in found["milter"]["add_headers"]
        nobodys = api.client.post("/check", content=bad.raw, headers={"Rcpt": "x@nowhere.example"}).json()
        assert (nobodys["action"], nobodys["is_skipped"], nobodys["symbols"]) == ("no action", True, {})
        assert api.client.get("/ping").text == "pong\r\n"


def test_a_banner_marks_the_subject_once(warden: Any, bad: SimulatedMessage) -> None:
    policy: Any = {"mode": "enforce", "unread": "banner"}
    Platform(warden.settings).tenants.update("acme", policy=policy)
    with warden.api() as api:
        rcpt = {"Rcpt": bad.envelope.rcpt_to[0]}
        found = api.client.post("/checkv2", content=b"\nno header", headers=rcpt).json()
        assert (found["action"], found["subject"]) == ("rewrite subject", "[Caution] ")


def test_compressed_bodies_are_opened_and_bombs_are_not(warden: Any, bad: SimulatedMessage) -> None:
    limit = 1_000_000
    warden.settings = warden.settings.model_copy(update={"max_message_bytes": limit})
    with warden.api() as api:

        def ask(body: bytes, **headers: str) -> Any:
            named = {"Rcpt": bad.envelope.rcpt_to[0], **{n.replace("_", "-"): v for n, v in headers.items()}}
            return api.client.post("/checkv2", content=body, headers=named)

        packed = zstandard.compress(bad.raw)
        assert ask(packed, Compression="zstd").status_code == ask(packed, Content_Encoding="zstd").status_code == 200
        assert ask(zstandard.compress(bytes(100 * limit)), Compression="zstd").status_code == 413
        stream = zstandard.ZstdCompressor().compressobj()
        unsized = b"".join(stream.compress(bytes(limit)) for _ in range(50)) + stream.flush()
        assert ask(unsized, Compression="zstd").status_code == 413
        assert ask(b"not a frame", Compression="zstd").status_code == 400
        assert ask(packed, Compression="lz4").status_code == 415
        assert ask(b"x" * (limit + 1)).status_code == 413
        assert ask(b"").status_code == 400 and "error" in ask(b"").json()
        assert ask(bad.raw, File="/etc/passwd").status_code == 400
        assert ask(b"{}" + bad.raw, Message_Length=str(len(bad.raw))).status_code == 200
        assert ask(bad.raw, Message_Length=str(len(bad.raw) + 1)).status_code == 400
        assert ask(bad.raw, Message_Length="9" * 5_000).status_code == 400
        length = {"Rcpt": bad.envelope.rcpt_to[0].encode(), "Message-Length": "²".encode("latin-1")}
        assert api.client.post("/checkv2", content=bad.raw, headers=length).status_code == 200
    warden.drain()
    assert {e.content_sha256 for e in warden.events()} == {next(iter(warden.events())).content_sha256}


def test_who_may_ask(warden: Any, bad: SimulatedMessage) -> None:
    warden.settings = warden.settings.model_copy(update={"rspamd_password": SecretStr("secret")})
    with warden.api() as api:
        own = api.client.headers.pop("Authorization")
        rcpt = {"Rcpt": bad.envelope.rcpt_to[0], "Flags": "no_log,pass_all"}

        def ask(path: str = "/checkv2", **headers: str) -> int:
            status: int = api.client.post(path, content=bad.raw, headers={**rcpt, **headers}).status_code
            return status

        assert ask() == ask(Password="wrong") == ask("/checkv2?password=wrong") == 401
        assert ask(Password="secret") == ask("/checkv2?password=secret") == 200
        assert ask(Authorization=own) == ask(Password=own.removeprefix("Bearer ")) == 200
        scoring = Platform(warden.settings).tenants.issue_key("acme", "scoring", 1, ["score"])
        assert (ask("/learnspam"), ask("/learnspam", Password=scoring)) == (401, 403)
        assert api.client.get("/stat").status_code == 401
        assert api.client.get("/stat", headers={"Authorization": own}).status_code == 403
        assert api.client.get("/stat", headers={"Password": "secret"}).json()["scanned"] == 4
    warden.drain()
    # `no_log` leaves no trace.
    assert warden.events() == []


def test_what_a_web_page_asks_is_refused(warden: Any, bad: SimulatedMessage) -> None:
    """Any page may post to a listener that is open on loopback, from the machine of who opened the page."""
    with warden.api() as api:
        for path in ("/checkv2", "/check", "/symbols", "/learnspam", "/learnham"):
            for page in ({"Origin": "https://far.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
                         {"Sec-Fetch-Site": "same-site"}):  # fmt: skip
                answer = api.client.post(path, content=bad.raw, headers={"Rcpt": bad.envelope.rcpt_to[0], **page})
                assert answer.status_code == 403 and "mail systems" in answer.json()["error"], (path, page)
        assert api.client.get("/stat", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        typed = {"Rcpt": bad.envelope.rcpt_to[0], "Sec-Fetch-Site": "none"}
        assert api.client.post("/checkv2", content=bad.raw, headers=typed).status_code == 200
    warden.drain()
    assert [event.kind for event in warden.events()] == ["message"]


def test_learning_finds_the_message_and_says_when_it_knows(warden: Any, bad: SimulatedMessage) -> None:
    with warden.api() as api:
        scored = api.send(bad)
        rcpt = {"Rcpt": bad.envelope.rcpt_to[0]}
        assert api.client.post("/learnspam", content=bad.raw, headers=rcpt).json() == {"success": True}
        again = api.client.post("/learnspam", content=bad.raw, headers=rcpt)
        assert again.status_code == 208 and "already" in again.json()["error"]
        delivered = b"Delivered-To: x@nowhere.example\r\n" + bad.raw
        assert api.client.post("/learnham", content=delivered).status_code == 404
        assert 'mailwarden_labels_total{label="spam"} 1.0' in api.client.get("/metrics").text
    warden.drain()
    noted = [(e.who, e.what, e.target) for e in Platform(warden.settings).audit.page("acme", limit=9)]
    assert noted == [("key:tests", "label.give", scored["message_id"])]
    message, label = warden.events()
    assert (label.label, label.message_id, message.message_id) == ("spam", scored["message_id"], scored["message_id"])
