"""Packed states read and folded by compiled code: whatever stands in a state, nothing beyond that state is read."""

from __future__ import annotations

import inspect
import random
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from mailwarden.domain.aggregates.definitions import ActivityView, Feature, History, Match, Measure, Peak, Recent, Total
from mailwarden.domain.aggregates.layout import Layout, layout_of
from mailwarden.domain.aggregates.online import packed_fold, packed_reads
from mailwarden.domain.aggregates.online.packed_fold import NOWHERE, Folded, FoldEvents, FoldTables
from mailwarden.domain.aggregates.online.packed_reads import DAMAGED, NEVER_SEEN, PRESENT
from mailwarden.domain.aggregates.online.reads import Asked, JoinedReads, JoinedStates
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.recent import own_set
from mailwarden.domain.aggregates.windows import DAY_US, W_1D, W_30D, W_90D_MATURED
from mailwarden.domain.mail.events import Event, Way, keys_of
from mailwarden.testing.histories import PIECE_BITS, history_of, own_of
from mailwarden.testing.made_up_views import view_of

FULL = ActivityView(
    name="full", version=1, owner="tests", description="", keys=("sender",), emission="participants",
    measures=(Measure("all"), Measure("linked", where=("has_link",))),
    peaks=(Peak("largest", "max", "size_bytes"),),
    extremes=(),
    distincts=(),
    recents=(Recent("people", "recipients", 5), Recent("shapes", "structure", 3)),
    features=(
        Feature("day", Total("all", W_1D), "", "messages"),
        Feature("month", Total("linked", W_30D), "", "messages"),
        Feature("largest", Total("largest", W_30D), "", "bytes"),
        Feature("matured", Total("all", W_90D_MATURED), "", "messages"),
        Feature("people", Match("people"), "", "0..1"),
        Feature("shapes", Match("shapes", W_30D), "", "0..1"),
        Feature("seen", History(), "", "0 or 1"),
    ),
)  # fmt: skip

NASTY = (0, 1, -1, 3, 2**31, 2**62, -(2**62), 2**63 - 1, -(2**63))


class Guarded(np.ndarray):  # type: ignore[type-arg]
    """int64 words that refuse what machine code would read without a word: what lies before `low` or after the end."""

    low = 0

    def __array_finalize__(self, of: Any) -> None:
        self.low = 0

    def __getitem__(self, place: Any) -> Any:
        first, stop = (place.start or 0, place.stop) if isinstance(place, slice) else (place, place + 1)
        stop = len(self) if stop is None else stop
        if not self.low <= first <= stop <= len(self):
            raise AssertionError(f"reads {first}:{stop} of words {self.low}:{len(self)}")
        return super().__getitem__(place)


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Callable[[JoinedStates, Asked], JoinedReads]:
    """A read by the same source that is compiled, run as Python, over words that are guarded."""

    def read(states: JoinedStates, asked: Asked) -> JoinedReads:
        compiled = packed_reads._read_packed.py_func  # type: ignore[attr-defined]

        def call(words: Any, *rest: Any) -> Any:
            mine = words.view(Guarded)
            mine.low = 1
            with np.errstate(over="ignore"):
                return compiled(mine, *rest)

        with monkeypatch.context() as patch:
            for name in ("what_is_there", "_none", "_at", "closest_packed", "likeness_of"):
                patch.setattr(packed_reads, name, getattr(packed_reads, name).py_func)
            patch.setattr(packed_reads, "_read_packed", call)
            return states.read([asked])

    return read


def states_of_senders(view: ActivityView, events: list[Event]) -> Iterator[EntityState]:
    ways: dict[tuple[object, int], list[Way]] = defaultdict(list)
    for event in events:
        for key, way in keys_of(view.emission, event, view.keys):
            ways[(event.tenant, key), event.seq].append(way)
    by_seq = {event.seq: event for event in events}
    states: dict[object, EntityState] = {}
    for (owner, seq), of in ways.items():
        states.setdefault(owner, EntityState(layout_of(view))).fold(by_seq[seq], of)
    yield from states.values()


def some_states(rng: random.Random) -> Iterator[tuple[Layout, bytes, Asked]]:
    for index in range(12):
        view = FULL if index % 2 else view_of(rng.getrandbits(PIECE_BITS))
        events = history_of([rng.getrandbits(PIECE_BITS) for _ in range(25)])
        for state in list(states_of_senders(view, events))[:2]:
            own = {fact: own_set(names) for fact, names in own_of(view, events[-1]).items()}
            packed = state.to_bytes()
            yield layout_of(view), packed, Asked(events[-1].received_at_us + DAY_US, own, ((packed,),))


def damaged_of(rng: random.Random, packed: bytes, times: int) -> bytes:
    """A state with some words changed, and maybe cut off."""
    n = len(packed) // 8
    words = list(struct.unpack(f"<{n}q", packed))
    for _ in range(times):
        # What says lengths stands at the beginning and at the end.
        place = rng.choice((rng.randrange(n), rng.randrange(1, min(n, 10)), n - 1 - rng.randrange(min(n, 40))))
        words[place] = rng.choice((*NASTY, n, words[place] + 1, words[place] - 1, rng.getrandbits(63)))
        words[place] = max(min(words[place], 2**63 - 1), -(2**63))
    return struct.pack(f"<{n}q", *words)[: rng.choice((None, None, None, 8 * rng.randrange(n + 1)))]


def same(a: JoinedReads, b: JoinedReads) -> bool:
    return a.problems == b.problems and all(
        np.array_equal(x, y, equal_nan=True) for x, y in zip(a[:5], b[:5], strict=True)
    )


