from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.message import Authentication, Message
from mailwarden.stores.lists import load_lists
from mailwarden.testing.messages import empty_message, message_of
from mailwarden_features.content_authentication.view import VIEW

LISTS = load_lists()


def computed(message: Message) -> Mapping[str, ContentValue]:
    return VIEW.compute(message, LISTS)


def value(name: str, **changes: Any) -> ContentValue:
    return computed(message_of(**changes))[name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("dmarc", None), ("dmarc_pass", None), ("dkim_aligned", None)],
)
def test_of_nothing_what_cannot_be_computed_is_null_and_what_was_looked_for_is_0(
    name: str, expected: ContentValue
) -> None:
    assert computed(empty_message())[name] == expected


def test_authentication_keeps_none_error_and_silence_apart() -> None:
    for verdict, numbers in (("pass", (1, 0)), ("fail", (0, 1)), ("none", (0, 0)), ("temperror", (0, 0))):
        facts = computed(message_of(authentication=Authentication(dmarc=verdict, dkim_aligned=False)))
        assert (facts["dmarc"], facts["dmarc_pass"], facts["dmarc_fail"]) == (verdict, *numbers)
        assert facts["dkim_aligned"] == 0
        assert (facts["spf"], facts["spf_pass"], facts["spf_fail"]) == (None, None, None)
    assert value("spf_fail", authentication=Authentication(spf="softfail")) == 1


def test_who_says_so_and_what_it_proves_are_told() -> None:
    header = computed(
        message_of(
            authentication=Authentication(dkim="pass", dkim_aligned=True, signatures=2, source="header", forged=1)
        )
    )
    shown = ("said_by", "authenticated", "dkim_signatures", "forged_results", "spf_aligned", "dmarc_policy")
    assert [header[name] for name in shown] == ["header", 1, 2, 1, None, None]
    own = computed(
        message_of(authentication=Authentication(spf="fail", spf_aligned=False, source="own", policy="reject"))
    )
    assert [own[name] for name in shown] == ["own", 0, None, None, 0, "reject"]
    nobody = computed(message_of(authentication=Authentication()))
    assert all(nobody[name] is None for name in (*shown, "sealer_vouches"))
    sealed = computed(message_of(authentication=Authentication(dmarc="fail", sealer="a.example", sealer_vouches=True)))
    assert (sealed["sealer_vouches"], sealed["authenticated"]) == (1, 1)
