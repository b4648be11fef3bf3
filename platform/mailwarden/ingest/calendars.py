"""Calendar parts: what a reader's client shows of an invitation (RFC 5545), however broken it is.

The `icalendar` package was tried: 0.4-1.5 ms an invitation, and it refuses one without its last line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mailwarden.domain.mail.addresses import address_domain, registrable_domain
from mailwarden.domain.mail.message import Invitation
from mailwarden.ingest.budget import CALENDAR_LINES
from mailwarden.ingest.hosts import read_address
from mailwarden.ingest.reading import Reading

MAX_SHOWN = 100
"""Texts of one calendar that are read, those of its first events."""

MAX_FILES = 20
"""Files packed into a calendar that are taken out."""

_FOLD = re.compile(r"\r?\n[ \t]")
_LINE = re.compile(r"([A-Za-z0-9-]{1,60}+)((?:;(?:[^\":]++|\"[^\"]*+\"?)*+)?+):(.*+)", re.DOTALL)
_COMMON_NAME = re.compile(r";CN=(?:\"([^\"]*+)|([^;:]*+))", re.IGNORECASE)
_FILE_NAME = re.compile(r";(?:X-)?(?:FILENAME|APPLE-FILENAME)=(?:\"([^\"]*+)|([^;:]*+))", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "N": "\n"}
_TEXTS = frozenset(("SUMMARY", "LOCATION", "DESCRIPTION", "COMMENT", "CONTACT"))
# Outlook's, and that of RFC 9073: descriptions in HTML.
_STYLED = frozenset(("X-ALT-DESC", "STYLED-DESCRIPTION"))
_LINKS = frozenset(("URL", "ATTACH", "CONFERENCE", "SOURCE", "IMAGE"))
_CLOCKS = frozenset(("VTIMEZONE", "STANDARD", "DAYLIGHT"))
_METHODS = frozenset(("PUBLISH", "REQUEST", "REPLY", "ADD", "CANCEL", "REFRESH", "COUNTER", "DECLINECOUNTER"))


@dataclass(slots=True)
class CalendarText:
    """What a calendar part shows. texts: as a reader sees them, in order; html: descriptions in HTML; links: addresses
    that stand in properties of their own; files: names and base 64 of what is packed into it."""

    invitation: Invitation
    texts: list[str] = field(default_factory=list)
    html: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)


def read_calendar(source: str, reading: Reading, part: int = 0) -> CalendarText:
    """Read the events of a calendar; lines that are none are passed over."""
    lines = _FOLD.sub("", source).splitlines()
    method = organizer = ""
    attendees = 0
    clock = False
    found = CalendarText(Invitation())
    for line in lines[: reading.take(CALENDAR_LINES, len(lines), part)]:
        match = _LINE.match(line.lstrip())
        if match is None:
            continue
        name, value = match[1].upper(), match[3].strip()
        if name in ("BEGIN", "END"):
            if value.upper() in _CLOCKS:
                clock = name == "BEGIN" or value.upper() != "VTIMEZONE"
        elif clock:
            continue
        elif name in _TEXTS or name in _STYLED:
            if len(found.texts) + len(found.html) < MAX_SHOWN and (shown := _unescaped(value).strip()):
                (found.html if name in _STYLED else found.texts).append(shown)
        elif name == "ATTACH" and "BASE64" in match[2].upper():
            if len(found.files) < MAX_FILES:
                called = _FILE_NAME.search(match[2])
                found.files.append(((called[1] or called[2] or "").strip() if called else "", value))
        elif name in _LINKS or (name.startswith("X-") and "://" in value[:12]):
            if len(found.links) < MAX_SHOWN:
                found.links.append(value)
        elif name == "ATTENDEE":
            attendees += 1
        elif name == "ORGANIZER" and not organizer:
            organizer = read_address(value.partition(":")[2] if value[:7].lower() == "mailto:" else value, reading)
            if (named := _COMMON_NAME.search(match[2])) is not None and (shown := (named[1] or named[2] or "").strip()):
                found.texts.append(shown)
        elif name == "METHOD":
            method = value.upper()
    domain = registrable_domain(address_domain(organizer)) if organizer else ""
    found.invitation = Invitation(
        method=method if method in _METHODS else "", organizer=organizer, organizer_domain=domain, attendees=attendees
    )
    return found


def _unescaped(value: str) -> str:
    return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), value) if "\\" in value else value
