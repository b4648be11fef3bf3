"""One recipient put in place of another wherever it stands: headers, text in any encoding, links, plain or base64."""

from __future__ import annotations

import base64
import binascii
import quopri
import random
import re
from collections.abc import Callable, Sequence
from email.utils import getaddresses

from mailwarden.simulation.injection.letter import Letter

REDACTED = re.compile(rb"(?i)(?:phishing|phish|honey)@pot(?:[\w+.-]*?(?:@|=40|%40|=)(?:[a-z0-9-]+\.)+[a-z]{2,6})?")
"""What stands for the recipient in a corpus that hides him, with what was left of the address behind it."""

_WORD = re.compile(rb"=\?([^?\s]{1,40})\?([bBqQ])\?([^?]*)\?=")
_BOUNDARY = re.compile(rb"boundary\s*=\s*(?:\"([^\"]{1,100})\"|([^\s;\"]{1,100}))", re.IGNORECASE)
_TRANSFER = re.compile(rb"^content-transfer-encoding\s*:\s*([\w-]+)", re.IGNORECASE | re.MULTILINE)
_TYPE = re.compile(rb"^content-type\s*:\s*([\w/+.-]+)", re.IGNORECASE | re.MULTILINE)
_TEXTUAL = (b"text/", b"message/", b"multipart/")

Change = Callable[[bytes], bytes]


def change_of(old: Sequence[str], new: str, rng: random.Random) -> Change:
    """A function of decoded bytes that puts the new address where one of the old ones, or the redacted one, stands."""
    fresh = new.encode("utf-8")
    names = sorted(
        {one.encode("utf-8") for one in old if "@" in one and not one.endswith("@pot")}, key=len, reverse=True
    )
    encoded = {
        base64.b64encode(name).rstrip(b"="): base64.b64encode(fresh).rstrip(b"=")
        for name in (*names, b"phishing@pot", b"phish@pot")
    }
    forms = [re.escape(name) for name in names] + [re.escape(name).replace(b"@", b"%40") for name in names]
    plain = re.compile(b"|".join(forms), re.IGNORECASE) if forms else None

    def redacted(found: re.Match[bytes]) -> bytes:
        before, behind = found.string[: found.start()][-1:], found.string[found.end() :][:1]
        if before.isalnum() or before in (b"#", b"_") or behind.isdigit():
            # The name that was hidden is also a run of characters: here it was no name.
            return str(rng.randint(10, 99)).encode()
        return fresh

    def change(text: bytes) -> bytes:
        text = text.replace(b"phishing%40pot", b"phishing@pot")
        if b"@pot" in text.lower():
            text = REDACTED.sub(redacted, text)
        if plain is not None:
            text = plain.sub(lambda m: fresh.replace(b"@", b"%40") if b"%40" in m[0] else fresh, text)
        for was, now in encoded.items():
            if was in text:
                text = text.replace(was, now)
        return text

    return change


def readdress(letter: Letter, old: Sequence[str], new: str, shown: str, rng: random.Random) -> Change:
    """Make the letter one to another recipient.

    old: addresses that it was for. new: the recipient's. shown: the address that To has for mail to him, which a list's
    differs from. To and Cc name each address once. Returns what was done to text, for what stands beside the letter.
    """
    change, to_shown = change_of(old, new, rng), change_of(old, shown, rng)
    for field in letter.fields:
        apply = to_shown if field.key in ("to", "cc", "subject") else change
        field.raw = _words(field.raw, apply)
    seen: set[str] = set()
    for name in ("To", "Cc"):
        _name_once(letter, name, seen, {one.partition("@")[0] for one in old})
    letter.body = _body(letter, change)
    return change


def _words(raw: bytes, change: Change) -> bytes:
    """The same of a field, also inside of encoded words."""

    def word(found: re.Match[bytes]) -> bytes:
        charset, form, text = found.groups()
        try:
            plain = base64.b64decode(text) if form in b"bB" else quopri.decodestring(text, header=True)
        except (binascii.Error, ValueError):
            return found[0]
        fresh = change(plain)
        if fresh == plain:
            return found[0]
        if form in b"bB":
            return b"=?" + charset + b"?B?" + base64.b64encode(fresh) + b"?="
        return b"=?" + charset + b"?Q?" + quopri.encodestring(fresh, header=True).replace(b"=\n", b"") + b"?="

    return change(_WORD.sub(word, raw) if b"=?" in raw else raw)


def _name_once(letter: Letter, name: str, seen: set[str], strange: set[str]) -> None:
    """Name each address once, and nobody by the old recipient's name."""
    boxes = [(shown, address) for shown, address in getaddresses(letter.all(name.lower())) if address]
    kept = []
    for shown, address in boxes:
        if address.lower() not in seen:
            seen.add(address.lower())
            kept.append(("" if any(one in shown.lower() for one in strange) or "@" in shown else shown, address))
    if kept == boxes:
        return
    if not kept:
        letter.remove((name.lower(),))
        return
    letter.put(name, ", ".join(f'"{shown}" <{address}>' if shown else address for shown, address in kept))


def _body(letter: Letter, change: Change) -> bytes:
    top = letter.eol.join(field.raw for field in letter.fields if field.key.startswith("content-"))
    found = _BOUNDARY.findall(top + letter.body)
    boundaries = sorted({a or b for a, b in found}, key=len, reverse=True)
    if not boundaries:
        return _part(top, letter.body, change, letter.eol)
    line = re.compile(rb"(?m)^(--(?:" + b"|".join(map(re.escape, boundaries)) + rb")(?:--)?[ \t]*\r?(?:\n|\Z))")
    pieces = line.split(letter.body)
    for at in range(2, len(pieces), 2):
        head, gap, content = _split(pieces[at])
        pieces[at] = change(head) + gap + _part(head, content, change, letter.eol)
    pieces[0] = change(pieces[0])
    return b"".join(pieces)


def _split(piece: bytes) -> tuple[bytes, bytes, bytes]:
    if piece.startswith((b"\n", b"\r\n")):
        cut = piece.index(b"\n") + 1
        return b"", piece[:cut], piece[cut:]
    found = re.search(rb"\r?\n\r?\n", piece)
    return (piece, b"", b"") if found is None else (piece[: found.start()], found[0], piece[found.end() :])


def _part(head: bytes, content: bytes, change: Change, eol: bytes) -> bytes:
    kind, transfer = _TYPE.search(head), _TRANSFER.search(head)
    if kind is not None and not kind[1].lower().startswith(_TEXTUAL):
        return content
    form = transfer[1].lower() if transfer else b""
    if form == b"base64":
        try:
            plain = base64.b64decode(content)
        except (binascii.Error, ValueError):
            return content
        fresh = change(plain)
        return content if fresh == plain else base64.encodebytes(fresh).replace(b"\n", eol) + eol
    if form == b"quoted-printable":
        plain = quopri.decodestring(content)
        fresh = change(plain)
        return content if fresh == plain else quopri.encodestring(fresh.replace(b"\r\n", b"\n")).replace(b"\n", eol)
    return change(content)
