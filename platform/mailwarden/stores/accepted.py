"""What the spool holds of each accepted event: enough to fold, log and answer again, and no more."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import orjson

from mailwarden.domain.detection.decision import Verdict
from mailwarden.domain.mail.content import ContentSet, ContentValue, ContentValues
from mailwarden.domain.mail.events import TOMBSTONE, TUPLES, Event, LabelSource
from mailwarden.errors import StoreError


@dataclass(frozen=True, slots=True)
class LoggedRow:
    """The behavioural features that one recipient's vector held.

    values: by view, finalised in feature order, None for null. as_of_seq: by view, the last seq that the key's
    state had folded. status: by view, as read. version: of each view when it was read. facts: by view, the number of
    the fact set that its states are made of, where that is not 0.
    """

    recipient: str
    values: Mapping[str, Sequence[float | None]]
    as_of_seq: Mapping[str, int]
    status: Mapping[str, str]
    version: Mapping[str, int]
    facts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoggedContent:
    """What the content views gave of a message, once for all its recipients; each by view.

    values: in feature order, None for null. status: as computed. version: of the view. fingerprint: of the code and
    lists that computed it.
    """

    values: Mapping[str, Sequence[ContentValue]]
    status: Mapping[str, str]
    version: Mapping[str, int]
    fingerprint: Mapping[str, int]

    @classmethod
    def of(cls, computed_by: ContentSet, found: ContentValues) -> LoggedContent:
        """What is logged of values that a set of views computed."""
        fingerprint = {name: computed_by.fingerprints[name] for name in computed_by.versions}
        return cls(found.values, found.status, computed_by.versions, fingerprint)

    def to_json(self) -> list[list[Any]]:
        """A row a view, as plain JSON values."""
        return [
            [name, self.version[name], self.fingerprint[name], self.status[name], values]
            for name, values in self.values.items()
        ]

    @classmethod
    def from_json(cls, rows: Sequence[Sequence[Any]]) -> LoggedContent:
        """What `to_json` wrote."""
        return cls(
            values={row[0]: row[4] for row in rows},
            status={row[0]: row[3] for row in rows},
            version={row[0]: row[1] for row in rows},
            fingerprint={row[0]: row[2] for row in rows},
        )


Missing = Literal["abstained", "not asked", "failed", "away"]
"""Why a detector gave no score: it had nothing to say, it is a costly one and the others were sure or its quota was
used up, it failed on the message, or it did not load."""


RULE_LOGGED = "rule:"
"""What a rule's name stands behind in the score log, in the place of a detector's: a tenant's own that holds, or one of
the platform's that holds and is shadow. raw is 1 where it holds, and 0 for other recipients."""


@dataclass(frozen=True, slots=True)
class LoggedScores:
    """What a detector of the bundle that decided said of a message, a value a recipient, in the order of its rows.

    detector: its name, or `RULE_LOGGED` with a rule's. model: its version in the registry, None where it is away, or a
    rule. milliseconds: for all recipients together. raw: as it
    gave it. calibrated: log-odds as the fusion that counted took it. missing: where there is no score, why.
    """

    detector: str
    model: int | None
    milliseconds: float
    raw: Sequence[float | None]
    calibrated: Sequence[float | None]
    missing: Sequence[Missing | None]

    def to_json(self) -> list[Any]:
        """As plain JSON values."""
        return [self.detector, self.model, self.milliseconds, self.raw, self.calibrated, self.missing]


NO_CONTENT = LoggedContent({}, {}, {}, {})
"""Of a message that was accepted before content was logged."""


@dataclass(frozen=True, slots=True)
class AcceptedMessage:
    """A scored message: its event, raw bytes and envelope, logged vectors and answer.

    answer: what the API answered (plain JSON). idempotency_key: the caller's, None without one. content: of all rows.
    reception: how it was received, as `Reception.to_text` has it. scores: one a detector.
    """

    event: Event
    raw: bytes
    mail_from: str | None
    rcpt_to: tuple[str, ...]
    rows: tuple[LoggedRow, ...]
    answer: Mapping[str, Any]
    idempotency_key: str | None
    content: LoggedContent = NO_CONTENT
    reception: str | None = None
    scores: tuple[LoggedScores, ...] = ()


@dataclass(frozen=True, slots=True)
class AcceptedHistory:
    """A message of the past that was ingested: its event, raw bytes and envelope; nobody decided on it.

    reception: see `AcceptedMessage`.
    """

    event: Event
    raw: bytes
    mail_from: str | None
    rcpt_to: tuple[str, ...]
    reception: str | None = None


