"""The compiled reader of packed states: whatever stands in a state, it reads nothing beyond that state."""

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
from mailwarden.domain.aggregates.online import packed_reads
from mailwarden.domain.aggregates.online.packed_reads import DAMAGED, NEVER_SEEN, PRESENT
from mailwarden.domain.aggregates.online.reads import Asked, JoinedReads, JoinedStates
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.recent import own_set
from mailwarden.domain.aggregates.windows import DAY_US, W_1D, W_30D, W_90D_MATURED
from mailwarden.domain.mail.events import Event, Way, keys_of
from mailwarden.testing.histories import PIECE_BITS, history_of, own_of, view_of

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
        n = len(packed) // 8
        for _ in range(40):
            words = list(struct.unpack(f"<{n}q", packed))
            for _ in range(rng.choice((1, 1, 2, 4))):
                # What says lengths stands at the beginning and at the end.
                place = rng.choice((rng.randrange(n), rng.randrange(1, min(n, 10)), n - 1 - rng.randrange(min(n, 40))))
                words[place] = rng.choice((*NASTY, n, words[place] + 1, words[place] - 1, rng.getrandbits(63)))
                words[place] = max(min(words[place], 2**63 - 1), -(2**63))
            damaged = struct.pack(f"<{n}q", *words)[: rng.choice((None, None, None, 8 * rng.randrange(n + 1)))]
            read = guarded(states, asked._replace(rows=((damaged,),)))
            assert same(read, states.read([asked._replace(rows=((damaged,),))]))
            outcomes.add(int(read.found[0, 0]))
    assert outcomes == set(range(NEVER_SEEN, DAMAGED + 1))


def test_a_damaged_state_among_others_leaves_them_as_they_are() -> None:
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
