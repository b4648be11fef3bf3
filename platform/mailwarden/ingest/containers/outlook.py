"""Outlook messages stored as files (.msg): their texts and attachments by property. Source: [MS-OXMSG] 2."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial

from mailwarden.domain.status import Status
from mailwarden.ingest.containers.compound import Compound, Stream
from mailwarden.ingest.containers.compressed_rtf import html_or_text
from mailwarden.ingest.containers.contents import Contents, Member
from mailwarden.ingest.containers.pages import read_page

MAX_ATTACHMENTS = 200

_PROPERTY = re.compile(r"(?:(.*)/)?__substg1\.0_([0-9A-Fa-f]{4})([0-9A-Fa-f]{4})\Z", re.DOTALL)
_SUBJECT, _BODY, _HTML, _RTF, _CLASS = 0x0037, 0x1000, 0x1013, 0x1009, 0x001A
_DATA, _LONG_NAME, _NAME, _SHOWN_NAME = 0x3701, 0x3707, 0x3704, 0x3001
MAX_TEXT_BYTES = 1 << 20


def is_outlook(storage: Compound) -> bool:
    """Whether a compound file is a message."""
    return any(stream.path.startswith("__substg1.0_") for stream in storage.streams)


def open_outlook(storage: Compound, contents: Contents) -> None:
    """A message's subject, body and attachments, those of messages inside it too."""
    attached: defaultdict[str, dict[int, Stream]] = defaultdict(dict)
    for stream in storage.streams:
        found = _PROPERTY.match(stream.path)
        if found is None:
            continue
        folder, number, wide = found[1] or "", int(found[2], 16), found[3].upper() == "001F"
        if folder.rpartition("/")[2].startswith("__attach_"):
            attached[folder][number] = stream
        elif folder == "" or folder.endswith("/__substg1.0_3701000D"):
            _text(storage, stream, number, wide, contents)
    for properties in list(attached.values())[:MAX_ATTACHMENTS]:
        name = next((properties[n] for n in (_LONG_NAME, _NAME, _SHOWN_NAME) if n in properties), None)
        title = "" if name is None else _string(storage, name, name.path.upper().endswith("001F"), contents)
        data = properties.get(_DATA)
        if data is not None:
            contents.members.append(Member(title, data.size, partial(storage.read, data, contents)))
    if len(attached) > MAX_ATTACHMENTS:
        contents.unread(Status.OVER_BUDGET)


def _text(storage: Compound, stream: Stream, number: int, wide: bool, contents: Contents) -> None:
    if number == _HTML:
        read_page(storage.read(stream, contents, MAX_TEXT_BYTES), contents)
    elif number == _RTF:
        html_or_text(storage.read(stream, contents, MAX_TEXT_BYTES), contents)
    elif number in (_SUBJECT, _BODY):
        contents.texts.append(_string(storage, stream, wide, contents))
    elif number == _CLASS and "smime" in _string(storage, stream, wide, contents).lower():
        contents.traits.add("unopened")


def _string(storage: Compound, stream: Stream, wide: bool, contents: Contents) -> str:
    raw = storage.read(stream, contents, MAX_TEXT_BYTES)
    return raw.decode("utf-16-le" if wide else "cp1252", "replace").replace("\0", "")
