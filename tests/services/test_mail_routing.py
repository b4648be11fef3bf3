"""Whose mail an envelope is, by domain, user and listener; and how the tenants' list is kept fresh."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwarden.domain.mail.message import Envelope
from mailwarden.domain.mail.own_domains import covers, overlap, own_domain
from mailwarden.errors import ConfigError, DataError, StoreUnavailable
from mailwarden.stores.sql import Tenant
from mailwarden_services.scoring_api import tenant_directory
from mailwarden_services.scoring_api.listeners import Listener, listeners_of
from mailwarden_services.scoring_api.mail_routing import route
from mailwarden_services.scoring_api.tenant_directory import Directory, TenantDirectory


def tenant(name: str, *domains: str) -> Tenant:
    return Tenant(name, domains, (), {}, 1)


ACME = tenant("acme", "acme.example", ".branch.acme.example")
OTHER = tenant("other", "other.example", "xn--bcher-kva.example")
DIRECTORY = Directory.of((ACME, OTHER))


def parts(envelope: Envelope, **more: Any) -> list[tuple[str, tuple[str, ...], str | None]]:
    found = route(envelope, DIRECTORY, **more)
    return [(part.tenant.name, part.envelope.rcpt_to, part.envelope.flow) for part in found.parts]


def to(*recipients: str, **more: Any) -> Envelope:
    return Envelope(1, "ann@far.example", recipients, **more)


def test_each_tenant_gets_its_own_recipients_alone() -> None:
    found = route(to("bob@acme.example", "x@nowhere.example", "eve@OTHER.example", "<al@acme.example>"), DIRECTORY)
    assert [(p.tenant.name, p.envelope.rcpt_to) for p in found.parts] == [
        ("acme", ("bob@acme.example", "<al@acme.example>")),
        ("other", ("eve@OTHER.example",)),
    ]
    assert found.unknown == 1


@pytest.mark.parametrize(
    ("address", "owner"),
    [
        ("bob@acme.example", "acme"),
        ("bob@Acme.Example.", "acme"),
        ("bob@mail.acme.example", None),
        ("bob@branch.acme.example", None),
        ("bob@east.branch.acme.example", "acme"),
        ("bob@notacme.example", None),
        ("bob@bücher.example", "other"),
        ("bob@XN--BCHER-KVA.example", "other"),
        ("bob@", None),
        ("postmaster", None),
    ],
)
def test_a_domain_is_the_tenants_as_it_is_declared_and_no_further(address: str, owner: str | None) -> None:
    found = DIRECTORY.of_address(address)
    assert (None if found is None else found.name) == owner


def test_mail_of_a_user_who_logged_in_is_their_tenants_and_comes_in_for_others() -> None:
    sent = to("eve@other.example", "carl@acme.example", "x@far.example", auth_user="bob@acme.example")
    assert parts(sent) == [("acme", sent.rcpt_to, "outbound"), ("other", ("eve@other.example",), "inbound")]
    assert route(sent, DIRECTORY).unknown == 0
    # A name without a domain, or of a domain that is nobody's, says nothing.
    for user in ("bob", "bob@far.example"):
        assert parts(to("eve@other.example", auth_user=user)) == [("other", ("eve@other.example",), None)]


def test_a_listener_says_whose_mail_comes_in_there_and_which_way_it_goes() -> None:
    out, incoming, mx = Listener("acme", "outbound"), Listener("acme", "inbound"), Listener("", "inbound")
    sent = to("x@far.example", "eve@other.example", auth_user="bob")
    assert parts(sent, listener=out) == [
        ("acme", sent.rcpt_to, "outbound"),
        ("other", ("eve@other.example",), "inbound"),
    ]
    assert parts(to("x@alias.example", "y@alias.example"), listener=incoming) == [
        ("acme", ("x@alias.example", "y@alias.example"), "inbound")
    ]
    assert parts(to("eve@other.example"), listener=mx) == [("other", ("eve@other.example",), "inbound")]
    # Nobody is known to have sent it, and a listener of that name can be anybody's: it comes in.
    assert parts(to("eve@other.example"), listener=Listener("gone", "outbound")) == [
        ("other", ("eve@other.example",), "inbound")
    ]


def test_a_tenants_own_caller_reaches_no_other_tenant() -> None:
    both = to("bob@acme.example", "eve@other.example")
    assert parts(both, only=OTHER) == [("other", ("eve@other.example",), None)]
    assert parts(to("bob@acme.example"), only=OTHER) == []
    assert parts(to("x@far.example", auth_user="bob@acme.example"), only=OTHER) == []
    assert parts(to(), only=OTHER) == [("other", (), None)]
    assert parts(to()) == []
    assert len(route(to(), Directory.of((ACME,))).parts) == 1


def test_a_domain_that_two_claim_is_nobodys() -> None:
    found = Directory.of((ACME, tenant("third", "ACME.example", "third.example")))
    assert found.of_address("bob@acme.example") is None and found.of_address("bob@third.example") is not None


@given(st.lists(st.sampled_from(["b@acme.example", "e@other.example", "x@far.example", "y@east.branch.acme.example"])))
def test_no_recipient_is_lost_or_told_to_two(recipients: list[str]) -> None:
    found = route(to(*recipients), DIRECTORY)
    given_out = [recipient for part in found.parts for recipient in part.envelope.rcpt_to]
    assert sorted(given_out) == sorted(r for r in recipients if DIRECTORY.of_address(r) is not None)


LABELS = st.sampled_from(["a", "b", "mail", "xn--bcher-kva"])


@st.composite
def declared(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(["", "."])) + ".".join([*draw(st.lists(LABELS, max_size=2)), "example"])


@given(declared(), declared(), st.lists(LABELS, max_size=4))
def test_domains_that_do_not_overlap_never_cover_one_host(one: str, other: str, labels: list[str]) -> None:
    host = ".".join([*labels, "example"])
    if covers(frozenset({one}), host) and covers(frozenset({other}), host):
        assert overlap(one, other)


@pytest.mark.parametrize(
    "wrong", ["", ".", "a b.example", "bob@acme.example", "https://acme.example", "10.1.2.3", "a..b"]
)
def test_what_is_no_domain_is_refused_in_words(wrong: str) -> None:
    with pytest.raises(DataError, match=r"is no domain|empty name|IP address"):
        own_domain(wrong)


@pytest.mark.parametrize("wrong", ["mx", "mx=acme", "mx=acme:sideways", "=acme:inbound", "a=:inbound,a=:inbound"])
def test_listeners_that_cannot_be_read_are_refused_in_words(wrong: str) -> None:
    with pytest.raises(ConfigError, match="MAILWARDEN_LISTENERS"):
        listeners_of(wrong)
    assert listeners_of("") == {}


def test_the_directory_follows_the_tenants_and_outlives_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_directory, "REFRESH_SECONDS", 0.0)
    answers: list[Sequence[Tenant] | Exception] = [(ACME,), (ACME, OTHER), StoreUnavailable("gone")]

    def read() -> Sequence[Tenant]:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def look() -> list[list[str]]:
        directory = TenantDirectory(read)
        return [sorted((await directory.current()).by_name) for _ in range(4)]

    assert asyncio.run(look()) == [["acme"], ["acme", "other"], ["acme", "other"], ["acme", "other"]]
    with pytest.raises(StoreUnavailable):
        asyncio.run(TenantDirectory(read).current())
