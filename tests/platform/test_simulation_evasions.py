"""What an attack claims to be is read as a claim: the site's own word stands, whatever a sender writes beside it."""

from __future__ import annotations

from collections import Counter

import pytest

from mailwarden.domain.mail.facts import authenticated
from mailwarden.domain.mail.fingerprints import path_of, structure_of, thread_of
from mailwarden.domain.mail.message import Message
from mailwarden.domain.mail.trust import Trust
from mailwarden.ingest.parse import parse_message
from mailwarden.simulation.evasions.catalog import NO_EVASION, Guise, pairs, singles
from mailwarden.simulation.evasions.claims import CLAIMS, WARM_UP, Attempt, Known, Letter
from mailwarden.simulation.evasions.content import EVASIONS
from mailwarden.simulation.evasions.evasion import kind_of
from mailwarden.simulation.evasions.fields import below_trace, fields_of, lines_of, replaced, value, without
from mailwarden.simulation.evasions.pieces import Pieces

SITE = "mx.corp.example"
TRACE = (
    "Return-Path: <desk@attacker.example>\n"
    "Received: from mail.attacker.example (mail.attacker.example [203.0.113.9])\n\tby mx.corp.example with ESMTPS id A;"
    " Mon, 2 Mar 2026 10:00:05 +0000\n"
    f"Authentication-Results: {SITE};\n\tspf=pass smtp.mailfrom=attacker.example;\n\tdkim=none;\n"
    "\tdmarc=pass header.from=attacker.example\n"
)
ATTACK = TRACE + (
    "From: Desk <desk@attacker.example>\nDate: Mon, 2 Mar 2026 10:00:00 +0000\n"
    "Message-ID: <d41d8cd9@attacker.example>\n"
    "Subject: Notice\nTo: bob@corp.example\nMIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\n\n"
    '<p>The password of your mailbox <a href="https://attacker.example/login">expires today</a>.</p>\n'
)
PARTNER = (
    "Return-Path: <ann@partner.example>\n"
    "Received: from out.partner.example (out.partner.example [198.51.100.4])\n\tby mx.corp.example with ESMTPS id B;"
    " Fri, 27 Feb 2026 09:00:05 +0000\n"
    f"Authentication-Results: {SITE}; spf=pass smtp.mailfrom=partner.example; dmarc=pass header.from=partner.example\n"
    "To: bob@corp.example\nMIME-Version: 1.0\nSubject: The crane\nFrom: Ann Lee <ann@partner.example>\n"
    "X-Mailer: Post (3.7)\n"
    "Message-ID: <20260227.1200.77@partner.example>\nDate: Fri, 27 Feb 2026 09:00:00 +0000\n"
    "References: <first@partner.example>\nContent-Type: text/plain; charset=utf-8\n\nShall we lift it on Monday?\n"
)
COLLEAGUE = "From: Cy <cy@corp.example>\nTo: bob@corp.example\nMessage-ID: <1.2@corp.example>\nSubject: Hi\n\nLunch?\n"
KNOWN = Known(Letter(PARTNER.encode(), "partner.example", True), Letter(COLLEAGUE.encode(), "corp.example", None), SITE)


def attempt(known: Known = KNOWN) -> Attempt:
    return Attempt(Pieces.of(ATTACK.encode()), known)


def shown(*claims: str) -> Message:
    made = Guise(claims).applied(attempt(), 3)
    assert made is not None
    return read(made[0])


def read(raw: bytes) -> Message:
    return parse_message(raw, trust=Trust(authserv_ids=frozenset({SITE})))


def test_there_are_enough_ways_and_each_has_a_name_of_its_own() -> None:
    assert len(singles()) >= 45 and {guise.kind for guise in singles()} >= {
        "hidden", "prepended", "appended", "quoted", "invisible", "lookalike", "split", "image only", "attached",
        "forged partner", "own domain", "thread", "list headers", "trusted results", "base", "encoding", "warm-up",
    }  # fmt: skip
    guises = [NO_EVASION, *singles(), *pairs()]
    assert max(Counter(guise.name for guise in guises).values()) == 1
    for forged in ("forged partner: the From", "own domain: a colleague"):
        assert {guise.content[0] for guise in pairs() if guise.claims == (forged,) and guise.content} == set(EVASIONS)


