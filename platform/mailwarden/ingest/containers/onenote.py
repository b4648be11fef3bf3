"""OneNote sections: the files in them, and what their names say. Source: [MS-ONESTORE] 2.6.13."""

from __future__ import annotations

import re
import struct
from itertools import islice

from mailwarden.domain.mail.file_names import EXECUTABLE_NAMES
from mailwarden.ingest.containers.contents import Contents, Member
from mailwarden.ingest.containers.plain import links_in_bytes, text_in_bytes

MAX_FILES = 200
MAX_SEARCHED = 4 << 20
"""Bytes that are searched for words and names."""

_FILE = bytes.fromhex("e716e3bd65261145a4c48d4d0b7a9eac")
_EXTENSION = re.compile(
    rb"\.(?:%s)(?![\w.])" % "|".join(sorted(EXECUTABLE_NAMES, key=len, reverse=True)).encode(), re.IGNORECASE
)
_STEM = re.compile(rb"[^\w .()+-]")


def open_onenote(data: bytes, contents: Contents) -> None:
    """A section's files, and its words."""
    at = data.find(_FILE)
    for _ in range(MAX_FILES):
        if at < 0 or at + 36 > len(data):
            break
        (size,) = struct.unpack_from("<Q", data, at + 16)
        start = at + 36
        contents.traits.add("embedded_file")
        contents.members.append(_member(data, start, min(size, len(data) - start), contents))
        at = data.find(_FILE, start + min(size, len(data)))
    words = data[:MAX_SEARCHED].replace(b"\0", b"")
    if contents.members:
        # Names stand apart from the files that they are of; one that runs tells enough.
        for name in {
            _name(words, found.start(), found.end()): None for found in islice(_EXTENSION.finditer(words), MAX_FILES)
        }:
            contents.members.append(Member(name, 0, lambda most: b""))
    contents.links += links_in_bytes(words)
    contents.texts.append(text_in_bytes(words))


def _name(words: bytes, dot: int, end: int) -> str:
    stem = _STEM.split(words[max(0, dot - 60) : dot])[-1]
    return (stem + words[dot:end]).decode("latin-1").strip()


def _member(data: bytes, start: int, size: int, contents: Contents) -> Member:
    return Member("", size, lambda most: data[start : start + contents.take(min(most, size))])
