"""Which parts a mail reader shows as the body, and as what: by type, place, disposition and name (RFC 8621 4.1.4)."""

from __future__ import annotations

import re
from typing import Literal

from mailwarden.ingest.mime import Leaf

Form = Literal["plain", "html", "enriched", "calendar"]
"""As what a part's text is shown; plain also for text of unknown subtypes (RFC 2046 section 4.1.4)."""

_HTML = frozenset((
    "text/html", "application/xhtml+xml", "text/xhtml", "text/x-html", "application/xhtml", "application/html",
    "application/vnd.wap.xhtml+xml",
))  # fmt: skip
_ENRICHED = frozenset(("text/enriched", "text/richtext"))
_CALENDAR = frozenset(("text/calendar", "application/ics", "text/x-vcalendar", "application/calendar"))
# Text to programs, which readers show as a card, a file or not at all.
_NO_BODY = frozenset((
    "text/css", "text/javascript", "text/ecmascript", "text/x-javascript", "text/vcard", "text/x-vcard",
    "text/directory", "text/rfc822-headers", "text/x-amp-html", "text/x-watch-html", "text/rtf", "text/xml",
    "text/csv", "text/tab-separated-values",
))  # fmt: skip
_TAG = re.compile(
    rb"<(?:html|body|head|title|div|table|span|font|img|form|center|style|script|meta|br|tr|td|h[1-6]|!doctype|p[\s>]|a\s)",
    re.IGNORECASE,
)
_LOOKED_AT = 65_536
_READ_AT = 4_096
_SEEN = bytes(range(32, 127)) + b"\t\r\n\f\x1b"
_HIGH = bytes(range(128, 256))


def form_of(content_type: str) -> Form | None:
    """As what a part of this type is shown; None for files, and for multiparts that could be read as nothing else."""
    if content_type in _HTML:
        return "html"
    if content_type in _CALENDAR:
        return "calendar"
    if content_type in _ENRICHED:
        return "enriched"
    if content_type.startswith(("text/", "multipart/")) and content_type not in _NO_BODY:
        return "plain"
    return None


def is_shown(leaf: Leaf, first: bool) -> bool:
    """Whether readers show a part of text in the body, and not as a file. first: no text was shown before it."""
    if leaf.index == 0:
        return True
    if leaf.disposition == "attachment":
        return False
    if leaf.parent == "multipart/related" and leaf.place:
        # What the root refers to is shown where that has it, if at all.
        return not leaf.filename and not leaf.content_id
    if not leaf.filename or leaf.place == 0 or leaf.parent == "multipart/alternative":
        return True
    # Some mailers name the body; what is to be displayed inline, some readers display (RFC 2183 section 2.1).
    return first or leaf.disposition == "inline"


def is_file_too(leaf: Leaf, first: bool) -> bool:
    """Whether a part that is shown is a file beside that: other readers list it as one."""
    return bool(leaf.filename) and leaf.disposition == "inline" and not first and not leaf.alternatives


def reads_as_text(data: bytes, form: Form, named: bool) -> bool:
    """Whether bytes that begin as a file format does are text all the same: a reader shows them as it was told to.

    HTML is what has tags anywhere; other text has to be that for the most part.
    """
    if form == "html":
        return _TAG.search(data) is not None
    if named:
        return False
    head = data[:_LOOKED_AT]
    if head.count(0) * 20 > len(head):
        return False
    odd = len(head.translate(None, _SEEN))
    if odd * 4 <= len(head):
        return True
    text = head[:_READ_AT].decode("utf-8", "replace")
    controls = len(head.translate(None, _SEEN + _HIGH))
    return text.count("\ufffd") <= max(4, len(text) // 20) and controls <= max(8, len(head) // 50)
