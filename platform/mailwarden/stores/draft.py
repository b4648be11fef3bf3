"""A scored message in all but its number: written out once where it was scored, completed where it is numbered.

What is known before a message has its seq is turned into JSON by the process that scored it. Whoever numbers it puts
the rest between the pieces, and the same bytes are the spool's record and the caller's answer:

1. The event's JSON is cut at its seq and at its new recipients, which both get their values at numbering.
2. The answer's JSON is left open; `decision_id`, `seq`, `features`, `degraded`, `flags` and `repeated` end it.
3. The record's header joins event, answer and the rest, as `accepted.encode_accepted` would write it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from mailwarden.domain.detection.decision import VERDICTS, Verdict
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Envelope
from mailwarden.stores.accepted import LENGTH, LoggedContent, LoggedRow, LoggedScores, verdict_of
from mailwarden.stores.content_index import Content, Copy
from mailwarden.stores.online.streams import decode_event
from mailwarden.stores.online.watermark import Watermark

_NEW = b'"new_recipients":[]'
_ENDING = frozenset(("decision_id", "seq", "features", "degraded", "flags", "repeated"))


@dataclass(frozen=True, slots=True)
class Draft:
    """What numbering needs of a scored message, and the JSON of all the rest.

    raw_from: bytes of an mbox `From ` line before the message. as_of: how far the tenant's features had folded.
    verdict, category, degraded, flags: of the decision. event: its JSON before the seq, from there to the new
    recipients, and after these. answer: its JSON but for its end. rest: the other members of the record's header.
    content: what tells whether it came before.
    """

    tenant: str
    message_id: str
    received_at_us: int
    sender: str
    recipients: tuple[str, ...]
    campaign: str
    content_sha256: str
    raw_from: int
    as_of: Watermark | None
    verdict: Verdict
    category: str | None
    degraded: bool
    flags: tuple[str, ...]
    event: tuple[bytes, bytes, bytes]
    answer: bytes
    rest: bytes
    content: Content | None = None

    @classmethod
    def of(
        cls,
        event: Event,
        envelope: Envelope,
        *,
        raw_from: int,
        as_of: Watermark | None,
        verdict: Verdict,
        category: str | None,
        degraded: bool,
        flags: Sequence[str],
        answer: Mapping[str, Any],
        rows: Sequence[LoggedRow],
        content: LoggedContent,
        scores: Sequence[LoggedScores] = (),
    ) -> Draft:
        """event: without seq and new recipients. answer: what of it is known, plain JSON."""
        rest = {
            "mail_from": envelope.mail_from,
            "rcpt_to": envelope.rcpt_to,
            "rows": [[row.recipient, row.values, row.as_of_seq, row.status, row.version, row.facts] for row in rows],
            "content": content.to_json(),
            "scores": [one.to_json() for one in scores],
            "reception": None if envelope.reception is None else envelope.reception.to_text(),
        }
        return cls(
            event.tenant,
            event.message_id,
            event.received_at_us,
            event.sender,
            event.recipients,
            event.campaign,
            event.content_sha256,
            raw_from,
            as_of,
            verdict,
            category,
            degraded,
            tuple(flags),
            _cut(event),
            orjson.dumps(answer)[:-1],
            orjson.dumps(rest, option=orjson.OPT_SERIALIZE_NUMPY)[1:],
            Content.of(event),
        )

    def event_json(self, seq: int, new_recipients: Sequence[str]) -> bytes:
        """The whole event, as `streams.encode_event` would write it."""
        before, between, after = self.event
        return b'%b%d%b"new_recipients":%b%b' % (before, seq, between, orjson.dumps(new_recipients), after)

    def as_copy(self, copy: Copy, answer: bytes | None) -> Draft:
        """The same as a further copy of a message that was numbered before, without vectors and scores: those that it
        has are of another time and other recipients than it is logged with.

        answer: that message's, which is taken where its verdict is as strict as this one's; None where not known.
        """
        event = copy.of(decode_event(self.event_json(0, ())))
        rest = orjson.loads(b"{" + self.rest) | {"rows": [], "content": [], "scores": []}
        return replace(
            self,
            received_at_us=copy.received_at_us,
            recipients=copy.recipients,
            event=_cut(event),
            rest=orjson.dumps(rest)[1:],
            content=Content.of(event),
            **self._stricter(answer),
        )

    def _stricter(self, answer: bytes | None) -> dict[str, Any]:
        given = {} if answer is None else orjson.loads(answer)
        if not given or VERDICTS.index(verdict_of(given)) < VERDICTS.index(self.verdict):
            return {}
        flags = tuple(given["flags"])
        open_ended = {name: value for name, value in given.items() if name not in _ENDING}
        return {
            "answer": orjson.dumps(open_ended | {"message_id": self.message_id})[:-1],
            "verdict": verdict_of(given),
            "category": given["category"],
            "degraded": given["degraded"],
            "flags": flags,
        }

    def answer_json(
        self, seq: int | None, age_seconds: float | None, flags: Sequence[str] = (), *, degraded: bool = False
    ) -> bytes:
        """The whole answer. seq: None where nothing was numbered. flags: that came of numbering; degraded: by them."""
        end = ending(
            self.message_id,
            seq,
            as_of=self.as_of,
            age_seconds=age_seconds,
            degraded=self.degraded or degraded,
            flags=[*self.flags, *flags],
        )
        return self.answer + b"," + orjson.dumps(end)[1:]

    def payload(self, event: bytes, answer: bytes, idempotency_key: str | None, raw: bytes) -> bytes:
        """The spool's record of the numbered message. raw: as it was handed over."""
        head = b'{"event":%b,"answer":%b,"idempotency_key":%b,%b' % (
            event,
            answer,
            orjson.dumps(idempotency_key),
            self.rest,
        )
        return b"".join([LENGTH.pack(len(head)), head, memoryview(raw)[self.raw_from :]])


def ending(
    message_id: str,
    seq: int | None,
    *,
    as_of: Watermark | None,
    age_seconds: float | None,
    degraded: bool,
    flags: Sequence[str],
) -> dict[str, Any]:
    """The end of an answer. seq: None where nothing was numbered. age_seconds: from the newest time folded to the
    newest accepted, 0 where all was folded."""
    return {
        "decision_id": None if seq is None else "d" + message_id,
        "seq": seq,
        "features": {"as_of_seq": None if as_of is None else as_of.seq, "age_seconds": age_seconds},
        "degraded": degraded,
        "flags": flags,
        "repeated": False,
    }


def _cut(event: Event) -> tuple[bytes, bytes, bytes]:
    if event.seq or event.new_recipients:
        raise ValueError("a draft's event has no seq and no new recipients yet")
    whole = orjson.dumps(event)
    before = b'{"tenant":%b,"seq":' % orjson.dumps(event.tenant)
    # Inside of a JSON string its quotes would be escaped.
    at = whole.index(_NEW, len(before))
    return before, whole[len(before) + 1 : at], whole[at + len(_NEW) :]
