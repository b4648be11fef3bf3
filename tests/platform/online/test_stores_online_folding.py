"""Folds in Redis against one event after another, over made-up views and hostile histories."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.mail.events import Event, Way, keys_of
from mailwarden.stores.online.client import Client
from mailwarden.stores.online.keys import KeyTemplate, sketch_field, state_field
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden.testing.histories import PIECE_BITS, history_of
from mailwarden.testing.made_up_views import view_of

PROJECT = "mail"

Stored = dict[bytes, dict[bytes, bytes]]

pieces = st.binary(min_size=PIECE_BITS // 8, max_size=PIECE_BITS // 8).map(lambda b: int.from_bytes(b, "little"))


def folded_one_by_one(views: Sequence[ActivityView], batches: Sequence[Sequence[Event]]) -> Stored:
    """What `EntityState` makes of events, each state read again from its bytes at each batch that reaches it."""
    stored: Stored = {}
    for view in views:
        layout, template = layout_of(view), KeyTemplate(PROJECT, view.keys)
        for batch in batches:
            states: dict[bytes, EntityState] = {}
            for event in batch:
                ways: dict[tuple[str, ...], list[Way]] = {}
                for key, way in keys_of(view.emission, event, view.keys):
                    ways.setdefault(key, []).append(way)
                for key, each in ways.items():
                    name = template.key(event.tenant, key)
                    held = stored.get(name, {})
                    if name not in states:
                        packed = held.get(state_field(view))
                        states[name] = (
                            EntityState(layout)
                            if packed is None
                            else EntityState.from_bytes(layout, packed, held.get(sketch_field(view), b""))
                        )
                    assert states[name].fold(event, each)
            for name, state in states.items():
                fields = stored.setdefault(name, {})
                fields[state_field(view)] = state.to_bytes()
                if view.distincts:
                    fields[sketch_field(view)] = state.sketch_bytes()
    return stored


def in_redis(client: Client) -> Stored:
    return {key: client.hgetall(key) for key in client.scan_iter(count=1000) if not key.startswith(b"mailwarden:")}


def check(client: Client, views: Sequence[ActivityView], events: Sequence[Event], sizes: Iterator[int]) -> None:
    batches, left = [], list(events)
    while left:
        size = next(sizes)
        batches.append(left[:size])
        left = left[size:]
    client.flushdb()
    writer = OnlineWriter(client, PROJECT, views)
    seen: list[Event] = []
    for batch in batches:
        # Some of the last batch come again, as they do after a crash.
        assert writer.fold([*seen[-3:], *batch]).conflicts == 0
        seen = batch
    assert not any(entry.unreadable for entry in writer.generations.catalog().entries.values())
    assert in_redis(client) == folded_one_by_one(views, batches)


def named(pieces: Iterable[int]) -> list[ActivityView]:
    return [replace(view_of(piece), name=f"made_up_{n}") for n, piece in enumerate(pieces)]


@settings(
    derandomize=True,
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(pieces, min_size=1, max_size=3),
    st.lists(pieces, max_size=40),
    st.lists(st.sampled_from((1, 2, 5, 40)), min_size=1, max_size=6),
)
def test_a_fold_in_batches_gives_the_bytes_of_one_event_after_another(
    redis_client: Client, view_pieces: list[int], history: list[int], sizes: list[int]
) -> None:
    check(redis_client, named(view_pieces), history_of(history), cycle(sizes))


@pytest.mark.parametrize("seed", range(6))
def test_so_it_does_over_long_histories_and_many_views(redis_client: Client, seed: int) -> None:
    rng = random.Random(seed)
    views = named(rng.getrandbits(PIECE_BITS) for _ in range(8))
    events = history_of([rng.getrandbits(PIECE_BITS) for _ in range(90)])
    check(redis_client, views, events, iter(lambda: rng.choice((1, 2, 5, 40)), None))
