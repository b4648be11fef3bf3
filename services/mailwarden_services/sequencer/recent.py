"""What was accepted lately: messages by id and key, and how far writers should have come by now."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from threading import Lock

from mailwarden.domain.mail.events import Event
from mailwarden.stores.content_index import QUEUED_WITHIN_US, SHARED_WITHIN_US, Content
from mailwarden.stores.online.streams import decode_event

RECENT_BYTES = 128 << 20
"""Of accepted messages that are kept in memory, so that a repeat or a label finds them before the log has them."""

_OVERHEAD = 600
"""Bytes that an entry takes beside its event and its answer."""


@dataclass(slots=True)
class Recent:
    """An accepted message: its event and its answer as JSON, and whether it is on disk. content: its content key, else
    its hash. handed_for: whom a further copy was handed over for, who may have had the message."""

    tenant: str
    message_id: str
    seq: int
    event_json: bytes
    answer: bytes
    content: str
    idempotency_key: str | None
    on_disk: bool = False
    handed_for: tuple[str, ...] = ()

    @property
    def event(self) -> Event:
        """The event."""
        return decode_event(self.event_json)

    def has(self, content: Content) -> bool:
        """Whether a message of that content is this one, for no other recipients, handed over again soon enough."""
        return self._has(content, ())

    def is_handed_again(self, content: Content) -> bool:
        """`has` for what comes under the same idempotency key: for no others than it was handed over for."""
        return self._has(content, self.handed_for)

    def _has(self, content: Content, also_for: tuple[str, ...]) -> bool:
        if self.content != content.key:
            return False
        event = self.event
        if not set(content.recipients) <= {*event.recipients, *also_for}:
            return False
        apart_us = abs(content.received_at_us - event.received_at_us)
        if content.queue_id and content.queue_id == event.queue_id:
            return apart_us <= QUEUED_WITHIN_US
        return bool(content.recipients) and apart_us <= SHARED_WITHIN_US

    @property
    def size(self) -> int:
        """Bytes that it takes, roughly."""
        return len(self.event_json) + len(self.answer) + sum(map(len, self.handed_for)) + _OVERHEAD


class RecentMessages:
    """The newest accepted messages by id and by idempotency key; the oldest are forgotten first, whatever their size.

    Written by the thread that numbers and read by others.
    """

    def __init__(self, limit: int = RECENT_BYTES) -> None:
        self._limit = limit
        self._size = 0
        self._lock = Lock()
        self._by_id: OrderedDict[tuple[str, str], Recent] = OrderedDict()
        self._by_key: dict[tuple[str, str], Recent] = {}
        self._by_content: dict[tuple[str, str], Recent] = {}

    def add(self, recent: Recent) -> None:
        """Remember an accepted message."""
        with self._lock:
            self._drop(self._by_id.pop((recent.tenant, recent.message_id), None))
            self._by_id[recent.tenant, recent.message_id] = recent
            self._by_content[recent.tenant, recent.content] = recent
            self._size += recent.size
            if recent.idempotency_key is not None:
                self._by_key[recent.tenant, recent.idempotency_key] = recent
            while self._size > self._limit and len(self._by_id) > 1:
                self._drop(self._by_id.popitem(last=False)[1])

    def forget(self, recent: Recent) -> None:
        """Take back a message that did not reach the disk."""
        with self._lock:
            if self._by_id.get((recent.tenant, recent.message_id)) is recent:
                self._drop(self._by_id.pop((recent.tenant, recent.message_id)))

    def find(self, tenant: str, message_id: str) -> Recent | None:
        """The message of that id."""
        return self._by_id.get((tenant, message_id))

    def find_key(self, tenant: str, key: str) -> Recent | None:
        """The message that was handed over under that idempotency key."""
        return self._by_key.get((tenant, key))

    def find_content(self, tenant: str, content: str) -> Recent | None:
        """The newest message of that content, by its content key, else its hash."""
        return self._by_content.get((tenant, content))

    def of(self, tenant: str) -> list[Recent]:
        """A tenant's messages."""
        with self._lock:
            return [recent for (name, _), recent in self._by_id.items() if name == tenant]

    def _drop(self, recent: Recent | None) -> None:
        if recent is None:
            return
        self._size -= recent.size
        if self._by_content.get((recent.tenant, recent.content)) is recent:
            del self._by_content[recent.tenant, recent.content]
        key = recent.idempotency_key
        if key is not None and self._by_key.get((recent.tenant, key)) is recent:
            del self._by_key[recent.tenant, key]


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
