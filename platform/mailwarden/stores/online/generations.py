"""Generations of a view's states: which one is read, which ones are folded, and how a new one takes over.

A generation's state of a key holds all events of the key up to the state's last seq: nothing is folded onto a gap.
All of a generation is of one fact set: up to the seq that the set goes through of a tenant, its states are loaded and
never folded, since streams and the event log hold those events with other facts, and so under other keys. Beyond it
the log's facts are the set's. A generation is loaded at least that far, so that the two meet.
Its life:

1. `begin`: it gets a number and its fact set; nobody folds it, Spark loads it with the states of a snapshot of the
   event log.
2. `loaded`: it holds the snapshot. Each partition's writer finds it in `pending` before its next batch, folds into
   it what its keys lack, the log's events in (loaded, folded by the partition], and calls `caught_up`. From then on
   it folds it with the others.
3. With the last partition it is flipped: it serves, and the former one retires. That one is still folded, since
   readers may hold the former catalog for a moment.
4. `retire`, at the next materialisation: it is folded no more, its fields are dropped, its number is forgotten.

One that a crash left half loaded is begun anew under the next number; one that was loaded is caught up by whoever
comes. A writer reads the catalog after it got its lease, and before every batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.errors import ConfigError, StoreError
from mailwarden.stores.online.catalog import CHANGE, Catalog, Entry, Filling, Pending
from mailwarden.stores.online.client import Client, round_trip, translated
from mailwarden.stores.online.keys import STREAMS, catalog_field, catalog_key, check_views, facts_key, streams_key
from mailwarden.stores.online.watermark import Marks, Watermark

_log = structlog.get_logger(__name__)

_ATTEMPTS = 100


class Generations:
    """The catalog of generations in Redis. Every change is written only over the version that it was made from.

    Methods raise StoreTimeout or StoreUnavailable where Redis is away. partitions: how many this process spreads
    entities over; raises ConfigError, at the first use, where the Redis was filled with another number.
    """

    def __init__(self, client: Client, project: str, views: Sequence[ActivityView], partitions: int = STREAMS) -> None:
        check_views(views)
        self._client = client
        self._key = catalog_key(project)
        self._streams = streams_key(project)
        self._views = tuple(views)
        self.partitions = partitions
        self.marks = Marks(client, project, partitions)
        """How far the partitions have folded."""
        self._checked = False
        self._facts_key = facts_key(project)
        self._through: dict[int, Mapping[str, int]] = {0: {}}

    def catalog(self) -> Catalog:
        """The catalog as it is now."""
        self.check_partitions()
        with translated("reading the catalog of generations"):
            return Catalog.read(round_trip(self._client, [("HGETALL", self._key)])[0])

    def check_partitions(self) -> None:
        """Record the number of partitions in an empty Redis; raise ConfigError where another one is recorded."""
        if self._checked:
            return
        with translated("reading the number of streams"):
            recorded = round_trip(
                self._client, [("SET", self._streams, self.partitions, "NX"), ("GET", self._streams)]
            )[1]
        if int(recorded) != self.partitions:
            raise ConfigError(
                f"this Redis was filled for {int(recorded)} streams and the setting says {self.partitions}; set "
                f"MAILWARDEN_STREAMS={int(recorded)}, or empty the Redis and run `mailwarden materialize`"
            )
        self._checked = True

    def register_empty(self, views: Sequence[ActivityView] | None = None) -> None:
        """Give views without any generation a first one that holds nothing; all of this process by default.

        Where no event was ever folded it serves at once; otherwise it is as if loaded at seq 0, and `pending`.
        """
        chosen = self._views if views is None else tuple(views)

        def first(catalog: Catalog) -> dict[str, Entry]:
            missing = [view for view in chosen if catalog_field(view) not in catalog.entries]
            if not missing:
                return {}
            nothing_folded = not any(self.marks.folded_everywhere())
            entry = Entry(serving=1, last=1) if nothing_folded else Entry(filling=Filling(1, {}), last=1)
            return {catalog_field(view): entry for view in missing}

        self._change(first)

    def tell_facts(self, number: int, through: Mapping[str, int]) -> None:
        """Say up to which seq of each tenant states of a fact set are loaded and not folded; before `begin` with it."""
        if number:
            with translated("telling of a fact set"):
                round_trip(self._client, [("HSET", self._facts_key, number, json.dumps(dict(through)))])

    def through(self, number: int) -> Mapping[str, int]:
        """What `tell_facts` told of a fact set; nothing of set 0. Raises StoreError where it is lost."""
        if number not in self._through:
            with translated("reading of a fact set"):
                told = round_trip(self._client, [("HGET", self._facts_key, number)])[0]
            if told is None:
                raise StoreError(f"Redis does not know fact set {number} any more; run `mailwarden materialize`")
            self._through[number] = json.loads(told)
        return self._through[number]

    def begin(self, view: ActivityView, facts: int = 0) -> int:
        """Start a new generation that nobody folds yet; returns its number. facts: number of its fact set.

        One that was on its way before is given up.
        """

        def begun(entry: Entry) -> Entry:
            given_up = () if entry.filling is None else (entry.filling.generation,)
            number = entry.last + 1
            return replace(
                entry,
                filling=Filling(number),
                abandoned=(*entry.abandoned, *given_up),
                last=number,
                facts={**entry.facts, number: facts} if facts else entry.facts,
            )

        filling = self._change_one(view, begun).filling
        assert filling is not None
        return filling.generation

    def give_up(self, view: ActivityView, *, even_loaded: bool = False) -> None:
        """Give up a generation that a crash left half loaded.

        even_loaded: one that is loaded and still to be caught up too.
        """

        def cleared(entry: Entry) -> Entry:
            if entry.filling is None or (entry.filling.loaded is not None and not even_loaded):
                return entry
            return replace(entry, filling=None, abandoned=(*entry.abandoned, entry.filling.generation))

        self._change_one(view, cleared)

    def loaded(self, view: ActivityView, generation: int, newest: Mapping[str, int]) -> None:
        """Say that a generation holds all events up to a seq of each tenant; raises StoreError if it was given up."""

        def done(entry: Entry) -> Entry:
            _check_filling(view, entry, generation)
            assert entry.filling is not None
            return replace(entry, filling=replace(entry.filling, loaded=dict(newest), caught_up=()))

        self._change_one(view, done)

    def pending(self, partition: int, catalog: Catalog | None = None) -> tuple[Pending, ...]:
        """What a partition's writer must catch up before its next batch, of the views of this process.

        catalog: as just read by the caller, read now by default.
        """
        now = self.catalog() if catalog is None else catalog
        found = []
        for view in self._views:
            filling = now.of(view).filling
            if filling is not None and filling.loaded is not None and partition not in filling.caught_up:
                facts = now.of(view).facts.get(filling.generation, 0)
                found.append(Pending(view, filling.generation, filling.loaded, facts))
        return tuple(found)

    def caught_up(
        self,
        view: ActivityView,
        generation: int,
        partition: int,
        *,
        owner: bytes,
        folded: Mapping[str, Watermark],
    ) -> bool:
        """Say that a generation holds what a partition has folded, and flip it where it is the last one.

        owner: token of the partition's lease. folded: the partition's marks that it was caught up to. Returns False,
        and changes nothing, where the lease is another's or the marks have moved since: then catch up again. The
        caller must fold the generation with its next batch; whoever gets the lease later reads the catalog first.
        """
        holder, marks = self.marks.lease_and_folded(partition)
        if holder != owner or {t: m.seq for t, m in marks.items()} != {t: m.seq for t, m in folded.items()}:
            return False
        behind: dict[str, tuple[int, int]] = {}

        def joined(entry: Entry) -> Entry:
            behind.clear()
            filling = entry.filling
            if filling is None or filling.generation != generation:
                return entry
            # Marks that are about to be moved are told of in the catalog first, and this is read after the marks: so
            # no partition joins on marks of before the move.
            behind.update(
                (tenant, mark)
                for tenant, mark in filling.ahead.items()
                if tenant not in folded or folded[tenant].seq < mark[0]
            )
            if behind:
                return entry
            caught_up = tuple(sorted({*filling.caught_up, partition}))
            if len(caught_up) < self.partitions:
                return replace(entry, filling=replace(filling, caught_up=caught_up))
            return entry.flipped(generation)

        after = self._change_one(view, joined)
        if behind:
            # Also for whoever was cut off before it moved them.
            self.marks.advance(behind, [partition])
            return False
        if after.serving == generation:
            _log.info("a generation serves", view=view.name, version=view.version, generation=generation)
        return True

    def retire(self, view: ActivityView) -> tuple[int, ...]:
        """Stop folding what retires; returns all generations whose fields are to be dropped: see `forget`."""
        return self._change_one(
            view, lambda entry: replace(entry, retiring=(), abandoned=(*entry.abandoned, *entry.retiring))
        ).abandoned

    def forget(self, view: ActivityView, generations: Sequence[int]) -> None:
        """Say that the fields of generations that `retire` named are dropped."""
        gone = set(generations)
        self._change_one(
            view,
            lambda entry: replace(entry, abandoned=tuple(number for number in entry.abandoned if number not in gone)),
        )

    def mark_unreadable(self, view: ActivityView, generation: int, reason: str) -> None:
        """Say that states of a generation cannot be read: it is folded no more, and not read where it serves."""

        def marked(entry: Entry) -> Entry:
            if entry.serving == generation:
                return replace(entry, unreadable=reason)
            filling = entry.filling
            if filling is not None and filling.generation == generation:
                return replace(entry, filling=None, abandoned=(*entry.abandoned, generation))
            if generation in entry.retiring:
                retiring = tuple(number for number in entry.retiring if number != generation)
                return replace(entry, retiring=retiring, abandoned=(*entry.abandoned, generation))
            return entry

        self._change_one(view, marked)
        _log.error("a generation is folded no more", view=view.name, generation=generation, reason=reason)

    def outrun(self, whole: Sequence[ActivityView], ahead: Mapping[str, tuple[int, int]]) -> None:
        """Move the marks ahead, and take out every generation that does not hold all up to them before.

        Marks are moved past what writers have folded where `materialize` loaded more than that, as after a bulk ingest.
        Invariant: a mark says that every live generation is whole up to it. So first, in one change of the catalog:

        1. The serving generation of a view in `whole` was loaded up to there: it stays.
        2. Retiring generations were not: they are given up, and dropped later.
        3. A filling one was not either: its partitions have to catch it up again, from what was loaded into it, and to
           no less than the marks to come, which it bears from now on.
        4. The serving one of any other view was not, and cannot be made whole by folding on: it is unreadable until
           that view is materialised too.

        Then the marks are moved. Cut off in between, something is caught up or materialised for nothing, and no state
        has a gap. whole: the views that were loaded. ahead: by tenant, the (seq, time) that they were loaded up to.
        """
        names = {catalog_field(view) for view in whole}

        def left(catalog: Catalog) -> dict[str, Entry]:
            changed = {}
            for name, entry in catalog.entries.items():
                after = replace(entry, retiring=(), abandoned=(*entry.abandoned, *entry.retiring))
                if after.filling is not None:
                    after = replace(after, filling=replace(after.filling, caught_up=(), ahead=dict(ahead)))
                if name not in names and after.serving is not None and after.unreadable is None:
                    after = replace(
                        after, unreadable="its states lack events that were materialised; materialise this view too"
                    )
                if after != entry:
                    changed[name] = after
            return changed

        self._change(left)
        self.marks.advance(ahead)

    def _change_one(self, view: ActivityView, make: Callable[[Entry], Entry]) -> Entry:
        name = catalog_field(view)

        def make_all(catalog: Catalog) -> dict[str, Entry]:
            before = catalog.of(view)
            after = make(before)
            return {} if after == before else {name: after}

        return self._change(make_all).of(view)

    def _change(self, make: Callable[[Catalog], Mapping[str, Entry]]) -> Catalog:
        """The catalog after a change; `make` gives the entries that differ, and may be asked again."""
        for _ in range(_ATTEMPTS):
            before = self.catalog()
            changed = make(before)
            if not changed:
                return before
            pairs: list[Any] = [part for name, entry in changed.items() for part in (name, entry.to_bytes())]
            with translated("changing the catalog of generations"):
                done = round_trip(self._client, [("EVAL", CHANGE, 1, self._key, before.version, *pairs)])[0]
            if done:
                return Catalog(before.version + 1, {**before.entries, **changed})
        raise StoreError(f"the catalog of generations was changed by others {_ATTEMPTS} times running; try again")


def _check_filling(view: ActivityView, entry: Entry, generation: int) -> None:
    if entry.filling is None or entry.filling.generation != generation:
        raise StoreError(
            f"generation {generation} of view {view.name} was given up meanwhile; run `mailwarden materialize` again"
        )
