"""What the trees found, as a help desk reads it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mailwarden.domain.detection.detector import Signal
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.usual import Usual
from mailwarden_detectors._trees.borrowed_names import NAMED
from mailwarden_detectors._trees.reasons import ABSENT, FIRST, WHOLE, Raised, reasons_of, words_of
from mailwarden_detectors.behaviour.detector import Behaviour

ZERO, ONE = Usual(0.0, 0.0, 0.0, 1.0), Usual(1.0, 1.0, 1.0, 1.0)


def reasons(*raised: Raised, limit: int = 5, **values: float) -> list[Signal]:
    """Of a row where nothing else is known; values: by feature, `__` for the colon."""
    columns = {
        name: np.array([None], dtype=object) if name in NAMED else np.full(1, np.nan) for name in Behaviour.features
    }
    for one in raised:
        columns[one.name] = np.array([one.value])
    for name, value in values.items():
        columns[name.replace("__", ":")] = np.array([value])
    return reasons_of(raised, FeatureTable(columns, 1), 0, limit)


def test_what_is_not_known_or_what_good_mail_has_too_is_no_reason() -> None:
    links = "content_links:url_count"
    odd = Raised(links, 40.0, Usual(0.0, 1.0, 5.0, 1.0), 0.5)
    found = reasons(
        Raised("sender_activity:bad_rate", math.nan, ZERO, 3.0),
        Raised("content_identity:to_count", 2.0, Usual(1.0, 1.0, 3.0, 1.0), 2.0),
        Raised("content_headers:has_list_id", 0.0, ZERO, 2.0),
        Raised("content_headers:high_priority", 1.0, ONE, 1.0),
        odd,
    )
    assert [(signal.name, signal.features, signal.weight) for signal in found] == [(links, (links,), 0.5)]
    assert found[0].words.endswith(": 40 (good mail: 0 to 5).")


def test_an_absence_is_a_reason_where_it_says_something_and_good_mail_mostly_has_it() -> None:
    name = "content_authentication:authenticated"
    assert [s.words for s in reasons(Raised(name, 0.0, ONE, 1.0))] == [ABSENT[name]]
    (whole,) = reasons(Raised(name, 0.0, ZERO, 1.0))
    assert whole.name == WHOLE and whole.features == (name,)
    assert [s.words for s in reasons(Raised("content_headers:has_list_id", 0.0, ONE, 1.0))] == [whole.words]


@pytest.mark.parametrize(
    ("unseen", "said"),
    [
        (("relationship",), "relationship"),
        (("relationship", "sender_activity"), "sender_activity"),
        (("relationship", "sender_activity", "sender_domain_activity"), "sender_domain_activity"),
    ],
)
def test_whoever_was_never_seen_is_said_once_as_widely_as_it_holds(unseen: tuple[str, ...], said: str) -> None:
    counts = [Raised(f"{view}:messages_all", 0.0, Usual(1.0, 9.0, 90.0, 1.0), 1.0) for view in unseen]
    history = {f"{view}__history": 0.0 if view in unseen else 1.0 for view in FIRST}
    (found,) = reasons(*counts, **history)
    assert found.words == FIRST[said] and found.name == f"{said}:history"
    assert set(found.features) == {f"{view}:history" for view in unseen}


def test_others_do_not_use_a_name_that_nobody_used() -> None:
    match = Raised("display_name_activity:sender_match", 0.0, ONE, 1.0)
    seen = reasons(match, display_name_activity__history=1.0)
    unseen = reasons(match, display_name_activity__history=0.0)
    assert [signal.words for signal in seen] == [ABSENT["display_name_activity:sender_match"]]
    assert [signal.words for signal in unseen] == [ABSENT["display_name_activity:history"]]
    thread = Raised("thread_activity:messages_all", 0.0, Usual(1.0, 2.0, 9.0, 1.0), 1.0)
    assert [signal.name for signal in reasons(thread, thread_activity__history=0.0)] == [WHOLE]


@pytest.mark.parametrize(
    "name",
    [
        "content_authentication:spf_aligned",
        "content_authentication:dkim_signatures",
        "sender_activity:written_to_all",
        "relationship:days_known",
        "display_name_activity:sender_match",
        "sender_activity:authenticated_share_90d",
    ],
)
def test_what_speaks_for_a_sender_is_no_reason_against_it(name: str) -> None:
    known = {f"{view}__history": 1.0 for view in ("sender_activity", "relationship", "display_name_activity")}
    (whole,) = reasons(Raised(name, 1.0, Usual(0.0, 0.0, 0.0, 0.3), 2.0), **known)
    assert whole.name == WHOLE


def test_one_value_of_a_view_of_history_speaks_and_the_worst_come_first() -> None:
    usual = Usual(0.0, 1.0, 3.0, 1.0)
    found = reasons(
        Raised("campaign_activity:messages_1h", 90.0, usual, 1.0),
        Raised("campaign_activity:messages_1d", 95.0, usual, 2.0),
        Raised("content_links:url_count", 9.0, usual, 1.5),
        Raised("content_text:urgency_terms", 9.0, usual, 0.5),
        campaign_activity__history=1.0,
        limit=2,
    )
    assert [signal.name for signal in found] == ["campaign_activity:messages_1d", "content_links:url_count"]


def test_words_show_shares_as_percent_and_what_good_mail_lacks() -> None:
    rate = "sender_activity:bad_rate"
    assert words_of(rate, 0.25, Usual(0.0, 0.0, 0.004, 0.9)).endswith(": 25% (good mail: 0% to 0.40%).")
    assert words_of(rate, 1.0, Usual(0.0, 0.0, 0.0, 0.2)).endswith(": 100% (of most good mail it is not known).")
    assert words_of("content_attachments:size_bytes", 12_345.0) == "Size of the raw message: 12,345."
