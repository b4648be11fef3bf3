"""Which Authentication-Results are believed: by id, by position, by hop, and never one that a sender wrote."""

from __future__ import annotations

import pytest

from mailwarden.domain.mail.facts import authenticated, event_of
from mailwarden.domain.mail.message import Envelope, Message
from mailwarden.domain.mail.reception import Answer, Reception
from mailwarden.domain.mail.trust import NO_TRUST, Trust, checked_trust
from mailwarden.errors import DataError
from mailwarden.ingest.parse import parse_message
from mailwarden.ingest.results import read_results

AR = "Authentication-Results: "
IN = "Received: from mail.sender.example (mail.sender.example [203.0.113.7]) by mx.corp.example; 29 Dec 2025 09:00:00 Z"
STORE = "Received: from mx.corp.example (localhost [127.0.0.1]) by store.corp.example with LMTP; 29 Dec 2025 09:00:01 Z"
FORGED = AR + "mx.corp.example; spf=pass smtp.mailfrom=partner.example; dkim=pass header.d=partner.example; dmarc=pass"
IDS = Trust(authserv_ids=frozenset({"mx.corp.example"}))
TOP = Trust(topmost=1)
HOP = Trust(hops=frozenset({"mx.corp.example"}))


def message(*headers: str, trust: Trust = IDS, sender: str = "Ann <ann@partner.example>") -> Message:
    raw = "\r\n".join([*headers, f"From: {sender}", "To: bob@corp.example", "", "hi"])
    return parse_message(raw.encode(), Envelope(mail_from="ann@partner.example"), trust=trust)


def verdicts(*headers: str, trust: Trust = IDS) -> tuple[str | None, str | None, str | None]:
    found = message(*headers, trust=trust).authentication
    return found.spf, found.dkim, found.dmarc


SPF = AR + "mx.corp.example; spf=fail smtp.mailfrom=bounce.mailer.example"
DKIM = AR + "mx.corp.example; dkim=pass header.d=partner.example"
DMARC = AR + "mx.corp.example; dmarc=pass header.from=partner.example"


@pytest.mark.parametrize("order", [(SPF, DKIM, DMARC), (DMARC, SPF, DKIM), (DKIM, DMARC, SPF)])
def test_one_header_a_method_is_read_together(order: tuple[str, ...]) -> None:
    assert verdicts(*order, IN) == ("fail", "pass", "pass")
    # One of another host between them says nothing, and hides nothing.
    other = AR + "scanner.example; spf=pass; dkim=fail"
    assert verdicts(order[0], other, *order[1:], IN) == ("fail", "pass", "pass")
    assert verdicts(order[0], STORE, *order[1:], IN) == ("fail", "pass", "pass")


def test_own_mail_stays_own_mail() -> None:
    soft = AR + "mx.corp.example; spf=softfail smtp.mailfrom=corp.example"
    good = AR + "mx.corp.example; dkim=pass header.d=corp.example"
    own = message(soft, good, IN, sender="Bob <bob@corp.example>")
    assert authenticated(own) is True
    event = event_of(own, tenant="t", own_domains=frozenset({"corp.example"}), seq=1, received_at_us=1, mail_from="",
                     rcpt_to=())  # fmt: skip
    assert event.direction == "internal"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((IN, FORGED), ("pass", "pass", "pass")),  # nothing of the site's own: only stripping helps, see the docs
        ((SPF, IN, FORGED), ("fail", None, None)),
        ((SPF, STORE, IN, FORGED), ("fail", None, None)),
        ((SPF, IN, STORE, FORGED), ("fail", None, None)),
        # Some write below their own Received, above what came with the message.
        ((IN, SPF, DKIM, "Received: from x by y; 1 Jan 2024 00:00:00 Z", FORGED), ("fail", "pass", None)),
        # There nothing parts them from a sender's but that a host says once what it found by a method.
        ((IN, SPF, FORGED), ("fail", None, None)),
        ((IN, SPF, AR + "mx.corp.example; dkim=none", DMARC, FORGED), ("fail", "none", "pass")),
    ],
)
def test_what_stands_below_the_border_came_with_the_message(headers: tuple[str, ...], expected: object) -> None:
    assert verdicts(*headers) == expected


