"""What was numbered lately beside messages: labels, signals, tombstones, and which messages are further copies."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from mailwarden.domain.mail.events import SIGNALS, Event
from mailwarden.stores.accepted import Accepted, AcceptedLabel, AcceptedSignal, AcceptedTombstone

REMEMBERED = 200_000
"""So many of each kind are kept in memory, so that the same one is known before the log has it."""

_K = TypeVar("_K")
_V = TypeVar("_V")


class Newest(Generic[_K, _V]):
    """A mapping that holds its newest entries alone. most: how many."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._kept: OrderedDict[_K, _V] = OrderedDict()

    def __contains__(self, key: _K) -> bool:
        return key in self._kept

    def get(self, key: _K) -> _V | None:
        """What is held under a key."""
        return self._kept.get(key)

    def keep(self, key: _K, value: _V) -> None:
        """Hold a value; one that was held under that key is replaced, in its place."""
        self._kept[key] = value
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def drop(self, key: _K) -> None:
        """Hold nothing under a key."""
        self._kept.pop(key, None)


class Copies:
    """Further copies of messages, the newest of all. most: how many."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._first: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._of: dict[tuple[str, str], dict[str, int]] = {}

    def keep(self, tenant: str, first: str, message_id: str, seq: int) -> None:
        """Hold a copy of a message, with its seq."""
        self._first[tenant, message_id] = first
        self._of.setdefault((tenant, first), {})[message_id] = seq
        while len(self._first) > self._most:
            self.drop(*next(iter(self._first)))

    def drop(self, tenant: str, message_id: str) -> None:
        """Hold a copy no more."""
        first = self._first.pop((tenant, message_id), None)
        if first is not None:
            held = self._of[tenant, first]
            del held[message_id]
            if not held:
                del self._of[tenant, first]

    def of(self, tenant: str, message_id: str) -> dict[str, int]:
        """The copies of a message, with their seqs."""
        return self._of.get((tenant, message_id), {}).copy()


class Told:
    """What was said of a shard's messages lately. Written by the thread that numbers and read by others.

    labels: by tenant and message. signals, tombstones: with the signal, "" for the tombstone of a message.
    """

    def __init__(self) -> None:
        self.labels: Newest[tuple[str, str], str] = Newest()
        self.signals: Newest[tuple[str, str, str], None] = Newest()
        self.tombstones: Newest[tuple[str, str, str], None] = Newest()
        self.copies = Copies()

    def restore(self, record: Accepted) -> None:
        """Take in a record that the spool still held."""
        event = record.event
        if isinstance(record, AcceptedLabel):
            self.labels.keep((event.tenant, event.message_id), event.label)
        elif isinstance(record, AcceptedSignal):
            self.signals.keep((event.tenant, event.message_id, event.signal), None)
        elif isinstance(record, AcceptedTombstone):
            self.tombstones.keep((event.tenant, event.message_id, event.signal), None)
        else:
            self.add_message(event)

    def add_message(self, event: Event) -> None:
        """Take in a message that got its seq."""
        if event.copy_of:
            self.copies.keep(event.tenant, event.copy_of, event.message_id, event.seq)

    def forget_message(self, event: Event) -> None:
        """Take back a message that reached no disk."""
        if event.copy_of:
            self.copies.drop(event.tenant, event.message_id)

    def is_forgotten(self, tenant: str, message_id: str) -> bool:
        """Whether a message was taken out of the counts lately."""
        return (tenant, message_id, "") in self.tombstones

    def signals_of(self, tenant: str, message_id: str) -> tuple[str, ...]:
        """The signals of a message that were numbered lately."""
        return tuple(signal for signal in SIGNALS if (tenant, message_id, signal) in self.signals)
