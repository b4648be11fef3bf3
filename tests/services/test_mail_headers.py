"""Header fields that are added to mail, and forged ones that are removed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwarden.stores.sql import Tenant
from mailwarden_services.scoring_api.mail_headers import HeaderChanges, changes_for, fields_of, first_field

RAW = (
    b"Received: from a\r\n\tby b\r\nx-mailwarden-verdict: deliver\r\nAuthentication-Results: far.example; spf=pass\r\n"
    b'Authentication-Results: (us) "mx.acme.example" 1;\r\n dkim=pass\r\nX-Mailwarden-Score: 0\r\n'
    b"X-MAILWARDEN-VERDICT: deliver\r\nSubject: hello\r\n\r\nX-Mailwarden-Body: no field\r\n"
)
VERIFIED = {
    "by": "verified here",
    "spf": "fail",
    "spf_domain": "far.example",
    "dkim": "pass",
    "dkim_domain": "far.example",
    "dmarc": "pass",
    "dmarc_domain": "",
}
SIGNALS = [{"name": "new_domain", "weight": 0.37, "words": "“new”"}, {"name": "late", "weight": 1.0, "words": "w"}]


def tenant(name: str = "acme", **policy: Any) -> Tenant:
    return Tenant(name, (), (), policy, 1)  # type: ignore[arg-type]


def answer(**more: Any) -> dict[str, Any]:
    found = {"verdict": "junk", "score": 0.91, "category": "CP", "decision_id": "d1", "signals": SIGNALS}
    return {**found, "direction": "inbound", "authentication": VERIFIED, **more}


def changes(*parts: tuple[Tenant, bool, dict[str, Any]], raw: bytes = RAW) -> HeaderChanges:
    return changes_for(raw, parts, authserv_id="mx.acme.example")


def test_what_is_told_is_short_folded_and_ascii() -> None:
    found = changes((tenant(mode="enforce"), False, answer()))
    assert found.add == [
        ("X-Mailwarden-Verdict", "junk"),
        ("X-Mailwarden-Score", "0.9100"),
        ("X-Mailwarden-Category", "CP"),
        ("X-Mailwarden-Id", "d1"),
        ("X-Mailwarden-Signals", "new_domain=0.37;\n\tlate=1.00"),
        (
            "Authentication-Results",
            "mx.acme.example;\n\tspf=fail smtp.mailfrom=far.example;\n\tdkim=pass header.d=far.example;\n\tdmarc=pass",
        ),
    ]
    assert all(value.isascii() for _, value in found.add)


def test_forged_fields_are_removed_and_others_results_are_left() -> None:
    found = changes((tenant(), False, answer()))
    assert found.add == [] and found.remove == ["x-mailwarden-verdict", "X-Mailwarden-Score"]
    assert found.remove_at == [("Authentication-Results", 2)]


def test_monitor_adds_nothing_unless_it_is_set_and_results_of_others_are_not_ours_to_tell() -> None:
    assert changes((tenant(), False, answer())).add == []
    shown = changes((tenant(headers_in_monitor=True), False, answer(authentication={**VERIFIED, "by": "header"}))).add
    assert [name for name, _ in shown][-1] == "X-Mailwarden-Signals"


def test_of_two_tenants_neither_learns_more_than_the_verdict() -> None:
    strict = (tenant(mode="enforce"), False, answer())
    mild = (tenant("b", mode="enforce"), False, answer(verdict="deliver"))
    ours = [pair for pair in changes(strict, mild).add if pair[0].startswith("X-")]
    assert ours == [("X-Mailwarden-Verdict", "deliver")]
    assert changes(strict, (tenant("b"), False, answer())).add == []


def test_mail_that_leaves_is_not_touched() -> None:
    assert changes((tenant(mode="enforce"), True, answer(direction="outbound"))) == HeaderChanges()
    assert changes((tenant(mode="enforce"), False, answer(direction="outbound"))).add != []
    assert changes() == HeaderChanges()


def test_fields_are_read_as_they_stand() -> None:
    assert [name for name, _ in fields_of(RAW)].count("Authentication-Results") == 2
    assert first_field(RAW, "SUBJECT") == b"hello" and first_field(RAW, "X-Mailwarden-Body") is None
    assert first_field(b"Subject: a\n b\nTo: x\n\nbody", "subject") == b"a\n b"


@given(st.binary(max_size=400))
def test_no_bytes_are_too_odd(raw: bytes) -> None:
    found = changes((tenant(mode="enforce"), False, answer()), raw=raw)
    assert all(name.isascii() and "\n" not in name for name in found.remove)


def test_no_crowd_of_decoys_keeps_a_forged_field_in() -> None:
    decoys = b"".join(b"X-Mailwarden-D%d: 1\r\n" % n for n in range(60))
    others = b"".join(b"Authentication-Results: other%d.example; spf=pass\r\n" % n for n in range(60))
    forged = b"X-Mailwarden-Verdict: accept\r\nAuthentication-Results: mx.acme.example; dmarc=pass\r\n"
    found = changes((tenant(), False, answer()), raw=decoys + others + forged + b"\r\nhi")
    assert "X-Mailwarden-Verdict" in found.remove and found.remove_at == [("Authentication-Results", 61)]
    many = changes((tenant(), False, answer()), raw=forged * 60 + b"\r\nhi")
    assert "Authentication-Results" in many.remove and many.remove_at == []
    # What nobody looks through to its end loses all that could be taken for ours.
    padded = changes((tenant(), False, answer()), raw=b"X-Pad: " + b"x" * 300_000 + b"\r\n" + forged + b"\r\nhi")
    assert {"Authentication-Results", "X-Mailwarden-Verdict", "X-Mailwarden-Signals"} <= set(padded.remove)


@pytest.mark.parametrize(
    "written",
    [b"mx.acme.example(c); dmarc=pass", b"(a (b) c) mx.acme.example; dmarc=pass", b'"mx\\.acme.example"; dmarc=pass',
     b"\r\n MX.Acme.Example 1;\r\n dmarc=pass", b"((\\)) ) mx.acme.example;"],
)  # fmt: skip
def test_our_id_is_told_however_it_is_written(written: bytes) -> None:
    found = changes((tenant(), False, answer()), raw=b"Authentication-Results:" + written + b"\r\n\r\nhi")
    assert found.remove_at == [("Authentication-Results", 1)]
