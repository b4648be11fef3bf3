"""Mail of the past on its way to whoever numbers its tenant: what a batch of it holds, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mailwarden.domain.mail.events import LabelSource
from mailwarden.domain.mail.facts import SignalFacts

BATCH_ITEMS = 64
"""Of a batch, at most."""

BATCH_BYTES = 1 << 20
"""Of raw mail in a batch, unless one message is larger."""


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """A message that was read. event: JSON as `streams.encode_event` writes it, without what numbering adds.

    The rest is what the spool keeps beside it, see `AcceptedHistory`.
    """

    event: bytes
    raw: bytes
    mail_from: str | None
    rcpt_to: tuple[str, ...]
    reception: str | None


@dataclass(frozen=True, slots=True)
class HistoryLabel:
    """A label. of: its message's event as JSON, or that message's place in the batch. held: what the log holds.

    source, stands_for: see `events.Event`. numbered: the message was numbered before, and the event tells no more of it
    than its id: a label that it does not have waits for the log.
    """

    of: bytes | int
    label: str
    held: str | None
    known_at_us: int
    source: LabelSource = "index"
    stands_for: int = 0
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class HistorySignal:
    """What was found in a message. of, numbered: see `HistoryLabel`."""

    of: bytes | int
    facts: SignalFacts
    known_at_us: int
    numbered: bool = False


HistoryItem = HistoryMessage | HistoryLabel | HistorySignal


@dataclass(frozen=True, slots=True)
class Numbered:
    """What became of an item. seq: 0 where it, or what it is of, was known already.

    campaign, new_recipients: of a message, what numbering added to its event. counts_with: of one that was known, the
    id of the message that it is. waits: a label or signal of a message of the batch that was known, or is a further
    copy: nothing was done about it.
    """

    seq: int
    campaign: str = ""
    new_recipients: tuple[str, ...] = ()
    waits: bool = False
    counts_with: str = ""


class TakesHistory(Protocol):
    """Numbers a tenant's history, beside the mail that it scores."""

    def take(self, tenant: str, items: Sequence[HistoryItem]) -> Sequence[Numbered]:
        """Number a batch, in its order; on disk when it returns. What was known already is not numbered again.

        Raises StoreError where it cannot be done: then none of the batch, or its beginning, was taken.
        """
