from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.message import Attachment, Message, Url
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