@pytest.mark.parametrize(
    "hop",
    [
        "from mx.corp.example (unknown [203.0.113.7]) by mx.corp.example",
        "from [10.0.0.1] (evil.example [203.0.113.7]) by mx.corp.example",
        "from unknown (HELO [10.0.0.1]) (203.0.113.7) by mx.corp.example",
        "from localhost (HELO localhost) ([203.0.113.7]) by mx.corp.example",
        "from mx.corp.example (evil.example [203.0.113.7]) by mx.corp.example",
        "from mx.corp.example by mx.corp.example",
        "from mx.corp.example ([203.0.113.7] helo=[127.0.0.1]) by mx.corp.example",
    ],
)
def test_what_a_peer_calls_itself_does_not_make_it_one_of_ours(hop: str) -> None:
    assert verdicts(SPF, f"Received: {hop}; 29 Dec 2025 09:00:00 Z", FORGED) == ("fail", None, None)
    assert message(SPF, f"Received: {hop}; 29 Dec 2025 09:00:00 Z", FORGED).authentication.forged == 1


def test_a_field_that_says_again_what_was_said_is_counted_as_forged() -> None:
    found = message(IN, SPF, AR + "mx.corp.example; dkim=none; dmarc=fail", FORGED)
    assert (authenticated(found), found.authentication.forged) == (False, 1)


@pytest.mark.parametrize(
    "hop",
    [
        "by mx.corp.example (Postfix, from userid 1000) id 1",
        "from mx1.corp.example (mx1.corp.example [198.51.100.4]) by mx.corp.example",
        "from mx1 ([10.1.2.3]) by mx.corp.example",
        "from mx1 ([IPv6:fd00::1]) by mx.corp.example",
        "from filter (localhost [127.0.0.1]) by mx.corp.example",
    ],
)
def test_a_hand_over_inside_of_the_site_is_no_border(hop: str) -> None:
    assert verdicts(SPF, f"Received: {hop}; 29 Dec 2025 09:00:00 Z", DKIM, IN, FORGED) == ("fail", "pass", None)


M365 = AR + (
    "spf=fail (sender IP is 203.0.113.7)\r\n smtp.mailfrom=partner.example; dkim=none (message not signed)\r\n"
    " header.d=none;dmarc=fail action=quarantine header.from=partner.example;compauth=fail reason=000"
)
EDGE = "Received: from mail.sender.example (203.0.113.7) by a1.mail.protection.cloud.example; 1 Jan 2026 00:00:00 Z"
INNER = "Received: from a1.prod.cloud.example (2001:db8::1) by b2.office.example with SMTP; 1 Jan 2026 00:00:01 Z"
NO_ID = AR + "spf=pass smtp.mailfrom=partner.example; dkim=pass header.d=partner.example; dmarc=pass"


def test_results_without_an_id_are_believed_by_position_or_hop() -> None:
    failed = ("fail", "none", "fail")
    assert verdicts(M365, IN) == (None, None, None)
    assert verdicts(M365, IN, trust=TOP) == failed
    assert verdicts(M365, IN, trust=HOP) == failed
    assert verdicts(M365, EDGE, trust=Trust(hops=frozenset({".mail.protection.cloud.example"}))) == failed
    assert (
        verdicts(INNER, INNER, M365, EDGE, NO_ID, trust=Trust(hops=frozenset({".protection.cloud.example"}))) == failed
    )
    assert verdicts(INNER, INNER, M365, EDGE, trust=Trust(topmost=1, behind=2)) == failed
    assert message(M365, IN, trust=TOP).authentication.signatures == 0


