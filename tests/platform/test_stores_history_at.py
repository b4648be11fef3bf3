"""History in memory at a moment: what the online store would have said had it folded just that much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.windows import DAY_US, HOUR_US
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.facts import tombstone_of
from mailwarden.stores.history_at import HistoryAt, SupposedReader
from mailwarden.stores.online.client import Client
from mailwarden.stores.online.reader import OnlineReader, ReadRequest, VectorSet
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden.testing.naive_recount import recount

Views = tuple[ActivityView, ...]
Events = Callable[..., list[Event]]
PROJECT = "mail"


def same(found: VectorSet, wanted: VectorSet) -> None:
    assert found.recipients == wanted.recipients
    assert found.status == wanted.status
    for name, values in wanted.values.items():
        np.testing.assert_array_equal(found.values[name], values)
        np.testing.assert_array_equal(found.as_of_seq[name], wanted.as_of_seq[name])


def asked(events: Sequence[Event], at: int) -> Event:
    """A message like the one at a place, an hour after it."""
    event = next(one for one in events[at:] if one.kind == "message")
    return replace(event, received_at_us=event.received_at_us + HOUR_US)


def test_each_moment_is_as_the_online_store_would_have_read_it(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(300)
    writer, reader = (
        OnlineWriter(redis_client, PROJECT, activity_views),
        OnlineReader(redis_client, PROJECT, activity_views),
    )
    history = HistoryAt(activity_views)
    reached = 0
    for stop in (40, 41, 120, 290):
        writer.fold(events[reached:stop])
        for event in events[reached:stop]:
            history.add(event)
        reached = stop
        for other in (asked(events, stop), asked(events, 3), replace(asked(events, stop), sender="new@else.example")):
            same(history.read(other), reader.read([ReadRequest(other)])[0])
    stranger = replace(asked(events, 5), recipients=(), sender="")
    assert set(history.read(stranger).status["sender_activity"]) == {"not_computable"}
    assert np.isnan(history.read(stranger).values["sender_activity"]).all()


def test_what_never_was_counts_for_one_read_and_for_no_other(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(120)
    message = asked(events, 100)
    supposed = [
        replace(message, seq=200 + n, message_id=f"{n:032d}", received_at_us=message.received_at_us - n * DAY_US)
        for n in (5, 4, 3)
    ]
    supposed = [replace(event, seq=200 + n) for n, event in enumerate(supposed)]
    history = HistoryAt(activity_views)
    for event in events:
        history.add(event)
    first = history.read(message)
    with_them = history.read(message, supposed)
    same(history.read(message), first)
    writer = OnlineWriter(redis_client, PROJECT, activity_views)
    writer.fold([*events, *supposed])
    same(with_them, OnlineReader(redis_client, PROJECT, activity_views).read([ReadRequest(message)])[0])
    assert with_them.values["sender_activity"].tolist() != first.values["sender_activity"].tolist()


def test_a_stranger_with_mails_before_is_known(activity_views: Views, mail_events: Events) -> None:
    events = mail_events(20)
    message = replace(asked(events, 3), sender="new@else.example")
    history = HistoryAt(activity_views)
    assert history.read(message).status["sender_activity"][0] == "never_seen"
    before = [replace(message, seq=30, received_at_us=message.received_at_us - HOUR_US)]
    assert history.read(message, before).status["sender_activity"][0] == "present"


@pytest.mark.parametrize("read_before", [False, True])
def test_of_what_a_tombstone_names_nothing_counts(
    read_before: bool, activity_views: Views, mail_events: Events
) -> None:
    events = [event for event in mail_events(60) if event.kind == "message"]
    gone = next(event for event in events if event.direction == "inbound")
    message = replace(asked(events, 40), sender=gone.sender, recipients=gone.recipients)
    history = HistoryAt(activity_views)
    for event in events:
        history.add(event)
    if read_before:
        history.read(message)
    end = tombstone_of(gone, seq=100, known_at_us=gone.known_at_us)
    history.add(end)
    view = next(view for view in activity_views if view.name == "sender_activity")
    wanted = recount(view, [*events, end], (gone.sender,), "acme", message.received_at_us, 101)
    found = dict(zip((feature.name for feature in view.features), history.read(message).values[view.name][0],
                     strict=True))  # fmt: skip
    for name, value in wanted.items():
        assert found[name] == pytest.approx(np.nan if value is None else value, nan_ok=True), name


def test_the_scorer_s_reader_reads_of_what_it_was_set_to(activity_views: Views, mail_events: Events) -> None:
    events = mail_events(20)
    message, history, reader = asked(events, 3), HistoryAt(activity_views), SupposedReader()
    for event in events:
        history.add(event)
    reader.at(history)
    same(reader.read([ReadRequest(message)])[0], history.read(message))
    reader.at(HistoryAt(activity_views))
    assert reader.read([ReadRequest(message)])[0].status["sender_activity"][0] == "never_seen"
