from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.aggregates.definitions import ActivityView, Distinct, Feature, Total
from mailwarden.domain.aggregates.finalise import finalise
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.offline.as_of import AsOf, Reads
from mailwarden.domain.aggregates.offline.dominance import MAX_CHAINS, dominance_peaks, dominance_sums
from mailwarden.domain.aggregates.offline.fold_rows import FoldRows
from mailwarden.domain.aggregates.offline.states_of import states_of
from mailwarden.domain.aggregates.online.reads import NEVER, read_slots
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.recent import own_set
from mailwarden.domain.aggregates.windows import DAY_US, HOUR_US, NOTHING, SECOND_US, W_1D, W_7D, W_ALL
from mailwarden.domain.mail.events import Event, keys_of
from mailwarden.testing.histories import PIECE_BITS, START_US, Request, history_of, requests_of
from mailwarden.testing.made_up_rows import fold_rows_of, keys_in
from mailwarden.testing.made_up_views import view_of
from mailwarden.testing.naive_recount import recount

pieces = st.binary(min_size=PIECE_BITS // 8, max_size=PIECE_BITS // 8).map(lambda b: int.from_bytes(b, "little"))
histories = st.lists(pieces, max_size=40)
quick = settings(derandomize=True, max_examples=80, deadline=None, database=None)


def answered(view: ActivityView, rows: FoldRows, cuts: Sequence[int]) -> Reads:
    """The reads of all rows, handed over in batches that end at the cuts."""
    reader, parts, start = AsOf(layout_of(view)), [], 0
    for stop in [*sorted({cut for cut in cuts if 0 < cut < len(rows.key)}), len(rows.key)]:
        continues = start > 0 and bool(rows.key[start] == rows.key[start - 1])
        parts.append(reader.process(rows.slice(start, stop), continues=continues))
        start = stop
    return Reads(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Reads)))


def state_before(view: ActivityView, events: Sequence[Event], request: Request) -> bytes | None:
    state = EntityState(layout_of(view))
    for event in events:
        ways = [way for key, way in keys_of(view.emission, event, view.keys) if key == request.key]
        if ways and event.tenant == request.tenant and event.seq < request.seq:
            state.fold(event, ways)
    return None if state.last_seq == NEVER else state.to_bytes()


def own_sets(request: Request) -> dict[str, tuple[int, ...]]:
    return {fact: own_set(names) for fact, names in request.own.items()}


def check_offline(
    view_piece: int, history: Sequence[int], asked: Sequence[int], cuts: Sequence[int], *, deep: bool
) -> None:
    """Answer reads in batches cut anywhere; against the recount, and if deep against folded states, to the last bit."""
    view, events = view_of(view_piece), history_of(history)
    layout = layout_of(view)
    rows, requests = fold_rows_of(view, events, requests_of(view, events, keys_in(view, events), asked))
    reads = answered(view, rows, [cut % (len(rows.key) + 1) for cut in cuts])
    assert reads.at_us.tolist() == [request.at_us for request in requests]
    values = finalise(layout, reads.slots, reads.times, reads.matches, reads.seen, reads.at_us)
    for request, row in zip(requests, values.tolist(), strict=True):
        expected = recount(view, events, request.key, request.tenant, request.at_us, request.seq, request.own)
        found = [None if math.isnan(value) else value for value in row]
        assert dict(zip(layout.feature_names, found, strict=True)) == expected, (view, request)
    if deep:
        states = [state_before(view, events, request) for request in requests]
        online = read_slots(layout, states, reads.at_us, [own_sets(request) for request in requests])
        for name in ("slots", "times", "seen", "last_seq"):
            assert np.array_equal(getattr(reads, name), getattr(online, name)), (view, name)
        assert np.array_equal(reads.matches, online.matches, equal_nan=True), view


@quick
@given(pieces, histories, st.lists(pieces, min_size=1, max_size=20), st.lists(st.integers(0, 200), max_size=12))
def test_offline_read_equals_a_naive_recount_and_the_online_read(
    view_piece: int, history: list[int], asked: list[int], cuts: list[int]
) -> None:
    check_offline(view_piece, history, asked, cuts, deep=True)


@pytest.mark.verify
def test_offline_read_equals_a_naive_recount_over_many_histories() -> None:
    for seed in range(10_000):
        rng = random.Random(seed)
        history = [rng.getrandbits(PIECE_BITS) for _ in range(rng.randrange(1, 60))]
        asked = [rng.getrandbits(PIECE_BITS) for _ in range(rng.randrange(1, 25))]
        cuts = [rng.randrange(1000) for _ in range(rng.randrange(12))]
        try:
            check_offline(rng.getrandbits(PIECE_BITS), history, asked, cuts, deep=seed % 10 == 0)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error


