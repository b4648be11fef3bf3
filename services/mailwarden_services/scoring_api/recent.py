"""What was accepted lately: messages by id and key, and how far writers should have come by now."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mailwarden.domain.mail.events import Event

RECENT_MESSAGES = 200_000
"""How many accepted messages are kept in memory, so that a repeat or a label finds them before the log has them."""


@dataclass(slots=True)
class Recent:
    """An accepted message: its event, its answer, and None once it is on disk."""

    event: Event
    answer: Mapping[str, Any]
    idempotency_key: str | None
    on_disk: asyncio.Future[int] | None


class RecentMessages:
    """The newest accepted messages by id and by idempotency key; the oldest are forgotten first."""

    def __init__(self, limit: int = RECENT_MESSAGES) -> None:
        self._limit = limit
        self._by_id: OrderedDict[tuple[str, str], Recent] = OrderedDict()
        self._by_key: dict[tuple[str, str], Recent] = {}
        self._by_content: dict[tuple[str, str], Recent] = {}

    def add(self, recent: Recent) -> None:
        """Remember an accepted message."""
        tenant = recent.event.tenant
        self._by_id[tenant, recent.event.message_id] = recent
        self._by_content[tenant, recent.event.content_sha256] = recent
        if recent.idempotency_key is not None:
            self._by_key[tenant, recent.idempotency_key] = recent
        while len(self._by_id) > self._limit:
            _, oldest = self._by_id.popitem(last=False)
            self._drop_content(oldest)
            if oldest.idempotency_key is not None:
                self._by_key.pop((oldest.event.tenant, oldest.idempotency_key), None)

    def forget(self, recent: Recent) -> None:
        """Take back a message that did not reach the disk."""
        self._by_id.pop((recent.event.tenant, recent.event.message_id), None)
        self._drop_content(recent)
        if recent.idempotency_key is not None:
            self._by_key.pop((recent.event.tenant, recent.idempotency_key), None)

    def find(self, tenant: str, message_id: str) -> Recent | None:
        """The message of that id."""
        return self._by_id.get((tenant, message_id))

    def find_content(self, tenant: str, content_sha256: str) -> Recent | None:
        """The newest message of that content."""
        return self._by_content.get((tenant, content_sha256))

    def _drop_content(self, recent: Recent) -> None:
        key = recent.event.tenant, recent.event.content_sha256
        if self._by_content.get(key) is recent:
            del self._by_content[key]

    def events_of(self, tenant: str) -> list[Event]:
        """The events of a tenant's messages."""
        return [recent.event for (name, _), recent in self._by_id.items() if name == tenant]

    def find_key(self, tenant: str, key: str) -> Recent | None:
        """The message that was handed over under that idempotency key."""
        return self._by_key.get((tenant, key))


class DueSeq:
    """By tenant, the newest seq accepted longer ago than the lag that is allowed, within a tenth of that lag."""

    def __init__(self, lag_seconds: float) -> None:
        self._lag = lag_seconds
        self._marks: dict[str, deque[tuple[float, int]]] = {}

    def accepted(self, tenant: str, seq: int) -> None:
        """Take note that a seq was accepted now, by the process's monotonic clock."""
        marks = self._marks.setdefault(tenant, deque())
        now = time.monotonic()
        if not marks or now - marks[-1][0] >= self._lag / 10:
            marks.append((now, seq))

    def seq(self, tenant: str) -> int:
        """The seq that writers should have folded by now; 0 for none."""
        marks = self._marks.get(tenant)
        if not marks:
            return 0
        limit = time.monotonic() - self._lag
        while len(marks) > 1 and marks[1][0] <= limit:
            marks.popleft()
        return marks[0][1] if marks[0][0] <= limit else 0
