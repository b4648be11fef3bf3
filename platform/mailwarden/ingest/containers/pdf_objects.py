"""A PDF file's objects, found by going through its bytes: its own tables may lie, and readers mend them this way.

Source: ISO 32000-1, 7.3 to 7.5.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from mailwarden.domain.status import Status
from mailwarden.ingest.budget import DOCUMENT_OBJECTS
from mailwarden.ingest.containers.contents import Contents
from mailwarden.ingest.containers.inflating import inflate

MAX_DICTIONARY = 64 << 10
"""Bytes of an object before its stream."""
MAX_STREAM = 1 << 20
"""Bytes that a stream may come to."""
MAX_OBJECT_STREAMS = 200

_OBJECT = re.compile(rb"obj")
_HEAD = re.compile(rb"(\d{1,10})\s{1,9}\d{1,5}\s{1,9}\Z")
_MAX_WORDS = 100_000
"""Words that may begin an object which are looked at."""
_STREAM = re.compile(rb"stream(?:\r?\n|\r)?+")
_NAME = re.compile(rb"/([^\s/<>\[\](){}%]{1,80}+)")
_REFERENCE = re.compile(rb"(\d{1,10}+)\s{1,9}+\d{1,5}+\s{1,9}+R(?![a-zA-Z])")
_LENGTH = re.compile(rb"/Length\s{0,9}+(\d{1,10}+)(?!\s{1,9}+\d{1,5}+\s{1,9}+R)")
_PAIR = re.compile(rb"\s{0,20}+(\d{1,10}+)\s{1,20}+(\d{1,10}+)")
_HEX_IN_NAME = re.compile(rb"#([0-9a-fA-F]{2})")
_NO_HEX = re.compile(rb"[^0-9A-Fa-f]")
ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|(\r\n|.))", re.DOTALL)
"""An escape in a string, see `unescape`."""
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"\n": b"", b"\r": b"", b"\r\n": b""}
_BRACKETS = re.compile(rb"<<|>>|\[|\]|\((?:[^()\\]++|\\.){0,9999}+\)?", re.DOTALL)


@dataclass(slots=True)
class Objects:
    """Objects by number. bodies: what stands before a stream, of all objects, those in object streams too. decrypt: by
    number of the object, where the file is encrypted and may be read."""

    data: bytes
    bodies: dict[int, bytes] = field(default_factory=dict)
    decrypt: Callable[[int, bytes], bytes] | None = None
    _streams: dict[int, int] = field(default_factory=dict)
    _inside: set[int] = field(default_factory=set)

    def value(self, body: bytes, key: bytes) -> bytes:
        """What stands under a key, references followed once; b"" where there is none."""
        found = raw_value(body, key)
        reference = _REFERENCE.match(found)
        return self.bodies.get(int(reference[1]), b"") if reference else found

    def string(self, number: int, raw: bytes) -> bytes:
        """The bytes of a string in an object, decrypted; raw: without its escapes."""
        return self.decrypt(number, raw) if self.decrypt is not None and number not in self._inside else raw

    def has_stream(self, number: int) -> bool:
        """Whether an object is a stream."""
        return number in self._streams

    def packed(self, number: int) -> bytes:
        """A stream's bytes as they stand in the file."""
        start = self._streams.get(number)
        if start is None:
            return b""
        length = _LENGTH.search(self.bodies[number])
        if length is not None:
            end = start + int(length[1])
            if b"endstream" in self.data[end : end + 20]:
                return self.data[start:end]
        end = self.data.find(b"endstream", start)
        return self.data[start : end if end >= 0 else len(self.data)]

    def stream(self, number: int, contents: Contents, most: int = MAX_STREAM, *, image: bool = False) -> bytes:
        """A stream's bytes with its filters undone, as far as they are known here; b"" where one is not.

        image: the filter that makes it a JPEG file is left.
        """
        found = self.packed(number)
        if self.decrypt is not None:
            found = self.decrypt(number, found[: contents.take(len(found))])
        for name in _NAME.findall(self.value(self.bodies.get(number, b""), b"Filter"))[:4]:
            if name in (b"FlateDecode", b"Fl"):
                found = inflate(found, contents, most, window=15)
            elif name in (b"ASCIIHexDecode", b"AHx"):
                found = hex_bytes(found[: contents.take(min(len(found), 2 * most))])
            elif name in (b"ASCII85Decode", b"A85"):
                found = _ascii85(found[: contents.take(min(len(found), most))])
            elif image and name in (b"DCTDecode", b"DCT"):
                break
            else:
                return b""
        return found[:most]