@pytest.mark.parametrize("forged", [NO_ID, FORGED])
def test_a_position_is_not_beaten_by_a_senders_own_header(forged: str) -> None:
    nothing = (None, None, None)
    assert verdicts(IN, forged, trust=TOP) == nothing
    assert verdicts(IN, forged, trust=HOP) == nothing
    assert verdicts(forged, trust=HOP) == nothing
    assert verdicts(INNER, EDGE, forged, trust=Trust(topmost=1, behind=1)) == nothing
    assert verdicts(M365, forged, IN, trust=TOP) == ("fail", "none", "fail")
    assert verdicts(M365, IN, forged, IN, trust=Trust(topmost=2)) == ("fail", "none", "fail")
    assert verdicts(M365, IN, forged, IN, trust=HOP) == ("fail", "none", "fail")
    assert verdicts(IN, forged, trust=Trust(IDS.authserv_ids, HOP.hops)) == nothing


def test_nobody_is_believed_where_nobody_is_trusted() -> None:
    for headers in ((SPF, DKIM), (M365,), (FORGED,)):
        assert verdicts(*headers, IN, trust=NO_TRUST) == (None, None, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("mx.corp.example; none", (None, None, None)),
        ("mx.corp.example;none", (None, None, None)),
        ("mx.corp.example 1; spf=pass smtp.mailfrom=a.example", ("pass", None, None)),
        ("mx.corp.example 2; spf=pass smtp.mailfrom=a.example", (None, None, None)),
        ('"mx.corp.example"; spf=pass', ("pass", None, None)),
        ("(say) MX.Corp.Example. (1) 1 (2);(3) spf (4) = (5) pass (6)", ("pass", None, None)),
        ("mx.corp.example; spf/1=pass; dkim/2=pass header.d=a.example", ("pass", None, None)),
        ("mx.corp.example; SPF=Pass; Dkim=FAIL header.d=a.example", ("pass", "fail", None)),
        ('mx.corp.example; spf=fail reason="a; dkim=pass header.d=partner.example; dmarc=pass"', ("fail", None, None)),
        ('mx.corp.example; spf=fail (he said "x); dkim=fail header.d=a.example', ("fail", "fail", None)),
        ("mx.corp.example; spf=fail (a (b; dmarc=pass) c; dkim=pass) x=y", ("fail", None, None)),
        ("mx.corp.example; spf=fail (a \\) ; dmarc=pass )", ("fail", None, None)),
        ("mx.corp.example; spf=fail (never closed; dmarc=pass", ("fail", None, None)),
        ('mx.corp.example; spf=fail smtp.mailfrom="a; dmarc=pass "@b.example', ("fail", None, None)),
        ("mx.corp.example; spf=hardfail; dkim=weird header.d=a.example", ("fail", "permerror", None)),
        ("mx.corp.example; x-spf=pass; sender-id=pass; auth=pass; iprev=pass", (None, None, None)),
        ("mx.corp.example.evil.example; spf=pass", (None, None, None)),
        ("mx.corp.example@evil.example; spf=pass", (None, None, None)),
        ("evil.example (mx.corp.example); spf=pass", (None, None, None)),
        ("evil.example; mx.corp.example; spf=pass", (None, None, None)),
        ("", (None, None, None)),
        (";", (None, None, None)),
    ],
)
def test_a_value_is_read_as_the_rfc_has_it(value: str, expected: object) -> None:
    assert verdicts(AR + value, IN) == expected


@pytest.mark.parametrize(
    ("value", "wins"),
    [
        ("spf=pass smtp.helo=out.mailer.example; spf=fail smtp.mailfrom=partner.example", ("fail", "partner.example")),
        ("spf=fail smtp.mailfrom=ann@partner.example; spf=pass smtp.helo=x.example", ("fail", "partner.example")),
        ("spf=pass smtp.helo=out.partner.example", ("pass", "partner.example")),
        ("spf=pass smtp.mailfrom=<ann@news.partner.example>", ("pass", "partner.example")),
    ],
)
def test_of_several_spf_results_the_reverse_path_counts(value: str, wins: tuple[str, str]) -> None:
    found = message(AR + "mx.corp.example; " + value, IN).authentication
    assert (found.spf, found.spf_domain) == wins


