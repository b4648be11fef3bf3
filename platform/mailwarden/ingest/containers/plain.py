"""Words and links in bytes and mark-up whose format is looked at no closer."""

from __future__ import annotations

import re

from mailwarden.ingest.charsets import decode
from mailwarden.ingest.containers.contents import Contents
from mailwarden.ingest.entities import undo_entities

MAX_TEXT = 40_000
"""Characters of a file's text that are kept before all files' together are bounded."""
MAX_PLAIN = 16_000
"""Bytes of a plain text that are read of its start, and of its end."""
MAX_LINKS = 200

_LINK = re.compile(rb"(?:https?|ftp)://[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]{4,2000}+")
_FOLDED = re.compile(rb"\r?\n[ \t](?=\S)")
_RUN = re.compile(rb"[\x20-\x7e\r\n\t]{6,}+")
_TRAILING = ".,;:!?')]}*_"
_NAMESPACES = re.compile(
    r"https?://(?:schemas\.(?:microsoft|openxmlformats|xmlsoap)\.|www\.w3\.org/|purl\.(?:org|oclc\.org)/|ns\.adobe\.com/"
    r"|openoffice\.org/|iptc\.org/|www\.aiim\.org/)",
    re.IGNORECASE,
)
"""Names of formats that look like addresses, and that nobody follows."""
_LATIN_RUN = re.compile(rb"[\x20-\x7e\r\n\t\xa0-\xff]{6,}+")
_TAG = re.compile(rb"<[^<>]{0,20000}+>")
_ENDS = re.compile(rb"</(?:w:p|a:p|text:p|text:h|si|w:tr|row)>")


def open_words(data: bytes, contents: Contents) -> None:
    """A text, a calendar or a card: its words, from which links are taken as from those of any file."""
    if len(data) > 2 * MAX_PLAIN:
        # Of a log or a table nobody reads the middle.
        data = data[:MAX_PLAIN] + b"\n" + data[-MAX_PLAIN:]
    if data.lstrip()[:6].upper() == b"BEGIN:":
        data = _FOLDED.sub(b"", data)
    contents.texts.append(decode(data, "", contents.reading, contents.part))


def links_in_bytes(raw: bytes) -> list[tuple[str, str]]:
    """Web addresses that stand in the bytes, in one byte or two a character."""
    if b"://" not in raw and b":\0/\0/\0" not in raw:
        return []
    found = {match[0]: None for match in _LINK.finditer(raw)}
    if b":\0/\0/\0" in raw:
        found |= {match[0]: None for match in _LINK.finditer(raw.replace(b"\0", b""))}
    written = (link.decode("latin-1").rstrip(_TRAILING) for link in list(found)[:MAX_LINKS])
    return [(url, "") for url in written if _NAMESPACES.match(url) is None]


def text_in_bytes(raw: bytes, *, latin: bool = False) -> str:
    """The runs of printable characters, in one byte or two each. latin: accented ones count as such."""
    wide = raw.count(b"\0") * 3 > len(raw)
    runs = (_LATIN_RUN if latin and not wide else _RUN).findall(raw.replace(b"\0", b"") if wide else raw)
    return " ".join(run.decode("cp1252", "replace") for run in runs)[:MAX_TEXT]


def text_of_xml(raw: bytes, contents: Contents) -> str:
    """The text of a part of a document, a line a paragraph."""
    lines = _TAG.sub(b"", _ENDS.sub(b"\n", raw)).decode("utf-8", "replace")[: 2 * MAX_TEXT]
    return undo_entities(lines, contents.reading, contents.part)[:MAX_TEXT] if "&" in lines else lines[:MAX_TEXT]
