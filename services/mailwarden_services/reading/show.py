"""A message as people may look at it: what its reader sees, what is hidden from them, and what it carries.

It is read in a child process, since whoever sent it wished that it be looked at. What comes back is plain text in plain
JSON: no HTML, no address that anything would open, no character that a terminal obeys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from mailwarden.domain.mail.message import Envelope, Message, Url
from mailwarden.errors import DataError
from mailwarden.ingest.parse import parse_message
from mailwarden.ingest.receive import unwrapped
from mailwarden_services.reading.child import CLOCK_FOR_CPU, Died, TookTooLong
from mailwarden_services.reading.harmless import defanged_host, harmless, visible
from mailwarden_services.reading.lanes import Lane, Lanes
from mailwarden_services.reading.reported import Reported, reported_by

SHOWING_SECONDS = 5.0
"""CPU time that reading a message for people may take."""

TEXT_MOST = 200_000
"""Characters of each text that are shown."""

HEADERS_MOST = 500
HEADER_MOST = 4_000
LINKS_MOST = 500
PARTS_MOST = 500
NESTED_MOST = 20

LANES = (Lane(None, 1, 15),)
"""People look at few messages, and wait for them more patiently than mail does."""


What = Literal["show", "report", "content key"]


class Shower:
    """Looks into messages by a child process; see `Lanes`. cpu_seconds: what one message may take."""

    def __init__(self, *, cpu_seconds: float, lanes: Sequence[Lane] = LANES) -> None:
        self._lanes = Lanes(look, cpu_seconds=cpu_seconds, wall_seconds=CLOCK_FOR_CPU * cpu_seconds, lanes=lanes)

    async def show(self, raw: bytes, envelope: Envelope, tenant: str) -> dict[str, Any]:
        """The message as `shown` has it; raises DataError where reading it takes too long or fails."""
        found: dict[str, Any] = await self._ask("show", raw, envelope, tenant)
        return found

    async def reported(self, raw: bytes, tenant: str) -> tuple[Reported, ...]:
        """What the message reports; see `reported_by`. Raises DataError where reading it takes too long or fails."""
        found: tuple[Reported, ...] = await self._ask("report", raw, Envelope(), tenant)
        return found

    async def content_key(self, raw: bytes, tenant: str) -> str:
        """Its content key, "" where it has none; raises DataError where reading it takes too long or fails."""
        found: str = await self._ask("content key", raw, Envelope(), tenant)
        return found

    async def _ask(self, what: What, raw: bytes, envelope: Envelope, tenant: str) -> Any:
        try:
            return await self._lanes.ask((what, raw, envelope), tenant=tenant, size=len(raw))
        except (TookTooLong, Died) as exc:
            raise DataError(
                "the message could not be read within what reading may take; it may have been made for that"
            ) from exc

    def stop(self) -> None:
        """End the process."""
        self._lanes.stop()


def look(asked: tuple[What, bytes, Envelope]) -> Any:
    """The work of the child process."""
    what, raw, envelope = asked
    if what == "content key":
        return parse_message(unwrapped(raw, envelope)[0]).content_key
    message = parse_message(raw, envelope)
    return shown(message) if what == "show" else reported_by(message)


def shown(message: Message, depth: int = 0) -> dict[str, Any]:
    """A parsed message as plain JSON, harmless to look at.

    text, quoted_text: what its reader sees; hidden_text: what the HTML holds and no reader sees. links: where each
    leads in the end, beside what the reader sees of it. parts: attached files, and those inside of them. truncated:
    names of what was cut off. nested: messages inside, one level of them.
    """
    cut: list[str] = []

    def text(name: str, value: str) -> str:
        if len(value) > TEXT_MOST:
            cut.append(name)
        return harmless(value[:TEXT_MOST])

    def first(name: str, values: Sequence[Any], most: int) -> Sequence[Any]:
        if len(values) > most:
            cut.append(name)
        return values[:most]

    nested = first("nested", message.nested, NESTED_MOST) if depth == 0 else ()
    found = {
        "headers": [
            [visible(name[:200]), harmless(value[:HEADER_MOST])]
            for name, value in first("headers", message.headers, HEADERS_MOST)
        ],
        "subject": text("subject", message.subject),
        "text": text("text", message.new_text),
        "quoted_text": text("quoted_text", message.quoted_text),
        "hidden_text": text("hidden_text", message.hidden_text),
        "preview": text("preview", message.preview),
        "html": message.html,
        "links": [_link(url) for url in first("links", (*message.urls, *message.other_links), LINKS_MOST)],
        "qr_codes": [harmless(code.text[:HEADER_MOST]) for code in message.qr_codes],
        "parts": [
            {
                "name": harmless(part.filename[:500]),
                "type": visible(part.content_type),
                "declared_type": visible(part.declared_type[:200]),
                "size": part.size,
                "sha256": part.sha256,
                "message": part.nested,
            }
            for part in first("parts", message.attachments, PARTS_MOST)
        ],
        "unread": {aspect: str(status) for aspect, status in message.unread},
        "defects": sorted({defect.code for defect in message.defects}),
        "nested": [shown(inner, depth + 1) for inner in nested],
    }
    return found | {"truncated": cut}


def _link(url: Url) -> dict[str, Any]:
    return {
        "url": harmless(url.url[:HEADER_MOST]),
        "target": harmless((url.target or url.url)[:HEADER_MOST]),
        "host": defanged_host(visible(url.host[:500])),
        "text": harmless(url.text[:1_000]),
        "place": url.place,
        "marks": list(url.marks),
    }
