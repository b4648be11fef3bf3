"""Addresses as they are meant, and names as readers see them."""

from __future__ import annotations

import pytest

from mailwarden.domain.mail.address_marks import addresses_in, fold_marks, has_lookalike_mark
from mailwarden.domain.mail.message import Message
from mailwarden.ingest.parse import parse_message
from mailwarden.stores.lists import load_lists
from mailwarden_features.content_identity.transform import compute

LISTS = load_lists()


def message(*headers: str) -> Message:
    return parse_message("\n".join([*headers, "", "hi"]).encode())


def written(value: str) -> Message:
    return message(f"From: {value}")


@pytest.mark.parametrize(
    ("value", "address", "name", "marks"),
    [
        ('"John Doe" <john@company.example (John Doe)>', "john@company.example", "John Doe", ["comment_in_address"]),
        ("<john(comment)@company.example>", "john@company.example", "comment", ["comment_in_address"]),
        ("<john@(a (nested) one)company.example>", "john@company.example", "a (nested) one", ["comment_in_address"]),
        ("<john@company(.evil).example>", "john@company.example", ".evil", ["comment_in_address"]),
        (r"<ann(\)@evil.example)@x.example>", "ann@x.example", r")@evil.example", ["comment_in_address"]),
        ("john(c)@company.example", "john@company.example", "c", ["comment_in_address"]),
        ("john @ company . example", "john@company.example", "", []),
        ("Ann <ann @ company.example>", "ann@company.example", "Ann", []),
        ("ann@company.example (Ann Lee)", "ann@company.example", "Ann Lee", []),
        ("Bob <bob@corp.example> <x@evil.example>", "x@evil.example", "Bob <bob@corp.example>", ["several_angles"]),
        ("<bob@corp.example> (work) <x@evil.example>", "x@evil.example", "<bob@corp.example>", ["several_angles"]),
        ("<<ann@x.example>>", "ann@x.example", "", []),
        ("Ann <> <ann@x.example>", "ann@x.example", "Ann", []),
        ("ann@x.example <>", "ann@x.example", "", []),
        ("Ann <ann@x.example", "ann@x.example", "Ann", []),
        ("<@relay.example,@b.example:john@company.example>", "john@company.example", "", ["route"]),
        ('<"john doe"@company.example>', '"john doe"@company.example', "", []),
        ('<"john"@company.example>', "john@company.example", "", []),
        ('<"a>b"@company.example>', '"a>b"@company.example', "", []),
        ('<"a@evil.example"@company.example>', '"a@evil.example"@company.example', "", []),
        ('<ann."b c".d@x.example>', '"ann.b c.d"@x.example', "", []),
        ('Ann <"john@x.example>', "john@x.example", "Ann", []),
        ("=?utf-8?q?ann=40corp=2Eexample?=", "ann@corp.example", "", ["encoded_address"]),
        (
            "=?utf-8?q?bob=40corp.example_=3Cx=40evil.example=3E?=",
            "x@evil.example",
            "bob@corp.example",
            ["encoded_address"],
        ),
        ("Ann <=?utf-8?b?YW5uQGNvcnAuZXhhbXBsZQ==?=>", "ann@corp.example", "Ann", ["encoded_address"]),
        ("Ann <ann@corp\u3002example>", "ann@corp.example", "Ann", ["lookalike_mark"]),
        ("Ann <ann\uff20corp.example>", "", "Ann", ["lookalike_mark"]),
        ("ceo\uff20corp.example", "", "ceo\uff20corp.example", ["lookalike_mark"]),
        ("Jörg <joerg@müller.example>", "joerg@xn--mller-kva.example", "Jörg", []),
        ("info@großbank.example", "info@xn--grobank-2va.example", "", []),
    ],
)
def test_an_address_is_what_is_left_of_its_tricks(value: str, address: str, name: str, marks: list[str]) -> None:
    found = written(value)
    assert (found.sender.address, found.sender.display_name) == (address, name)
    assert list(found.author_marks) == marks


def test_groups_are_opened() -> None:
    found = written("Friends: a@x.example, B <b@y.example>;, c@z.example")
    assert [box.address for box in found.authors] == ["a@x.example", "b@y.example", "c@z.example"]
    assert written("undisclosed-recipients:;").authors == ()


@pytest.mark.parametrize(
    ("headers", "authors", "domains", "fields"),
    [
        (("From: a@x.example",), 1, 1, 1),
        (("From: a@x.example, b@x.example",), 2, 1, 1),
        (("From: a@x.example, b@y.example",), 2, 2, 1),
        (("From: a@x.example", "From: b@y.example"), 2, 2, 2),
        (("From: a@x.example", "Sender: b@y.example"), 1, 1, 1),
        (("Subject: s",), 0, 0, 0),
    ],
)
def test_a_reader_may_be_shown_any_author(headers: tuple[str, ...], authors: int, domains: int, fields: int) -> None:
    values = compute(message(*headers), LISTS)
    assert (values["author_count"], values["author_domain_count"], values["from_field_count"]) == (
        authors, domains, fields,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "other", "lookalike"),
    [
        ("ceo\uff20corp.example", 1, 1),
        ("ceo\ufe6bcorp\uff0eexample", 1, 1),
        ("ceo@corp\u2024example", 1, 1),
        ("c\u200beo@co\u00adrp.example", 1, 1),
        ("\uff43\uff45\uff4f\uff20corp.example", 1, 1),
        ("ceo [at] corp [dot] example", 1, 1),
        ("ceo (at) corp.example", 1, 1),
        ("ceo@corp.example", 1, 0),
        ("Bob via ceo@corp.example", 1, 0),
        ("x7@evil.example", 0, 0),
        ("news@mail.evil.example", 0, 0),
        # Honest ones.
        ("田中\uff20営業部", 0, 0),
        ("お知らせ\u3002次の文", 0, 0),
        ("Ann @ Work", 0, 0),
        ("Node.js Weekly", 0, 0),
        ("نمی‌خواهم", 0, 0),
        ("Team (attendance)", 0, 0),
        ("Ann Lee", 0, 0),
        ("Zoë · Café", 0, 0),
        ("@handle", 0, 0),
        ("50% off [at last]", 0, 0),
    ],
)
def test_a_name_that_holds_an_address(name: str, other: int, lookalike: int) -> None:
    values = compute(written(f'"{name}" <x7@evil.example>'), LISTS)
    assert (values["display_name_other_address"], values["display_name_lookalike_mark"]) == (other, lookalike)


def test_no_name_says_nothing() -> None:
    values = compute(written("x7@evil.example"), LISTS)
    assert values["display_name_other_address"] is None and values["display_name_lookalike_mark"] is None


def test_marks_are_folded_and_addresses_found() -> None:
    assert fold_marks("plain") == "plain"
    assert addresses_in("a\uff20b.example, c@d.example and a@b.example") == ("b.example", "d.example")
    assert not has_lookalike_mark("a@b.example")
    assert addresses_in("a@b.example " * 5_000) == ("b.example",)
