"""Fact sets: facts of logged events that were derived anew, in tables beside the event log, which stays as it is.

1. Set 0 is the log itself: every event with its facts as they were when it was accepted.
2. Set N > 0 names, for each tenant that it covers, a table and a seq `through`. Its facts of that tenant are the
   table's rows up to `through`, and the log's rows beyond it. What it does not cover, it has as accepted.
3. A table holds each event of the log up to `through` exactly once, under the same tenant, seq, message_id and times.
   It is written before the set is published, one commit a tenant, and does not change after.
4. `publish` swaps one file: from then on the set is the newest, which `materialize`, training and labels use. Until
   then nobody sees any of it, and after a crash it is gone on with, or given up for a new number.
5. Sets are kept: a vector is recomputed from the set that served it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable

from mailwarden.domain.mail.events import Event
from mailwarden.errors import DataError, NotFound, StoreError
from mailwarden.stores.lake.delta import DeltaLog, Filters, Snapshot, columns_of, rows_of
from mailwarden.stores.lake.event_log import EVENT_SCHEMA, EventLog, EventView

FACT_SCHEMA: pa.Schema = EVENT_SCHEMA.append(pa.field("kept", pa.bool_()))
"""The log's columns; `kept`: the event has its old facts, since its raw mail is gone."""

_SETS, _BEGUN, _WRITTEN = "sets.json", "begun.json", "written.json"


@dataclass(frozen=True, slots=True)
class TenantFacts:
    """What a set has of one tenant.

    table: number of the set that they were derived for. through: the last seq of them. facts_version, fingerprint: of
    the code that derived them. events: how many; kept: those of them that have old facts. trust: fingerprint of what
    the tenant trusted.
    """

    table: int
    through: int
    facts_version: int
    fingerprint: str
    events: int = 0
    kept: int = 0
    trust: str = ""


@dataclass(frozen=True, slots=True)
class FactSet:
    """A published set. made_at_us: when, microseconds UTC. tenants: those that it covers."""

    number: int
    made_at_us: int
    tenants: Mapping[str, TenantFacts] = field(default_factory=dict)

    @property
    def through(self) -> dict[str, int]:
        """By tenant covered, the last seq of which the log's own row is not in the set."""
        return {tenant: facts.through for tenant, facts in self.tenants.items()}


AS_ACCEPTED = FactSet(0, 0, MappingProxyType({}))
"""Set 0: the event log."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A set on its way. tenants: what it shall hold of each that is derived anew."""

    number: int
    tenants: Mapping[str, TenantFacts]


@dataclass(frozen=True, slots=True)
class FactTable:
    """The files of one table, and the tenants of which a set takes its rows."""

    files: tuple[str, ...]
    tenants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FactSnapshot:
    """One set on one version of the log, as plain Parquet; see `Snapshot`.

    log: of it only rows beyond `through` count. All files have the columns of `EVENT_SCHEMA`, or some less.
    """

    number: int
    through: Mapping[str, int]
    log: Snapshot
    tables: tuple[FactTable, ...]


class FactView(EventView):
    """One tenant's events on one version of the log, with a set's facts."""

    def __init__(self, log: DeltaTable | None, tenant: str, table: DeltaTable | None, through: int) -> None:
        super().__init__(log)
        self._tenant, self._facts, self._through = tenant, table, through

    def read(
        self,
        columns: Sequence[str],
        wanted: ds.Expression | None = None,
        files: Filters | None = None,
        *,
        having: str = "seq",
    ) -> Iterator[pa.RecordBatch]:
        """As `EventView.read`, of the tenant alone."""
        own = ds.field("tenant") == self._tenant
        own = own if wanted is None else own & wanted
        if self._facts is not None:
            yield from columns_of(self._facts, EVENT_SCHEMA, columns, own, files, having)
        yield from super().read(columns, own & (ds.field("seq") > self._through), files, having=having)