def read_objects(data: bytes, contents: Contents) -> Objects:
    """All objects of a file that stand in the clear, within the budget; the last of a number counts."""
    objects = Objects(data)
    most = contents.reading.budget.left(DOCUMENT_OBJECTS)
    places: list[tuple[int, int, int]] = []
    for word, found in enumerate(_OBJECT.finditer(data)):
        if len(places) > most:
            break
        if word >= _MAX_WORDS:
            contents.unread(Status.OVER_BUDGET)
            break
        at = found.start()
        if data[at - 3 : at] == b"end":
            continue
        head = _HEAD.search(data[max(0, at - 24) : at])
        if head is not None:
            places.append((int(head[1]), at - len(head[0]), at + 3))
    granted = contents.take(len(places), DOCUMENT_OBJECTS)
    for place, (number, _, start) in enumerate(places[:granted]):
        stop = min(places[place + 1][1] if place + 1 < len(places) else len(data), start + MAX_DICTIONARY)
        stream = data.find(b"stream", start, stop)
        end = data.find(b"endobj", start, stream if stream >= 0 else stop)
        if stream >= 0 and end < 0 and data[stream - 3 : stream] != b"end":
            match = _STREAM.match(data, stream)
            objects._streams[number] = match.end() if match else stream + 6
            stop = stream
        else:
            objects._streams.pop(number, None)
            stop = end if end >= 0 else stop
        objects.bodies[number] = _plain_names(data[start:stop])
    return objects


def unpack_objects(objects: Objects, contents: Contents) -> None:
    """Add the objects that lie in streams of objects, which may be encrypted as a whole."""
    packed = [number for number, body in objects.bodies.items() if b"/ObjStm" in body and objects.has_stream(number)]
    for number in packed[:MAX_OBJECT_STREAMS]:
        if not contents.take(1, DOCUMENT_OBJECTS):
            return
        _unpack(objects, number, contents)


def _unpack(objects: Objects, number: int, contents: Contents) -> None:
    """The objects of an object stream (7.5.7)."""
    body = objects.bodies[number]
    first = raw_value(body, b"First")
    if not first.isdigit():
        return
    inside = objects.stream(number, contents, 4 * MAX_STREAM)
    offset = int(first)
    most = contents.reading.budget.left(DOCUMENT_OBJECTS)
    pairs = islice(_PAIR.finditer(inside, 0, min(offset, len(inside))), most + 1)
    places = [(int(pair[1]), int(pair[2]) + offset) for pair in pairs]
    places = places[: contents.take(len(places), DOCUMENT_OBJECTS)]
    for place, (inner, start) in enumerate(places):
        stop = places[place + 1][1] if place + 1 < len(places) else len(inside)
        if objects.has_stream(inner):
            continue
        objects._inside.add(inner)
        objects.bodies[inner] = _plain_names(inside[start : min(stop, start + MAX_DICTIONARY)])


def raw_value(body: bytes, key: bytes) -> bytes:
    """What stands under a key in a dictionary, as written; b"" where there is none."""
    at = _find_key(body, key)
    if at < 0:
        return b""
    rest = body[at : at + MAX_DICTIONARY].lstrip()
    if rest[:1] == b"<" and rest[1:2] != b"<":
        return rest[: rest.find(b">") + 1]
    if rest[:2] == b"<<" or rest[:1] in (b"[", b"("):
        depth = 0
        for number, found in enumerate(_BRACKETS.finditer(rest)):
            mark = found[0]
            if mark in (b"<<", b"["):
                depth += 1
            elif mark in (b">>", b"]"):
                depth -= 1
            if depth <= 0 or number > 2_000:
                return rest[: found.end()]
        return rest
    reference = _REFERENCE.match(rest)
    if reference:
        return reference[0]
    if rest[:1] == b"/":
        name = _NAME.match(rest)
        return name[0] if name else b""
    return rest[: re.search(rb"[\s/>\]]|\Z", rest).start()]  # type: ignore[union-attr]


def _find_key(body: bytes, key: bytes) -> int:
    at = body.find(b"/" + key)
    while at >= 0:
        end = at + 1 + len(key)
        if body[end : end + 1] in b" \t\r\n\0\f/<>[]()":
            return end
        at = body.find(b"/" + key, end)
    return -1


def references(value: bytes, most: int = 100) -> list[int]:
    """The numbers of the objects that a value refers to."""
    return [int(found) for found in _REFERENCE.findall(value)[:most]]


def _plain_names(body: bytes) -> bytes:
    """Names may be written with any of their letters as hex digits: /J#61vaScript."""
    if b"#" not in body:
        return body
    return _NAME.sub(lambda name: _HEX_IN_NAME.sub(lambda byte: bytes.fromhex(byte[1].decode()), name[0]), body)


def literal(raw: bytes) -> bytes:
    """The bytes of a string as written, in brackets or in hex."""
    raw = raw.strip()
    if raw[:1] == b"<":
        return hex_bytes(raw.strip(b"<>"))
    return ESCAPE.sub(unescape, raw[1:-1]) if raw[:1] == b"(" else raw


def hex_bytes(digits: bytes) -> bytes:
    """The bytes of hex digits with other characters among them; a last one alone stands before a 0."""
    digits = _NO_HEX.sub(b"", digits)
    return bytes.fromhex((digits + b"0" * (len(digits) & 1)).decode())


def unescape(found: re.Match[bytes]) -> bytes:
    """What an escape in a string stands for."""
    if found[1] is not None:
        return bytes([int(found[1], 8) & 255])
    return _ESCAPES.get(found[2], found[2])


def _ascii85(raw: bytes) -> bytes:
    try:
        return base64.a85decode(re.sub(rb"\s|<~", b"", raw).partition(b"~")[0])
    except ValueError:
        return b""
