"""The event log: every message, label, signal and tombstone the platform learnt of, as narrow facts; it only grows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable

from mailwarden.domain.mail.events import TOMBSTONE, TUPLES, WITHDRAWN, Event, Kind
from mailwarden.errors import DataError
from mailwarden.stores.lake.delta import (
    DeltaLog,
    Filters,
    Snapshot,
    bucket_of,
    columns_of,
    day_column,
    folder_of,
    reading,
    within,
)

_TIME = pa.timestamp("us", tz="UTC")
_TYPES: dict[str, pa.DataType] = {
    "str": pa.string(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "bool | None": pa.bool_(),
    "tuple[str, ...]": pa.list_(pa.string()),
    "tuple[int, ...]": pa.list_(pa.int64()),
    "Kind": pa.string(),
    "Direction": pa.string(),
}
_TIMES = {"received_at_us": "received_at", "known_at_us": "known_at"}
_FIELDS = tuple(field.name for field in fields(Event))
EVENT_SCHEMA: pa.Schema = pa.schema(
    [
        pa.field(_TIMES.get(field.name, field.name), _TIME if field.name in _TIMES else _TYPES[str(field.type)])
        for field in fields(Event)
    ]
    + [pa.field("day", pa.date32()), pa.field("bucket", pa.int32())]
)
"""One column a field of `Event`; `day` is that of `known_at` (of a message, its event time), `bucket` the tenant's.

