from __future__ import annotations

import math
import pickle
from collections.abc import Mapping

import pytest

from mailwarden.domain.mail.content import ContentFeature, ContentSet, ContentValue, ContentView
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Message
from mailwarden.domain.status import Status
from mailwarden.testing.messages import message_of

FEATURES = (
    ContentFeature("whole", "int64", "W.", "w", "none"),
    ContentFeature("more", "int64", "M.", "m", "none"),
    ContentFeature("share", "float64", "S.", "s", "none"),
    ContentFeature("word", "string", "W.", "w", "none"),
)
NO_LISTS = Lists({}, {}, "")
GOOD: dict[str, ContentValue] = {"whole": 1, "more": -(2**63), "share": 0.5, "word": "ä"}
GIVEN: dict[str, ContentValue] = {}


def given_values(message: Message, lists: Lists) -> Mapping[str, ContentValue]:
    return GIVEN


CONTENT = ContentSet([ContentView("made", 1, "team", "M.", FEATURES, given_values, ("text",), 1.0)], NO_LISTS, {})


def computed(monkeypatch: pytest.MonkeyPatch, **changes: object) -> tuple[object, Status, str]:
    """Values, status and what was said of a failure, where the view gives `GOOD` but for the changes."""
    failures: list[str] = []
    monkeypatch.setitem(globals(), "GIVEN", {**GOOD, **changes})
    found = CONTENT.values_of(message_of(), lambda view, error: failures.append(f"{view.name}: {error}"))
    return found.values["made"], found.status["made"], "".join(failures)


def test_values_come_in_order_whichever_are_null(monkeypatch: pytest.MonkeyPatch) -> None:
    for changes in ({}, {"whole": None}, {"whole": None, "more": None}, {"share": None, "word": None}, {"word": None}):
        expected = tuple({**GOOD, **changes}.values())
        for _ in range(2):
            assert computed(monkeypatch, **changes) == (expected, Status.PRESENT, "")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"whole": True}, "whole is bool"),
        ({"whole": 1.0}, "whole is float"),
        ({"share": 1}, "share is int"),
        ({"word": b"x"}, "word is bytes"),
        ({"more": 2**63}, "more does not fit int64"),
        ({"more": -(2**63) - 1}, "more does not fit int64"),
        ({"word": "\ud800"}, "surrogates not allowed"),
    ],
)
def test_what_no_store_can_hold_is_damaged_and_says_which(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], words: str
) -> None:
    # A row of the right kind before it, as of most messages.
    assert computed(monkeypatch)[1] is Status.PRESENT
    values, status, said = computed(monkeypatch, **changes)
    assert (values, status) == ((None,) * 4, Status.DAMAGED)
    assert said.startswith("made: ") and words in said


@pytest.mark.parametrize("share", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_null(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    assert computed(monkeypatch, share=share) == ((1, -(2**63), None, "ä"), Status.PRESENT, "")


def test_a_name_left_out_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "GIVEN", {"whole": 1})
    failures: list[str] = []
    found = CONTENT.values_of(message_of(), lambda view, error: failures.append(repr(error)))
    assert found.status == {"made": Status.DAMAGED} and "'more'" in failures[0]


def test_a_set_goes_to_another_process_and_computes_there(monkeypatch: pytest.MonkeyPatch) -> None:
    before = computed(monkeypatch)
    taken = pickle.loads(pickle.dumps(CONTENT))
    assert taken.values_of(message_of(), pytest.fail).values["made"] == before[0]
