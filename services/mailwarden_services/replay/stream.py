"""Mail through HTTP in order of arrival: each message scored knowing the one before, labels after their delay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Any

from mailwarden.domain.aggregates.windows import HOUR_US
from mailwarden.domain.mail.times import TIME_CLAMPED
from mailwarden.ingest.index import GivenLabel
from mailwarden.ingest.sources import RawMessage
from mailwarden_services.replay.live import LiveService, Refused, rfc3339
from mailwarden_services.replay.spill import Spilled
from mailwarden_services.scoring_api.requests import MAX_LABELS

LABEL_RHYTHM_US = HOUR_US


@dataclass(frozen=True, slots=True, order=True)
class PendingLabel:
    """A label that becomes known later; those known first come first.

    message_id: ours; received_at_us: event time of the message. source, stands_for: as the API takes them.
    """

    known_at_us: int
    received_at_us: int
    message_id: str
    label: str
    source: str = "analyst"
    stands_for: int = 0

    @classmethod
    def of(cls, message: Spilled, message_id: str, delay_us: int) -> PendingLabel:
        """The label of a message; one of which the index does not say how it came about is an analyst's."""
        given = message.given or GivenLabel(message.label)
        source = "analyst" if given.source == "index" else given.source
        known_us = message.known_at_us(delay_us)
        return cls(known_us, message.time_us, message_id, message.label, source, given.stands_for)


@dataclass(slots=True)
class ScoredMessage:
    """One message's answer, and the seconds that the caller waited for it."""

    message: Spilled
    answer: dict[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """A message that the API refused for what it is: HTTP status, and the words of the problem."""

    message: Spilled
    status: int
    words: str


@dataclass
class Stream:
    """Streams messages into a live service as one mail flow.

    delay_us: from a message's event time to its label, where the index does not say. pending: labels of earlier mail
    that are not known yet, a heap. refused: what the API would not take, in order of arrival.
    """

    service: LiveService
    tenant: str
    delay_us: int
    pending: list[PendingLabel] = field(default_factory=list)
    refused: list[RefusedMessage] = field(default_factory=list)
    labels_given: int = 0
    last_seq: int = 0
    _next_us: int = 0

    def run(
        self,
        messages: Sequence[Spilled],
        read: Callable[[Spilled], RawMessage],
        *,
        before: Callable[[int], None],
        progress: Callable[[int], None],
    ) -> list[ScoredMessage]:
        """Send the messages; each waits until the one before was folded, so that freshness loss is nil.

        before: called with each message's event time before it is sent (retraining). A message that is refused is
        kept in `refused`, and the stream goes on.
        """
        scored: list[ScoredMessage] = []
        for number, message in enumerate(messages, 1):
            self.give_labels(message.time_us)
            before(message.time_us)
            found = read(message)
            try:
                answer, seconds = self.service.score(found.raw, replace(found.envelope, received_at_us=message.time_us))
            except Refused as refusal:
                self.refused.append(RefusedMessage(message, refusal.status, str(refusal)))
                progress(number)
                continue
            if message.clamped:
                answer["flags"] = [*dict.fromkeys([*answer["flags"], TIME_CLAMPED])]
            scored.append(ScoredMessage(message, answer, seconds))
            # A further copy repeats its message's decision, and has a seq of its own.
            if answer["seq"] is not None and answer["seq"] > self.last_seq:
                self.last_seq = answer["seq"]
                self.service.wait_folded(self.tenant, answer["seq"])
                if message.label and not answer["repeated"]:
                    heappush(self.pending, PendingLabel.of(message, answer["message_id"], self.delay_us))
            progress(number)
        return scored

    def give_labels(self, until_us: int) -> None:
        """Hand over the labels known by a time, once an hour of the mail's time, and wait until they were folded.

        A label is given at or after its time, never before it; it counts from when it was given.
        """
        if until_us < self._next_us:
            return
        self._next_us = until_us + LABEL_RHYTHM_US
        due: list[dict[str, Any]] = []
        while self.pending and self.pending[0].known_at_us <= until_us:
            label = heappop(self.pending)
            due.append(
                {
                    "message_id": label.message_id,
                    "label": label.label,
                    "known_at": rfc3339(until_us),
                    "received_at": rfc3339(label.received_at_us),
                    "source": label.source,
                    "stands_for": label.stands_for,
                }
            )
        for start in range(0, len(due), MAX_LABELS):
            seqs = self.service.label(due[start : start + MAX_LABELS])
            self.labels_given += len(seqs)
            self.last_seq = max([self.last_seq, *seqs])
        if due:
            self.service.wait_folded(self.tenant, self.last_seq)