Files from before a column was added lack it: its rows read as the field's default.
"""


def _default(field: Field[Any]) -> Any:
    return None if field.default is MISSING else field.default


_DEFAULTS: dict[str, Any] = {field.name: _default(field) for field in fields(Event)}


@dataclass(frozen=True, slots=True)
class Appended:
    """added: rows written; skipped: rows that were there already, or stood twice in the batch."""

    added: int
    skipped: int


class EventView:
    """What one version of the log holds; `table` None is a log without events."""

    def __init__(self, table: DeltaTable | None) -> None:
        self.table = table

    def last_seq(self, tenant: str) -> int:
        """The greatest seq of a tenant, 0 where it has no event; reads only files that can hold it."""
        if self.table is None:
            return 0
        files = pa.table(self.table.get_add_actions(flatten=True))
        files = files.filter(pc.equal(files["partition.bucket"], bucket_of(tenant)))
        if files.num_rows == 0:
            return 0
        last = 0
        root = folder_of(self.table)
        for row in files.select(["path", "max.seq"]).sort_by([("max.seq", "descending")]).to_pylist():
            if row["max.seq"] is not None and row["max.seq"] <= last:
                break
            with reading(self.table):
                rows = pq.read_table(
                    root / row["path"], columns=["seq"], filters=[("tenant", "=", tenant)], partitioning=None
                )
            last = max(last, pc.max(rows["seq"]).as_py() or 0)
        return last

    def count(self, tenant: str, until: int) -> int:
        """How many events a tenant has up to a seq."""
        wanted = (ds.field("tenant") == tenant) & (ds.field("seq") <= until)
        return sum(batch.num_rows for batch in self.read(["seq"], wanted, within([bucket_of(tenant)])))

    def newest_us(self, tenant: str) -> int:
        """A time that no event of the tenant is received after, microseconds UTC; 0 without events."""
        if self.table is None:
            return 0
        files = pa.table(self.table.get_add_actions(flatten=True))
        newest = pc.max(files.filter(pc.equal(files["partition.bucket"], bucket_of(tenant)))["max.received_at"]).as_py()
        # Statistics may be cut to milliseconds.
        return 0 if newest is None else round(newest.timestamp() * 1_000_000) + 1_000

    def message_ids(self, tenant: str, days: pa.Array | None) -> set[str]:
        """Ids of the tenant's messages received on those UTC days (date32), or of all where None."""
        found: set[str] = set()
        wanted = (ds.field("tenant") == tenant) & (ds.field("kind") == "message")
        for batch in self.read(["message_id"], wanted, within([bucket_of(tenant)], days)):
            found.update(batch.column(0).to_pylist())
        return found

    def clamped_ids(self, tenant: str) -> set[str]:
        """Ids of the tenant's messages whose time was set back, which lie on other days than the time they bore."""
        found: set[str] = set()
        wanted = (ds.field("tenant") == tenant) & (ds.field("kind") == "message") & ds.field("time_clamped")
        for batch in self.read(["message_id"], wanted, within([bucket_of(tenant)]), having="time_clamped"):
            found.update(batch.column(0).to_pylist())
        return found

    def labels(self, tenant: str) -> dict[str, str]:
        """The label that each of the tenant's labelled messages bears now, by message_id: that of the greatest seq."""
        newest: dict[str, tuple[int, str]] = {}
        wanted = (ds.field("tenant") == tenant) & (ds.field("kind") == "label")
        for batch in self.read(["message_id", "seq", "label"], wanted, within([bucket_of(tenant)])):
            for message_id, seq, label in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if message_id not in newest or newest[message_id][0] < seq:
                    newest[message_id] = seq, label
        return {message_id: label for message_id, (_, label) in newest.items() if label != WITHDRAWN}

    def signalled(self, tenant: str) -> set[str]:
        """Ids of the tenant's messages that have a signal."""
        found: set[str] = set()
        wanted = (ds.field("tenant") == tenant) & (ds.field("kind") == "signal")
        for batch in self.read(["message_id"], wanted, within([bucket_of(tenant)])):
            found.update(batch.column(0).to_pylist())
        return found

    def find(self, tenant: str, message_id: str, received_at_us: int | None = None) -> Event | None:
        """A message's event; see `EventLog.find`."""
        wanted = (
            (ds.field("tenant") == tenant) & (ds.field("kind") == "message") & (ds.field("message_id") == message_id)
        )
        days = None
        if received_at_us is not None:
            days = day_column(pa.array([received_at_us], pa.int64()))
        for batch in self.read(EVENT_SCHEMA.names, wanted, within([bucket_of(tenant)], days)):
            if batch.num_rows:
                return table_to_events(pa.Table.from_batches([batch]))[0]
        return None

    def find_all(self, tenant: str, message_ids: Collection[str]) -> dict[str, Event]:
        """A tenant's messages by message_id, of those asked the ones there are; searches every day of its bucket."""
        wanted = (
            (ds.field("tenant") == tenant)
            & (ds.field("kind") == "message")
            & ds.field("message_id").isin(sorted(message_ids))
        )
        found: dict[str, Event] = {}
        for batch in self.read(EVENT_SCHEMA.names, wanted, within([bucket_of(tenant)])):
            found |= {event.message_id: event for event in table_to_events(pa.Table.from_batches([batch]))}
        return found

    def about(self, tenant: str, message_id: str, received_at_us: int, kind: Kind) -> list[Event]:
        """The events of a kind about a message. received_at_us: its event time, which finds the files."""
        wanted = (ds.field("tenant") == tenant) & (ds.field("kind") == kind) & (ds.field("message_id") == message_id)
        files = within([bucket_of(tenant)], None, pa.array([received_at_us], pa.int64()))
        batches = self.read(EVENT_SCHEMA.names, wanted, files)
        return [event for batch in batches for event in table_to_events(pa.Table.from_batches([batch]))]

    def copies(self, tenant: str, message_id: str) -> list[Event]:
        """The further copies of a message; searches every day of its bucket."""
        wanted = (ds.field("tenant") == tenant) & (ds.field("kind") == "message") & (ds.field("copy_of") == message_id)
        batches = self.read(EVENT_SCHEMA.names, wanted, within([bucket_of(tenant)]), having="copy_of")
        return [event for batch in batches for event in table_to_events(pa.Table.from_batches([batch]))]

    def copied(self, tenant: str) -> dict[str, str]:
        """By message_id of each further copy that a tenant has, the message that it is a copy of."""
        found: dict[str, str] = {}
        wanted = (ds.field("tenant") == tenant) & (ds.field("kind") == "message") & (ds.field("copy_of") != "")
        for batch in self.read(["message_id", "copy_of"], wanted, within([bucket_of(tenant)]), having="copy_of"):
            found.update(zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True))
        return found

    def tombstones(self, tenant: str, until: int | None = None) -> list[Event]:
        """A tenant's tombstones, up to a seq where one is given, in no set order."""
        wanted = (ds.field("tenant") == tenant) & (ds.field("kind") == TOMBSTONE)
        if until is not None:
            wanted &= ds.field("seq") <= until
        batches = self.read(EVENT_SCHEMA.names, wanted, within([bucket_of(tenant)]))
        return [event for batch in batches for event in table_to_events(pa.Table.from_batches([batch]))]

    def in_order(self, tenant: str, beyond: int = 0, until: int | None = None, *, limit: int) -> Iterator[list[Event]]:
        """A tenant's events of seq beyond .. until, in order of seq; limit: events held at a time."""
        files = within([bucket_of(tenant)])
        wanted = (ds.field("tenant") == tenant) & (ds.field("seq") > beyond)
        if until is not None:
            wanted &= ds.field("seq") <= until
        # Files overlap in seq, so that only the seqs themselves tell where to cut.
        columns = [np.asarray(batch.column(0)) for batch in self.read(["seq"], wanted, files)]
        seqs = np.sort(np.concatenate(columns)) if columns else np.empty(0, np.int64)
        for start in range(0, len(seqs), limit):
            part = seqs[start : start + limit]
            within_part = wanted & (ds.field("seq") >= int(part[0])) & (ds.field("seq") <= int(part[-1]))
            rows = pa.Table.from_batches(self.read(EVENT_SCHEMA.names, within_part, files), schema=EVENT_SCHEMA)
            yield sorted(table_to_events(rows), key=lambda event: event.seq)

    def read(
        self,
        columns: Sequence[str],
        wanted: ds.Expression | None = None,
        files: Filters | None = None,
        *,
        having: str = "seq",
    ) -> Iterator[pa.RecordBatch]:
        """Batches of some columns; files: which of them to open, by partition. having: a column that is asked for in
        `wanted`, without which a table, being from before it, has no such row."""
        if self.table is not None:
            yield from columns_of(self.table, EVENT_SCHEMA, columns, wanted, files, having)


