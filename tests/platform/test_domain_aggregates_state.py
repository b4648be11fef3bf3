from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.aggregates.definitions import (
    ActivityView,
    Distinct,
    Feature,
    History,
    Match,
    Measure,
    Recent,
    Total,
)
from mailwarden.domain.aggregates.fact_specs import FLAGS, event_bits, way_bits
from mailwarden.domain.aggregates.finalise import finalise
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import NEVER, read_slots
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.recent import own_set
from mailwarden.domain.aggregates.sketches import DistinctUnion
from mailwarden.domain.aggregates.windows import (
    DAY_US,
    HOUR_US,
    LATENESS_US,
    W_1D,
    W_1H,
    W_7D,
    W_90D,
    W_ALL,
    W_MATURED,
    Window,
)
from mailwarden.domain.mail.events import Event, Way, keys_of
from mailwarden.errors import DataError
from mailwarden.testing.histories import PIECE_BITS, READ_AT_US, START_US, Pieces, history_of, own_of
from mailwarden.testing.made_up_views import view_of
from mailwarden.testing.naive_facts import all_true
from mailwarden.testing.naive_recount import recount

Key = tuple[str, tuple[str, ...]]

pieces = st.binary(min_size=PIECE_BITS // 8, max_size=PIECE_BITS // 8).map(lambda b: int.from_bytes(b, "little"))
histories = st.lists(pieces, max_size=40)
quick = settings(derandomize=True, max_examples=80, deadline=None, database=None)


def rows_by_key(view: ActivityView, events: Sequence[Event]) -> dict[Key, list[tuple[Event, list[Way]]]]:
    """What each key folds: its events, each with its ways."""
    out: dict[Key, dict[int, tuple[Event, list[Way]]]] = defaultdict(dict)
    for event in events:
        for key, way in keys_of(view.emission, event, view.keys):
            out[event.tenant, key].setdefault(event.seq, (event, []))[1].append(way)
    return {key: list(rows.values()) for key, rows in out.items()}


def folded(view: ActivityView, rows: Sequence[tuple[Event, list[Way]]]) -> EntityState:
    state = EntityState(layout_of(view))
    for event, ways in rows:
        assert state.fold(event, ways)
    return state


def values_of(
    view: ActivityView, packed: bytes | None, at_us: int, own: Mapping[str, Sequence[str]] | None = None
) -> dict[str, float | None]:
    layout = layout_of(view)
    at = np.array([at_us], dtype=np.int64)
    sets = {fact: own_set(names) for fact, names in (own or {}).items()}
    reads = read_slots(layout, [packed], at, [sets])
    row = finalise(layout, reads.slots, reads.times, reads.matches, reads.seen, at)[0].tolist()
    return {name: None if math.isnan(value) else value for name, value in zip(layout.feature_names, row, strict=True)}


class Writer:
    """A writer's store of one key: sketches are written only when the state says that they changed."""

    def __init__(self, view: ActivityView) -> None:
        self.layout = layout_of(view)
        self.packed: bytes | None = None
        self.sketches = b""
        self.state = EntityState(self.layout)

    def reopen(self) -> None:
        self.state = (
            EntityState(self.layout)
            if self.packed is None
            else EntityState.from_bytes(self.layout, self.packed, self.sketches)
        )

    def fold(self, event: Event, ways: list[Way]) -> bool:
        fresh = self.state.fold(event, ways)
        self.packed = self.state.to_bytes()
        if self.state.sketches_changed:
            self.sketches = self.state.sketch_bytes()
        return fresh


def check_online(view_piece: int, history: Sequence[int], choices: int) -> None:
    """Fold one event after another, reopening stored state at random moments, and read at random times between."""
    view, events = view_of(view_piece), history_of(history)
    choose = Pieces(choices)
    writers: dict[Key, Writer] = {}
    for position, event in enumerate(events):
        reached: dict[tuple[str, ...], list[Way]] = defaultdict(list)
        for key, way in keys_of(view.emission, event, view.keys):
            reached[key].append(way)
        for key, ways in reached.items():
            writer = writers.setdefault((event.tenant, key), Writer(view))
            if choose.below(3) == 0:
                writer.reopen()
            assert writer.fold(event, ways)
        if position != len(events) - 1 and choose.below(4):
            continue
        nobody = ("nobody", ("nobody@else.test",) * len(view.keys))
        own = own_of(view, choose.one_of(events))
        at_us = (event.known_at_us, event.received_at_us)[choose.below(2)] + choose.one_of(READ_AT_US)
        for tenant, key in [*list(writers)[-4:], nobody]:
            writer = writers.get((tenant, key), Writer(view))
            expected = recount(view, events, key, tenant, at_us, event.seq + 1, own)
            assert values_of(view, writer.packed, at_us, own) == expected, (view, key, at_us)


@quick
@given(pieces, histories, pieces)
def test_online_read_equals_a_naive_recount(view_piece: int, history: list[int], choices: int) -> None:
    check_online(view_piece, history, choices)


@pytest.mark.verify
def test_online_read_equals_a_naive_recount_over_many_histories() -> None:
    for seed in range(10_000):
        rng = random.Random(seed)
        history = [rng.getrandbits(PIECE_BITS) for _ in range(rng.randrange(1, 60))]
        try:
            check_online(rng.getrandbits(PIECE_BITS), history, rng.getrandbits(256))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error


@quick
@given(pieces, histories, st.integers(2, 5), st.randoms(use_true_random=False))
def test_any_partition_merged_in_any_order_is_the_fold(
    view_piece: int, history: list[int], parts: int, rng: random.Random
) -> None:
    view = view_of(view_piece)
    for rows in rows_by_key(view, history_of(history)).values():
        expected = folded(view, rows)
        shares: list[list[tuple[Event, list[Way]]]] = [[] for _ in range(parts)]
        for row in rows:
            shares[rng.randrange(parts)].append(row)
        states = [folded(view, share) for share in shares]
        rng.shuffle(states)
        while len(states) > 1:
            left, right = states.pop(), states.pop()
            left.merge(right)
            states.insert(rng.randrange(len(states) + 1), left)
        (merged,) = states
        assert merged.to_bytes() == expected.to_bytes()
        # What a merge leaves for later folds counts as much as what it reads as.
        merged = EntityState.from_bytes(layout_of(view), merged.to_bytes(), merged.sketch_bytes())
        event, ways = rows[rng.randrange(len(rows))]
        again = replace(event, seq=10_000, recipients=(*event.recipients, "new@else.test"))
        for state in (merged, expected):
            assert state.fold(again, ways)
        assert merged.to_bytes() == expected.to_bytes()


@quick
@given(pieces, histories, st.randoms(use_true_random=False))
def test_redelivery_changes_nothing(view_piece: int, history: list[int], rng: random.Random) -> None:
    view = view_of(view_piece)
    for rows in rows_by_key(view, history_of(history)).values():
        state = folded(view, rows)
        before = state.to_bytes(), state.sketch_bytes()
        for event, ways in rng.choices(rows, k=5):
            assert not state.fold(event, ways)
        assert (state.to_bytes(), state.sketch_bytes()) == before


@quick
@given(pieces, histories)
def test_bytes_read_back_are_the_state(view_piece: int, history: list[int]) -> None:
    view = view_of(view_piece)
    for rows in rows_by_key(view, history_of(history)).values():
        state = folded(view, rows)
        again = EntityState.from_bytes(layout_of(view), state.to_bytes(), state.sketch_bytes())
        assert not again.sketches_changed
        assert (again.to_bytes(), again.sketch_bytes()) == (state.to_bytes(), state.sketch_bytes())
        assert (again.last_seq, again.newest_us) == (rows[-1][0].seq, max(e.received_at_us for e, _ in rows))


@quick
@given(histories)
def test_flag_bits_are_the_flags(history: list[int]) -> None:
    for event in history_of(history):
        for way in (Way(True, True), Way(False, True), Way(True, False), Way(False, False)):
            bits = event_bits(event) | way_bits(way)
            assert bits == sum(1 << i for i, flag in enumerate(FLAGS) if all_true([flag], event, way))


# -- single cases, by hand ---------------------------------------------------------------------------------------


def view_with(*windows: Window, distinct: bool = False, name: str = "one") -> ActivityView:
    aggregate = "people" if distinct else "count"
    return ActivityView(
        name=name, version=1, owner="tests", description="", keys=("sender",), emission="participants",
        measures=(Measure("count"),), extremes=(),
        distincts=(Distinct("people", "recipients"),) if distinct else (),
        features=(
            Feature("seen", History(), "", "flag"),
            *(Feature(f"n_{window.name}", Total(aggregate, window), "", "messages") for window in windows),
        ),
    )  # fmt: skip


def message(seq: int, at_us: int, *recipients: str) -> Event:
    return replace(
        history_of([0])[0], seq=seq, received_at_us=at_us, known_at_us=at_us, sender="a@else.test",
        direction="inbound", recipients=recipients,
    )  # fmt: skip


def one_key(view: ActivityView, *events: Event) -> EntityState:
    return folded(view, [(event, [Way(True)]) for event in events])


def test_the_edge_of_a_window_is_floored_to_its_hop() -> None:
    view = view_with(W_1H)
    at = START_US // HOUR_US * HOUR_US
    edge = at - HOUR_US
    packed = one_key(view, message(1, edge - 1), message(2, edge)).to_bytes()
    assert values_of(view, packed, at)["n_1h"] == 1.0
    assert values_of(view, packed, at + W_1H.hop_us - 1)["n_1h"] == 1.0
    assert values_of(view, packed, at - 1)["n_1h"] == 2.0
    assert values_of(view, packed, at + W_1H.hop_us)["n_1h"] == 0.0


def test_a_read_far_behind_the_newest_event_is_answered_a_day_before_it() -> None:
    view = view_with(W_1H)
    state = one_key(view, message(1, START_US - 2 * LATENESS_US), message(2, START_US))
    at_lateness = values_of(view, state.to_bytes(), START_US - LATENESS_US)
    assert values_of(view, state.to_bytes(), START_US - 30 * DAY_US) == at_lateness
    assert at_lateness["n_1h"] == 1.0


def test_a_matured_window_leaves_out_what_is_younger_than_its_age() -> None:
    view = view_with(W_MATURED)
    at = START_US // DAY_US * DAY_US
    edge = at - 7 * DAY_US
    packed = one_key(view, message(1, edge - 1000 * DAY_US), message(2, edge - 1), message(3, edge)).to_bytes()
    assert values_of(view, packed, at)["n_matured"] == 2.0
    assert values_of(view, packed, at + DAY_US)["n_matured"] == 3.0


def test_never_seen_is_null_and_seen_before_is_zero() -> None:
    view = view_with(W_1H)
    packed = one_key(view, message(1, START_US)).to_bytes()
    assert values_of(view, None, START_US) == {"seen": 0.0, "n_1h": None}
    assert values_of(view, packed, START_US + DAY_US) == {"seen": 1.0, "n_1h": 0.0}


def matching(keep: int) -> ActivityView:
    return replace(
        view_with(), recents=(Recent("sets", "recipients", keep),), features=(Feature("match", Match("sets"), "", "1"),)
    )


def test_of_sets_used_at_one_time_those_with_the_largest_seq_are_kept() -> None:
    view = matching(2)
    events = [message(seq, START_US, name) for seq, name in enumerate(("a@x.test", "b@x.test", "a@x.test"), start=1)]
    packed = one_key(view, *events, message(4, START_US, "c@x.test")).to_bytes()
    for name, overlap in (("a@x.test", 1.0), ("b@x.test", 0.0), ("c@x.test", 1.0)):
        assert values_of(view, packed, START_US, {"recipients": (name,)}) == {"match": overlap}


def test_the_overlap_of_large_sets_is_that_of_their_smallest_hashes() -> None:
    view = matching(1)
    names = [f"p{i}@x.test" for i in range(160)]
    events = [message(1, START_US, *names[:100])]
    own = {"recipients": names[60:]}
    found = values_of(view, one_key(view, *events).to_bytes(), START_US, own)
    assert found == recount(view, events, ("a@else.test",), "t", START_US, 2, own)
    assert found["match"] is not None and abs(found["match"] - 40 / 160) < 0.15


def test_a_state_stays_small_however_long_the_history() -> None:
    view = view_with(W_1H, W_90D)
    state = EntityState(layout_of(view))
    for day in range(1, 800):
        state.fold(message(day, START_US + day * DAY_US), [Way(True)])
    hours, days = (len(buckets) for buckets in state.buckets)
    assert (hours, days) == (2, 92)


def test_a_key_never_seen_reads_as_never() -> None:
    layout = layout_of(view_with(W_1H))
    packed = one_key(view_with(W_1H), message(7, START_US)).to_bytes()
    reads = read_slots(layout, [None, packed], np.array([START_US, START_US], dtype=np.int64))
    assert reads.seen.tolist() == [False, True]
    assert reads.last_seq.tolist() == [NEVER, 7]


@pytest.mark.parametrize("packed", [b"", one_key(view_with(W_1H, name="another"), message(1, START_US)).to_bytes()])
def test_state_of_another_definition_is_refused_with_the_mend(packed: bytes) -> None:
    layout = layout_of(view_with(W_1D))
    with pytest.raises(DataError, match=r"view one version 1 .* raise the view's version"):
        read_slots(layout, [packed], np.array([START_US], dtype=np.int64))
    with pytest.raises(DataError, match="mailwarden materialize"):
        EntityState.from_bytes(layout, packed, b"")


def large_history() -> Iterator[Event]:
    rng = random.Random(3)
    for seq in range(1, 31):
        at_us = START_US + seq * 8 * HOUR_US - rng.choice((0, 0, 9 * HOUR_US, 3 * DAY_US, 20 * DAY_US))
        yield message(seq, at_us, *(f"p{rng.randrange(4000)}@x.test" for _ in range(60)))


def test_large_distinct_counts_depend_on_neither_order_nor_cuts_and_are_near_the_truth() -> None:
    view = view_with(W_7D, W_1D, W_ALL, distinct=True)
    layout = layout_of(view)
    events = list(large_history())
    straight = one_key(view, *events)
    writer = Writer(view)
    for index, event in enumerate(events):
        if index % 7 == 0:
            writer.reopen()
        writer.fold(event, [Way(True)])
    assert writer.packed == straight.to_bytes()
    rng = random.Random(4)
    states = [one_key(view, *events[i::5]) for i in range(5)]
    rng.shuffle(states)
    merged = EntityState(layout)
    for state in states:
        merged.merge(EntityState.from_bytes(layout, state.to_bytes(), state.sketch_bytes()))
    assert merged.to_bytes() == straight.to_bytes()
    at_us = events[-1].known_at_us
    expected = recount(view, events, ("a@else.test",), "t", at_us, 10_000)
    assert isinstance(expected["n_all"], float) and expected["n_all"] > 1000
    for name, value in values_of(view, straight.to_bytes(), at_us).items():
        assert value == pytest.approx(expected[name], rel=0.05), name


def test_an_event_that_only_drops_a_bucket_has_its_sketches_written_again() -> None:
    """Where lateness and window are no whole number of hops, a bucket may fall away though no other begins."""
    view = view_with(Window("coarse", 30 * DAY_US, 5 * DAY_US), distinct=True)
    start = START_US // (5 * DAY_US) * (5 * DAY_US)
    events = [
        message(1, start, "x@x.test", "p@x.test"),
        message(2, start + 35 * DAY_US + 1, "p@x.test"),
        message(3, start + 37 * DAY_US, "p@x.test"),
        message(4, start + 37 * DAY_US, "x@x.test"),
    ]
    writer = Writer(view)
    for event in events:
        writer.reopen()
        writer.fold(event, [Way(True)])
    assert writer.packed == one_key(view, *events).to_bytes()
    assert writer.packed is not None
    assert values_of(view, writer.packed, events[-1].received_at_us)["n_coarse"] == 2.0


def test_stored_distincts_match_their_sketches() -> None:
    view = view_with(W_7D, distinct=True)
    state = one_key(view, *large_history())
    rows, column = state.rows[0], state.suffix_sketches[0][0]
    assert rows[:, 0].tolist() == [DistinctUnion(sketch.to_bytes()).estimate() for sketch in column]
    assert state.totals.tolist() == [30, DistinctUnion(state.sketches[0].to_bytes()).estimate()]
