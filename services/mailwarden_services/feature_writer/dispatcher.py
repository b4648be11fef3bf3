"""From the spool into the streams of Redis, each event to every partition that one of its keys lies in.

Steps, for one tenant:

1. It begins unknown (`sent` is None): what its streams hold is asked of Redis, and what they lack is filled in, by 4.
2. `send` takes what the spool brings. Where `sent` is known and an event follows on the one before it, it goes out at
   once: to each partition a portion "after seq x: these entries", which Redis appends only if x is what it has.
3. Where an event does not follow, or Redis has another x (it lost its newest writes, was emptied, mail was ingested in
   bulk, another process sends too; `look` asks from time to time), the tenant is unknown again, and 2 sends nothing.
4. `step` fills the gap: from the lowest x of any partition on, first from the event log, a chunk at a time, then from
   what is in hand (taken from the spool, not logged yet). When neither has more, `sent` is known: back to 2.
5. A gap of more than `limit` events waits for `mailwarden materialize`, and says so in `waits`.

Invariants:

- A stream holds a tenant's events of its partition in order of seq and without a gap. So step 4 starts at the lowest x
  and each portion leaves out what its partition has.
- What was sent stands in Redis and nowhere else: `sent` is a guess that Redis checks with each portion, so that a
  process may die at any moment, and two may run.
- Each portion ends with the tenant's newest seq, as an entry without payload where the partition has no key of that
  event: marks of quiet partitions follow too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from mailwarden.domain.mail.events import Event
from mailwarden.errors import StoreError
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.online.catch_up import REPAIR_LIMIT
from mailwarden.stores.online.streams import FULL, Portion, Routes, Streams, encode_event

log = structlog.get_logger(__name__)

CHUNK = 500
"""Events of a gap that are sent in one go."""


@dataclass(slots=True)
class _Tenant:
    """What is known of one tenant's streams.

    sent: by partition the last seq sent, None where Redis has to be asked and a gap may have to be filled. last: the
    newest seq seen in the spool. missing: reads on through the event log while a gap is filled. stuck_at: the seq up to
    which all was sent and beyond which too much lacks. part: events of the gap that were read and not sent yet.
    """

    sent: list[int] | None = None
    last: int = 0
    missing: Iterator[list[Event]] | None = None
    stuck_at: int | None = None
    part: list[Event] = field(default_factory=list)


class Dispatcher:
    """Hands each event into the streams once, in order of seq, without a gap; the steps are the module's.

    in_hand: a tenant's events that were taken from the spool but may not be in the log yet, in order of seq; what was
    handed to `send` must be among them, or in the log, until it was sent. waits: by tenant, in words, what it waits
    for. full: a stream holds all it may; it is tried again.
    """

    def __init__(
        self,
        streams: Streams,
        routes: Routes,
        events: EventLog,
        in_hand: Callable[[str], Sequence[Event]],
        *,
        limit: int = REPAIR_LIMIT,
        full: int = FULL,
    ) -> None:
        self._streams, self._routes, self._events, self._in_hand = streams, routes, events, in_hand
        self._tenants: dict[str, _Tenant] = {}
        self.limit, self._most = limit, full
        self.waits: dict[str, str] = {}
        self.full = False

    @property
    def behind(self) -> bool:
        """Whether some tenant's events are still to be sent."""
        return any(tenant.sent is None and tenant.stuck_at is None for tenant in self._tenants.values())

    def send(self, events: Sequence[Event]) -> None:
        """Send what the spool brought, in its order; what cannot be sent now is sent by `step`.

        Raises StoreError where Redis is away.
        """
        ready: dict[str, list[Event]] = {}
        for event in events:
            tenant = self._tenants.setdefault(event.tenant, _Tenant())
            if tenant.sent is not None and event.seq not in (tenant.last, tenant.last + 1):
                # Mail that came another way lies between.
                tenant.sent = None
            tenant.last = max(event.seq, tenant.last)
            ready.setdefault(event.tenant, []).append(event)
        self._put({name: own for name, own in ready.items() if self._tenants[name].sent is not None})

    def step(self) -> bool:
        """Send a chunk of what some tenant lacks; False where nothing lacks, or nothing could be sent.

        Raises StoreError where a store is away.
        """
        sent = False
        for name, tenant in self._tenants.items():
            if tenant.sent is None:
                sent |= self._fill(name, tenant)
        return sent

    def look(self, tenants: Sequence[str]) -> None:
        """Compare what Redis says was sent with what is known here; tenants: to be looked after from now on as well."""
        for name in tenants:
            self._tenants.setdefault(name, _Tenant())
        names = list(self._tenants)
        for name, sent in zip(names, self._streams.sent(names) if names else (), strict=True):
            tenant = self._tenants[name]
            if tenant.sent is not None and tenant.sent != sent:
                self._forget(tenant)
            if tenant.stuck_at is not None and tenant.stuck_at != min(sent):
                tenant.stuck_at = None

    def _fill(self, name: str, tenant: _Tenant) -> bool:
        if tenant.stuck_at is not None:
            return False
        (sent,) = self._streams.sent([name])
        low = min(sent)
        if not tenant.part:
            if tenant.missing is None and not self._begin(name, tenant, low):
                return False
            assert tenant.missing is not None
            tenant.part = next(tenant.missing, [])
        if not tenant.part:
            tenant.missing = None
            if self._events.last_seq(name) > low:
                # More was logged since, or another writer sends as well.
                return True
            tenant.part = [event for event in self._in_hand(name) if event.seq > low]
            if not tenant.part:
                tenant.sent = sent
                self.waits.pop(name, None)
                return False
        tenant.sent = sent
        chunk, tenant.part = tenant.part[:CHUNK], tenant.part[CHUNK:]
        whole = self._put({name: chunk})
        # Not known until the log and the hands have nothing more.
        tenant.sent = None
        if not whole:
            self._forget(tenant)
        return whole

    def _begin(self, name: str, tenant: _Tenant, low: int) -> bool:
        last = self._events.last_seq(name)
        if last - low > self.limit:
            tenant.stuck_at = low
            self.waits[name] = (
                f"the online store lacks {last - low:,} events of tenant {name} (handed over up to {low}, logged up "
                f"to {last}); run `mailwarden materialize`; until then its newer events are logged but not folded"
            )
            log.error(self.waits[name], tenant=name, missing=last - low)
            return False
        if last > low:
            self.waits[name] = (
                f"the online store lacks events of tenant {name} and is brought forward from the log: {last - low:,} "
                f"from seq {low + 1} on"
            )
            log.warning("sending what the streams lack from the log", tenant=name, missing=last - low, sent=low)
            tenant.missing = self._events.after(name, low)
        else:
            tenant.missing = iter(())
        return True

    def _put(self, by_tenant: dict[str, list[Event]]) -> bool:
        """Send tenants' next events to their partitions; whether all are sent. Others become unknown."""
        if not by_tenant:
            return True
        parts: dict[int, list[Portion]] = defaultdict(list)
        names: dict[int, list[str]] = defaultdict(list)
        for name, events in by_tenant.items():
            tenant = self._tenants[name]
            assert tenant.sent is not None
            try:
                routed = [(event, self._routes.of(event), encode_event(event)) for event in events]
            except StoreError:
                self._forget(tenant)
                raise
            last = events[-1]
            for partition, sent in enumerate(tenant.sent):
                entries = [
                    (event.seq, event.known_at_us, payload)
                    for event, partitions, payload in routed
                    if partition in partitions and event.seq > sent
                ]
                if last.seq > max(sent, entries[-1][0] if entries else 0):
                    # Without a key of the partition, but what is folded there must be known to reach up to it.
                    entries.append((last.seq, max(event.known_at_us for event in events), b""))
                if entries:
                    parts[partition].append(Portion(name, sent, entries))
                    names[partition].append(name)
        if not parts:
            return True
        try:
            outcomes = self._streams.send(parts, full=self._most)
        except StoreError:
            for name in by_tenant:
                self._forget(self._tenants[name])
            raise
        whole, self.full = True, False
        for partition, results in outcomes.items():
            for name, result in zip(names[partition], results, strict=True):
                tenant = self._tenants[name]
                if result.outcome == "appended":
                    if tenant.sent is not None:
                        tenant.sent[partition] = result.sent
                    continue
                self.full |= result.outcome == "full"
                self._forget(tenant)
                whole = False
        return whole

    @staticmethod
    def _forget(tenant: _Tenant) -> None:
        tenant.sent, tenant.missing, tenant.part = None, None, []
