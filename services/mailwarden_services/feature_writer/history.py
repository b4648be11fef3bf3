"""Whether the online store holds all that a tenant's log holds, and what to do where it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from mailwarden.domain.events import Event
from mailwarden.stores.event_log import EventLog
from mailwarden.stores.online.writer import OnlineWriter

log = structlog.get_logger(__name__)

REPAIR_LIMIT = 200_000
"""Events that are folded one after another; what lacks more than that is faster and exact by `materialize`."""

FOLD_LIMIT = 500
"""Events folded in one go: enough to make a backlog cheap, few enough that a fresh one does not wait long."""


class History:
    """Keeps newer events from being folded onto a gap.

    Events are folded before they are logged, so that a watermark behind the log's last seq is a gap, however it came
    about: a bulk ingest, a crash that cost Redis its newest writes, a Redis emptied or exchanged. A gap of at most
    `limit` events is folded from the log; beyond a larger one the tenant waits for `mailwarden materialize`.

    waits: by tenant, in words, what it waits for. in_hand: a tenant's events that were taken from the spool but may
    not be in the log yet, in order of seq. go_on, tell: asked and called now and then while a gap is filled.
    """

    def __init__(
        self,
        online: OnlineWriter,
        events: EventLog,
        in_hand: Callable[[str], Sequence[Event]],
        *,
        go_on: Callable[[], bool],
        tell: Callable[[], None],
        limit: int = REPAIR_LIMIT,
    ) -> None:
        self._online, self._events, self._in_hand, self._go_on = online, events, in_hand, go_on
        self._tell = tell
        self.limit = limit
        self._folded: dict[str, int] = {}
        self._stuck_at: dict[str, int] = {}
        self.waits: dict[str, str] = {}

    @property
    def tenants(self) -> list[str]:
        """Every tenant that was asked about."""
        return sorted({*self._folded, *self._stuck_at})

    def whole(self, tenants: Sequence[str]) -> set[str]:
        """Those of the tenants whose newer events may be folded, after filling the gaps that can be filled.

        One round trip where nothing is missing. Raises StoreError where a store is away.
        """
        if not tenants:
            return set()
        ready = set()
        for tenant, mark in zip(tenants, self._online.watermarks(tenants), strict=True):
            seq = 0 if mark is None else mark.seq
            if seq >= self._folded.get(tenant, seq + 1) or (
                self._stuck_at.get(tenant) != seq and self._fill(tenant, seq)
            ):
                ready.add(tenant)
        return ready

    def folded(self, events: Sequence[Event]) -> None:
        """Remember what the online store has folded now."""
        for event in events:
            self._folded[event.tenant] = max(event.seq, self._folded.get(event.tenant, 0))

    def _fill(self, tenant: str, seq: int) -> bool:
        """Fold what the log and the writer's hands hold beyond a seq; False where that is too much."""
        self._folded.pop(tenant, None)
        last = self._events.last_seq(tenant)
        missing = last - seq
        if missing > self.limit:
            self._stuck_at[tenant] = seq
            self.waits[tenant] = (
                f"the online store lacks {missing:,} events of tenant {tenant} (folded up to {seq}, logged up to "
                f"{last}); run `mailwarden materialize`; until then its newer events are logged but not folded"
            )
            log.error(self.waits[tenant], tenant=tenant, missing=missing)
            return False
        if missing > 0:
            log.warning("folding what the online store lacks from the log", tenant=tenant, missing=missing, folded=seq)
            self.waits[tenant] = (
                f"the online store lacks events of tenant {tenant} and is brought forward from the log: {missing:,} "
                f"from seq {seq + 1} on"
            )
            for chunk in self._events.after(tenant, seq):
                for start in range(0, len(chunk), FOLD_LIMIT):
                    if not self._go_on():
                        return False
                    self._tell()
                    self._online.fold(chunk[start : start + FOLD_LIMIT])
            log.info("the online store is whole again", tenant=tenant, folded=last)
        in_hand = self._in_hand(tenant)
        for start in range(0, len(in_hand), FOLD_LIMIT):
            self._online.fold(in_hand[start : start + FOLD_LIMIT])
        self._stuck_at.pop(tenant, None)
        self.waits.pop(tenant, None)
        self._folded[tenant] = max([seq, last, *(event.seq for event in in_hand)])
        return True
