"""Header fields: split, unfolded, decoded (RFC 5322, 2047, 2231), each in its order."""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from mailwarden.ingest.charsets import clean, decode
from mailwarden.ingest.defects import DefectLog

MAX_HEADERS = 1_000
MAX_HEADER_BYTES = 256 * 1024
MAX_VALUE = 32 * 1024

_BLANK_LINE = re.compile(rb"\n\r?\n")
_FIELD = re.compile(r"([!-9;-~\x80-\xff]{1,200})[ \t]*:[ \t]*")
_ENCODED_WORD = re.compile(r"=\?([^?\s]{1,80})\?([bBqQ])\?([^?]*)\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)[ \t\r\n]+(=\?[^?\s]{1,80}\?[bBqQ]\?)")
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]++|\\.)*+)"?|([^;]*))', re.DOTALL)
_SEMICOLON_LOST = re.compile(r"\s*([^\s;=]+)[\s,]+(?=[\w*-]+\s*=)")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class HeaderBlock:
    """The headers of one part. fields: (name as written, value unfolded but not yet decoded) in order; body: offset
    where the body begins."""

    fields: list[tuple[str, str]]
    body: int

    def first(self, name: str) -> str | None:
        """The first value of that name (given in lower case), None where absent."""
        for key, value in self.fields:
            if len(key) == len(name) and key.lower() == name:
                return value
        return None

    def all(self, name: str) -> list[str]:
        """All values of that name (given in lower case), in order."""
        return [value for key, value in self.fields if len(key) == len(name) and key.lower() == name]


def read_headers(data: bytes, start: int, end: int, defects: DefectLog, part: int = 0) -> HeaderBlock:
    """Read the header fields of data[start:end]; a line that is none is skipped, or begins the body."""
    if data.startswith((b"\n", b"\r\n"), start, end):
        return HeaderBlock([], data.index(b"\n", start) + 1)
    blank = _BLANK_LINE.search(data, start, end)
    stop, body = (blank.start() + 1, blank.end()) if blank else (end, end)
    if stop - start > MAX_HEADER_BYTES:
        defects.add("headers_too_long", f"{stop - start} bytes", part)
        stop = start + MAX_HEADER_BYTES
    block = data[start:stop]
    # Latin-1 keeps byte and character offsets equal; values with 8-bit bytes are read again below.
    lines = block.decode("latin-1").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    fields: list[tuple[str, list[str]]] = []
    offset = start
    for number, line in enumerate(lines):
        if line[:1] in (" ", "\t"):
            if fields:
                fields[-1][1].append(line.rstrip("\r"))
            else:
                defects.add("continuation_without_header", "", part)
        elif (field := _FIELD.match(line)) is not None:
            if len(fields) >= MAX_HEADERS:
                defects.add("too_many_headers", f"more than {MAX_HEADERS}", part)
                break
            fields.append((field[1], [line[field.end() :].rstrip("\r")]))
        elif line.strip("\r") and not (number == 0 and line.startswith(("From ", ">From "))):
            following = lines[number + 1] if number + 1 < len(lines) else ""
            if not fields or _FIELD.match(following) is None:
                defects.add("headers_not_ended" if fields else "no_headers", "", part)
                return HeaderBlock(_unfold(fields, block, defects, part), offset)
            defects.add("header_without_colon", "", part)
        offset += len(line) + 1
    if blank is None:
        defects.add("no_body", "", part)
    return HeaderBlock(_unfold(fields, block, defects, part), body)


def _unfold(fields: list[tuple[str, list[str]]], block: bytes, defects: DefectLog, part: int) -> list[tuple[str, str]]:
    ascii_only = block.isascii()
    unfolded: list[tuple[str, str]] = []
    for name, lines in fields:
        value = lines[0] if len(lines) == 1 else "".join(lines)
        if len(value) > MAX_VALUE:
            defects.add("header_too_long", name, part)
            value = value[:MAX_VALUE]
        if "\0" in value:
            defects.add("nul_in_header", name, part)
            value = value.replace("\0", "")
        if not ascii_only and not value.isascii():
            value = _read_eight_bit(value.encode("latin-1"), defects, part)
        if not ascii_only and not name.isascii():
            defects.add("header_name_not_ascii", "", part)
            name = name.encode("latin-1").decode("utf-8", "replace")
        unfolded.append((name, value.strip()))
    return unfolded


