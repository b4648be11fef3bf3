"""The text of a PDF's pages, by the maps to Unicode that its fonts carry. Source: ISO 32000-1, 9.4 and 9.10."""

from __future__ import annotations

import re
from collections.abc import Callable

from mailwarden.ingest.budget import DOCUMENT_TOKENS
from mailwarden.ingest.containers.contents import Contents
from mailwarden.ingest.containers.pdf_objects import ESCAPE, Objects, hex_bytes, raw_value, references, unescape

MAX_PAGES = 10
"""Pages that are read, the first ones, and as many forms drawn on them."""
MAX_FONTS = 40
MAX_MAP = 10_000
"""Codes of a font that are mapped."""

_TOKEN = re.compile(
    rb"/([^\s/<>\[\](){}%]{1,80}+)\s{1,9}+-?[\d.]{1,12}+\s{1,9}+Tf\b"
    rb"|\(((?:[^()\\]++|\\.|\([^()]*+\))*+)\)|<([0-9A-Fa-f\s]*+)>"
    rb"|(-?[\d.]{1,12}+)\s{1,9}+(-?[\d.]{1,12}+)\s{1,9}+(T[dDm])\b|(T\*|ET\b)|(-(?:[2-9]\d{2}|\d{4,5})(?=[.\s(<]))",
    re.DOTALL,
)
_FONT = re.compile(rb"/([^\s/<>\[\](){}%]{1,80}+)\s{1,9}+(\d{1,10}+)\s{1,9}+\d{1,5}+\s{1,9}+R\b")
_HEX = re.compile(rb"<\s*+([0-9A-Fa-f\s]{1,200}+)>|(\[)|(\])")

Font = Callable[[bytes], str]


def text_of_page(objects: Objects, page: bytes, contents: Contents, fonts: dict[int, Font]) -> str:
    """The text of a page or a form by its body. fonts: by object number, kept from page to page."""
    drawn = b"\n".join(objects.stream(number, contents) for number in _streams(objects, page)[:20])
    return text_of_drawing(drawn, _fonts_of(objects, page, contents, fonts), contents)


def _streams(objects: Objects, page: bytes) -> list[int]:
    raw = raw_value(page, b"Contents")
    found = references(raw)
    if len(found) == 1 and not objects.has_stream(found[0]):
        found = references(objects.bodies.get(found[0], b""))
    return found


def text_of_drawing(drawn: bytes, fonts: dict[bytes, Font], contents: Contents) -> str:
    """The strings that are shown by a page's operators, a line each time that they move up or down."""
    out: list[str] = []
    font: Font = _latin
    height = b""
    most = contents.reading.budget.left(DOCUMENT_TOKENS)
    number = 0
    for number, token in enumerate(_TOKEN.finditer(drawn), 1):
        if number > most:
            break
        name, shown, digits, _across, up, move, line, gap = token.groups()
        if shown is not None:
            out.append(font(ESCAPE.sub(unescape, shown) if b"\\" in shown else shown))
        elif digits is not None:
            out.append(font(hex_bytes(digits)))
        elif name is not None:
            font = fonts.get(name, _latin)
        elif move is not None:
            new_line = up != height if move == b"Tm" else up.strip(b"-0.") != b""
            height = up if move == b"Tm" else height
            out.append("\n" if new_line else " ")
        elif line is not None:
            out.append("\n" if line == b"T*" else " ")
        elif gap is not None:
            out.append(" ")
    contents.take(min(number, most + 1), DOCUMENT_TOKENS)
    lines = (" ".join(line.split()) for line in "".join(out).split("\n"))
    return "\n".join(line for line in lines if line)


def _latin(raw: bytes) -> str:
    if raw.startswith(b"\xfe\xff"):
        return raw[2:].decode("utf-16-be", "replace")
    return raw.decode("cp1252", "replace")


def _fonts_of(objects: Objects, page: bytes, contents: Contents, known: dict[int, Font]) -> dict[bytes, Font]:
    body = page
    for _ in range(8):
        resources = objects.value(body, b"Resources")
        if resources:
            break
        # Pages inherit from what they hang on.
        body = objects.value(body, b"Parent")
    fonts: dict[bytes, Font] = {}
    for name, number in _FONT.findall(objects.value(resources, b"Font"))[:MAX_FONTS]:
        key = int(number)
        if key not in known and len(known) < MAX_FONTS:
            known[key] = _font(objects, key, contents)
        fonts[name] = known.get(key, _latin)
    return fonts


def _font(objects: Objects, number: int, contents: Contents) -> Font:
    body = objects.bodies.get(number, b"")
    wide = b"/Type0" in body
    mapped = references(raw_value(body, b"ToUnicode"), 1)
    if not mapped:
        # Glyph numbers without a map are no text to anybody but a printer.
        return (lambda raw: "") if wide else _latin
    table = _map_of(objects.stream(mapped[0], contents), contents)
    width = 2 if wide else 1

    def read(raw: bytes) -> str:
        codes = (raw[at : at + width] for at in range(0, len(raw), width))
        return "".join(
            table.get(int.from_bytes(code, "big"), "" if wide else code.decode("cp1252", "replace")) for code in codes
        )

    return read


def _map_of(source: bytes, contents: Contents) -> dict[int, str]:
    table: dict[int, str] = {}
    at = source.find(b"beginbf")
    while at >= 0 and len(table) < MAX_MAP:
        end = source.find(b"endbf", at)
        tokens = _HEX.findall(source, at, end if end >= 0 else len(source))
        tokens = tokens[: contents.take(len(tokens), DOCUMENT_TOKENS)]
        (_map_ranges if source.startswith(b"beginbfrange", at) else _map_characters)(tokens, table)
        at = source.find(b"beginbf", end) if end >= 0 else -1
    return table


def _map_characters(tokens: list[tuple[bytes, bytes, bytes]], table: dict[int, str]) -> None:
    for code, shown in zip(tokens[::2], tokens[1::2], strict=False):
        if code[0] and shown[0]:
            table[_number(code[0])] = _shown(shown[0])


def _map_ranges(tokens: list[tuple[bytes, bytes, bytes]], table: dict[int, str]) -> None:
    at = 0
    while at + 2 < len(tokens) and len(table) < MAX_MAP:
        first, last = _number(tokens[at][0]), _number(tokens[at + 1][0])
        last = min(last, first + MAX_MAP - len(table))
        if tokens[at + 2][1]:
            at += 3
            while at < len(tokens) and tokens[at][0]:
                if first <= last:
                    table[first] = _shown(tokens[at][0])
                first, at = first + 1, at + 1
            at += 1
            continue
        begin = _shown(tokens[at + 2][0])
        for code in range(first, last + 1):
            if begin and ord(begin[-1]) + code - first < 0x110000:
                table[code] = begin[:-1] + chr(ord(begin[-1]) + code - first)
        at += 3


def _number(digits: bytes) -> int:
    digits = b"".join(digits.split())[:8]
    return int(digits, 16) if digits else 0


def _shown(digits: bytes) -> str:
    return hex_bytes(digits)[:40].decode("utf-16-be", "replace")
