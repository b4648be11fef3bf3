"""History of one tenant as it was at a moment, folded in memory: values as the API would have read them then.

1. Events are added in order of seq. For each key that one reaches, that is noted and no more.
2. A read folds what was noted for the keys that it asks for, and for no others: a walk through a long log costs what
   its reads cost, and little more.
3. Events that never were can be folded before a read, into copies that are given up after it.

Nothing is read from a store, and nothing is written to one. Reads are those of `online.reader`: of packed states, by
the same functions. Memory: all events that were added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.finalise import finalise_joined
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import Asked, JoinedStates
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.recent import own_set
from mailwarden.domain.aggregates.recipes import Recipes
from mailwarden.domain.mail.events import TOMBSTONE, Event, Way, key_of, keys_of, members_of
from mailwarden.domain.status import Status
from mailwarden.stores.online.reader import ReadRequest, VectorSet

_READ = (Status.NEVER_SEEN, Status.NONE_IN_WINDOW, Status.PRESENT)

_Key = tuple[str, ...]
_Row = tuple[Event, list[Way]]


class _OfKey:
    """What reached one key. rows: in order of seq; state: of the first `folded` of them, None where it is to be made
    anew; packed: its bytes, None where rows came since."""

    __slots__ = ("folded", "packed", "rows", "state")

    def __init__(self) -> None:
        self.rows: list[_Row] = []
        self.state: EntityState | None = None
        self.folded = 0
        self.packed: bytes | None = None


class HistoryAt:
    """What is known of a tenant's keys before the next event. views: those that are read."""

    def __init__(self, views: Sequence[ActivityView]) -> None:
        self._views = tuple(views)
        self._layouts = [layout_of(view) for view in views]
        self._states = JoinedStates(self._layouts)
        self._recipes = Recipes.joined([layout.recipes for layout in self._layouts])
        self._facts = sorted({layout.view.recents[i].of for layout in self._layouts for i, _ in layout.matches})
        self._ways = list(dict.fromkeys((view.emission, view.keys) for view in views))
        self._number = [self._ways.index((view.emission, view.keys)) for view in views]
        self._views_of = [[at for at, of in enumerate(self._number) if of == n] for n in range(len(self._ways))]
        self._keys: list[dict[_Key, _OfKey]] = [{} for _ in views]

    def add(self, event: Event) -> None:
        """Take in the next event; of what a tombstone names nothing counts any more."""
        for index, ways in enumerate(_reached(self._ways, event)):
            for view in self._views_of[index]:
                known = self._keys[view]
                for key, each in ways.items():
                    of_key = known.get(key)
                    if of_key is None:
                        of_key = known[key] = _OfKey()
                    of_key.packed = None
                    if event.kind == TOMBSTONE:
                        of_key.rows = [row for row in of_key.rows if row[0].message_id != event.message_id]
                        of_key.state, of_key.folded = None, 0
                    of_key.rows.append((event, each))

    def read(self, event: Event, before: Sequence[Event] = ()) -> VectorSet:
        """The vector of a message that would come now. before: events that would have come right before it."""
        supposed = [_reached(self._ways, one) for one in before]
        recipients = event.recipients or ("",)
        packed: dict[tuple[int, _Key], bytes | None] = {}
        keys = [[key_of(view.keys, event, recipient) for view in self._views] for recipient in recipients]
        rows: list[list[bytes | None]] = []
        for of_recipient in keys:
            row: list[bytes | None] = []
            for view, key in enumerate(of_recipient):
                if key is not None and (view, key) not in packed:
                    packed[view, key] = self._packed(view, key, before, supposed)
                row.append(None if key is None else packed[view, key])
            rows.append(row)
        own = {fact: own_set(members_of(event, fact)) for fact in self._facts}
        reads = self._states.read([Asked(event.received_at_us, own, rows)])
        at = np.full(len(rows), event.received_at_us, dtype=np.int64)
        values = finalise_joined(self._recipes, reads.slots, reads.times, reads.matches, reads.seen, at)
        by_view, seqs, statuses, start = {}, {}, {}, 0
        for view, definition in enumerate(self._views):
            stop = start + len(definition.features)
            lacks = np.array([of_recipient[view] is None for of_recipient in keys])
            values[lacks, start:stop] = np.nan
            by_view[definition.name] = values[:, start:stop]
            seqs[definition.name] = reads.last_seq[:, view]
            statuses[definition.name] = tuple(
                Status.NOT_COMPUTABLE if lack else _READ[int(reads.found[n, view])]
                for n, lack in enumerate(lacks.tolist())
            )
            start = stop
        return VectorSet(recipients, by_view, seqs, dict.fromkeys(by_view, 0), statuses, None)

    def _packed(
        self, view: int, key: _Key, before: Sequence[Event], supposed: Sequence[Sequence[Mapping[_Key, list[Way]]]]
    ) -> bytes | None:
        more = [
            (event, ways[self._number[view]][key])
            for event, ways in zip(before, supposed, strict=True)
            if key in ways[self._number[view]]
        ]
        of_key = self._keys[view].get(key)
        if of_key is not None and of_key.packed is None:
            of_key.packed = self._fold(view, of_key).to_bytes()
        if not more:
            return None if of_key is None else of_key.packed
        layout = self._layouts[view]
        if of_key is None or of_key.state is None or of_key.packed is None:
            state = EntityState(layout)
        else:
            state = EntityState.from_bytes(layout, of_key.packed, of_key.state.sketch_bytes())
        for event, ways in more:
            state.fold(event, ways)
        return state.to_bytes()

    def _fold(self, view: int, of_key: _OfKey) -> EntityState:
        if of_key.state is None:
            of_key.state = EntityState(self._layouts[view])
        for event, ways in of_key.rows[of_key.folded :]:
            if event.kind != TOMBSTONE:
                of_key.state.fold(event, ways)
        of_key.folded = len(of_key.rows)
        of_key.state.last_seq = max(of_key.state.last_seq, of_key.rows[-1][0].seq)
        return of_key.state


class SupposedReader:
    """Reads as the scorer asks for them, of the history that it was set to."""

    def __init__(self) -> None:
        self._history: HistoryAt | None = None
        self._before: Sequence[Event] = ()
        self.last: VectorSet | None = None
        """What was read last."""

    def at(self, history: HistoryAt, before: Sequence[Event] = ()) -> None:
        """Read of this history from now on. before: see `HistoryAt.read`."""
        self._history, self._before = history, before

    def read(self, requests: Sequence[ReadRequest]) -> list[VectorSet]:
        """The vectors of messages that would come now, each alone."""
        assert self._history is not None
        found = [self._history.read(request.event, self._before) for request in requests]
        self.last = found[-1] if found else None
        return found

    def unavailable(self, requests: Sequence[ReadRequest]) -> list[VectorSet]:
        """Never asked for: what lies in memory is there."""
        raise AssertionError("history in memory is always available")


def _reached(ways: Sequence[tuple[str, _Key]], event: Event) -> list[dict[_Key, list[Way]]]:
    """By emission and keys of views, how the event reaches each key."""
    found = []
    for emission, keys in ways:
        reached: dict[_Key, list[Way]] = {}
        for key, way in keys_of(emission, event, keys):  # type: ignore[arg-type]
            reached.setdefault(key, []).append(way)
        found.append(reached)
    return found