def _read_eight_bit(value: bytes, defects: DefectLog, part: int) -> str:
    # Plain UTF-8 in headers is allowed (RFC 6532); anything else is not, and common.
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        defects.add("header_8bit", "", part)
    try:
        return value.decode("cp1252")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def decode_words(value: str, defects: DefectLog, part: int = 0) -> str:
    """A header value with its encoded words read (RFC 2047); broken ones stay as written."""
    if "=?" not in value:
        return value
    # Twice, since of three words in a row one substitution joins every other gap.
    joined = _BETWEEN_WORDS.sub(r"\1\2", _BETWEEN_WORDS.sub(r"\1\2", value))
    out: list[str] = []
    end = 0
    pending = b""
    charset = ""
    for word in _ENCODED_WORD.finditer(joined):
        label = word[1].partition("*")[0].lower()
        if pending and (word.start() != end or label != charset):
            out.append(decode(pending, charset, defects, part))
            pending = b""
        if word.start() != end:
            out.append(joined[end : word.start()])
        end = word.end()
        charset = label
        # A character may be split between two words of one charset, so bytes are gathered first.
        pending += _word_bytes(word[2], word[3], defects, part)
    if pending:
        out.append(decode(pending, charset, defects, part))
    out.append(joined[end:])
    return clean("".join(out))


def _word_bytes(encoding: str, text: str, defects: DefectLog, part: int) -> bytes:
    raw = text.encode("utf-8", "replace")
    if encoding in "qQ":
        return binascii.a2b_qp(raw, header=True)
    try:
        return binascii.a2b_base64(raw)
    except binascii.Error:
        defects.add("encoded_word_broken", "", part)
    kept = re.sub(rb"[^A-Za-z0-9+/]", b"", raw)
    kept = kept[: len(kept) - 1] if len(kept) % 4 == 1 else kept
    return binascii.a2b_base64(kept + b"=" * (-len(kept) % 4))


def one_line(value: str) -> str:
    """The value with every run of white space made one blank."""
    return " ".join(value.split())


def read_parameters(value: str, defects: DefectLog, part: int = 0) -> tuple[str, dict[str, str]]:
    """The leading token of a structured header in lower case, and its parameters by lower-case name.

    Continued and charset-marked parameters (RFC 2231) are put together; encoded words in them, which the RFC
    forbids and mailers write, are read.
    """
    token, semicolon, _ = value.partition(";")
    if "=" in token and (lost := _SEMICOLON_LOST.match(token)) is not None:
        defects.add("parameter_without_semicolon", "", part)
        value = f"{lost[1]};{value[lost.end() :]}"
        token, semicolon = lost[1], ";"
    token = token.partition("(")[0].strip().strip('"').lower()
    if not semicolon:
        return token, {}
    plain: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[bool, str]]] = {}
    for match in _PARAMETER.finditer(value):
        name = match[1].lower()
        text = _ESCAPED.sub(r"\1", match[2]) if match[2] is not None else match[3].strip()
        if "*" in name:
            base, _, number = name.rstrip("*").partition("*")
            index = int(number) if number.isdecimal() and len(number) < 4 else 0
            pieces.setdefault(base, {}).setdefault(index, (name.endswith("*"), text))
        elif name in plain:
            defects.add("parameter_repeated", name, part)
        else:
            plain[name] = clean(text)
    for base, numbered in pieces.items():
        plain[base] = _join_pieces(numbered, defects, part)
    return token, plain


def _join_pieces(numbered: dict[int, tuple[bool, str]], defects: DefectLog, part: int) -> str:
    charset = ""
    gathered: list[bytes] = []
    for index in sorted(numbered):
        encoded, text = numbered[index]
        if encoded and not gathered and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)
        raw = text.encode("utf-8", "replace")
        gathered.append(unquote_to_bytes(raw) if encoded else raw)
    return decode(b"".join(gathered), charset, defects, part)