class EventLog:
    """The log at `path`; safe for several threads and processes at once."""

    def __init__(self, path: Path) -> None:
        self._delta = DeltaLog(
            path, EVENT_SCHEMA, configuration={"delta.dataSkippingStatsColumns": "tenant,seq,received_at,known_at"}
        )

    def append(self, events: Sequence[Event], *, batch_id: tuple[str, int] | None = None) -> Appended:
        """Add what is new of the events, in one commit that shows at once or not at all.

        A message is there already when its tenant has its message_id, another event when its tenant has its seq.
        batch_id: see `DeltaLog.append`; a batch that is there already is skipped whole. Raises DataError where a
        seq was given to two different events.
        """
        if not events:
            return Appended(0, 0)
        fresh: list[Event] = []

        def build(table: DeltaTable) -> pa.Table | None:
            fresh[:] = _new_events(events, EventView(table))
            return events_to_table(fresh) if fresh else None

        tenants = {event.tenant for event in events}
        wrote = self._delta.append(build, guards=_guards(tenants), batch_id=batch_id, merge_schema=True)
        added = len(fresh) if wrote else 0
        return Appended(added, len(events) - added)

    def append_stream(self, tenant: str, plan: Callable[[EventView], Iterable[pa.RecordBatch] | None]) -> bool:
        """Add one tenant's rows of `EVENT_SCHEMA` in one commit, however many; False where `plan` returned None.

        plan: given what the log holds, yields the new rows. It is called again when another writer of the tenant's
        bucket was faster, so that it sees all there is.
        """

        def build(table: DeltaTable) -> pa.RecordBatchReader | None:
            batches = plan(EventView(table))
            return None if batches is None else pa.RecordBatchReader.from_batches(EVENT_SCHEMA, batches)

        return self._delta.append(build, guards=_guards({tenant}), merge_schema=True)

    def view(self) -> EventView:
        """What the log holds now."""
        return EventView(self._delta.current())

    def snapshot(self) -> Snapshot:
        """The files of the newest version; older ones may lack columns of `EVENT_SCHEMA`."""
        return replace(self._delta.snapshot(), schema=EVENT_SCHEMA)

    def last_seq(self, tenant: str) -> int:
        """The greatest seq of a tenant, 0 where it has no event."""
        return self.view().last_seq(tenant)

    def after(self, tenant: str, seq: int, *, limit: int = 5_000) -> Iterator[list[Event]]:
        """A tenant's events beyond a seq, of one version, in order of seq; limit: events held at a time."""
        return self.view().in_order(tenant, seq, limit=limit)

    def tenants(self) -> tuple[str, ...]:
        """Every tenant that has an event, sorted."""
        found: set[str] = set()
        for batch in self.view().read(["tenant"]):
            found.update(pc.unique(batch.column(0)).to_pylist())
        return tuple(sorted(found))

    def count(self) -> int:
        """How many events of all kinds there are, from the table's own statistics."""
        table = self._delta.current()
        return 0 if table is None else int(table.count())

    def scan(
        self, tenant: str | None = None, kind: str | None = None, columns: Sequence[str] | None = None
    ) -> pa.RecordBatchReader:
        """Stream the events of one version, in no set order; columns: of `EVENT_SCHEMA`, all by default."""
        names = list(columns) if columns is not None else EVENT_SCHEMA.names
        schema = pa.schema([EVENT_SCHEMA.field(name) for name in names])
        wanted: ds.Expression | None = None
        if tenant is not None:
            wanted = ds.field("tenant") == tenant
        if kind is not None:
            wanted = (ds.field("kind") == kind) if wanted is None else wanted & (ds.field("kind") == kind)
        files = None if tenant is None else within([bucket_of(tenant)])
        return pa.RecordBatchReader.from_batches(schema, self.view().read(names, wanted, files))

    def find(self, tenant: str, message_id: str, received_at_us: int | None = None) -> Event | None:
        """A message's event, None where the tenant has none of that id.

        received_at_us: its event time where it is known; without it every day of the tenant's bucket is searched.
        """
        return self.view().find(tenant, message_id, received_at_us)

    def signals(self, tenant: str, message_id: str, received_at_us: int) -> frozenset[str]:
        """Which signals the log holds of a message; received_at_us: its event time, which finds the files."""
        wanted = (
            (ds.field("tenant") == tenant) & (ds.field("kind") == "signal") & (ds.field("message_id") == message_id)
        )
        files = within([bucket_of(tenant)], None, pa.array([received_at_us], pa.int64()))
        batches = self.view().read(["signal"], wanted, files)
        return frozenset(name for batch in batches for name in batch.column(0).to_pylist())

    def find_all(self, tenant: str, message_ids: Collection[str]) -> dict[str, Event]:
        """Messages by message_id; see `EventView.find_all`."""
        return self.view().find_all(tenant, message_ids)

    def compact(self, *, retention_hours: int = 168) -> int:
        """Join small files; see `DeltaLog.compact`."""
        return self._delta.compact(retention_hours=retention_hours)


