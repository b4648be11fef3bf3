from __future__ import annotations

import math

import numpy as np
import pytest

from mailwarden.domain.events import Event, keys_of
from mailwarden.domain.finalise import finalise
from mailwarden.domain.layout import layout_of
from mailwarden.domain.state import EntityState, read_slots
from mailwarden.domain.views import ActivityView
from mailwarden.domain.windows import DAY_US, HOUR_US
from mailwarden_features import discover

REPOSITORY = discover()
NOW = 20_000 * DAY_US + 12 * HOUR_US
ANN, LEE, ZOE = "ann@parts.example", "lee@corp.example", "zoe@corp.example"


def mail(seq: int, days_ago: float, sender: str, *to: str, direction: str = "inbound", **facts: object) -> Event:
    domains = tuple(dict.fromkeys(address.partition("@")[2] for address in to))
    at = NOW - round(days_ago * DAY_US)
    fields: dict[str, object] = dict(
        tenant="t", seq=seq, kind="message", message_id=str(seq), received_at_us=at, known_at_us=at,
        time_source="envelope", direction=direction, sender=sender, sender_domain=sender.partition("@")[2],
        recipients=to, recipient_domains=domains,
    )  # fmt: skip
    return Event(**(fields | facts))  # type: ignore[arg-type]


STORY = (
    mail(1, 40, ANN, LEE),
    mail(2, 20, ANN, LEE, ZOE, has_link=True, authenticated=True),
    mail(3, 10, LEE, ANN, direction="outbound"),
    mail(4, 3, ANN, LEE, has_link=True, has_attachment=True, authenticated=False, reply_to_differs=True),
    mail(5, 20, ANN, LEE, ZOE, kind="label", label="CP", labelled_bad=1, labelled_attack=1),
    mail(6, 40, ANN, LEE, kind="label", label="ham", labelled_good=1),
    mail(7, 3, ANN, LEE, kind="label", label="spam", labelled_bad=1),
    mail(8, 0.25, ANN, ZOE),
    mail(9, 0.1, LEE, ZOE, direction="internal"),
)


def read(name: str, *key: str, at_us: int = NOW) -> dict[str, float]:
    view = REPOSITORY.by_name(name)
    assert isinstance(view, ActivityView)
    layout = layout_of(view)
    state = EntityState(layout)
    folded = False
    for event in STORY:
        directions = [forward for found, forward in keys_of(view.emission, event) if found == key]
        if directions:
            folded |= state.fold(event, directions)
    at = np.array([at_us], dtype=np.int64)
    slots, times, seen, _ = read_slots(layout, [state.to_bytes() if folded else None], at)
    values = finalise(layout, slots, times, seen, at)[0]
    return dict(zip(layout.feature_names, values.tolist(), strict=True))


def check(found: dict[str, float], **expected: float) -> None:
    for name, value in expected.items():
        if math.isnan(value):
            assert math.isnan(found[name]), name
        else:
            assert found[name] == pytest.approx(value), name


NULL = float("nan")


def test_a_sender_by_what_it_sent_and_what_was_written_to_it() -> None:
    check(
        read("sender_activity", ANN),
        history=1, messages_1d=1, messages_7d=2, messages_30d=3, messages_all=4, written_to_all=1, days_known=40,
        days_since_last=0.25, days_since_outbound=10, distinct_recipients_30d=2, distinct_recipients_all=2,
        link_share_30d=2 / 3, attachment_share_30d=1 / 3, authenticated_share_30d=1 / 3,
        reply_to_differs_share_30d=1 / 3, labelled_bad_all=2, labelled_good_all=1,
        # Two messages are older than 7 days, of which one is labelled bad; the label of the young one is not in yet.
        bad_rate=(1 + 0.2) / (2 + 2.0),
    )  # fmt: skip


def test_an_address_that_was_only_written_to_has_history_and_no_age() -> None:
    inward = read("sender_activity", LEE)
    check(inward, history=1, messages_all=2, written_to_all=0, days_since_outbound=NULL)
    check(read("sender_activity", ZOE), history=0, messages_all=NULL, days_known=NULL, bad_rate=NULL)


def test_a_domain_by_what_came_from_it() -> None:
    check(
        read("sender_domain_activity", "parts.example"),
        history=1, messages_1d=1, messages_7d=2, messages_30d=3, messages_all=4, written_to_all=1,
        days_since_outbound=10, distinct_senders_30d=1, link_share_30d=2 / 3, bad_rate=1.2 / 4, labelled_good_all=1,
    )  # fmt: skip


def test_a_recipient_by_what_it_was_sent() -> None:
    check(
        read("recipient_activity", ZOE),
        history=1, messages_1d=2, messages_30d=3, messages_all=3, days_known=20, days_since_last=0.1,
        distinct_senders_30d=2, inbound_share_30d=2 / 3, link_share_30d=1 / 3, unauthenticated_share_30d=0,
        bad_rate=(1 + 0.2) / (1 + 2.0), safe_rate=1.8 / 3.0, attack_rate_90d=(1 + 0.02) / (1 + 2.0),
    )  # fmt: skip
    check(read("recipient_activity", LEE), unauthenticated_share_30d=0.5, attachment_share_30d=0.5, messages_30d=2)
    check(read("recipient_activity", ZOE, at_us=NOW + 60 * DAY_US), messages_30d=0, link_share_30d=NULL)


def test_a_pair_by_what_went_each_way() -> None:
    check(
        read("relationship", ANN, LEE),
        history=1, messages_30d=2, messages_all=3, reverse_30d=1, reverse_all=1, days_known=40, days_since_last=3,
        days_since_reverse=10, reverse_share_all=0.25, link_share_30d=1.0, authenticated_share_30d=0.5,
        attachment_share_30d=0.5, labelled_bad_all=2, labelled_good_all=1,
    )  # fmt: skip
    check(read("relationship", LEE, ANN), messages_all=1, reverse_all=3, labelled_bad_all=0, days_since_reverse=3)
    check(read("relationship", ZOE, ANN), history=1, messages_all=0, days_known=NULL, days_since_reverse=0.25)
    check(read("relationship", ANN, "nobody@corp.example"), history=0, messages_all=NULL)


@pytest.mark.parametrize("view", [view for view in REPOSITORY.activity], ids=lambda view: view.name)
def test_a_state_of_a_busy_key_stays_small(view: ActivityView) -> None:
    layout = layout_of(view)
    words = 0
    for level in layout.levels:
        rows = (level.length_us + DAY_US) // level.hop_us + 2
        words += rows * (1 + len(level.measures) + len(level.distincts))
    assert words * 8 < 8_192