def test_a_hot_key_out_of_order_goes_through_the_merge_tree_and_equals_the_online_read() -> None:
    rng = random.Random(11)
    (plain,) = history_of([0])
    view = view_of(0)
    events = [
        replace(plain, seq=seq, received_at_us=START_US + rng.randrange(100) * HOUR_US, known_at_us=0)
        for seq in range(1, 400)
    ]
    asked = [rng.getrandbits(PIECE_BITS) for _ in range(60)]
    rows, requests = fold_rows_of(view, events, requests_of(view, events, keys_in(view, events), asked))
    reads = answered(view, rows, [])
    online = read_slots(layout_of(view), [state_before(view, events, request) for request in requests], reads.at_us)
    assert np.array_equal(reads.slots, online[0])


@quick
@given(pieces, histories)
def test_states_of_many_keys_are_the_folds_of_each(view_piece: int, history: list[int]) -> None:
    view, events = view_of(view_piece), history_of(history)
    keys = keys_in(view, events)
    rows, _ = fold_rows_of(view, events, [Request(tenant, key, START_US, 5) for tenant, key in keys])
    states = states_of(layout_of(view), rows)
    assert len(states) == len(keys)
    for (tenant, key), state in zip(keys, states, strict=True):
        assert state.to_bytes() == state_before(view, events, Request(tenant, key, 0, 10_000))
        again = EntityState.from_bytes(state.layout, state.to_bytes(), state.sketch_bytes())
        assert [sketch.estimate() for sketch in again.sketches] == state.totals[state.layout.first_distinct :].tolist()


@quick
@given(pieces, histories, st.integers(1, 60))
def test_states_of_batches_merge_to_the_whole(view_piece: int, history: list[int], cut: int) -> None:
    view, events = view_of(view_piece), history_of(history)
    rows, _ = fold_rows_of(view, events, [])
    if not len(rows.key):
        assert states_of(layout_of(view), rows) == []
        return
    cut = cut % len(rows.key)
    merged: dict[int, EntityState] = {}
    for start, stop in ((0, cut), (cut, len(rows.key))):
        part = rows.slice(start, stop)
        for offset, state in enumerate(states_of(layout_of(view), part)):
            key = int(rows.key[start]) + offset
            if key in merged:
                state.merge(merged[key])
            merged[key] = state
    whole = [state.to_bytes() for state in states_of(layout_of(view), rows)]
    assert [merged[key].to_bytes() for key in sorted(merged)] == whole


def test_large_distinct_counts_are_those_of_a_fold_however_batches_are_cut() -> None:
    rng = random.Random(5)
    (plain,) = history_of([0])
    view = replace(
        view_of(0),
        distincts=(Distinct("people", "recipients"),),
        features=tuple(
            Feature(f"n_{window.name}", Total("people", window), "", "people") for window in (W_1D, W_7D, W_ALL)
        ),
    )
    sender = "a@else.test"
    events = [
        replace(
            plain,
            seq=seq,
            received_at_us=START_US + seq * 9 * HOUR_US - rng.choice((0, 0, 30 * HOUR_US, 6 * DAY_US, 20 * DAY_US)),
            sender=sender,
            recipients=tuple(f"p{rng.randrange(4000)}@x.test" for _ in range(60)),
        )
        for seq in range(1, 26)
    ]
    requests: list[Request] = [
        Request("t", (sender,), START_US + seq * 9 * HOUR_US + late, seq)
        for seq in range(2, 27, 4)
        for late in (0, -3 * DAY_US)
    ]
    rows, asked = fold_rows_of(view, events, requests)
    online = read_slots(
        layout_of(view), [state_before(view, events, r) for r in asked], np.array([r.at_us for r in asked])
    )
    assert online[0].max() > 1000
    for cuts in ([], [30], list(range(3, len(rows.key), 7))):
        assert np.array_equal(answered(view, rows, cuts).slots, online[0])
    (state,) = states_of(layout_of(view), rows)
    assert state.to_bytes() == state_before(view, events, Request("t", (sender,), 0, 10_000))


# -- dominance sums ----------------------------------------------------------------------------------------------


