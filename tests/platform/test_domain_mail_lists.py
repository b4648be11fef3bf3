from __future__ import annotations

import pytest

from mailwarden.domain.mail.lists import NO_LISTS, brand_name, lists_of
from mailwarden.errors import NotFound

ENTRIES = {"free_mail": ["gmx.net", "web.de"], "free_hosts": ["github.io"]}


def test_a_list_holds_its_names_and_what_lies_under_them() -> None:
    lists = lists_of(ENTRIES)
    assert lists.holds("free_mail", "gmx.net") and lists.holds("free_mail", "mx.gmx.net")
    assert not lists.holds("free_mail", "notgmx.net") and not lists.holds("free_mail", "net")
    assert not lists.holds("free_mail", "")
    with pytest.raises(KeyError):
        lists.holds("freemail", "gmx.net")


def test_a_long_host_is_looked_up_label_by_label() -> None:
    assert lists_of(ENTRIES).holds("free_hosts", "a." * 120 + "github.io")


def test_fingerprints_are_of_content_and_version_and_not_of_order() -> None:
    lists = lists_of(ENTRIES, {"a.example": 1, "b.example": 2}, {"dhl": ["dhl.com", "dhl.de"]})
    same = lists_of(
        {name: ENTRIES[name][::-1] for name in reversed(ENTRIES)},
        {"b.example": 2, "a.example": 1},
        {"dhl": ["dhl.de", "dhl.com"]},
    )
    assert same.fingerprint == lists.fingerprint and same.fingerprints == lists.fingerprints
    others = [
        lists_of(ENTRIES, {"a.example": 2, "b.example": 1}, lists.brands),
        lists_of(ENTRIES, lists.ranks, {"dhl": ["dhl.com"]}),
        lists_of(ENTRIES, lists.ranks, lists.brands, {"free_mail": "2"}),
        lists_of({**ENTRIES, "free_mail": ["gmx.net"]}, lists.ranks, lists.brands),
    ]
    assert len({lists.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_the_fingerprint_of_some_lists_is_theirs_alone() -> None:
    lists, changed = lists_of(ENTRIES), lists_of({**ENTRIES, "free_hosts": ["web.app"]})
    assert lists.fingerprint_of(["free_mail"]) == changed.fingerprint_of(("free_mail", "free_mail"))
    assert lists.fingerprint_of(ENTRIES) != changed.fingerprint_of(ENTRIES)
    assert lists.fingerprint_of(["free_mail", "free_hosts"]) == lists.fingerprint_of(["free_hosts", "free_mail"])
    assert NO_LISTS.fingerprint_of(()) == lists.fingerprint_of(())
    with pytest.raises(NotFound, match="'freemail'; there are: free_hosts, free_mail"):
        lists.fingerprint_of(["freemail"])


def test_a_list_that_is_not_there_is_an_error_and_never_an_empty_answer() -> None:
    lists = lists_of(ENTRIES, {"a.example": 1}, {"dhl": ["dhl.com"]})
    assert (lists.rank_of("a.example"), lists.rank_of("b.example")) == (1, None)
    assert (lists.is_brand("dhl"), lists.is_brand("ups"), lists.owns("dhl", "mail.dhl.com")) == (True, False, True)
    assert not lists.owns("dhl", "notdhl.com") and not lists.owns("ups", "ups.com")
    some = lists.only(["free_mail"])
    assert some.holds("free_mail", "web.de") and some.fingerprint == lists.fingerprint
    for ask in (lambda: some.rank_of("a.example"), lambda: some.is_brand("dhl"), lambda: some.holds("free_hosts", "x")):
        with pytest.raises(KeyError):
            ask()
    assert lists_of(ENTRIES, {}, {}).rank_of("a.example") is None


def test_a_brand_has_one_name() -> None:
    assert brand_name("Société\u00a0 Générale ") == "société générale"
    assert brand_name("STRASSE") == brand_name("Straße")
