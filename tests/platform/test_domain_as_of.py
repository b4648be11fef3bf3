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

from mailwarden.domain.as_of import MAX_CHAINS, AsOf, FoldRows, Reads, dominance_sums, states_of
from mailwarden.domain.events import Event, keys_of
from mailwarden.domain.finalise import finalise
from mailwarden.domain.layout import layout_of
from mailwarden.domain.state import NEVER, EntityState, read_slots
from mailwarden.domain.views import ActivityView, Distinct, Feature, Total
from mailwarden.domain.windows import DAY_US, HOUR_US, LATENESS_US, SECOND_US, W_1D, W_7D, W_ALL
from mailwarden.testing.histories import (
    PIECE_BITS,
    START_US,
    Pieces,
    Request,
    fold_rows_of,
    history_of,
    view_of,
)
from mailwarden.testing.naive_recount import recount

pieces = st.binary(min_size=PIECE_BITS // 8, max_size=PIECE_BITS // 8).map(lambda b: int.from_bytes(b, "little"))
histories = st.lists(pieces, max_size=40)
quick = settings(derandomize=True, max_examples=80, deadline=None, database=None)

READ_AT_US = (0, 1, -1, -HOUR_US, -LATENESS_US - 1, -3 * DAY_US, 2 * DAY_US, 40 * DAY_US, 400 * DAY_US)


def keys_in(view: ActivityView, events: Sequence[Event]) -> list[tuple[str, tuple[str, ...]]]:
    return sorted({(event.tenant, key) for event in events for key, _ in keys_of(view.emission, event)})


def requests_for(view: ActivityView, events: Sequence[Event], pieces: Sequence[int]) -> list[Request]:
    """One read a piece: a key that there is or a stranger, at a seq anywhere in the history and a time near it."""
    keys = [*keys_in(view, events), ("t", ("nobody@else.test",) * len(view.keys))]
    requests = []
    for piece in pieces:
        choose = Pieces(piece)
        tenant, key = choose.one_of(keys)
        seq = choose.below(len(events) + 2) + 1
        near = events[min(seq, len(events)) - 1] if events else None
        at_us = (near.received_at_us if near else START_US) + choose.one_of(READ_AT_US)
        requests += [(tenant, key, at_us, seq)] * choose.one_of((1, 1, 2))
    return requests


def answered(view: ActivityView, rows: FoldRows, cuts: Sequence[int]) -> Reads:
    """The reads of all rows, handed over in batches that end at the cuts."""
    reader, parts, start = AsOf(layout_of(view)), [], 0
    for stop in [*sorted({cut for cut in cuts if 0 < cut < len(rows.key)}), len(rows.key)]:
        continues = start > 0 and bool(rows.key[start] == rows.key[start - 1])
        parts.append(reader.process(rows.slice(start, stop), continues=continues))
        start = stop
    return Reads(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Reads)))


def state_before(view: ActivityView, events: Sequence[Event], request: Request) -> bytes | None:
    tenant, wanted, _, seq = request
    state = EntityState(layout_of(view))
    for event in events:
        directions = [forward for key, forward in keys_of(view.emission, event) if key == wanted]
        if directions and event.tenant == tenant and event.seq < seq:
            state.fold(event, directions)
    return None if state.last_seq == NEVER else state.to_bytes()


def check_offline(
    view_piece: int, history: Sequence[int], asked: Sequence[int], cuts: Sequence[int], *, deep: bool
) -> None:
    """Answer reads in batches cut anywhere; against the recount, and if deep to the last bit against folded states."""
    view, events = view_of(view_piece), history_of(history)
    layout = layout_of(view)
    rows, requests = fold_rows_of(view, events, requests_for(view, events, asked))
    reads = answered(view, rows, [cut % (len(rows.key) + 1) for cut in cuts])
    assert reads.at_us.tolist() == [at_us for _, _, at_us, _ in requests]
    values = finalise(layout, reads.slots, reads.times, reads.seen, reads.at_us)
    for request, row in zip(requests, values.tolist(), strict=True):
        tenant, key, at_us, seq = request
        expected = recount(view, events, key, tenant, at_us, seq)
        for name, value in zip(layout.feature_names, row, strict=True):
            wanted = expected[name]
            if wanted is None:
                assert math.isnan(value), (view, request, name, value)
            else:
                assert math.isclose(value, wanted, rel_tol=1e-14), (view, request, name, value, wanted)
    if deep:
        online = read_slots(layout, [state_before(view, events, request) for request in requests], reads.at_us)
        for offline, found in zip((reads.slots, reads.times, reads.seen, reads.last_seq), online, strict=True):
            assert np.array_equal(offline, found)


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
    rows, requests = fold_rows_of(view, events, requests_for(view, events, asked))
    reads = answered(view, rows, [])
    online = read_slots(layout_of(view), [state_before(view, events, request) for request in requests], reads.at_us)
    assert np.array_equal(reads.slots, online[0])


