from __future__ import annotations

import math

import numpy as np
import pytest

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.fact_specs import MEMBERS
from mailwarden.domain.aggregates.finalise import finalise
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import read_slots
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.recent import own_set
from mailwarden.domain.aggregates.windows import DAY_US, HOUR_US
from mailwarden.domain.mail.events import Event, keys_of, members_of
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


FIRST: dict[str, object] = dict(
    display_name="ann lee", thread="t1", structure="mutt", new_recipients=(LEE,), size_bytes=1_000
)
SECOND: dict[str, object] = dict(
    display_name="ann lee", thread="t2", structure="mutt", campaign="offer", link_domain="shop.example",
    has_link=True, authenticated=True, new_recipients=(ZOE,), size_bytes=5_000,
)  # fmt: skip
FOURTH: dict[str, object] = dict(
    display_name="lee corp", thread="t1", structure="web", campaign="offer", link_domain="evil.example",
    attachment="f00d", has_link=True, has_attachment=True, authenticated=False, reply_to_differs=True, reply=True,
    size_bytes=9_000,
)  # fmt: skip

STORY = (
    mail(1, 40, ANN, LEE, **FIRST),
    mail(2, 20, ANN, LEE, ZOE, **SECOND),
    mail(3, 10, LEE, ANN, direction="outbound", thread="t1", reply=True, display_name="lee corp",
         new_recipients=(ANN,)),
    mail(4, 3, ANN, LEE, **FOURTH),
    mail(5, 20, ANN, LEE, ZOE, kind="label", label="CP", labelled_bad=1, labelled_attack=1, **SECOND),
    mail(6, 40, ANN, LEE, kind="label", label="ham", labelled_good=1, **FIRST),
    mail(7, 3, ANN, LEE, kind="label", label="spam", labelled_bad=1, **FOURTH),
    mail(8, 0.25, ANN, ZOE),
    mail(9, 0.1, LEE, ZOE, direction="internal", display_name="lee corp", new_recipients=(ZOE,)),
    mail(10, 3, ANN, LEE, kind="signal", signal="qr", qr_code_count=3, qr_url_count=2,
         **FOURTH | {"link_domain": "code.example"}),
)  # fmt: skip


def read(name: str, *key: str, at_us: int = NOW, message: Event | None = None) -> dict[str, float]:
    view = REPOSITORY.by_name(name)
    assert isinstance(view, ActivityView)
    layout = layout_of(view)
    state = EntityState(layout)
    folded = False
    for event in STORY:
        directions = [forward for found, forward in keys_of(view.emission, event, view.keys) if found == key]
        if directions:
            folded |= state.fold(event, directions)
    at = np.array([at_us], dtype=np.int64)
    own = {} if message is None else {fact: own_set(members_of(message, fact)) for fact in MEMBERS}
    slots, times, matches, seen, _ = read_slots(layout, [state.to_bytes() if folded else None], at, [own])
    values = finalise(layout, slots, times, matches, seen, at)[0]
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
    assert words * 8 < 10_240
    for recent in view.recents:
        assert recent.keep <= 16


def test_a_sender_by_whom_it_writes_to_and_how() -> None:
    check(
        read("sender_activity", ANN),
        # Three recipients in 30 days, of whom one was new; half a day ago none.
        new_recipients_1d=0, new_recipient_share_30d=1 / 4, distinct_recipients_1d=1, reply_share_30d=1 / 3,
        mean_size_30d=14_000 / 3, largest_size_90d=9_000, authenticated_share_90d=1 / 4, last_authentication=0,
        days_since_authenticated=20, messages_1h=0, display_name_match=NULL, recipient_set_jaccard_30d=NULL,
        # 6 hours ago, 3 and 20 days ago: 1 within the day, 1 in 1..7 days, 1 in 7..30 days.
        messages_decayed=2 ** -(0.5 / 7) + 2 ** -(4 / 7) + 2 ** -(18.5 / 7),
        volume_surge_1d=(1 - 2 / 29) / math.sqrt(2 / 29 + 1),
    )  # fmt: skip
    # At noon as three times of four; the epoch began on a Thursday, and 20,000 days are 2,857 weeks and a day.
    weekdays = [(4 - days) % 7 for days in (40, 20, 3, 0)]
    check(
        read("sender_activity", ANN),
        unusual_hour_90d=1 - (3 + 1) / (4 + 8), unusual_weekday_90d=1 - (weekdays.count(4) + 1) / (4 + 7),
    )  # fmt: skip
    message = mail(10, 0, ANN, ZOE, LEE, display_name="lee corp", structure="pine", link_domain="shop.example")
    check(
        read("sender_activity", ANN, message=message),
        display_name_match=1, structure_match_90d=0, recipient_set_jaccard_30d=1, link_domain_match_90d=1,
    )  # fmt: skip
    check(
        read("sender_activity", ANN, message=mail(10, 0, ANN, "x@corp.example", LEE)), recipient_set_jaccard_30d=1 / 2
    )
    check(
        read("sender_domain_activity", "parts.example", message=message),
        structure_match_90d=0, days_known=40, days_since_last=0.25, attachment_share_30d=1 / 3, labelled_bad_all=2,
        authenticated_share_30d=1 / 3, distinct_recipients_30d=2, first_contact_share_30d=1 / 3, labelled_attack_all=1,
        last_authentication=0, authenticated_share_90d=1 / 4, volume_surge_1d=(1 - 2 / 29) / math.sqrt(2 / 29 + 1),
    )  # fmt: skip


