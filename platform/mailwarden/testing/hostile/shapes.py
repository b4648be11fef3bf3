"""What hostile messages are built from: a run of one unit in a header, in a body, in a file, or in many parts."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from random import Random

Kind = Callable[[int, Random], bytes]
"""From a size in bytes, kept to within a few hundred, and a source of chance, to a raw message."""

SUBJECT = "A subject that must not be lost"
SENDER = "mallory@hostile.example"
FIRST = f"From: Mallory <{SENDER}>\nSubject: {SUBJECT}\nDate: Sun, 8 Apr 2007 13:07:21 +0000\n".encode()
"""The headers that every hostile message begins with, and that no reading may lose."""

_MARK = b"%d"


def run(unit: bytes, size: int) -> bytes:
    """The unit over and over, to `size` bytes; "%d" in it counts up."""
    if _MARK not in unit:
        return (unit * (size // len(unit) + 1))[:size]
    width = len(str(size))
    wide = unit.replace(_MARK, b"%%0%dd" % width)
    count = size // len(wide % ((0,) * unit.count(_MARK))) + 1
    marks = unit.count(_MARK)
    return b"".join(wide % ((number,) * marks) for number in range(count))[:size]


def field(name: bytes, *units: bytes, before: bytes = b"", after: bytes = b"", body: bytes = b"hi\n") -> Kind:
    """One header of the whole size, a unit over and over in it, on one line."""

    def make(size: int, chance: Random) -> bytes:
        room = max(0, size - len(FIRST) - len(name) - len(before) - len(after) - len(body))
        return FIRST + name + b": " + before + run(chance.choice(units), room) + after + b"\n\n" + body

    return make


def fields(name: bytes, *units: bytes, each: int = 30_000, before: bytes = b"", after: bytes = b"") -> Kind:
    """Headers of one name, `each` bytes long, as many as fit: what no limit of one header stops."""

    def make(size: int, chance: Random) -> bytes:
        value = run(chance.choice(units), max(1, min(each, size - len(FIRST))))
        line = name + b": " + before + value + after + b"\n"
        return FIRST + line * max(1, (size - len(FIRST)) // len(line)) + b"\nhi\n"

    return make


def body(content_type: bytes, *units: bytes, before: bytes = b"", after: bytes = b"", headers: bytes = b"") -> Kind:
    """A body of one part, a unit over and over in it."""

    def make(size: int, chance: Random) -> bytes:
        head = FIRST + headers + b"Content-Type: " + content_type + b"\n\n" + before
        return head + run(chance.choice(units), max(0, size - len(head) - len(after))) + after

    return make


def html(*units: bytes, before: bytes = b"<body>", after: bytes = b"") -> Kind:
    """An HTML body, a unit over and over in it."""
    return body(b"text/html; charset=utf-8", *units, before=before, after=after)


def text(*units: bytes, before: bytes = b"", after: bytes = b"") -> Kind:
    """A plain body, a unit over and over in it."""
    return body(b"text/plain; charset=utf-8", *units, before=before, after=after)


def parts(head: bytes, unit: bytes, count: int, *, kind: bytes = b"mixed", before: bytes = b"") -> Kind:
    """A multipart of `count` parts of like size, each with the same headers and a unit over and over in it."""

    def make(size: int, chance: Random) -> bytes:
        del chance
        each = max(1, size // count - len(head) - len(before) - 8)
        one = b"--=b\n" + head + b"\n" + before + run(unit, each) + b"\n"
        return in_multipart(one * max(1, min(count, size // len(one))), kind)

    return make


def in_multipart(inside: bytes, kind: bytes = b"mixed") -> bytes:
    """A message of parts already delimited by "--=b"."""
    return FIRST + b'Content-Type: multipart/%s; boundary="=b"\n\n%s--=b--\n' % (kind, inside)


def encoded(encoding: bytes, *units: bytes, content_type: bytes = b"application/octet-stream") -> Kind:
    """A body that claims a transfer encoding, of junk."""
    return body(content_type, *units, headers=b"Content-Transfer-Encoding: " + encoding + b"\n")


def attached(make_file: Callable[[int, Random], bytes], count: int = 1, name: bytes = b"a.zip") -> Kind:
    """Files of a made content as `count` attachments in base 64, the whole as long as asked for."""

    def make(size: int, chance: Random) -> bytes:
        each = max(1, (size * 3 // 4) // count - 150)
        head = (
            b'--=b\nContent-Type: application/octet-stream; name="' + name + b'"\nContent-Transfer-Encoding: base64\n\n'
        )
        one = head + base64.encodebytes(make_file(each, chance))
        return in_multipart(one * max(1, min(count, size // len(one))))

    return make


def nested(inner: Kind, depth: int) -> Kind:
    """A kind inside of `depth` messages."""

    def make(size: int, chance: Random) -> bytes:
        return (FIRST + b"Content-Type: message/rfc822\n\n") * depth + inner(size, chance)

    return make


def together(*kinds: Kind) -> Kind:
    """Several kinds as messages inside one, each with its share of the size."""

    def make(size: int, chance: Random) -> bytes:
        share = size // len(kinds)
        wrapped = (b"--=b\nContent-Type: message/rfc822\n\n" + kind(share, chance) + b"\n" for kind in kinds)
        return in_multipart(b"".join(wrapped))

    return make


def headers_of(kinds: Iterable[Kind], after: bytes) -> Kind:
    """The headers of several kinds in one message, before a further header and a body."""

    def make(size: int, chance: Random) -> bytes:
        each = [kind(200_000, chance)[len(FIRST) :].partition(b"\n\n")[0] for kind in kinds]
        head = FIRST + b"\n".join(each)[: size // 2] + b"\n" + after
        return head + run(b"<p>a b</p>\n", max(0, size - len(head)))

    return make
