"""Entries of allow and block lists and a tenant's domains: one form, or a refusal; and what an entry stands for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwarden.domain.detection.decision import TenantPolicy, apply_policy
from mailwarden.domain.mail.addresses import (
    address_domain,
    checked_domain,
    checked_sender,
    entries_for,
    normalise_address,
    registrable_domain,
)
from mailwarden.errors import DataError


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("Ann.Lee@Example.COM.", "ann.lee@example.com"),
        ("  Ann Lee <ann@example.com> ", "ann@example.com"),
        ('"Lee, Ann" <ann@example.com>', "ann@example.com"),
        ("mailto:ann@example.com", "ann@example.com"),
        ("<ann@bücher.example>", "ann@xn--bcher-kva.example"),
        ("ann+news@mail.example.com", "ann+news@mail.example.com"),
        ("zoë@example.com", "zoë@example.com"),
        ("ann@[192.0.2.1]", "ann@[192.0.2.1]"),
        ("@Example.com", "example.com"),
        ("*@example.com", "example.com"),
        ("Everybody <@example.com>", "example.com"),
        ("Example.com.", "example.com"),
        ("Bücher.Example", "xn--bcher-kva.example"),
        ("ＥＸＡＭＰＬＥ．com", "example.com"),
        ("mail.example.co.uk", "mail.example.co.uk"),
        ("team.github.io", "team.github.io"),
        ("a_b.example.com", "a_b.example.com"),
        ("*.Bücher.example", ".xn--bcher-kva.example"),
        (".example.com", ".example.com"),
    ],
)
def test_an_entry_has_one_form_and_keeps_it(written: str, form: str) -> None:
    assert checked_sender(written) == form == checked_sender(form)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "empty name"),
        ("@", "empty name"),
        ("*.com", "everybody registers below"),
        ("..example.com", "no domain"),
        ("**.example.com", "no domain"),
        ("mail.*.example.com", "no domain"),
        ("com", "everybody registers below"),
        ("co.uk", "everybody registers below"),
        ("@com", "everybody registers below"),
        ("localhost", "everybody registers below"),
        ("https://example.com/", "no domain"),
        ("example.com/path", "no domain"),
        ("example.com:25", "no domain"),
        ("exa mple.com", "no domain"),
        ("a..example.com", "no domain"),
        ("ann", "everybody registers below"),
        ("192.0.2.1", "IP address"),
        ("ann@*.example.com", "no sender's address"),
        ("*ann@example.com", "no sender's address"),
        ("ann@exa mple.com", "no sender's address"),
        ("Ann Lee", "no domain"),
        ("a@b.example, c@d.example", "no sender's address"),
    ],
)
def test_what_would_stand_for_nobody_or_everybody_is_refused_in_words(written: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        checked_sender(written)


def test_a_domain_of_a_tenant_is_no_address() -> None:
    assert checked_domain("@Mail.Example.com.") == "mail.example.com"
    with pytest.raises(DataError, match=r"ann@example.com' is no domain"):
        checked_domain("ann@example.com")


@given(st.text(max_size=60) | st.emails() | st.emails().map(lambda found: f"A <{found}>"))
def test_every_entry_is_refused_or_matches_as_mail_is_normalised(entry: str) -> None:
    try:
        form = checked_sender(entry)
    except DataError:
        return
    assert checked_sender(form) == form
    sender = form if "@" in form else f"someone@{'a' if form[0] == '.' else ''}{form}"
    assert normalise_address(sender) == sender
    decided, _ = apply_policy(
        "deliver",
        TenantPolicy(block_senders=frozenset({form})),
        sender=sender,
        sender_domain=registrable_domain(address_domain(sender)),
        authenticated=False,
    )
    assert decided == "quarantine"


@pytest.mark.parametrize(
    ("entry", "sender", "listed"),
    [
        ("example.com", "ann@example.com", True),
        ("example.com", "ann@mail.example.com", True),
        ("example.com", "ann@a.b.mail.example.com", True),
        ("mail.example.com", "ann@mail.example.com", True),
        ("mail.example.com", "ann@x.mail.example.com", True),
        ("mail.example.com", "ann@example.com", False),
        ("mail.example.com", "ann@notmail.example.com", False),
        (".example.com", "ann@mail.example.com", True),
        (".example.com", "ann@a.b.example.com", True),
        (".example.com", "ann@example.com", False),
        (".example.com", "ann@badexample.com", False),
        ("example.com", "ann@badexample.com", False),
        ("example.com", "ann@example.com.evil.example", False),
        ("ann@example.com", "ann@mail.example.com", False),
        ("ann@example.com", "Ann@Example.com", True),
    ],
)
def test_a_domain_stands_for_what_lies_below_it_and_an_address_for_itself(
    entry: str, sender: str, listed: bool
) -> None:
    address = normalise_address(sender)
    for name, lists in (
        ("block", {"block_senders": frozenset({entry})}),
        ("allow", {"allow_senders": frozenset({entry})}),
    ):
        decided, _ = apply_policy(
            "junk",
            TenantPolicy(**lists),
            sender=address,
            sender_domain=registrable_domain(address_domain(address)),
            authenticated=True,
        )
        expected = {"block": "quarantine", "allow": "deliver"}[name] if listed else "junk"
        assert decided == expected


def test_an_ip_literal_has_no_domains_above_it() -> None:
    assert entries_for("a@[192.0.2.1]") == ("[192.0.2.1]",) and entries_for("") == ()
