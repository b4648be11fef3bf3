"""The online read: values equal to state finalised in process and to a recount, honest statuses, one round trip."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from structlog.testing import capture_logs

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.finalise import finalise
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import NEVER
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.windows import DAY_US, HOUR_US, effective_time
from mailwarden.domain.mail.events import Event, key_of, keys_of
from mailwarden.errors import ContractError, StoreTimeout, StoreUnavailable
from mailwarden.stores.online.breaker import FAILURES, Breaker
from mailwarden.stores.online.client import Client, open_client
from mailwarden.stores.online.keys import KeyTemplate, lease_key, partition_of, state_field
from mailwarden.stores.online.reader import OnlineReader, ReadRequest, VectorSet
from mailwarden.stores.online.server import RedisServer
from mailwarden.stores.online.watermark import Marks, Watermark
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden.testing.naive_recount import none_in_window

Views = tuple[ActivityView, ...]
Events = Callable[..., list[Event]]
PROJECT = "mail"


def request_of(event: Event, due_seq: int = 0, **changes: object) -> ReadRequest:
    return ReadRequest(replace(event, **changes), due_seq)  # type: ignore[arg-type]


def in_process(view: ActivityView, events: list[Event], key: tuple[str, ...], at_us: int) -> tuple[np.ndarray, int]:
    layout = layout_of(view)
    state = EntityState(layout)
    for event in events:
        ways = [way for k, way in keys_of(view.emission, event, view.keys) if k == key]
        if ways:
            state.fold(event, ways)
    # Not by `read_slots`, which shares its way through the bytes with the reader.
    effective = np.array([effective_time(at_us, state.newest_us)])
    values = finalise(
        layout,
        state.read(effective),
        state.times[None, :],
        np.empty((1, 0)),
        np.array([state.last_seq != NEVER]),
        np.array([at_us]),
    )
    return values[0], state.last_seq


def test_values_equal_those_finalised_in_process(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(500)
    OnlineWriter(redis_client, PROJECT, activity_views).fold(events)
    reader = OnlineReader(redis_client, PROJECT, activity_views)
    asked = [request_of(e, received_at_us=events[-1].received_at_us + i * HOUR_US) for i, e in enumerate(events[-40:])]
    asked += [
        request_of(asked[0].event, received_at_us=asked[0].event.received_at_us - 40 * DAY_US),
        request_of(asked[0].event, recipients=("new@acme.example",)),
    ]
    for request, vectors in zip(asked, reader.read(asked), strict=True):
        assert vectors.recipients == request.event.recipients
        assert vectors.watermark == Watermark(500, max(e.known_at_us for e in events))
        for view in activity_views:
            for row, recipient in enumerate(request.event.recipients):
                key = key_of(view.keys, request.event, recipient)
                assert key is not None
                values, last_seq = in_process(view, events, key, request.event.received_at_us)
                np.testing.assert_array_equal(vectors.values[view.name][row], values)
                assert vectors.as_of_seq[view.name][row] == last_seq
                status = vectors.status[view.name][row]
                assert (status == "never_seen") == (last_seq == NEVER)
                assert status in ("never_seen", "present", "none_in_window")


def test_values_equal_a_recount_of_raw_events(redis_client: Client, activity_views: Views, mail_events: Events) -> None:
    events = mail_events(400)
    OnlineWriter(redis_client, PROJECT, activity_views).fold(events)
    reader = OnlineReader(redis_client, PROJECT, activity_views)
    last = next(e for e in reversed(events) if e.direction == "inbound")
    at_us = max(e.received_at_us for e in events) + HOUR_US
    sender = reader.read([request_of(last, received_at_us=at_us)])[0].values["sender_activity"][0]
    value = dict(zip(reader.feature_names["sender_activity"], sender, strict=True))
    messages = [e for e in events if e.sender == last.sender and e.kind == "message"]
    month = [e for e in messages if e.received_at_us >= (at_us - 30 * DAY_US) // DAY_US * DAY_US]
    hop = 6 * HOUR_US
    week = [e for e in messages if e.received_at_us >= (at_us - 7 * DAY_US) // hop * hop]
    assert value["received_30d"] == len(month)
    assert value["bytes_7d"] == sum(e.size_bytes for e in week)
    assert value["recipients_7d"] == len({r for e in week for r in e.recipients})
    assert value["link_rate_7d"] == sum(e.has_link for e in week) / len(week)
    assert value["written_to_all"] == sum(
        e.direction == "outbound" and e.kind == "message" and last.sender in e.recipients for e in events
    )


def test_distinct_counts_equal_a_recount_at_every_edge(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    rng = random.Random(4)
    template = replace(mail_events(1)[0], kind="message", direction="inbound", sender="a@far.example")
    start = template.received_at_us
    events = []
    for seq in range(1, 201):
        late = rng.randrange(2 * DAY_US) if seq % 7 == 0 else 0
        to = (f"u{rng.randrange(90)}@acme.example",)
        at_us = start + seq * 3 * HOUR_US - late
        events.append(replace(template, seq=seq, received_at_us=at_us, known_at_us=at_us, recipients=to))
    writer = OnlineWriter(redis_client, PROJECT, activity_views)
    for batch in range(0, 200, 5):
        writer.fold(events[batch : batch + 5])
    reader = OnlineReader(redis_client, PROJECT, activity_views)
    column = reader.feature_names["sender_activity"].index("recipients_7d")
    newest = max(event.received_at_us for event in events)
    for at_us in range(newest, newest + 9 * DAY_US, 6 * HOUR_US):
        (vectors,) = reader.read([request_of(events[-1], received_at_us=at_us)])
        edge = (at_us - 7 * DAY_US) // (6 * HOUR_US) * (6 * HOUR_US)
        expected = len({r for e in events if e.received_at_us >= edge for r in e.recipients})
        assert vectors.values["sender_activity"][0, column] == expected


def test_a_read_is_one_round_trip_and_reads_each_hash_once(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(100)
    second = replace(activity_views[0], name="sender_again")
    views = (*activity_views, second)
    OnlineWriter(redis_client, PROJECT, views).fold(events)
    reader = OnlineReader(redis_client, PROJECT, views)
    reader.read([request_of(events[-1])])
    redis_client.config_resetstat()
    vectors = reader.read([request_of(events[-1], recipients=("u1@acme.example", "u2@acme.example"))] * 3)
    stats = redis_client.info("commandstats")
    # sender, sender_domain, two recipients, two relationships
    assert stats["cmdstat_hmget"]["calls"] == 6
    # the marks of at most four partitions, and the catalog's version
    assert 2 <= stats["cmdstat_hget"]["calls"] <= 5
    assert {name for name in stats if "hello" not in name} <= {
        "cmdstat_hmget",
        "cmdstat_hget",
        "cmdstat_config|resetstat",
        "cmdstat_info",
    }
    np.testing.assert_array_equal(vectors[0].values["sender_again"], vectors[0].values["sender_activity"])


def test_a_message_without_recipients_or_sender_is_not_computable(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(50)
    OnlineWriter(redis_client, PROJECT, activity_views).fold(events)
    reader = OnlineReader(redis_client, PROJECT, activity_views)
    no_recipient, no_sender = reader.read(
        [request_of(events[-1], recipients=()), request_of(events[-1], sender="", sender_domain="")]
    )
    assert no_recipient.recipients == ("",)
    assert no_recipient.status["recipient_activity"] == no_recipient.status["relationship"] == ("not_computable",)
    assert np.isnan(no_recipient.values["relationship"]).all()
    assert no_recipient.status["sender_activity"] == ("present",)
    assert set(no_sender.status["sender_activity"]) == {"not_computable"}
    assert set(no_sender.status["recipient_activity"]) == {"present"}


def test_never_seen_and_null_are_told_apart(redis_client: Client, activity_views: Views, mail_events: Events) -> None:
    events = [replace(e, kind="message", direction="inbound") for e in mail_events(20)]
    OnlineWriter(redis_client, PROJECT, activity_views).fold(events)
    reader = OnlineReader(redis_client, PROJECT, activity_views)
    new, silent = reader.read(
        [
            request_of(events[0], sender="new@x.example"),
            request_of(events[0], received_at_us=events[0].received_at_us + 300 * DAY_US),
        ]
    )
    names = reader.feature_names["sender_activity"]
    known, received, rate = names.index("known"), names.index("received_30d"), names.index("link_rate_7d")
    assert new.status["sender_activity"][0] == "never_seen"
    assert new.values["sender_activity"][0, known] == 0.0 and np.isnan(new.values["sender_activity"][0, received])
    assert silent.status["sender_activity"][0] == "none_in_window"
    row = silent.values["sender_activity"][0]
    assert (row[known], row[received]) == (1.0, 0.0) and np.isnan(row[rate])


def test_lagging_writers_make_every_status_stale_and_a_silent_tenant_does_not(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(50)
    OnlineWriter(redis_client, PROJECT, activity_views).fold(events)
    reader = OnlineReader(redis_client, PROJECT, activity_views)
    silent = request_of(events[-1], received_at_us=events[-1].received_at_us + 9 * DAY_US, due_seq=50)
    lagging = request_of(silent.event, due_seq=51, recipients=("new@acme.example",))
    fresh, stale, unknown = reader.read(
        [silent, lagging, request_of(silent.event, due_seq=51, tenant="nobody", recipients=())]
    )
    assert fresh.status["sender_activity"][0] == "present"
    assert fresh.watermark == Watermark(50, max(e.known_at_us for e in events))
    assert stale.status["sender_activity"] == stale.status["relationship"] == ("stale",)
    assert stale.as_of_seq["relationship"][0] == NEVER
    assert not np.isnan(stale.values["sender_activity"]).all()
    assert unknown.watermark is None
    assert unknown.status["sender_activity"] == ("stale",)
    assert unknown.status["relationship"] == ("not_computable",)


def test_none_in_window_means_nothing_inside_the_longest_bounded_window(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    event = replace(mail_events(1)[0], kind="message", direction="inbound", sender="a@far.example")
    # At midnight, so that the edge of the window meets it exactly.
    event = replace(event, received_at_us=event.received_at_us // DAY_US * DAY_US)
    OnlineWriter(redis_client, PROJECT, activity_views).fold([event])
    reader = OnlineReader(redis_client, PROJECT, activity_views)
    # The longest bounded window of these views is 90 days in steps of a day, the matured one's.
    edge = event.received_at_us + 91 * DAY_US
    for at_us, expected in ((edge - 1, "present"), (edge, "none_in_window")):
        (vectors,) = reader.read([request_of(event, received_at_us=at_us)])
        assert vectors.status["sender_activity"][0] == vectors.status["relationship"][0] == expected
        for view in activity_views:
            assert none_in_window(view, event.received_at_us, at_us) == (expected == "none_in_window")
    all_time = replace(activity_views[0], name="all_time", features=activity_views[0].features[3:4])
    assert {window.length_us for feature in all_time.features for window in feature.windows} <= {None}
    OnlineWriter(redis_client, "all_time", [all_time]).fold([event])
    (vectors,) = OnlineReader(redis_client, "all_time", [all_time]).read([request_of(event, received_at_us=100 * edge)])
    assert vectors.status["all_time"][0] == "present"


def test_only_keys_of_the_partition_that_lags_are_stale(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    event = replace(mail_events(1)[0], kind="message", direction="inbound", sender="a@far.example")
    OnlineWriter(redis_client, PROJECT, activity_views).fold([event])
    partitions = {
        view.name: partition_of(KeyTemplate(PROJECT, view.keys).key("acme", key), 4)
        for view in activity_views
        if (key := key_of(view.keys, event, event.recipients[0])) is not None
    }
    lagging = partitions["sender_activity"]
    ahead = [partition for partition in range(4) if partition != lagging]
    Marks(redis_client, PROJECT, 4).advance({"acme": (7, event.received_at_us)}, ahead)
    reader = OnlineReader(redis_client, PROJECT, activity_views)
    (vectors,) = reader.read([request_of(event, due_seq=7, recipients=event.recipients[:1])])
    for name, partition in partitions.items():
        assert vectors.status[name] == ("stale" if partition == lagging else "present",)
    assert len(set(partitions.values())) > 1
    assert vectors.watermark is not None and vectors.watermark.seq == event.seq
    assert reader.watermark("acme") == vectors.watermark
    assert reader.watermark("nobody") is None


def test_a_new_generation_is_read_once_it_serves_and_the_former_until_then(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(30)
    writer = OnlineWriter(redis_client, PROJECT, activity_views)
    writer.fold(events)
    view, generations = activity_views[0], writer.generations
    event = next(e for e in events if e.direction == "inbound" and e.kind == "message")
    request = request_of(event, received_at_us=events[-1].received_at_us)
    reader = OnlineReader(redis_client, PROJECT, activity_views)
    before = reader.read([request])[0]
    number = generations.begin(view)
    key = KeyTemplate(PROJECT, ("sender",)).key("acme", (event.sender,))
    # A state that the former generation does not have shows which of the two was read.
    state = EntityState(layout_of(view))
    state.fold(event, [way for k, way in keys_of(view.emission, event, view.keys) if k == (event.sender,)])
    redis_client.hset(key.decode(), state_field(view, number).decode(), state.to_bytes())
    assert reader.read([request])[0].as_of_seq[view.name][0] == before.as_of_seq[view.name][0] != event.seq
    generations.loaded(view, number, {"acme": 30})
    for partition in range(generations.partitions):
        redis_client.set(lease_key(PROJECT, partition).decode(), b"me")
        assert reader.read([request])[0].as_of_seq[view.name][0] == before.as_of_seq[view.name][0]
        folded = generations.marks.folded(partition)
        assert generations.caught_up(view, number, partition, owner=b"me", folded=folded)
    after = reader.read([request])[0]
    assert after.as_of_seq[view.name][0] == event.seq
    assert after.status[view.name][0] == "present"
    np.testing.assert_array_equal(after.values["relationship"], before.values["relationship"])


def test_a_view_that_is_not_filled_or_cannot_be_read_is_unavailable_and_not_never_seen(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(20)
    first, second = activity_views[:2]
    OnlineWriter(redis_client, PROJECT, [first]).fold(events)
    reader = OnlineReader(redis_client, PROJECT, [first, second])
    event = next(e for e in events if e.sender)
    vectors = reader.read([request_of(event)])[0]
    assert set(vectors.status[second.name]) == {"unavailable"} and np.isnan(vectors.values[second.name]).all()
    assert set(vectors.status[first.name]) == {"present"}
    generations = OnlineWriter(redis_client, PROJECT, [first, second]).generations
    generations.mark_unreadable(first, 1, "as a test")
    vectors = reader.read([request_of(event), request_of(event, sender="")])
    assert set(vectors[0].status[first.name]) == {"unavailable"}
    assert set(vectors[1].status[first.name]) == {"not_computable"}


@pytest.mark.parametrize("damage", ["another", "cut", "cut_within_a_word"])
def test_a_state_that_cannot_be_read_takes_down_its_own_view_alone(
    redis_client: Client, activity_views: Views, mail_events: Events, damage: str
) -> None:
    events = mail_events(50)
    OnlineWriter(redis_client, PROJECT, activity_views).fold(events)
    event = next(e for e in events if e.sender)
    sender_view = activity_views[0]
    key = KeyTemplate(PROJECT, ("sender",)).key("acme", (event.sender,))
    whole: bytes = redis_client.hget(key.decode(), state_field(sender_view).decode())  # type: ignore[assignment]
    damaged = {"another": b"\x07" * 80, "cut": whole[:-8], "cut_within_a_word": whole[:-3]}[damage]
    redis_client.hset(key.decode(), state_field(sender_view).decode(), damaged)
    reader = OnlineReader(redis_client, PROJECT, activity_views)
    with capture_logs() as logs:
        vectors = reader.read([request_of(event)])[0]
    assert set(vectors.status["sender_activity"]) == {"unavailable"}
    assert np.isnan(vectors.values["sender_activity"]).all()
    assert set(vectors.status["sender_domain_activity"]) == {"present"}
    assert logs[0]["view"] == "sender_activity"


def test_projects_and_tenants_do_not_see_each_other(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(30)
    OnlineWriter(redis_client, "prodmail", activity_views).fold(events)
    vectors = OnlineReader(redis_client, PROJECT, activity_views).read([request_of(events[0])])[0]
    assert vectors.status["sender_activity"][0] == "never_seen" and vectors.watermark is None
    other = OnlineReader(redis_client, "prodmail", activity_views).read([request_of(events[0], tenant="b")])[0]
    assert other.status["sender_activity"][0] == "never_seen"


def test_a_redis_that_is_away_or_hangs_is_said_so_and_the_vector_is_unavailable(
    redis_server: RedisServer, redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    request = request_of(mail_events(1)[0])
    away = OnlineReader(open_client(f"unix://{redis_server.folder}/nobody.sock"), PROJECT, activity_views)
    with pytest.raises(StoreUnavailable, match="reading features"):
        away.read([request])
    hanging = OnlineReader(open_client(redis_server.url, timeout_seconds=0.05), PROJECT, activity_views)
    hanging.read([request])
    redis_client.client_pause(400, all=True)
    with pytest.raises(StoreTimeout, match="MAILWARDEN_REDIS_TIMEOUT_SECONDS"):
        hanging.read([request])
    vectors: VectorSet = away.unavailable([request])[0]
    assert all(set(status) == {"unavailable"} for status in vectors.status.values())
    assert vectors.values["sender_activity"].shape == (
        len(request.event.recipients),
        len(away.feature_names["sender_activity"]),
    )


def test_a_redis_that_hangs_is_asked_by_one_probe_at_a_time_and_by_nobody_else_until_it_answers(
    redis_server: RedisServer, redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    request = request_of(mail_events(1)[0])
    client = open_client(redis_server.url, timeout_seconds=0.05)
    probes = 0

    def probe() -> None:
        nonlocal probes
        probes += 1
        client.ping()

    reader = OnlineReader(client, PROJECT, activity_views)
    reader.breaker = Breaker("Redis", probe, probe_seconds=0.02)
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        for _ in range(FAILURES):
            with pytest.raises(StoreTimeout):
                reader.read([request])
        began = time.monotonic()
        for _ in range(100):
            with pytest.raises(StoreUnavailable, match="hangs"):
                reader.read([request])
        assert time.monotonic() - began < 2.0
        asked = probes
        while probes < asked + 3:
            assert time.monotonic() - began < 20
            time.sleep(0.01)
        assert "hangs" in reader.breaker.words
        # Each probe has waited for its answer before the next one.
        assert probes <= (time.monotonic() - began) / 0.05 + 1
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    while reader.breaker.words:
        assert time.monotonic() - began < 30
        time.sleep(0.01)
    assert reader.read([request])[0].status["sender_activity"][0] == "never_seen"


def test_timeouts_now_and_then_trip_nothing_and_a_refused_connection_is_tried_each_time() -> None:
    breaker = Breaker("Redis", lambda: None)

    def ask(raised: Exception | None) -> None:
        with contextlib.suppress(StoreTimeout, StoreUnavailable), breaker.asking():
            if raised is not None:
                raise raised

    for _ in range(5):
        for _ in range(FAILURES - 1):
            ask(StoreTimeout("slow"))
        ask(None)
        for _ in range(FAILURES):
            ask(StoreUnavailable("away"))
        assert not breaker.words


def test_a_view_over_a_key_that_no_message_names_is_refused(redis_client: Client, activity_views: Views) -> None:
    odd = replace(activity_views[0], keys=("subject",))
    with pytest.raises(ContractError, match="no message names the key subject"):
        OnlineReader(redis_client, PROJECT, [odd])


def test_no_requests_read_nothing(redis_client: Client, activity_views: Views) -> None:
    assert OnlineReader(redis_client, PROJECT, activity_views).read([]) == []