@dataclass(frozen=True, slots=True)
class AcceptedLabel:
    """A label event, with who gave it and as what; an index has no name."""

    event: Event
    source: LabelSource
    given_by: str


@dataclass(frozen=True, slots=True)
class AcceptedSignal:
    """A signal event."""

    event: Event


@dataclass(frozen=True, slots=True)
class AcceptedTombstone:
    """A tombstone event."""

    event: Event


Accepted = AcceptedMessage | AcceptedHistory | AcceptedLabel | AcceptedSignal | AcceptedTombstone

_EVENT = frozenset(field.name for field in fields(Event))
_ROW = len(fields(LoggedRow))
_SCORES = len(fields(LoggedScores))

LENGTH = struct.Struct("<I")
"""Of a payload's header, before it."""


def encode_accepted(record: Accepted) -> bytes:
    """One spool payload: a length-prefixed JSON header, then the raw bytes of a message."""
    if isinstance(record, AcceptedLabel):
        header: dict[str, Any] = {"event": asdict(record.event), "source": record.source, "given_by": record.given_by}
        raw = b""
    elif isinstance(record, AcceptedSignal | AcceptedTombstone):
        header, raw = {"event": asdict(record.event)}, b""
    elif isinstance(record, AcceptedHistory):
        # A release that knows no such record lacks its rows, and says that it cannot read it.
        header = {
            "event": asdict(record.event),
            "mail_from": record.mail_from,
            "rcpt_to": record.rcpt_to,
            "reception": record.reception,
            "history": True,
        }
        raw = record.raw
    else:
        header = {
            "event": asdict(record.event),
            "mail_from": record.mail_from,
            "rcpt_to": record.rcpt_to,
            "rows": [
                [row.recipient, row.values, row.as_of_seq, row.status, row.version, row.facts] for row in record.rows
            ],
            "answer": record.answer,
            "idempotency_key": record.idempotency_key,
            "content": record.content.to_json(),
            "reception": record.reception,
            "scores": [one.to_json() for one in record.scores],
        }
        raw = record.raw
    head = orjson.dumps(header, option=orjson.OPT_SERIALIZE_NUMPY)
    return LENGTH.pack(len(head)) + head + raw


def verdict_of(answer: Mapping[str, Any]) -> Verdict:
    """The verdict of an answer, of one given by a release that called it `decision` too."""
    verdict: Verdict = answer["verdict"] if "verdict" in answer else answer["decision"]
    return verdict


def waits_for_signal(payload: bytes) -> bool:
    """Whether a spool payload may be of a message that waits for a signal; most are told by this, unread."""
    (length,) = LENGTH.unpack_from(payload)
    # Inside of a JSON string the quotes would be escaped.
    return payload.find(b'"pending":[]', 4, 4 + length) < 0


def decode_accepted(payload: bytes) -> Accepted:
    """Read what `encode_accepted` wrote; raises StoreError where it is something else."""
    try:
        (length,) = LENGTH.unpack_from(payload)
        header = orjson.loads(payload[4 : 4 + length])
        # A newer release may have written members that this one does not know.
        facts = {name: value for name, value in header["event"].items() if name in _EVENT}
        facts |= {name: tuple(facts[name]) for name in TUPLES if name in facts}
        event = Event(**facts)
        if event.kind == "label":
            return AcceptedLabel(event, header["source"], header["given_by"])
        if event.kind == "signal":
            return AcceptedSignal(event)
        if event.kind == TOMBSTONE:
            return AcceptedTombstone(event)
        if header.get("history"):
            raw, rcpt_to = payload[4 + length :], tuple(header["rcpt_to"])
            return AcceptedHistory(event, raw, header["mail_from"], rcpt_to, header["reception"])
        return AcceptedMessage(
            event,
            payload[4 + length :],
            header["mail_from"],
            tuple(header["rcpt_to"]),
            tuple(LoggedRow(*row[:_ROW]) for row in header["rows"]),
            header["answer"],
            header["idempotency_key"],
            LoggedContent.from_json(header.get("content", ())),
            header.get("reception"),
            tuple(LoggedScores(*one[:_SCORES]) for one in header.get("scores", ())),
        )
    except (struct.error, orjson.JSONDecodeError, LookupError, TypeError, AttributeError) as exc:
        raise StoreError(
            "a spool record is not one that this version wrote; drain the spool with the version that wrote it"
        ) from exc