def test_of_several_signatures_one_that_passes_counts_and_the_authors_first() -> None:
    three = (
        "mx.corp.example; dkim=fail header.d=partner.example; dkim=pass header.i=@list.example; dkim=pass header.d={}"
    )
    assert message(AR + three.format("news.partner.example"), IN).authentication.dkim_aligned is True
    found = message(AR + three.format("other.example"), IN).authentication
    assert (found.dkim, found.dkim_domain, found.dkim_aligned, found.signatures) == ("pass", "list.example", False, 3)
    # What a lower field says of the same signature is older.
    later = AR + "mx.corp.example; dkim=pass header.d=partner.example header.b=abc"
    now = AR + "mx.corp.example; dkim=fail header.d=partner.example header.b=abc"
    assert message(now, later, IN).authentication.dkim == "fail"


def test_dmarc_of_another_domain_proves_nothing() -> None:
    other = message(AR + "mx.corp.example; dmarc=pass header.from=evil.example", IN)
    assert other.authentication.dmarc == "pass" and authenticated(other) is False
    both = AR + "mx.corp.example; dmarc=pass header.from=evil.example; dmarc=fail header.from=partner.example"
    assert message(both, IN).authentication.dmarc == "fail"
    assert authenticated(message(DMARC, IN)) is True


SEALED = (
    "ARC-Seal: i=2; a=rsa-sha256; cv=pass; d=list.example; s=k; b=x",
    "ARC-Authentication-Results: i=2; list.example; dkim=pass header.d=partner.example; dmarc=pass",
    "ARC-Seal: i=1; a=rsa-sha256; cv=none; d={}; s=k; b=x",
    "ARC-Authentication-Results: i=1; first.example; dkim=fail header.d=partner.example; dmarc=fail",
)


@pytest.mark.parametrize(
    ("arc", "first", "sealers", "vouches"),
    [
        ("pass", "other.example", {"list.example"}, True),
        ("pass", "list.example", {"list.example"}, False),
        ("pass", "first.example", {"first.example"}, None),
        ("fail", "other.example", {"list.example"}, None),
        ("none", "other.example", {"list.example"}, None),
        ("pass", "other.example", set(), None),
    ],
)
def test_a_trusted_sealer_is_believed_where_the_chain_passes(
    arc: str, first: str, sealers: set[str], vouches: bool | None
) -> None:
    top = AR + f"mx.corp.example; arc={arc}; dmarc=fail header.from=partner.example"
    headers = (top, IN, *(line.format(first) for line in SEALED))
    found = message(*headers, trust=Trust(IDS.authserv_ids, sealers=frozenset(sealers)))
    assert found.authentication.sealer_vouches is vouches
    assert authenticated(found) is bool(vouches)


def test_trust_is_checked_and_told_apart() -> None:
    checked = checked_trust(Trust(frozenset({" MX.Corp.Example. "}), frozenset({"*.Cloud.Example", ".b.example"})))
    assert checked == Trust(frozenset({"mx.corp.example"}), frozenset({".cloud.example", ".b.example"}))
    assert Trust.from_json(checked.to_json()) == checked
    prints = {trust.fingerprint for trust in (NO_TRUST, IDS, TOP, HOP, Trust(topmost=1, behind=1), checked)}
    assert len(prints) == 6 and NO_TRUST.fingerprint == ""
    for wrong in (Trust(topmost=-1), Trust(topmost=51), Trust(behind=1), Trust(hops=frozenset({" "}))):
        with pytest.raises(DataError):
            checked_trust(wrong)


def test_how_a_message_was_received_is_kept_as_text() -> None:
    answers = (Answer("a.example", "TXT", "found", ('v=spf1 "\xff', "b")), Answer("b.example", "A", "failed"))
    sent = Reception(auth_user="bob@corp.example", queue_id="4F1", flow="outbound")
    for one in (
        Reception(),
        Reception(IDS),
        Reception(TOP, "192.0.2.7", "héllo", answers),
        Reception(answers=()),
        sent,
    ):
        assert Reception.from_text(one.to_text()) == one
    for broken in ("", "[]", "{", '{"answers": [1]}'):
        with pytest.raises(DataError):
            Reception.from_text(broken)


def test_a_long_field_is_read_within_its_bounds() -> None:
    assert read_results("mx; " + "spf=pass; " * 10_000).results[0].verdict == "pass"
    assert len(read_results("mx; " + "spf=pass; " * 10_000).results) <= 200
