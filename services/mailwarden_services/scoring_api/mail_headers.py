"""Header fields that a mail system is asked to add to a message and to take from it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailwarden.domain.detection.action import mildest
from mailwarden.stores.sql import Tenant

PREFIX = "X-Mailwarden-"
HEADERS_MOST = 256 * 1024
"""Bytes in front of a message that are searched for header fields."""

_WRITTEN = tuple(PREFIX + name for name in ("Verdict", "Score", "Category", "Id", "Signals", "Starter"))
"""Fields that are written here: however many others there are, a forged one of these goes."""

_WRITTEN_LOW = frozenset(name.lower() for name in _WRITTEN)

FIELDS_MOST = 50
"""How many names of forged fields are told at most; a message with more has most of them from nobody's mail system."""

_FIELD = re.compile(rb"^([!-9;-~]{1,998})[ \t]*:[ \t]*([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)", re.MULTILINE)
_END = re.compile(rb"\r?\n\r?\n")
_BLANK, _ENDS = frozenset(b" \t\r\n"), frozenset(b' \t\r\n;("')
_OPEN, _CLOSE, _QUOTE, _BACKSLASH = b'()"\\'
_HOST = re.compile(r"[a-z0-9_.-]{1,253}")


@dataclass(frozen=True, slots=True)
class HeaderChanges:
    """add: (name, value) to stand on top, values ASCII, folded by a line feed and a tab. remove: names of fields to be
    removed, all that bear them. remove_at: (name, number) of single fields, 1 the topmost of that name."""

    add: list[tuple[str, str]] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    remove_at: list[tuple[str, int]] = field(default_factory=list)


def fields_of(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, raw value) of header fields, in order, of what stands before the first empty line."""
    front = raw[:HEADERS_MOST]
    end = _END.search(front)
    for found in _FIELD.finditer(front, 0, len(front) if end is None else end.start()):
        yield found.group(1).decode("ascii"), found.group(2)


def first_field(raw: bytes, name: str) -> bytes | None:
    """The raw value of the first field of that name; None where there is none."""
    wanted = name.lower()
    return next((value for found, value in fields_of(raw) if found.lower() == wanted), None)


def changes_for(
    raw: bytes, parts: Sequence[tuple[Tenant, bool, Mapping[str, Any]]], *, authserv_id: str
) -> HeaderChanges:
    """What to add and remove. parts: tenants that the message concerns, whether each sends it itself, and its answer.

    Where a tenant asks for no header none is added; what says more than the verdict is for one tenant alone to see.
    Fields that only we write are removed as forged, unless the mail leaves; ours tell nothing of other results.
    authserv_id: by which results that were verified here are added, and those that claim to be are removed.
    """
    changes = HeaderChanges()
    if not parts or all(t.actions.leaves_alone(a["direction"], submitted=sent) for t, sent, a in parts):
        return changes
    _forged(raw, authserv_id, changes)
    if not all(t.actions.shows(a["direction"], submitted=sent) for t, sent, a in parts):
        return changes
    add = changes.add
    add.append((PREFIX + "Verdict", mildest(answer["verdict"] for _, _, answer in parts)))
    if len(parts) == 1:
        answer = parts[0][2]
        if answer["score"] is not None:
            add.append((PREFIX + "Score", f"{answer['score']:.4f}"))
        if answer["category"]:
            add.append((PREFIX + "Category", answer["category"]))
        if answer["decision_id"]:
            add.append((PREFIX + "Id", answer["decision_id"]))
        if answer.get("starter"):
            add.append((PREFIX + "Starter", answer["starter"]))
        if answer["signals"] and answer["verdict"] != "deliver":
            words = (f"{signal['name']}={signal['weight']:.2f}" for signal in answer["signals"])
            add.append((PREFIX + "Signals", ";\n\t".join(words).encode("ascii", "replace").decode()))
    verified = next((a["authentication"] for _, _, a in parts if _verified_here(a.get("authentication"))), None)
    if verified is not None:
        add.append(("Authentication-Results", _results(verified, authserv_id)))
    return changes


def _forged(raw: bytes, authserv_id: str, changes: HeaderChanges) -> None:
    names: dict[str, str] = {}
    results = 0
    ours: list[tuple[str, int]] = []
    for name, value in fields_of(raw):
        low = name.lower()
        if low.startswith(PREFIX.lower()) and (low in _WRITTEN_LOW or len(names) < FIELDS_MOST):
            names.setdefault(low, name)
        elif low == "authentication-results":
            results += 1
            if authserv_id_of(value).lower() == authserv_id.lower().encode():
                ours.append((name, results))
    looked_through = len(raw) <= HEADERS_MOST or _END.search(raw, 0, HEADERS_MOST) is not None
    if looked_through and len(ours) <= FIELDS_MOST:
        changes.remove_at.extend(ours)
    else:
        # More than any mail has by chance: they go by their name, and others' results with them.
        changes.remove.append("Authentication-Results")
    if not looked_through:
        for name in _WRITTEN:
            names.setdefault(name.lower(), name)
    changes.remove.extend(names.values())


def authserv_id_of(value: bytes) -> bytes:
    """Whose results a field claims to be (RFC 8601, section 2.3): its first token or quoted string, comments apart.

    >>> [authserv_id_of(text) for text in (b"mx.example(c); dmarc=pass", b"(a (b) c) mx.example", b'"mx\\.example" 1;')]
    [b'mx.example', b'mx.example', b'mx.example']
    """
    at, depth, end = 0, 0, len(value)
    while at < end:
        byte = value[at]
        if depth and byte == _BACKSLASH:
            at += 1
        elif byte == _OPEN:
            depth += 1
        elif depth and byte == _CLOSE:
            depth -= 1
        elif not depth and byte not in _BLANK:
            break
        at += 1
    if at < end and value[at] == _QUOTE:
        said = bytearray()
        at += 1
        while at < end and value[at] != _QUOTE:
            at += value[at] == _BACKSLASH
            said += value[at : at + 1]
            at += 1
        return bytes(said)
    start = at
    while at < end and value[at] not in _ENDS:
        at += 1
    return value[start:at]


def _verified_here(found: Mapping[str, Any] | None) -> bool:
    return found is not None and found["by"] == "verified here"


def _results(found: Mapping[str, Any], authserv_id: str) -> str:
    """An Authentication-Results value (RFC 8601) of what was verified here."""
    said = [authserv_id]
    for method, of in (("spf", "smtp.mailfrom"), ("dkim", "header.d"), ("dmarc", "header.from")):
        if found[method]:
            domain = found[f"{method}_domain"]
            said.append(f"{method}={found[method]}" + (f" {of}={domain}" if _HOST.fullmatch(domain) else ""))
    return ";\n\t".join(said)