def events_to_table(events: Sequence[Event]) -> pa.Table:
    """Rows of `EVENT_SCHEMA`, in the order of the events."""
    columns: list[pa.Array] = []
    for name in _FIELDS:
        values: list[Any] = [getattr(event, name) for event in events]
        if name in _TIMES:
            columns.append(pa.array(values, pa.int64()).cast(_TIME))
        else:
            columns.append(pa.array(values, EVENT_SCHEMA.field(name).type))
    columns.append(day_column(pa.array([event.known_at_us for event in events], pa.int64())))
    columns.append(pa.array([bucket_of(event.tenant) for event in events], pa.int32()))
    return pa.table(columns, schema=EVENT_SCHEMA)


def table_to_events(rows: pa.Table) -> list[Event]:
    """The events of rows of `EVENT_SCHEMA`, a null being the field's default; further columns are passed over."""
    columns: list[list[Any]] = []
    for name in _FIELDS:
        column = rows[_TIMES.get(name, name)]
        values = column.cast(pa.int64()).to_pylist() if name in _TIMES else column.to_pylist()
        default = _DEFAULTS[name]
        if column.null_count and default is not None:
            values = [default if value is None else value for value in values]
        columns.append([tuple(value) for value in values] if name in TUPLES else values)
    return [Event(*row) for row in zip(*columns, strict=True)]


def _guards(tenants: Iterable[str]) -> set[str]:
    return {f"bucket={bucket_of(tenant)}" for tenant in tenants}


def _new_events(events: Sequence[Event], view: EventView) -> list[Event]:
    tenants = {event.tenant for event in events}
    days = day_column(pa.array([event.known_at_us for event in events], pa.int64()))
    received = pa.array([event.received_at_us for event in events], pa.int64())
    columns = ["tenant", "kind", "seq", "message_id"]
    wanted = ds.field("tenant").isin(sorted(tenants))
    messages: set[tuple[str, str]] = set()
    seqs: dict[tuple[str, int], tuple[str, str]] = {}
    for batch in view.read(columns, wanted, within(map(bucket_of, tenants), days, received)):
        for tenant, kind, seq, message_id in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            seqs[tenant, seq] = kind, message_id
            if kind == "message":
                messages.add((tenant, message_id))
    fresh = []
    for event in events:
        if event.kind == "message" and (event.tenant, event.message_id) in messages:
            continue
        held = seqs.get((event.tenant, event.seq))
        if event.kind != "message" and held == (event.kind, event.message_id):
            continue
        if held is not None:
            raise DataError(
                f"Event log: seq {event.seq} of tenant {event.tenant!r} is that of {held[0]} {held[1]}, and was given "
                f"to {event.kind} {event.message_id} as well. Give each event a seq of its own."
            )
        seqs[event.tenant, event.seq] = event.kind, event.message_id
        if event.kind == "message":
            messages.add((event.tenant, event.message_id))
        fresh.append(event)
    return fresh
