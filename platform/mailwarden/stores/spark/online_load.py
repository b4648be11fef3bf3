"""Loading views online: into the generation that serves, or as a new one that takes over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import structlog
from pyspark.sql import DataFrame

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.errors import DataError
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets, FactSnapshot
from mailwarden.stores.online.catch_up import REPAIR_LIMIT
from mailwarden.stores.online.client import Client
from mailwarden.stores.online.keys import catalog_field
from mailwarden.stores.online.rebuilding import KeyHistory
from mailwarden.stores.online.takeover import PATIENCE_SECONDS, Takeover
from mailwarden.stores.online.writer import LoadReport, OnlineWriter
from mailwarden.stores.spark.load import RedisSink, lacking, load_states

_log = structlog.get_logger(__name__)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ViewLoad:
    """What was done to one view online.

    how: `new generation`, `added to` the one that serves, or `unchanged` where that held all already. generation: the
    one that was loaded or serves. waits: why it does not serve yet, in words; "" where it does.
    """

    how: Literal["new generation", "added to", "unchanged"]
    generation: int
    report: LoadReport
    waits: str


class OnlineLoad:
    """Brings the online store up to states that Spark computed, while writers go on folding.

    One at a time for a project. It may be cut off anywhere and run again: a generation that was not wholly loaded is
    begun anew, one that was is completed. facts: what the states were computed from. sets: those of the home.
    """

    def __init__(
        self,
        client: Client,
        sink: RedisSink,
        log: EventLog,
        facts: FactSnapshot,
        sets: FactSets,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.writer = OnlineWriter(client, sink.project, sink.views, sink.partitions, KeyHistory(log, sets))
        self._generations = self.writer.generations
        self._sink, self._facts = sink, facts.number
        self._generations.tell_facts(facts.number, facts.through)
        self._takeover = Takeover(client, sink.project, self.writer, log, patience_seconds=patience_seconds)

    def load(
        self,
        view: ActivityView,
        states: DataFrame,
        keys: int | None,
        last_seq: Mapping[str, int],
        *,
        afresh: bool = False,
        say: Say = lambda _: None,
    ) -> ViewLoad:
        """Load a view.

        states: a row a key, `keys` of them where that is known, after all events up to `last_seq` of each tenant.
        afresh: make a new generation even where the one that serves could be added to. Raises DataError where states
        were lost on the way, StoreError where a store is away.
        """
        before = self._generations.catalog().of(view)
        others = before.filling is not None and before.facts.get(before.filling.generation, 0) != self._facts
        # Folding many events one after another takes longer than to load the view once more.
        late = self._takeover.missing(view) > REPAIR_LIMIT
        self._generations.give_up(view, even_loaded=afresh or others or late)
        resumed = self._generations.catalog().of(view).filling
        waits = self._takeover.complete(view, say)
        if waits and resumed is not None:
            return ViewLoad("unchanged", resumed.generation, LoadReport(0, 0, 0), waits)
        self.writer.drop(view, gone := self._generations.retire(view))
        self._generations.forget(view, gone)
        entry = self._generations.catalog().of(view)
        folded = self._folded()
        # Where nothing was folded or loaded yet there is nothing to add to, and readers need not see it half loaded.
        anew = afresh or (entry.serving is not None and entry.facts.get(entry.serving, 0) != self._facts)
        if entry.serving is not None and entry.unreadable is None and (folded or resumed) and not anew:
            return self._add(view, entry.serving, states, last_seq, folded)
        generation = self._generations.begin(view, self._facts)
        report = load_states(states, view, self._sink, generation)
        if keys is not None and report.keys != keys:
            raise DataError(
                f"view {view.name}: {keys} states were to be loaded into Redis and {report.keys} were; generation "
                f"{generation} is given up. Run `mailwarden materialize` again, and report it where it stays"
            )
        self._generations.loaded(view, generation, last_seq)
        return ViewLoad("new generation", generation, report, self._takeover.complete(view, say))

    def finish(self, newest: Mapping[str, tuple[int, int]]) -> None:
        """Tell writers that they need not hand in what was loaded, once every view of the sink was.

        newest: by tenant, the last seq of the snapshot, and the time at which its newest event became known. Where
        views of other code serve and writers can still fold what those lack, they are left to do so.
        """
        folded = self._folded()
        ahead = {tenant: mark for tenant, mark in newest.items() if mark[0] > folded.get(tenant, 0)}
        known = {catalog_field(view) for view in self._sink.views}
        entries = self._generations.catalog().entries
        others = any(entry.serving is not None for name, entry in entries.items() if name not in known)
        gap = max((mark[0] - folded.get(tenant, 0) for tenant, mark in ahead.items()), default=0)
        if ahead and (not others or gap > REPAIR_LIMIT):
            self._generations.outrun(self._sink.views, ahead)
            _log.info("marks moved to what was materialised", tenants=len(ahead))

    def _add(
        self,
        view: ActivityView,
        generation: int,
        states: DataFrame,
        last_seq: Mapping[str, int],
        folded: Mapping[str, int],
    ) -> ViewLoad:
        """What the marks say is folded is in every live generation: only states beyond them can be newer."""
        if all(folded.get(tenant, 0) >= seq for tenant, seq in last_seq.items()):
            return ViewLoad("unchanged", generation, LoadReport(0, 0, 0), "")
        report = load_states(lacking(states, folded), view, self._sink, generation)
        return ViewLoad("added to", generation, report, "")

    def _folded(self) -> dict[str, int]:
        """By tenant, the seq up to which every partition has folded."""
        marks = self._generations.marks.folded_everywhere()
        everywhere = set.intersection(*(set(mark) for mark in marks))
        return {tenant: min(mark[tenant].seq for mark in marks) for tenant in everywhere}
