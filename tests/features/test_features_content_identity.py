from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.message import Mailbox, Message
from mailwarden.stores.lists import load_lists
from mailwarden.testing.messages import empty_message, message_of
from mailwarden_features.content_identity.view import VIEW

LISTS = load_lists()


def computed(message: Message) -> Mapping[str, ContentValue]:
    return VIEW.compute(message, LISTS)


def value(name: str, **changes: Any) -> ContentValue:
    return computed(message_of(**changes))[name]


SENDER = Mailbox("ann@parts.example", "Ann Lee", "parts.example")
OTHER = Mailbox("ann.lee@gmail.com", "Ann Lee", "gmail.com")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reply_to_differs", None),
        ("reply_to_freemail", None),
        ("return_path_differs", None),
        ("self_addressed", None),
        ("all_bcc", None),
    ],
)
def test_of_nothing_what_cannot_be_computed_is_null_and_what_was_looked_for_is_0(
    name: str, expected: ContentValue
) -> None:
    assert computed(empty_message())[name] == expected


def test_who_writes_and_where_the_answer_goes() -> None:
    facts = computed(
        message_of(
            sender=SENDER, reply_to=(OTHER,), return_path="bounce@mailer.example", recipients=("lee@corp.example",)
        )
    )
    assert (facts["reply_to_differs"], facts["reply_to_freemail"], facts["return_path_differs"]) == (1, 1, 1)
    assert (facts["sender_freemail"], facts["all_bcc"], facts["self_addressed"]) == (0, 1, 0)
    facts = computed(
        message_of(
            sender=SENDER,
            reply_to=(SENDER,),
            return_path="b@mail.parts.example",
            to=(SENDER,),
            recipients=(SENDER.address,),
        )
    )
    assert (facts["reply_to_differs"], facts["reply_to_freemail"], facts["return_path_differs"]) == (0, 0, 0)
    assert (facts["all_bcc"], facts["self_addressed"]) == (0, 1)
    facts = computed(message_of(sender=SENDER, return_path=""))
    assert (facts["return_path_empty"], facts["return_path_differs"]) == (1, None)
    posing = Mailbox("x9@post.example", "ceo@corp.example", "post.example")
    assert value("display_name_other_address", sender=posing) == 1
    assert value("display_name_other_address", sender=SENDER) == 0
