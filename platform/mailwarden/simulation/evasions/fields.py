"""Header fields of a message as bytes, so that one is changed and all others stay as they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable

TRACE = frozenset((
    "return-path", "delivered-to", "x-original-to", "envelope-to", "received", "authentication-results", "received-spf",
    "dkim-signature", "arc-seal", "arc-message-signature", "arc-authentication-results",
))  # fmt: skip
"""What hosts write on the way, above what the sender's own mailer wrote."""

_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:")


def fields_of(headers: bytes) -> list[tuple[str, bytes]]:
    """Name in lower case and whole lines of each field, in order; a line that begins none belongs to the one before."""
    found: list[tuple[str, bytes]] = []
    for line in headers.splitlines(keepends=True):
        begun = _FIELD.match(line)
        if begun is not None or not found:
            found.append((begun[1].decode("ascii").lower() if begun is not None else "", line))
        else:
            name, before = found[-1]
            found[-1] = name, before + line
    return found


def header_lines(raw: bytes) -> bytes:
    """The header of a message, each line ended by LF."""
    head = raw.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    return head.rstrip(b"\n") + b"\n"


def lines_of(headers: bytes, name: str) -> bytes | None:
    """The whole lines of the first field of that name; None where there is none."""
    return next((lines for known, lines in fields_of(headers) if known == name.lower()), None)


def value(headers: bytes, name: str) -> str:
    """What the first field of that name says, unfolded; "" where there is none."""
    lines = lines_of(headers, name)
    return "" if lines is None else " ".join(lines.partition(b":")[2].decode("utf-8", "replace").split())


def joined(fields: Iterable[tuple[str, bytes]]) -> bytes:
    """Fields as the bytes of a header."""
    return b"".join(lines for _, lines in fields)


def replaced(headers: bytes, lines: bytes) -> bytes:
    """A field in the place of the first of its name, others of that name left out; behind all where there was none."""
    name = fields_of(lines)[0][0]
    fields = fields_of(headers)
    at = next((number for number, (known, _) in enumerate(fields) if known == name), len(fields))
    kept = [one for one in fields[:at] if one[0] != name], [one for one in fields[at:] if one[0] != name]
    return joined([*kept[0], (name, lines), *kept[1]])


def without(headers: bytes, names: Collection[str]) -> bytes:
    """A header without the fields of these names, in lower case."""
    return joined(one for one in fields_of(headers) if one[0] not in names)


def changed(headers: bytes, chosen: Callable[[str, bytes], bool], change: Callable[[bytes], bytes]) -> bytes:
    """A header with the first field that is chosen changed."""
    fields = fields_of(headers)
    for number, (name, lines) in enumerate(fields):
        if chosen(name, lines):
            fields[number] = name, change(lines)
            break
    return joined(fields)


def below_trace(headers: bytes, lines: bytes) -> bytes:
    """A header with more lines right below what hosts wrote on the way: where a sender's own fields begin."""
    fields = fields_of(headers)
    at = next((number for number, (name, _) in enumerate(fields) if name not in TRACE), len(fields))
    return joined(fields[:at]) + lines + joined(fields[at:])