def test_no_damage_makes_a_read_look_beyond_its_state(
    guarded: Callable[[JoinedStates, Asked], JoinedReads],
) -> None:
    rng = random.Random(7)
    outcomes = set()
    for layout, packed, asked in some_states(rng):
        states = JoinedStates((layout,))
        assert same(guarded(states, asked), states.read([asked]))
        assert not states.read([asked]).problems
        for _ in range(40):
            damaged = damaged_of(rng, packed, rng.choice((1, 1, 2, 4)))
            read = guarded(states, asked._replace(rows=((damaged,),)))
            assert same(read, states.read([asked._replace(rows=((damaged,),))]))
            outcomes.add(int(read.found[0, 0]))
    assert outcomes == set(range(NEVER_SEEN, DAMAGED + 1))


def test_a_damaged_state_among_others_leaves_their_reads_as_they_are() -> None:
    rng = random.Random(8)
    layouts, packed, _ = zip(*some_states(rng), strict=True)
    states = JoinedStates(layouts)
    whole = states.read([Asked(0, {}, (packed,))])
    for index in range(len(layouts)):
        for damaged in (packed[index] + b"\0" * 8, packed[index] + b"\0", packed[index][:-8], b"", b"\7" * 88):
            rows = (*packed[:index], damaged, *packed[index + 1 :])
            read = states.read([Asked(0, {}, (rows, packed))])
            assert list(read.problems) == [(0, index)]
            assert layouts[index].view.name in read.problems[0, index]
            assert np.array_equal(np.delete(read.last_seq[0], index), np.delete(whole.last_seq[0], index))
            assert np.array_equal(read.slots[1], whole.slots[0]) and read.found[1].max() <= PRESENT


def test_arrays_are_handed_over_in_the_order_of_their_names() -> None:
    names = [*packed_reads.PackedStates._fields, *packed_reads.Tables._fields, *packed_reads.Found._fields]
    assert list(inspect.signature(packed_reads._read_packed).parameters) == names


def some_folds(rng: random.Random) -> list[tuple[Layout, bytes, list[Event]]]:
    """Layouts, states of one key each, and events that come after them."""
    found = []
    for index in range(10):
        view = FULL if index % 2 else view_of(rng.getrandbits(PIECE_BITS))
        events = history_of([rng.getrandbits(PIECE_BITS) for _ in range(25)])
        states = list(states_of_senders(view, events[:20]))
        found += [(layout_of(view), state.to_bytes(), events[20:]) for state in states[:1]]
    return found


def fold(layouts: list[Layout], states: list[bytes | None], events: list[Event]) -> Folded:
    """Every event into each state, in one way that has all flags."""
    tables = FoldTables.of(layouts)
    parts, targets, at = [b"\7" * 8], [], 1
    for n, state in enumerate(states):
        size, odd = divmod(len(state or b""), 8)
        start = NOWHERE if state is None else at
        targets.append((n, n * len(events), (n + 1) * len(events), start, -1 if odd else size))
        parts.append((state or b"")[: 8 * size])
        at += size
    rows = np.array([(number, -1) for _ in states for number in range(len(events))], dtype=np.int64).reshape(-1, 2)
    words = np.frombuffer(b"".join(parts), dtype=np.int64)
    return packed_fold.fold_packed(words, targets, rows, FoldEvents.of(events, tables), tables)


def in_python(patch: pytest.MonkeyPatch, layout: Layout, state: bytes, events: list[Event]) -> Folded:
    """The same by the source that is compiled, run as Python, over words that are guarded."""
    whole = packed_fold._fold_packed.py_func  # type: ignore[attr-defined]

    def call(words: Any, *rest: Any) -> None:
        mine = words.view(Guarded)
        mine.low = 1
        with np.errstate(over="ignore"):
            whole(mine, *rest)

    with patch.context() as inside:
        for name in ("what_is_there", "_add_to_totals", "_take_times", "_fold_level", "use"):
            inside.setattr(packed_fold, name, getattr(packed_fold, name).py_func)
        inside.setattr(packed_fold, "_fold_packed", call)
        return fold([layout], [state], events)


def written(folded: Folded, n: int = 0) -> tuple[list[int], list[int]]:
    found, start, end, repeated = folded.states[n].tolist()
    return [found, repeated], folded.words[start:end].tolist()


def test_no_damage_makes_a_fold_look_beyond_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(9)
    outcomes = set()
    for layout, packed, events in some_folds(rng):
        for number in range(12):
            damaged = damaged_of(rng, packed, rng.choice((1, 1, 2, 4))) if number else packed
            guarded = in_python(monkeypatch, layout, damaged, events)
            assert written(guarded) == written(fold([layout], [damaged], events))
            outcomes.add(int(guarded.states[0, 0]))
    assert {PRESENT, DAMAGED} <= outcomes


def test_a_damaged_state_among_others_leaves_their_folds_as_they_are() -> None:
    layouts, packed, histories = (list(of) for of in zip(*some_folds(random.Random(8)), strict=True))
    events = histories[0]
    whole = fold(layouts, packed, events)
    for n in range(len(layouts)):
        for damaged in (packed[n] + b"\0" * 8, packed[n] + b"\0", packed[n][:-8], b"", b"\7" * 88, None):
            folded = fold(layouts, [*packed[:n], damaged, *packed[n + 1 :]], events)
            found = int(folded.states[n, 0])
            assert found == NEVER_SEEN if damaged is None else found > PRESENT
            assert all(written(folded, i) == written(whole, i) for i in range(len(layouts)) if i != n)