def check_dominance(seed: int, n: int, n_keys: int, n_buckets: int, *, descending: bool) -> int:
    """Random rows against a sum over each pair; how many descending runs the longest key has."""
    rng = np.random.default_rng(seed)
    key = np.unique(np.sort(rng.integers(0, n_keys, n)), return_inverse=True)[1].astype(np.int64)
    is_request = rng.random(n) < 0.4
    event, request = np.flatnonzero(~is_request), np.flatnonzero(is_request)
    bucket = rng.integers(-n_buckets, n_buckets, len(event))
    if descending:
        bucket = np.sort(bucket)[::-1].copy()
    deltas = rng.integers(-5, 6, (len(event), 3))
    edge = rng.integers(-2 * n_buckets, 2 * n_buckets, len(request))
    found = dominance_sums(key, event, bucket, deltas, request, edge)
    highest = dominance_peaks(key, event, bucket, deltas, request, edge)
    for i, row in enumerate(request):
        counts = (event < row) & (key[event] == key[row]) & (bucket >= edge[i])
        assert found[i].tolist() == deltas[counts].sum(axis=0).tolist(), (seed, i)
        assert highest[i].tolist() == deltas[counts].max(axis=0, initial=NOTHING).tolist(), (seed, i)
    longest: dict[int, int] = defaultdict(int)
    for k, before, after in zip(key[event][1:], bucket[:-1], bucket[1:], strict=True):
        longest[int(k)] += int(after < before)
    return max(longest.values(), default=0)


@quick
@given(st.integers(0, 2**32), st.integers(0, 150), st.integers(1, 6), st.integers(1, 60), st.booleans())
def test_dominance_sums_and_peaks_equal_brute_force(
    seed: int, n: int, n_keys: int, n_buckets: int, descending: bool
) -> None:
    check_dominance(seed, n, n_keys, n_buckets, descending=descending)


def test_dominance_equals_brute_force_where_chains_run_out() -> None:
    """Events strictly back in time need a chain each, far more than `MAX_CHAINS`, in one key and in several."""
    for n_keys in (1, 4):
        assert check_dominance(5, 1200, n_keys, 400, descending=True) > 4 * MAX_CHAINS
        assert check_dominance(6, 1200, n_keys, 400, descending=False) > 4 * MAX_CHAINS


def test_reads_of_no_rows_are_none() -> None:
    view = view_of(0)
    rows, _ = fold_rows_of(view, [], [])
    reads = AsOf(layout_of(view)).process(rows)
    assert reads.slots.shape == (0, len(layout_of(view).slots))
    assert states_of(layout_of(view), rows) == []


def test_an_empty_batch_between_two_keeps_what_came_before() -> None:
    view = view_of(0)
    layout = layout_of(view)
    (event,) = history_of([0])
    key = next(key for key, _ in keys_of(view.emission, event, view.keys))
    rows, _ = fold_rows_of(view, [event], [Request(event.tenant, key, START_US + SECOND_US, 2)])
    reader = AsOf(layout)
    reader.process(rows.slice(0, 1))
    reader.process(rows.slice(1, 1))
    reads = reader.process(rows.slice(1, 2), continues=True)
    assert reads.seen.tolist() == [True]
    assert reads.last_seq.tolist() == [1]


def test_the_newest_event_of_a_batch_before_holds_back_reads_of_this_one() -> None:
    (plain,) = history_of([0])
    view = replace(view_of(0), features=(Feature("n", Total("count", W_1D), "", "messages"),))
    late_us = START_US - 3 * DAY_US
    events = [replace(plain, received_at_us=START_US), replace(plain, seq=2, received_at_us=late_us)]
    rows, requests = fold_rows_of(view, events, [Request("t", (plain.sender,), late_us, 3)])
    for cuts in ([], [1], [2], [1, 2]):
        assert answered(view, rows, cuts).slots.tolist() == [[1]]
    (request,) = requests
    assert recount(view, events, request.key, "t", late_us, 3) == {"n": 1.0}


def test_a_late_event_between_two_reads_of_one_edge_is_not_counted_in_their_window() -> None:
    (plain,) = history_of([0])
    view = replace(
        view_of(0),
        distincts=(Distinct("people", "recipients"),),
        features=(Feature("n", Total("people", W_1D), "", "people"),),
    )
    events = [
        replace(plain, recipients=("b@own.test",), received_at_us=START_US),
        replace(plain, seq=2, recipients=("c@own.test",), received_at_us=START_US - 9 * DAY_US),
        replace(plain, seq=3, recipients=("d@own.test",), received_at_us=START_US),
    ]
    requests = [Request("t", (plain.sender,), START_US, seq) for seq in (2, 3, 4)]
    rows, _ = fold_rows_of(view, events, requests)
    assert answered(view, rows, []).slots.tolist() == [[1], [1], [2]]


def test_a_read_at_a_seq_does_not_see_the_event_of_that_seq() -> None:
    view = view_of(0)
    (event,) = history_of([0])
    key = next(key for key, _ in keys_of(view.emission, event, view.keys))
    at_us = event.received_at_us
    rows, _ = fold_rows_of(view, [event], [Request(event.tenant, key, at_us, seq) for seq in (1, 2)])
    assert AsOf(layout_of(view)).process(rows).seen.tolist() == [False, True]
