from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.inner import InnerFile, Trait
from mailwarden.domain.mail.message import Attachment, Mailbox, Message, Url
from mailwarden.stores.lists import load_lists
from mailwarden.testing.messages import empty_message, message_of
from mailwarden_features.content_inner.transform import MAX_NESTED
from mailwarden_features.content_inner.view import VIEW

LISTS = load_lists()


def computed(message: Message) -> Mapping[str, ContentValue]:
    return VIEW.compute(message, LISTS)


def value(name: str, **changes: Any) -> ContentValue:
    return computed(message_of(**changes))[name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("nested_count", 0), ("nested_url_count", None), ("nested_attachment_count", None), ("nested_text_len", None)],
)
def test_of_nothing_what_cannot_be_computed_is_null_and_what_was_looked_for_is_0(
    name: str, expected: ContentValue
) -> None:
    assert computed(empty_message())[name] == expected


def nested(text: str, links: int, files: int, *inside: Message) -> Message:
    return message_of(
        new_text=text,
        quoted_text="> old",
        urls=tuple(Url(f"https://h{i}.example/", "", f"h{i}.example", f"h{i}.example", "html") for i in range(links)),
        attachments=(Attachment("a.pdf", "application/pdf", "application/pdf", 9, "0" * 64),) * files,
        nested=inside,
    )


def test_what_is_inside_counts_however_deep_it_lies_and_the_message_itself_does_not() -> None:
    deepest = nested("deep", 3, 1)
    found = computed(nested("outer", 7, 5, nested("first", 1, 0, deepest), nested("second", 0, 2)))
    assert found["nested_count"] == 2
    assert (found["nested_url_count"], found["nested_attachment_count"]) == (4, 3)
    assert found["nested_text_len"] == len("first") + len("deep") + len("second") + 3 * len("> old")


def test_no_nest_is_read_without_end() -> None:
    flat = message_of(nested=(message_of(new_text="x"),) * 10_000)
    assert (computed(flat)["nested_count"], computed(flat)["nested_text_len"]) == (10_000, MAX_NESTED)


def url(where: str, text: str = "") -> Url:
    host = where.split("/")[2]
    return Url(where, text, host, ".".join(host.split(".")[-2:]), "html")


def file(*traits: Trait, depth: int = 0, name: str = "a.pdf", text: str = "", urls: tuple[Url, ...] = ()) -> InnerFile:
    return InnerFile(depth, name, "application/pdf", 9, "", tuple(sorted(traits)), text, urls)


FORM = file(
    "form",
    "password_field",
    text="Verify your password within 24 hours, or pay $5",
    urls=(url("https://login.far.example/v", "https://portal.near.example/"), url("https://192.0.2.1/")),
)
INSIDE = file("executable", "script", "double_extension", depth=2, name="a.pdf.js")


@pytest.mark.parametrize(
    ("name", "files", "expected"),
    [
        ("inner_opened_count", (FORM, INSIDE), 1),
        ("inner_file_count", (FORM, INSIDE), 1),
        ("inner_depth_max", (FORM, INSIDE), 2),
        ("inner_executable", (FORM, INSIDE), 1),
        ("inner_executable", (file("executable"),), 0),
        ("inner_script", (INSIDE,), 1),
        ("inner_disguised_name", (INSIDE, file("disguised_name", "double_extension", depth=1)), 2),
        ("inner_archive", (file("archive"), file("archive", depth=1)), 1),
        ("inner_form", (FORM,), 1),
        ("inner_password_field", (FORM, FORM), 2),
        ("inner_auto_action", (file("launch", "auto_action"), file("launch")), 2),
        ("inner_unread", (file("damaged", "over_budget"), file("unopened"), file("encrypted")), 2),
        ("inner_encrypted", (file("encrypted"),), 1),
        ("inner_password_given", (file("encrypted"),), 1),
        ("inner_password_given", (FORM,), None),
        ("inner_text_len", (FORM,), 47),
        ("inner_urgency_terms", (FORM,), 1),
        ("inner_money_count", (FORM,), 1),
        ("inner_url_count", (FORM,), 2),
        ("inner_url_domain_count", (FORM, FORM), 2),
        ("inner_url_elsewhere", (FORM,), 2),
        ("inner_url_elsewhere", (file(urls=(url("https://www.sender.example/"),)),), 0),
        ("inner_url_unseen", (file(urls=(url("https://a.body.example/"), url("https://far.example/"))),), 1),
        ("inner_url_text_differs", (FORM,), 1),
        ("inner_url_ip_host", (FORM,), 1),
        ("inner_url_count", (file(),), 0),
        ("inner_url_domain_count", (file(),), None),
        ("inner_macro", (file(),), 0),
    ],
)
def test_what_files_hold(name: str, files: tuple[InnerFile, ...], expected: ContentValue) -> None:
    message = message_of(
        inner=files,
        new_text="The file's password is: 1234",
        sender=Mailbox("ann@sender.example", "", "sender.example"),
        urls=(Url("https://body.example/", "", "body.example", "body.example", "html"),),
    )
    # An address of numbers has no registrable domain.
    assert computed(message)[name] == expected


def test_words_and_links_of_nested_messages_are_inside_too() -> None:
    found = computed(message_of(nested=(message_of(new_text="Verify your password", urls=FORM.urls, inner=(INSIDE,)),)))
    assert (found["inner_credential_terms"], found["inner_url_count"]) == (2, 2)
    assert (found["inner_executable"], found["inner_opened_count"], found["inner_file_count"]) == (1, 0, 1)


def test_a_message_without_files_has_none_of_it() -> None:
    found = computed(message_of(new_text="Verify your password", urls=FORM.urls))
    assert found["inner_opened_count"] == 0
    assert all(value is None for name, value in found.items() if name not in ("nested_count", "inner_opened_count"))


def test_an_encrypted_file_without_its_password_in_the_text() -> None:
    assert value("inner_password_given", inner=(file("encrypted"),), new_text="As promised.") == 0
