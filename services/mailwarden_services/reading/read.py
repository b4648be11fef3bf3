"""A message read for scoring: its event and content values, however much of it can be read.

Where the whole of it takes too long, its header fields alone are read, and all else has status `deadline`; where even
that does, what the envelope says is all that is known (`scoring_worker.workers`).
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from typing import Any, get_args

import structlog

from mailwarden.domain.mail.content import ContentSet, ContentValues, ContentView
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Aspect, Authentication, Envelope, Message, TimeSource
from mailwarden.domain.status import Status
from mailwarden.ingest.content_keys import key_of_bytes
from mailwarden.ingest.receive import Site, event_for, receive, unwrapped
from mailwarden.ingest.verification import prepare
from mailwarden.logs import FailureLog
from mailwarden.stores.dns import DnsResolver

HEADERS_MOST = 256 * 1024
"""Bytes that are looked at for header fields where the whole message took too long."""

MESSAGE_ID_MOST = 500
"""Characters of a Message-ID that are kept: the sender chooses it, and an index of a database bounds its keys."""

_REST: tuple[Aspect, ...] = tuple(aspect for aspect in get_args(Aspect) if aspect != "headers")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """What scoring needs of a message.

    raw_from: bytes of an mbox `From ` line before the message. envelope: with what that line adds. event: with seq 0,
    received_at_us 0 where `received_at_us` is None. borne_us: the time that it bears, which may have been set back.
    content: of every content view. failed: content views whose functions raised. has_headers: a header field was found,
    or nobody could look. defects: how many. authentication: what is known of its sender. message_id_header: the
    Message-ID, "" where it has none.
    """

    raw_from: int
    envelope: Envelope
    event: Event
    content: ContentValues
    failed: tuple[str, ...]
    received_at_us: int | None
    borne_us: int | None
    time_source: TimeSource
    has_headers: bool
    defects: int
    authentication: Authentication
    message_id_header: str = ""
    features_seconds: float = 0.0


class Reader:
    """The work of a child process; it may be sent to one.

    resolver: asked where a message bears no trusted result; None has nothing verified.
    """

    def __init__(self, content: ContentSet, resolver: DnsResolver | None = None) -> None:
        self._content, self._resolver = content, resolver
        self._failures = FailureLog(_log, "a content view failed", "view")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._resolver is not None:
            prepare()

    def whole(self, raw: bytes, envelope: Envelope, site: Site) -> Reading:
        """All of it, within the parser's budget."""
        if self._resolver is not None:
            self._resolver.begin()
        received = receive(raw, envelope, site, self._resolver)
        return self._reading(len(raw) - len(received.raw), received.envelope, received.message, received.event)

    def headers(self, raw: bytes, envelope: Envelope, site: Site) -> Reading:
        """Header fields alone; the rest has status `deadline`, and so have they where they do not end soon enough."""
        rest, envelope = unwrapped(raw, envelope)
        ends = [at for end in (b"\n\n", b"\n\r\n") if (at := rest.find(end, 0, HEADERS_MOST)) >= 0]
        cut = rest[: min(ends, default=HEADERS_MOST) + 1]
        received = receive(cut, envelope, site)
        message, envelope = received.message, received.envelope
        of_headers = message.status_of(("headers",))
        if not ends and len(rest) > len(cut):
            of_headers = Status.DEADLINE
        unread: list[tuple[Aspect, Status]] = [(aspect, Status.DEADLINE) for aspect in _REST]
        if of_headers is not Status.PRESENT:
            unread.append(("headers", of_headers))
        content_sha256 = hashlib.sha256(rest).hexdigest()
        message = replace(
            message,
            content_sha256=content_sha256,
            content_key=key_of_bytes(content_sha256) if message.content_key else "",
            size=len(rest),
            unread=tuple(sorted(unread)),
        )
        return self._reading(len(raw) - len(rest), envelope, message, event_for(message, envelope, site))

    def _reading(self, raw_from: int, envelope: Envelope, message: Message, event: Event) -> Reading:
        failed: list[str] = []

        def note(view: ContentView, exc: Exception) -> None:
            failed.append(view.name)
            self._failures.add(view.name, exc)

        began = time.perf_counter()
        content = self._content.values_of(message, note)
        took = time.perf_counter() - began
        return Reading(
            raw_from,
            envelope,
            event,
            content,
            tuple(failed),
            message.received_at_us,
            _borne(message),
            message.time_source,
            bool(message.headers),
            len(message.defects),
            message.authentication,
            message.message_id_header[:MESSAGE_ID_MOST],
            took,
        )

    def envelope_only(self, raw: bytes, envelope: Envelope, site: Site) -> Reading:
        """What is known of a message that nobody could read: no header, no value, only how it came."""
        rest, envelope = unwrapped(raw, envelope)
        received = receive(b"", envelope, site)
        message, envelope = received.message, received.envelope
        message = replace(message, content_sha256=hashlib.sha256(rest).hexdigest(), size=len(rest))
        nothing = ContentValues(
            {view.name: (None,) * len(view.features) for view in self._content.views},
            {view.name: Status.DEADLINE for view in self._content.views},
        )
        event = event_for(message, envelope, site)
        return Reading(
            len(raw) - len(rest),
            envelope,
            event,
            nothing,
            (),
            message.received_at_us,
            _borne(message),
            message.time_source,
            True,
            0,
            message.authentication,
        )


def _borne(message: Message) -> int | None:
    return message.received_at_us if message.claimed_at_us is None else message.claimed_at_us
