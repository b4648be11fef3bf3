from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mailwarden.domain.aggregates.windows import HOUR_US
from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.message import Hop, Message
from mailwarden.stores.lists import load_lists
from mailwarden.testing.messages import empty_message, message_of
from mailwarden_features.content_headers.view import VIEW

LISTS = load_lists()


def computed(message: Message) -> Mapping[str, ContentValue]:
    return VIEW.compute(message, LISTS)


def value(name: str, **changes: Any) -> ContentValue:
    return computed(message_of(**changes))[name]


RECEIVED_US = 1_709_640_000_000_000  # 2024-03-05 12:00 UTC


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("date_skew_hours", None),
        ("message_id_len", None),
        ("odd_time_zone", None),
        ("missing_date", 1),
        ("missing_message_id", 1),
        ("hop_count", 0),
    ],
)
def test_of_nothing_what_cannot_be_computed_is_null_and_what_was_looked_for_is_0(
    name: str, expected: ContentValue
) -> None:
    assert computed(empty_message())[name] == expected


def test_times_and_hops() -> None:
    hops = (Hop("mx.parts.example", "", "", "", RECEIVED_US), Hop("pc", "", "", "", RECEIVED_US - 2 * HOUR_US))
    times = {"received_at_us": RECEIVED_US, "date_us": RECEIVED_US + HOUR_US, "time_source": "received"}
    facts = computed(message_of(hops=hops, **times))
    assert (facts["hop_count"], facts["hop_span_hours"], facts["date_skew_hours"]) == (2, 2.0, 1.0)
    assert (facts["hop_order_broken"], facts["helo_unqualified"]) == (0, 0)
    assert value("hop_order_broken", hops=hops[::-1]) == 1
    assert value("helo_unqualified", hops=hops[::-1]) == 1
    assert value("date_skew_hours", received_at_us=RECEIVED_US, date_us=RECEIVED_US, time_source="date") is None
    # The Date handed over again as time of receipt tells nothing more, unless a hop bears witness.
    assert value("date_skew_hours", received_at_us=RECEIVED_US, date_us=RECEIVED_US) is None
    for zone, odd in (("+0000", 0), ("+0530", 0), ("-0330", 0), ("-1700", 1), ("+0117", 1), ("GMT", 0), ("", 1)):
        assert value("odd_time_zone", headers=(("Date", f"Tue, 5 Mar 2024 10:00:00 {zone}"),)) == odd, zone