@pytest.mark.parametrize("guise", [NO_EVASION, *singles(), *pairs()], ids=lambda guise: guise.name)
def test_every_way_gives_a_message_that_still_says_what_it_did(guise: Guise) -> None:
    made = guise.applied(attempt(), 3)
    assert made is not None
    message = read(made[0])
    assert message.recipients == ("bob@corp.example",)
    assert path_of(message) == path_of(read(ATTACK.encode())) != ""
    found = [url.domain for one in (message, *message.nested) for url in one.urls]
    found += [url.domain for file in message.inner for url in file.urls]
    assert "attacker.example" in found
    assert len(made[1]) == (WARM_UP if any(kind_of(name) == "warm-up" for name in guise.claims) else 0)


def test_who_forges_a_partner_is_not_vouched_for() -> None:
    plain, formed = shown("forged partner: the From"), shown("forged partner: in the form of their mail")
    for message in (plain, formed):
        assert (message.sender.address, message.sender.display_name) == ("ann@partner.example", "Ann Lee")
        assert authenticated(message) is False and authenticated(read(PARTNER.encode())) is True
    assert structure_of(formed) == structure_of(read(PARTNER.encode())) != structure_of(plain)
    assert formed.message_id_header != read(PARTNER.encode()).message_id_header
    assert formed.subject == plain.subject == "Notice"
    named = shown("displayed name: of a partner")
    assert (named.sender.address, named.sender.display_name) == ("desk@attacker.example", "Ann Lee")
    assert authenticated(named) is True


def test_nobody_outside_is_a_colleague() -> None:
    assert shown("own domain: a colleague").sender.address == "cy@corp.example"
    assert authenticated(shown("own domain: a colleague")) is False


def test_what_a_sender_writes_in_the_site_s_name_is_not_believed() -> None:
    for name in (name for name in CLAIMS if kind_of(name) == "trusted results"):
        message = shown("forged partner: the From", name)
        assert authenticated(message) is False
        assert message.authentication.forged == 1
        assert read(ATTACK.encode()).authentication.forged == 0


def test_a_stolen_thread_is_answered_and_quoted() -> None:
    message = shown("thread: answers a stolen message, quoted")
    assert message.in_reply_to[0] in read(PARTNER.encode()).message_id_header
    assert thread_of(message) == thread_of(read(PARTNER.encode()))
    assert message.subject == "Re: The crane"
    made = Guise(("thread: answers a stolen message, quoted",)).applied(attempt(), 3)
    assert made is not None
    assert b"Shall we lift it on Monday?" in Pieces.of(made[0]).html.encode()
    assert "Shall we lift it" not in message.new_text


def test_mails_before_are_benign_and_of_the_same_sender() -> None:
    made = Guise(("forged partner: the From", "warm-up: five benign mails")).applied(attempt(), 3)
    assert made is not None
    before = [read(raw) for raw in made[1]]
    assert {message.sender.address for message in before} == {"ann@partner.example"}
    assert {authenticated(message) for message in before} == {False}
    assert not any(message.urls for message in before)
    assert len({message.message_id_header for message in before} | {read(made[0]).message_id_header}) == WARM_UP + 1


def test_where_nobody_is_known_nobody_is_claimed() -> None:
    alone = attempt(Known())
    impossible = [name for name in CLAIMS if CLAIMS[name](alone, 3) is None]
    assert {kind_of(name) for name in impossible} == {
        "forged partner", "displayed name", "own domain", "thread", "trusted results",
    }  # fmt: skip
    assert "thread: made up" not in impossible


def test_fields_are_changed_and_the_others_stay() -> None:
    headers = b"A: 1\nB: 2\n\tmore\nA: 3\nNo field\nC: 4\n"
    assert [name for name, _ in fields_of(headers)] == ["a", "b", "a", "c"]
    assert value(headers, "b") == "2 more" and lines_of(headers, "x") is None
    assert replaced(headers, b"A: 9\n") == b"A: 9\nB: 2\n\tmore\nC: 4\n"
    assert replaced(headers, b"D: 9\n") == headers + b"D: 9\n"
    assert without(headers, {"b", "a"}) == b"C: 4\n"
    assert below_trace(b"Received: x\nFrom: y\n", b"N: 1\n") == b"Received: x\nN: 1\nFrom: y\n"
