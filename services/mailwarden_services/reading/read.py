"""A message read for scoring, in a child process: its event and content values, however much of it can be read.

1. The whole message is read. Where that takes too long, the child is ended (`child.Child`); where it fails, the same
   follows as if it had taken too long.
2. A fresh one reads its header fields alone: all else has status `deadline`.
3. Where even that takes too long, what the envelope says is all that is known.

What comes back is small: values and facts, never the text of a body but for what content views keep of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, get_args

import structlog

from mailwarden.domain.mail.content import ContentSet, ContentValues, ContentView
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Aspect, Authentication, Envelope, Message, TimeSource
from mailwarden.domain.status import Status
from mailwarden.ingest.receive import Site, event_for, receive, unwrapped
from mailwarden.ingest.verification import prepare
from mailwarden.logs import FailureLog
from mailwarden.stores.dns import DnsResolver
from mailwarden_services.reading.child import Died, TookTooLong
from mailwarden_services.reading.lanes import LANES, Lane, Lanes

HEADERS_MOST = 256 * 1024
"""Bytes that are looked at for header fields where the whole message took too long."""

MESSAGE_ID_MOST = 500
"""Characters of a Message-ID that are kept: the sender chooses it, and an index of a database bounds its keys."""

CLOCK_FOR_CPU = 10.0
"""Seconds by the clock for each CPU second that reading may take: a child that computes nothing must end too."""

_REST: tuple[Aspect, ...] = tuple(aspect for aspect in get_args(Aspect) if aspect != "headers")

_log = structlog.get_logger(__name__)

How = Literal["whole", "headers"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What scoring needs of a message.

    raw_from: bytes of an mbox `From ` line before the message. envelope: with what that line adds. event: with seq 0,
    received_at_us 0 where `received_at_us` is None. content: of every content view. failed: content views whose
    functions raised. has_headers: a header field was found, or nobody could look. defects: how many.
    message_id_header: the message's own, its first `MESSAGE_ID_MOST` characters; "" where it has none.
    authentication: what is known of its sender.
    """

    raw_from: int
    envelope: Envelope
    event: Event
    content: ContentValues
    failed: tuple[str, ...]
    received_at_us: int | None
    time_source: TimeSource
    has_headers: bool
    defects: int
    authentication: Authentication
    message_id_header: str = ""


class MailReader(Protocol):
    """Whatever reads mail for scoring."""

    async def read(self, raw: bytes, envelope: Envelope, site: Site) -> Reading:
        """Read a raw message as it came to a tenant; raises nothing."""
        ...


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

    def __call__(self, asked: tuple[How, bytes, Envelope, Site]) -> Reading:
        """Read a message as far as is asked."""
        how, raw, envelope, site = asked
        return self.whole(raw, envelope, site) if how == "whole" else self.headers(raw, envelope, site)

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
        message = replace(
            message,
            content_sha256=hashlib.sha256(rest).hexdigest(),
            size=len(rest),
            unread=tuple(sorted(unread)),
        )
        return self._reading(len(raw) - len(rest), envelope, message, event_for(message, envelope, site))

    def _reading(self, raw_from: int, envelope: Envelope, message: Message, event: Event) -> Reading:
        failed: list[str] = []

        def note(view: ContentView, exc: Exception) -> None:
            failed.append(view.name)
            self._failures.add(view.name, exc)

        content = self._content.values_of(message, note)
        return Reading(
            raw_from,
            envelope,
            event,
            content,
            tuple(failed),
            message.received_at_us,
            message.time_source,
            bool(message.headers),
            len(message.defects),
            message.authentication,
            message.message_id_header[:MESSAGE_ID_MOST],
        )

    def envelope_only(self, raw: bytes, envelope: Envelope, site: Site) -> Reading:
        """What is known of a message that nobody could read: no header, no value, only how it came."""
        received = receive(b"", envelope, site)
        message, envelope = received.message, received.envelope
        message = replace(message, content_sha256=hashlib.sha256(raw).hexdigest(), size=len(raw))
        nothing = ContentValues(
            {view.name: (None,) * len(view.features) for view in self._content.views},
            {view.name: Status.DEADLINE for view in self._content.views},
        )
        event = event_for(message, envelope, site)
        return Reading(
            0,
            envelope,
            event,
            nothing,
            (),
            message.received_at_us,
            message.time_source,
            True,
            0,
            message.authentication,
        )


class ReadInProcesses:
    """A `MailReader` over child processes; see `lanes`.

    cpu_seconds: what reading one message may take. resolver: see `Reader`. Runs from its first message, or `start`, to
    `stop`.
    """

    def __init__(
        self,
        content: ContentSet,
        *,
        cpu_seconds: float,
        lanes: Sequence[Lane] = LANES,
        resolver: DnsResolver | None = None,
    ) -> None:
        self._reader = Reader(content, resolver)
        self._lanes = Lanes(
            self._reader, cpu_seconds=cpu_seconds, wall_seconds=CLOCK_FOR_CPU * cpu_seconds, lanes=lanes
        )

    async def read(self, raw: bytes, envelope: Envelope, site: Site) -> Reading:
        """See `MailReader`."""
        ways: tuple[How, ...] = ("whole", "headers")
        for how in ways:
            try:
                # Header fields are few bytes, whatever the message's size.
                size = len(raw) if how == "whole" else min(len(raw), HEADERS_MOST)
                reading: Reading = await self._lanes.ask((how, raw, envelope, site), tenant=site.tenant, size=size)
                return reading
            except (TookTooLong, Died) as exc:
                _log.warning("a message was not read", tenant=site.tenant, what=how, bytes=len(raw), why=str(exc))
            except Exception as exc:
                # What reads mail raises nothing that is known; a message that shows otherwise is decided on too.
                _log.error("reading a message failed", tenant=site.tenant, what=how, bytes=len(raw), why=repr(exc))
        return self._reader.envelope_only(raw, envelope, site)

    def start(self) -> None:
        """Have the processes run before the first message comes."""
        self._lanes.start()

    def stop(self) -> None:
        """End the processes."""
        self._lanes.stop()

    @property
    def ended(self) -> int:
        """How many processes ended, or were ended, in the middle of a message."""
        return self._lanes.ended