@quick
@given(pieces, histories)
def test_states_of_many_keys_are_the_folds_of_each(view_piece: int, history: list[int]) -> None:
    view, events = view_of(view_piece), history_of(history)
    keys = keys_in(view, events)
    rows, _ = fold_rows_of(view, events, [(tenant, key, START_US, 5) for tenant, key in keys])
    states = states_of(layout_of(view), rows)
    assert len(states) == len(keys)
    for (tenant, key), state in zip(keys, states, strict=True):
        assert state.to_bytes() == state_before(view, events, (tenant, key, 0, 10_000))
        again = EntityState.from_bytes(state.layout, state.to_bytes(), state.sketch_bytes())
        assert [sketch.estimate() for sketch in again.sketches] == state.totals[state.layout.n_measures :].tolist()


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
        ("t", (sender,), START_US + seq * 9 * HOUR_US + late, seq)
        for seq in range(2, 27, 4)
        for late in (0, -3 * DAY_US)
    ]
    rows, asked = fold_rows_of(view, events, requests)
    online = read_slots(
        layout_of(view), [state_before(view, events, r) for r in asked], np.array([r[2] for r in asked])
    )
    assert online[0].max() > 1000
    for cuts in ([], [30], list(range(3, len(rows.key), 7))):
        assert np.array_equal(answered(view, rows, cuts).slots, online[0])
    (state,) = states_of(layout_of(view), rows)
    assert state.to_bytes() == state_before(view, events, ("t", (sender,), 0, 10_000))


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
    for i, row in enumerate(request):
        counts = (event < row) & (key[event] == key[row]) & (bucket >= edge[i])
        assert found[i].tolist() == deltas[counts].sum(axis=0).tolist(), (seed, i)
    longest: dict[int, int] = defaultdict(int)
    for k, before, after in zip(key[event][1:], bucket[:-1], bucket[1:], strict=True):
        longest[int(k)] += int(after < before)
    return max(longest.values(), default=0)


@quick
@given(st.integers(0, 2**32), st.integers(0, 150), st.integers(1, 6), st.integers(1, 60), st.booleans())
def test_dominance_sums_equal_brute_force(seed: int, n: int, n_keys: int, n_buckets: int, descending: bool) -> None:
    check_dominance(seed, n, n_keys, n_buckets, descending=descending)


def test_dominance_sums_equal_brute_force_where_chains_run_out() -> None:
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
    key = next(key for key, _ in keys_of(view.emission, event))
    rows, _ = fold_rows_of(view, [event], [(event.tenant, key, START_US + SECOND_US, 2)])
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
    rows, requests = fold_rows_of(view, events, [("t", (plain.sender,), late_us, 3)])
    for cuts in ([], [1], [2], [1, 2]):
        assert answered(view, rows, cuts).slots.tolist() == [[1]]
    (request,) = requests
    assert recount(view, events, request[1], "t", late_us, 3) == {"n": 1.0}


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
    requests: list[Request] = [("t", (plain.sender,), START_US, seq) for seq in (2, 3, 4)]
    rows, _ = fold_rows_of(view, events, requests)
    assert answered(view, rows, []).slots.tolist() == [[1], [1], [2]]


def test_a_read_at_a_seq_does_not_see_the_event_of_that_seq() -> None:
    view = view_of(0)
    (event,) = history_of([0])
    key = next(key for key, _ in keys_of(view.emission, event))
    at_us = event.received_at_us
    rows, _ = fold_rows_of(view, [event], [(event.tenant, key, at_us, 1), (event.tenant, key, at_us, 2)])
    assert AsOf(layout_of(view)).process(rows).seen.tolist() == [False, True]
