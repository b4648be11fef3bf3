"""A message as people may look at it: what its reader sees, what is hidden from them, and what it carries.

It is read in a child process, since whoever sent it wished that it be looked at. What comes back is plain text in plain
JSON: no HTML, no address that anything would open, no character that a terminal obeys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mailwarden.domain.mail.message import Envelope, Message, Url
from mailwarden.errors import StoreError
from mailwarden.ingest.parse import parse_message
from mailwarden_services.reading.child import CLOCK_FOR_CPU, Died, TookTooLong
from mailwarden_services.reading.harmless import defanged_host, harmless, visible
from mailwarden_services.reading.lanes import Lane, Lanes

TEXT_MOST = 200_000
"""Characters of each text that are shown."""

HEADERS_MOST = 500
HEADER_MOST = 4_000
LINKS_MOST = 500
PARTS_MOST = 500
NESTED_MOST = 20

LANES = (Lane(None, 1, 15),)
"""People look at few messages, and wait for them more patiently than mail does."""


class Shower:
    """Shows messages by a child process; see `Lanes`. cpu_seconds: what one message may take."""

    def __init__(self, *, cpu_seconds: float, lanes: Sequence[Lane] = LANES) -> None:
        self._lanes = Lanes(show, cpu_seconds=cpu_seconds, wall_seconds=CLOCK_FOR_CPU * cpu_seconds, lanes=lanes)

    async def show(self, raw: bytes, envelope: Envelope, tenant: str) -> dict[str, Any]:
        """The message as `shown` has it; raises StoreError where reading it takes too long or fails."""
        try:
            found: dict[str, Any] = await self._lanes.ask((raw, envelope), tenant=tenant, size=len(raw))
        except (TookTooLong, Died) as exc:
            raise StoreError(
                "the message could not be read in the time allowed; it may be made to be unreadable"
            ) from exc
        return found

    def stop(self) -> None:
        """End the process."""
        self._lanes.stop()


def show(asked: tuple[bytes, Envelope]) -> dict[str, Any]:
    """The work of the child process."""
    raw, envelope = asked
    return shown(parse_message(raw, envelope))


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