class FactSets:
    """The sets of one home, in a folder beside its event log."""

    def __init__(self, path: Path, log: EventLog) -> None:
        self.path = path.expanduser().resolve()
        self._log = log
        self._tables: dict[int, DeltaLog] = {}

    def all(self) -> tuple[FactSet, ...]:
        """Every published set, the oldest first; set 0 is in none. Raises DataError where they cannot be read."""
        body = self._read(_SETS)
        return () if body is None else tuple(_set_of(one) for one in body)

    def newest(self) -> FactSet:
        """The set in force: the last one published, set 0 before any."""
        return (AS_ACCEPTED, *self.all())[-1]

    def get(self, number: int) -> FactSet:
        """A set by its number; raises NotFound."""
        for one in (AS_ACCEPTED, *self.all()):
            if one.number == number:
                return one
        raise NotFound(f"there is no fact set {number} in {self.path}; restore the folder, or measure without its rows")

    def snapshot(self, number: int | None = None) -> FactSnapshot:
        """A set, the newest by default, on the newest version of the log. Raises NotFound."""
        chosen = self.newest() if number is None else self.get(number)
        # The set first: what it holds of the log, a later version holds.
        log = self._log.snapshot()
        tables: dict[int, list[str]] = {}
        for tenant, facts in sorted(chosen.tenants.items()):
            tables.setdefault(facts.table, []).append(tenant)
        found = (FactTable(self._table(table).snapshot().files, tuple(names)) for table, names in tables.items())
        return FactSnapshot(chosen.number, chosen.through, log, tuple(found))

    def view(self, tenant: str, number: int | None = None) -> EventView:
        """A tenant's events with the facts of a set, the newest by default. Raises NotFound."""
        facts = (self.newest() if number is None else self.get(number)).tenants.get(tenant)
        return self._log.view() if facts is None else self._over(self._log.view(), tenant, facts)

    def over(self, log: EventView, tenant: str) -> tuple[EventView, int]:
        """A tenant's events of a version of the log with the newest facts, and the number of their table; 0: the log's.

        The version must be as new as the facts are, as one taken now is.
        """
        facts = self.newest().tenants.get(tenant)
        return (log, 0) if facts is None else (self._over(log, tenant, facts), facts.table)

    def current(self, event: Event) -> Event:
        """A message's event with the newest facts; as it is handed in where they are those of the log."""
        facts = self.newest().tenants.get(event.tenant)
        if facts is None or event.seq > facts.through:
            return event
        return self.view(event.tenant).find(event.tenant, event.message_id, event.received_at_us) or event

    def note(self, facts_version: int, fingerprint: str) -> None:
        """Remember that events are logged from now on by code of that version and fingerprint."""
        with self._held("note"):
            noted = self.noted()
            if fingerprint not in noted.get(facts_version, ()):
                noted[facts_version] = (*noted.get(facts_version, ()), fingerprint)
                self._write(_WRITTEN, {str(version): list(prints) for version, prints in noted.items()})

    def noted(self) -> dict[int, tuple[str, ...]]:
        """By facts version, the fingerprints of the code that logged events; more than one ask for a new version."""
        return {int(version): tuple(prints) for version, prints in (self._read(_WRITTEN) or {}).items()}

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the sets for a new one; raises StoreError where another process does."""
        with self._held("write", wait=False):
            yield

    @contextmanager
    def in_force(self) -> Iterator[FactSet]:
        """The set in force, and inside the block it stays so: none is on its way, and none is begun.

        Raises StoreError while facts are derived anew, or a run that derives them was cut off.
        """
        with self._locked("gate", fcntl.LOCK_SH | fcntl.LOCK_NB) as let_in:
            # Whoever comes now would keep a run waiting that waits already.
            pass
        with self._locked("begin", fcntl.LOCK_SH | fcntl.LOCK_NB) as got:
            if not let_in or not got or self.begun() is not None:
                raise StoreError(
                    "facts are being derived anew: let `mailwarden reparse` come to its end, run it again where it was "
                    "cut off, and then try again"
                )
            yield self.newest()

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """Hold off whoever needs the set in force to stay so, and wait for those who hold it; inside `writing`."""
        with self._locked("gate", fcntl.LOCK_EX), self._locked("begin", fcntl.LOCK_EX):
            yield

    def begun(self) -> Begun | None:
        """The set that a run before began and did not publish; inside `writing`."""
        body = self._read(_BEGUN)
        # A crash right behind `publish` leaves the note of what is published.
        if body is None or body["number"] <= self.newest().number:
            return None
        return Begun(body["number"], _tenants_of(body["tenants"]))

    def begin(self, tenants: Mapping[str, TenantFacts]) -> Begun:
        """Begin a set that shall hold that of its tenants; one on its way is given up. Inside `writing`.

        tenants: `table` is filled in here: the number, which was never given before.
        """
        before = self.begun()
        number = max(self.newest().number, 0 if before is None else before.number) + 1
        begun = Begun(number, {name: _numbered(facts, number) for name, facts in tenants.items()})
        self._write(_BEGUN, asdict(begun))
        if before is not None:
            shutil.rmtree(self.path / str(before.number), ignore_errors=True)
            self._tables.pop(before.number, None)
        return begun

    def holds(self, begun: Begun, tenant: str) -> bool:
        """Whether a tenant's rows are written."""
        table = self._table(begun.number).current()
        return table is not None and table.transaction_version(_batch(tenant)[0]) is not None

    def add(self, begun: Begun, tenant: str, rows: Callable[[], Iterable[pa.RecordBatch]]) -> bool:
        """Write a tenant's rows of `FACT_SCHEMA` in one commit; False, asking for none, where they are there.

        rows: must not read a table of the lake while it is gone through.
        """

        def build(_: DeltaTable) -> pa.RecordBatchReader:
            return pa.RecordBatchReader.from_batches(FACT_SCHEMA, rows())

        return self._table(begun.number).append(build, guards=[f"tenant={tenant}"], batch_id=_batch(tenant))

    def publish(self, begun: Begun, made_at_us: int) -> FactSet:
        """Make a set that was wholly written the newest; tenants that it does not derive stay as in the one before.

        Raises DataError where its tables do not hold every event exactly once.
        """
        table = self._table(begun.number)
        table.compact(retention_hours=0)
        events, kept = _counts(table.current())
        derived = {}
        for tenant, facts in begun.tenants.items():
            logged = self._log.view().count(tenant, facts.through)
            if logged != events[tenant]:
                raise DataError(
                    f"fact set {begun.number} holds {events[tenant]} events of tenant {tenant!r}, and the log {logged} "
                    f"up to seq {facts.through}; it is not published. Run `mailwarden reparse --again`"
                )
            counted = {**asdict(facts), "events": events[tenant], "kept": kept[tenant]}
            derived[tenant] = TenantFacts(**counted)
        sets = self.all()
        before = sets[-1].tenants if sets else {}
        made = FactSet(begun.number, made_at_us, {**before, **derived})
        self._write(_SETS, [asdict(one) for one in (*sets, made)])
        (self.path / _BEGUN).unlink()
        return made

    def _over(self, log: EventView, tenant: str, facts: TenantFacts) -> EventView:
        return FactView(log.table, tenant, self._table(facts.table).current(), facts.through)

    def _table(self, number: int) -> DeltaLog:
        if number not in self._tables:
            self._tables[number] = DeltaLog(
                self.path / str(number),
                FACT_SCHEMA,
                configuration={"delta.dataSkippingStatsColumns": "tenant,seq,received_at,known_at"},
            )
        return self._tables[number]

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            raise DataError(f"{self.path / name} cannot be read ({exc}); restore it from a copy") from exc

    def _write(self, name: str, body: Any) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        temporary = self.path / f"{name}.new"
        with temporary.open("w") as out:
            json.dump(body, out)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(self.path / name)
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _held(self, what: str, *, wait: bool = True) -> Iterator[None]:
        with self._locked(what, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)) as got:
            if not got:
                raise StoreError(f"{self.path} is being written by another `mailwarden reparse`; wait for it")
            yield

    @contextmanager
    def _locked(self, what: str, how: int) -> Iterator[bool]:
        """Hold a lock; False where another process holds it and it is not to be waited for."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / f".{what}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, how)
                got = True
            except BlockingIOError:
                got = False
            yield got


def _batch(tenant: str) -> tuple[str, int]:
    return f"tenant={tenant}", 1


def _numbered(facts: TenantFacts, number: int) -> TenantFacts:
    return TenantFacts(**{**asdict(facts), "table": number})


def _tenants_of(body: Mapping[str, Any]) -> dict[str, TenantFacts]:
    return {name: TenantFacts(**facts) for name, facts in body.items()}


def _set_of(body: Mapping[str, Any]) -> FactSet:
    return FactSet(body["number"], body["made_at_us"], _tenants_of(body["tenants"]))


def _counts(table: DeltaTable | None) -> tuple[Counter[str], Counter[str]]:
    """By tenant, all rows of a table and those that were kept."""
    events, kept = Counter[str](), Counter[str]()
    if table is not None:
        for batch in rows_of(table).scanner(columns=["tenant", "kept"]).to_batches():
            events.update(batch.column(0).to_pylist())
            kept.update(batch.filter(batch["kept"]).column(0).to_pylist())
    return events, kept
