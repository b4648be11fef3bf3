"""Many random histories as tenants of one event log, read by one Spark job a view and held against the recount."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.finalise import finalise
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import NEVER, read_slots
from mailwarden.domain.mail.events import TOMBSTONE, Event
from mailwarden.stores.asked import own_column
from mailwarden.stores.lake.event_log import events_to_table
from mailwarden.stores.spark.as_of import ROW_ID, as_of, as_of_seq_column
from mailwarden.stores.spark.fold_rows import key_columns, read_events
from mailwarden.stores.spark.states import states
from mailwarden.testing.histories import PIECE_BITS, Request, forgetting, history_of, requests_of
from mailwarden.testing.made_up_rows import keys_in
from mailwarden.testing.made_up_views import view_of
from mailwarden.testing.naive_facts import ways_to
from mailwarden.testing.naive_recount import recount

_ROWS_A_GROUP = 2_000
"""Row groups of the log, so that even a small campaign reads it in several tasks."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """reads: rows asked for or states read. values: compared with the recount. wrong: each difference, in words."""

    reads: int
    values: int
    wrong: tuple[str, ...]


class Campaign:
    """Histories 0 to n of a seed, each a pair of tenants of the log that is written under a folder."""

    def __init__(self, folder: Path, n: int, seed: int) -> None:
        rng = random.Random(seed)
        self._seed = seed

        def pieces(many: int) -> list[int]:
            return [rng.getrandbits(PIECE_BITS) for _ in range(many)]

        self.histories = [history_of(pieces(rng.randrange(1, 60))) for _ in range(n)]
        # Every other one, so that keys with tombstones stand beside such without.
        self.histories[::2] = [forgetting(history, pieces(len(history))) for history in self.histories[::2]]
        log = [
            replace(event, tenant=_tenant(i, event.tenant))
            for i, history in enumerate(self.histories)
            for event in history
        ]
        # In no order: a log is written by many, in files of many days.
        rng.shuffle(log)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"events-{seed}.parquet"
        pq.write_table(events_to_table(log), self._path, row_group_size=_ROWS_A_GROUP)

    def view(self, number: int) -> ActivityView:
        """A random view, the same for a seed and number."""
        return view_of(random.Random(f"{self._seed} {number}").getrandbits(PIECE_BITS))

    def check_reads(self, spark: SparkSession, view: ActivityView, asked: Iterable[int]) -> Verdict:
        """Ask for random reads of some histories in one job; every row must come back, once, as the recount has it."""
        requests: list[tuple[int, Request]] = []
        for i in asked:
            rng = random.Random(f"{self._seed} {i} {view}")
            pieces = [rng.getrandbits(PIECE_BITS) for _ in range(rng.randrange(1, 14))]
            history = self.histories[i]
            requests += [(i, request) for request in requests_of(view, history, keys_in(view, history), pieces)]
        frame = as_of(
            read_events(spark, (str(self._path),)), spark.createDataFrame(_request_rows(view, requests)), view
        )
        answers = frame.toArrow().to_pylist()
        found = {row[ROW_ID]: row for row in answers}
        wrong = []
        if sorted(row[ROW_ID] for row in answers) != list(range(len(requests))):
            wrong.append(f"{len(requests)} rows in, {len(answers)} out; {view}")
        names = [feature.name for feature in view.features]
        for number, (i, request) in enumerate(requests):
            history, row = self.histories[i], found.get(number, {})
            expected = recount(view, history, request.key, request.tenant, request.at_us, request.seq, request.own)
            last = _folded(view, history, request)
            wrong += [
                f"history {i} of seed {self._seed}: {name} is {row.get(name)}, not {value}; {request}; {view}"
                for name, value in [*expected.items(), (as_of_seq_column(view), max(last, default=NEVER))]
                if row.get(name) != value
            ]
        return Verdict(len(requests), len(requests) * len(names), tuple(wrong))

    def check_states(self, spark: SparkSession, view: ActivityView, *, at_us: int) -> Verdict:
        """Read the states of all keys of all histories, as one job folds them, at a time, against the recount."""
        rows = states(read_events(spark, (str(self._path),)), view).toArrow().to_pylist()
        expected = {
            (_tenant(i, tenant), *key): (i, tenant, key)
            for i, history in enumerate(self.histories)
            for tenant, key in keys_in(view, history)
        }
        found = [tuple(row[name] for name in key_columns(view)) for row in rows]
        wrong = []
        if len(found) != len(set(found)) or set(found) != set(expected):
            wrong.append(f"{len(expected)} keys in, {len(found)} states out; {view}")
        layout = layout_of(view)
        at = np.full(len(rows), at_us, dtype=np.int64)
        reads = read_slots(layout, [row["state"] for row in rows], at)
        values = finalise(layout, reads.slots, reads.times, reads.matches, reads.seen, at).tolist()
        for name, row in zip(found, values, strict=True):
            i, tenant, key = expected[name]
            counted = recount(view, self.histories[i], key, tenant, at_us, len(self.histories[i]) + 1)
            read = {f: None if value != value else value for f, value in zip(layout.feature_names, row, strict=True)}
            if read != counted:
                wrong.append(f"history {i} of seed {self._seed}: {key} is {read}, not {counted}; {view}")
        return Verdict(len(rows), len(rows) * len(layout.feature_names), tuple(wrong))


def _tenant(history: int, tenant: str) -> str:
    return f"{history}:{tenant}"


def _folded(view: ActivityView, history: Sequence[Event], request: Request) -> list[int]:
    """The seqs that a key has folded before a request; none where nothing of it counts."""
    reached = [
        event
        for event in history
        if event.tenant == request.tenant and event.seq < request.seq and ways_to(view, event, request.key)
    ]
    gone = {event.message_id for event in reached if event.kind == TOMBSTONE}
    return [event.seq for event in reached] if any(event.message_id not in gone for event in reached) else []


def _request_rows(view: ActivityView, requests: Sequence[tuple[int, Request]]) -> pa.Table:
    columns: dict[str, pa.Array] = {
        ROW_ID: pa.array(range(len(requests)), pa.int64()),
        "tenant": pa.array([_tenant(i, request.tenant) for i, request in requests], pa.string()),
        "seq": pa.array([request.seq for _, request in requests], pa.int64()),
        "time_us": pa.array([request.at_us for _, request in requests], pa.int64()),
    }
    for place, name in enumerate(view.keys):
        columns[name] = pa.array([request.key[place] for _, request in requests], pa.string())
    for fact in {recent.of for recent in view.recents}:
        own = [list(request.own.get(fact, ())) for _, request in requests]
        columns[own_column(fact)] = pa.array(own, pa.list_(pa.string()))
    return pa.table(columns)
