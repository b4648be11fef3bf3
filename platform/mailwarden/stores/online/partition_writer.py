"""Writers of partitions: from their streams into every live generation of the states."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import structlog

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.mail.events import Event
from mailwarden.errors import StoreError
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.online.catalog import Catalog
from mailwarden.stores.online.catch_up import REPAIR_LIMIT, CatchUp, Joining
from mailwarden.stores.online.client import Client
from mailwarden.stores.online.keys import catalog_field
from mailwarden.stores.online.leases import LEASE_MS, Leases
from mailwarden.stores.online.streams import START, Entry, Streams, decode_event
from mailwarden.stores.online.writer import OnlineWriter

log = structlog.get_logger(__name__)

FOLD_LIMIT = 500
"""Entries of a stream folded in one go: enough to make a backlog cheap, few enough that a fresh one does not wait."""

PENDING_SECONDS = 0.5
"""How often the catalog is asked for new generations where no mail comes."""

STARVED_SECONDS = 10.0
"""How long streams wait for the event log so that a generation can be caught up; then mail goes first for a while."""

_Position = tuple[int, int]


class PartitionWriters:
    """The writers of some partitions, in one loop: call `step` again and again.

    Each partition is served under its lease. Its stream is read from the beginning after every start, loss of a
    lease or failure of a store, and what is there is folded once more where Redis may have lost it; states take
    nothing twice, and the marks move only behind the states.

    partitions: all by default. take_over: take the leases from whoever holds them at the start, as the newest writer
    shall; otherwise only those that are free. waits: in words, what keeps a generation from serving, or a
    tombstone from being folded: what stands behind one in its stream waits until the log holds all before it.
    """

    def __init__(
        self,
        client: Client,
        project: str,
        views: Sequence[ActivityView],
        online: OnlineWriter,
        events: EventLog,
        *,
        partitions: Sequence[int] | None = None,
        take_over: bool = True,
        lease_ms: int = LEASE_MS,
        limit: int = REPAIR_LIMIT,
    ) -> None:
        number = online.generations.partitions
        self.streams = Streams(client, project, number)
        self.limit = limit
        self._online, self._events = online, events
        self._wanted = tuple(range(number)) if partitions is None else tuple(partitions)
        self._leases, self._by_force = Leases(client, project, ttl_ms=lease_ms), take_over
        self.write_log: Callable[[], None] = lambda: None
        """Called where the event log must be written before a new generation can be caught up, or keys be rebuilt."""
        self._views = tuple(views)
        self._read: dict[int, bytes] = {}
        self._at: dict[int, bytes] = {}
        self._renewed = self._asked = self._starved_since = self._fed_until = float("-inf")
        self._catch_up: CatchUp | None = None
        self._unlogged = ""

    @property
    def held(self) -> tuple[int, ...]:
        """Partitions served now."""
        return tuple(sorted(self._read))

    @property
    def waits(self) -> tuple[str, ...]:
        """What keeps a generation from serving, or a stream from being folded, each a sentence."""
        unlogged = (self._unlogged,) if self._unlogged else ()
        if self._catch_up is None:
            return unlogged
        if self._catch_up.starved:
            return (
                *unlogged,
                "new states wait for events that are folded and not yet in the event log; look at the process that "
                "writes it",
            )
        return (*unlogged, *(self._catch_up.waits[tenant] for tenant in sorted(self._catch_up.waits)))

    def step(self) -> int:
        """Fold what the streams hold now; how many entries that were new, and chunks of the log.

        Raises StoreError where a store is away; then every stream is read from its beginning again.
        """
        try:
            self._keep_leases()
            work = self._look_for_generations()
            return work + (self._fold() if self._read else 0)
        except StoreError:
            self._lose(self.held)
            raise

    def close(self) -> None:
        """Let go of the leases; what was not folded is folded by the next writer."""
        held = self.held
        self._lose(held)
        self._leases.release(held)

    def _lose(self, partitions: Sequence[int]) -> None:
        if not partitions:
            return
        for partition in partitions:
            self._read.pop(partition, None)
            self._at.pop(partition, None)
        self._renewed = float("-inf")
        self._catch_up = None

    def _keep_leases(self) -> None:
        now = time.monotonic()
        if now - self._renewed < self._leases.ttl_ms / 3000:
            return
        if self._read:
            kept = self._settle({p: (self._at[p], []) for p in self.held})
            self._lose([p for p in self.held if p not in kept])
        missing = [p for p in self._wanted if p not in self._read]
        if missing:
            self._online.generations.register_empty()
            gained = sorted((self._leases.take if self._by_force else self._leases.hold)(missing))
            self._by_force = False
            if gained:
                self._at.update(self.streams.at(gained))
                self._read.update(dict.fromkeys(gained, START))
                self._asked, self._catch_up = float("-inf"), None
                log.info("partitions are served", partitions=gained)
        self._renewed = now

    def _look_for_generations(self) -> int:
        now = time.monotonic()
        if self._catch_up is None and now - self._asked < PENDING_SECONDS:
            return 0
        self._asked = now
        self._plan(self._online.generations.catalog())
        if self._catch_up is None:
            return 0
        did = self._catch_up.step(self._leases.token)
        if not self._catch_up.starved:
            self._starved_since = now
        elif now >= self._fed_until:
            self.write_log()
            if now - self._starved_since > STARVED_SECONDS:
                self._fed_until = self._starved_since = now + 6 * STARVED_SECONDS
        return int(did)

    def _plan(self, catalog: Catalog) -> None:
        partitions: dict[tuple[str, int], list[int]] = defaultdict(list)
        found = {}
        for partition in self.held:
            for pending in self._online.generations.pending(partition, catalog):
                name = catalog_field(pending.view), pending.generation
                partitions[name].append(partition)
                found[name] = pending
        joining = tuple(Joining(pending, tuple(partitions[name])) for name, pending in found.items())
        if not joining:
            self._catch_up = None
        elif self._catch_up is None or self._catch_up.joining != joining:
            self._catch_up = CatchUp(self._online, self.streams, self._events, joining, self.limit)

    def _fold(self) -> int:
        starved = self._catch_up is not None and self._catch_up.starved and time.monotonic() >= self._fed_until
        if starved:
            return 0
        batches = self._logged(self.streams.read(self._read, FOLD_LIMIT))
        if not batches:
            return 0
        # Read after the lease was got and after what this writer caught up itself: see `generations`.
        catalog = self._online.generations.catalog()
        if any(catalog_field(view) not in catalog.entries for view in self._views):
            # Redis was emptied: marks must not move for views that nobody folds.
            self._lose(self.held)
            return 0
        for partitions, events in _folds(batches, self._at):
            if events:
                self._online.fold(events, partitions, catalog)
        news = {p: [e for e in entries if _place(e.id) > _place(self._at[p])] for p, entries in batches.items()}
        kept = self._settle({p: (entries[-1].id if entries else self._at[p], entries) for p, entries in news.items()})
        for p in kept:
            self._read[p] = batches[p][-1].id
            if news[p]:
                self._at[p] = news[p][-1].id
        self._lose([p for p in batches if p not in kept])
        return sum(len(news[p]) for p in kept)

    def _logged(self, batches: Mapping[int, list[Entry]]) -> dict[int, list[Entry]]:
        """The entries before the first tombstone that the event log does not hold yet, by partition where there are."""
        held: dict[tuple[str, int], bool] = {}
        ready = {}
        self._unlogged = ""
        for partition, entries in batches.items():
            end = len(entries)
            for place, entry in enumerate(entries):
                if not entry.is_tombstone:
                    continue
                name = entry.tenant, entry.seq
                if name not in held:
                    held[name] = self._events.last_seq(entry.tenant) >= entry.seq
                if not held[name]:
                    end = place
                    self._unlogged = (
                        f"seq {entry.seq} of tenant {entry.tenant} takes a message out of the counts and waits for "
                        "the event log; look at the process that writes it"
                    )
                    break
            if end:
                ready[partition] = entries[:end]
        if self._unlogged:
            self.write_log()
        return ready

    def _settle(self, folded: Mapping[int, tuple[bytes, Sequence[Entry]]]) -> set[int]:
        return self.streams.settle(
            {p: (self._at[p], now, entries) for p, (now, entries) in folded.items()},
            token=self._leases.token,
            lease_ms=self._leases.ttl_ms,
        )


def _folds(
    batches: Mapping[int, Sequence[Entry]], at: Mapping[int, bytes]
) -> list[tuple[tuple[int, ...], list[Event]]]:
    """What to fold together: partitions whose batches end alike may share one fold, which a common batch makes cheap.

    A partition that has read less than another must not be handed what the other read beyond it. at: by partition the
    last entry that was folded; one up to there that cannot be read any more is passed over, a later one raises
    StoreError.
    """
    alike: dict[frozenset[tuple[str, int]], list[int]] = defaultdict(list)
    for partition, entries in batches.items():
        alike[frozenset({entry.tenant: entry.seq for entry in entries}.items())].append(partition)
    folds = []
    for partitions in alike.values():
        events: dict[tuple[str, int], Event] = {}
        for p in partitions:
            for entry in batches[p]:
                if entry.payload and (entry.tenant, entry.seq) not in events:
                    event = _event(p, entry, folded=_place(entry.id) <= _place(at[p]))
                    if event is not None:
                        events[entry.tenant, entry.seq] = event
        folds.append((tuple(partitions), list(events.values())))
    return folds


def _event(partition: int, entry: Entry, *, folded: bool) -> Event | None:
    try:
        return decode_event(entry.payload)
    except StoreError as exc:
        if folded:
            log.warning("an entry that was folded cannot be read again", partition=partition, entry=entry.id.decode())
            return None
        raise StoreError(
            f"entry {entry.id.decode()} of stream {partition} (tenant {entry.tenant}, seq {entry.seq}) cannot be read: "
            f"{exc}; or empty this Redis and run `mailwarden materialize`"
        ) from exc


def _place(name: bytes) -> _Position:
    ms, _, n = name.partition(b"-")
    return int(ms), int(n)