def test_a_recipient_and_a_pair_by_who_was_new_and_who_answered() -> None:
    check(
        read("recipient_activity", ZOE),
        messages_7d=2, inbound_1d=1, first_contacts_1d=1, first_contact_share_30d=2 / 3,
        volume_surge_1d=(2 - 1 / 19) / math.sqrt(20 / 19),
    )  # fmt: skip
    check(
        read("relationship", ANN, LEE),
        messages_180d=3, replies_180d=1, replies_all=1, days_since_reply=10, with_attachment_all=1,
        last_authentication=-1,
    )  # fmt: skip
    check(read("relationship", LEE, ANN), replies_all=1, days_since_reply=3)


def test_a_thread_by_who_took_part() -> None:
    known = mail(10, 0, "lee@evil.example", LEE, display_name="lee corp")
    check(
        read("thread_activity", "t1", message=known),
        history=1, messages_all=3, outbound_all=1, internal_all=0, days_known=40, days_since_last=3,
        days_since_outbound=10, distinct_senders_all=2, sender_match=0, sender_domain_match=0, display_name_match=1,
        recipient_set_jaccard=1, labelled_bad_all=1,
    )  # fmt: skip
    check(read("thread_activity", "t2"), days_since_outbound=NULL, sender_match=NULL, outbound_all=0)


def test_a_tenant_by_what_it_has_now() -> None:
    check(
        read("tenant_activity"),
        history=1, days_known=40, messages_1h=0, messages_1d=2, inbound_share_1d=0.5, first_contact_share_1d=0.5,
        unauthenticated_share_1d=0, link_share_1d=0,
    )  # fmt: skip
    check(read("tenant_activity", at_us=NOW - 40 * DAY_US + HOUR_US // 2), volume_surge_1h=NULL)


def test_a_name_by_the_addresses_that_use_it() -> None:
    impostor = mail(10, 0, "boss@evil.example", LEE, display_name="lee corp")
    check(
        read("display_name_activity", "lee corp", message=impostor),
        history=1, messages_all=3, outbound_all=1, internal_all=1, days_known=10, days_since_last=0.1,
        distinct_senders_all=2, sender_match=0, sender_domain_match=0, labelled_bad_all=1,
    )  # fmt: skip
    check(
        read("sender_display_name", ANN, "ann lee"),
        history=1, messages_all=2, name_addr_days=40, days_since_last=20, labelled_bad_all=1,
    )  # fmt: skip
    check(read("sender_display_name", "boss@evil.example", "lee corp"), history=0, name_addr_days=NULL)


def test_a_code_that_was_found_later_counts_for_who_sent_it_and_where_it_leads() -> None:
    check(read("sender_domain_activity", "parts.example"), qr_codes_30d=0, qr_codes_later_30d=3, messages_all=4)
    check(
        read("link_domain_activity", "code.example"),
        history=1, messages_all=0, days_known=NULL, qr_urls_later_30d=2, qr_urls_later_all=2, bad_rate=0.1,
    )  # fmt: skip
    check(read("link_domain_activity", "evil.example"), messages_all=1, qr_urls_later_all=0)


def test_a_text_a_link_and_a_file_by_where_they_went() -> None:
    message = mail(10, 0, LEE, ZOE, campaign="offer", link_domain="evil.example", attachment="f00d")
    check(
        read("campaign_activity", "offer", message=message),
        history=1, messages_1h=0, messages_1d=0, messages_all=2, days_known=20, distinct_senders_all=1,
        distinct_recipients_all=2, sender_match=0, first_contact_share_all=0.5, labelled_bad_all=2,
        labelled_attack_all=1, labelled_good_all=0,
    )  # fmt: skip
    check(
        read("link_domain_activity", "shop.example", message=message),
        history=1, messages_30d=1, messages_all=1, outbound_all=0, days_known=20, distinct_sender_domains_all=1,
        sender_domain_match=0, first_contact_share_30d=1, bad_rate=1.2 / 3, labelled_attack_all=1,
        labelled_good_all=0,
    )  # fmt: skip
    check(
        read("attachment_activity", "f00d", message=message),
        history=1, messages_30d=1, messages_all=1, outbound_all=0, days_known=3, distinct_senders_all=1, sender_match=0,
        labelled_bad_all=1, labelled_attack_all=0, labelled_good_all=0,
    )  # fmt: skip
