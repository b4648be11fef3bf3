"""The bytes that DKIM and ARC signatures are over (RFC 6376 sections 3.4, 3.7), canonical in linear time."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

MAX_HEADER_BYTES = 256 * 1024

_TABS = bytes.maketrans(b"\t", b" ")


@dataclass(frozen=True, slots=True)
class Field:
    """A header field as it stands in the message. name: in lower case; text: name, colon and value, folded, no CRLF at
    the end; value: behind the colon."""

    name: bytes
    text: bytes
    value: bytes

    def canonical(self, relaxed: bool) -> bytes:
        """What is hashed of it, without the CRLF."""
        return canonical_field(self.name, self.value) if relaxed else self.text


def canonical_field(name: bytes, value: bytes) -> bytes:
    """A field in relaxed form (section 3.4.2), without the CRLF."""
    return name + b":" + _one_blank(value.replace(b"\r\n", b"")).strip(b" ")


class Signed:
    """One message as its signatures see it. data: with any line ends; body: where its body begins."""

    def __init__(self, data: bytes, body: int) -> None:
        self.fields = _fields(data[: min(body, MAX_HEADER_BYTES)])
        self._data, self._body = data, body
        self._bodies: dict[bool, bytes] = {}
        self._hashes: dict[tuple[bool, int | None], bytes] = {}

    @property
    def body_bytes(self) -> int:
        """How long the body is, about."""
        return len(self._data) - self._body

    def body(self, relaxed: bool) -> bytes:
        """The body in canonical form (sections 3.4.3 and 3.4.4)."""
        if relaxed not in self._bodies:
            text = self._data[self._body :].replace(b"\r\n", b"\n")
            if relaxed:
                text = _one_blank(text).replace(b" \n", b"\n").removesuffix(b" ")
            text = text.rstrip(b"\n").replace(b"\n", b"\r\n")
            self._bodies[relaxed] = text + b"\r\n" if text or not relaxed else b""
        return self._bodies[relaxed]

    def is_hashed(self, relaxed: bool, length: int | None) -> bool:
        """Whether the body was hashed so before, and costs nothing."""
        return (relaxed, length) in self._hashes

    def body_hash(self, relaxed: bool, length: int | None) -> bytes:
        """SHA-256 of the canonical body, of its first `length` bytes alone where that is given."""
        if (relaxed, length) not in self._hashes:
            body = self.body(relaxed)
            self._hashes[relaxed, length] = hashlib.sha256(body if length is None else body[:length]).digest()
        return self._hashes[relaxed, length]

    def header_bytes(self, names: Sequence[bytes], relaxed: bool) -> bytes:
        """The fields of these names in canonical form: of a name that comes twice the last field, then the one above;
        of one that is not there nothing (section 5.4.2)."""
        left: dict[bytes, list[Field]] = defaultdict(list)
        for field in self.fields:
            left[field.name].append(field)
        chosen = (left[name].pop() for name in names if left.get(name))
        return b"".join(field.canonical(relaxed) + b"\r\n" for field in chosen)


def _one_blank(text: bytes) -> bytes:
    """Each run of blanks and tabs as one blank: by copies in C, since a pattern goes through them one by one."""
    text = text.translate(_TABS)
    for run in (b" " * 64, b" " * 8, b"  "):
        while run in text:
            text = text.replace(run, b" ")
    return text


def _fields(block: bytes) -> tuple[Field, ...]:
    found: list[Field] = []
    lines: list[bytes] = []
    for line in block.replace(b"\r\n", b"\n").split(b"\n"):
        if line[:1] in (b" ", b"\t") and lines:
            lines.append(line)
            continue
        _add(found, lines)
        lines = [line] if line else []
    _add(found, lines)
    return tuple(found)


def _add(found: list[Field], lines: list[bytes]) -> None:
    if not lines:
        return
    text = b"\r\n".join(lines)
    name, colon, value = text.partition(b":")
    if colon:
        found.append(Field(name.rstrip(b"\t ").lower(), text, value))


def tags_of(value: bytes) -> dict[str, bytes] | None:
    """The tags of a signature or key record (section 3.2), values without white space at their ends; None where they
    are not such a list."""
    tags: dict[str, bytes] = {}
    pieces = value.split(b";")
    if not pieces[-1].strip():
        pieces.pop()
    for piece in pieces:
        name, equals, text = piece.partition(b"=")
        key = name.strip().decode("latin-1")
        if not equals or not key or key in tags:
            return None
        tags[key] = text.strip()
    return tags


def without_signature(field: Field, relaxed: bool) -> bytes:
    """A signature's own field as it was signed: with an empty `b=` (section 3.5), without the CRLF."""
    pieces = field.value.split(b";")
    for at, piece in enumerate(pieces):
        name, equals, _ = piece.partition(b"=")
        if equals and name.strip() == b"b":
            pieces[at] = name + equals
    value = b";".join(pieces)
    return canonical_field(field.name, value) if relaxed else field.text.partition(b":")[0] + b":" + value
