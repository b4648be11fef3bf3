"""VBA projects: their modules' source, and what it does. Source: [MS-OVBA] 2.4.1."""

from __future__ import annotations

import re
import struct

from mailwarden.ingest.budget import MACRO_BYTES
from mailwarden.ingest.containers.compound import Compound
from mailwarden.ingest.containers.contents import Contents
from mailwarden.ingest.text_links import plain_urls

MAX_MODULES = 200

_AUTO = re.compile(
    rb"\b(?:auto_?(?:open|exec|close|exit|new|activate|add)|(?:document|workbook|presentation)_(?:open|close|activate"
    rb"|beforeclose|new)|documentopen|app_\w{1,40}|worksheet_(?:activate|calculate)|\w{1,40}_(?:layout|painted))\b",
    re.IGNORECASE,
)
_CALLS = re.compile(
    rb"\b(?:shell(?:execute\w?)?|createobject|getobject|urldownloadtofile\w?|wscript|powershell|winmgmts|callbyname"
    rb"|createthread|virtualalloc\w{0,2}|rtlmovememory|createprocess\w?|kernel32|xmlhttp|adodb)\b",
    re.IGNORECASE,
)


def read_macros(storage: Compound, contents: Contents) -> None:
    """What a compound file holds of VBA; adds traits and links."""
    if not any(path.rpartition("/")[2].upper() in ("VBA", "_VBA_PROJECT_CUR") for path in storage.storages) and not any(
        stream.path.endswith("_VBA_PROJECT") for stream in storage.streams
    ):
        return
    modules = [stream for stream in storage.streams if "VBA/" in stream.path.upper() or "/" not in stream.path]
    for stream in modules[:MAX_MODULES]:
        name = stream.path.rpartition("/")[2]
        if name.lower() in ("dir", "_vba_project") or name.startswith("__SRP"):
            continue
        raw = storage.read(stream, contents, 1 << 20)
        # A module's source begins with "Attribute", the first eight letters of which are not packed.
        at = raw.find(b"\0Attribut")
        source = unpack_source(raw[at - 3 :], contents) if at >= 3 else b""
        judge_source(source, contents)
    contents.traits.add("macros")


def judge_source(source: bytes, contents: Contents) -> None:
    """Traits and links of a macro's source."""
    if _AUTO.search(source) is not None:
        contents.traits.add("auto_macros")
    if _CALLS.search(source) is not None:
        contents.traits.add("macro_calls")
    contents.links += ((url, "") for url in plain_urls(source.decode("latin-1"), contents.reading, contents.part))


def unpack_source(data: bytes, contents: Contents) -> bytes:
    """A compressed container unpacked, within the budget of macros."""
    left = contents.reading.budget.left(MACRO_BYTES)
    out = bytearray()
    at = 1
    while data[:1] == b"\x01" and at + 2 <= len(data) and len(out) < left:
        (head,) = struct.unpack_from("<H", data, at)
        end = min(len(data), at + (head & 0xFFF) + 3)
        if head & 0x8000:
            _unpack_chunk(data, at + 2, end, out)
        else:
            out += data[at + 2 : end]
        at = end
    contents.take(len(out) + (at < len(data) - 2 and len(out) >= left), MACRO_BYTES)
    return bytes(out)


def _unpack_chunk(data: bytes, at: int, end: int, out: bytearray) -> None:
    begin = len(out)
    while at < end:
        flags = data[at]
        at += 1
        for bit in range(8):
            if at >= end or len(out) - begin > 4_096:
                return
            if not flags >> bit & 1:
                out.append(data[at])
                at += 1
                continue
            if at + 2 > end:
                return
            token = data[at] | data[at + 1] << 8
            at += 2
            width = max(4, (len(out) - begin - 1).bit_length())
            offset, length = (token >> (16 - width)) + 1, (token & (0xFFFF >> width)) + 3
            start = len(out) - offset
            if start < begin:
                return
            for _ in range(min(length, 4_096)):
                out.append(out[start])
                start += 1
