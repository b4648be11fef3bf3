"""Header fields: split, unfolded, decoded (RFC 5322, 2047, 2231), each in its order."""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from itertools import takewhile

from mailwarden.ingest.budget import FIELDS, HEADER_BYTES, SCANNED
from mailwarden.ingest.charset_labels import codec_for
from mailwarden.ingest.charsets import clean, decode, decode_unlabelled
from mailwarden.ingest.reading import Reading

MAX_HEADERS = 1_000
MAX_HEADER_BYTES = 256 * 1024
MAX_VALUE = 32 * 1024
"""Limits of one header block, so that those of the parts inside have something left; characters of one value."""

_NEEDED = ("from", "subject", "date", "to", "cc", "reply-to", "sender", "message-id", "content-type",
           "content-transfer-encoding", "content-disposition")  # fmt: skip
_TAIL = MAX_VALUE // 4
_FIELD = re.compile(r"([!-9;-~\x80-\xff]{1,200})[ \t]*:[ \t]*")
_WELL_FORMED = re.compile(r"^([!-9;-~]{1,200}):[ \t]*+(.*)$", re.MULTILINE)
_CHARSET = re.compile(rb"charset\s{0,10}+=\s{0,10}+[\"']?+([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
_ENCODED_WORD = re.compile(r"=\?([^?\s]{1,80})\?([bBqQ])\?([^?]*)\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)[ \t\r\n]+(=\?[^?\s]{1,80}\?[bBqQ]\?)")


@dataclass(slots=True)
class HeaderBlock:
    """The headers of one part. fields: (name as written, value unfolded but not yet decoded) in order; body: offset
    where the body begins."""

    fields: list[tuple[str, str]]
    body: int
    _named: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def first(self, name: str) -> str | None:
        """The first value of that name (given in lower case), None where absent."""
        found = self._by_name().get(name)
        return found[0] if found else None

    def of_content(self) -> dict[str, list[str]]:
        """All values of the Content- fields by lower-case name, each in order."""
        found: dict[str, list[str]] = {}
        for key, value in self.fields:
            if key[0] in "Cc" and key[:8].lower() == "content-":
                found.setdefault(key.lower(), []).append(value)
        return found

    def all(self, name: str) -> list[str]:
        """All values of that name (given in lower case), in order."""
        return self._by_name().get(name, [])

    def _by_name(self) -> dict[str, list[str]]:
        if not self._named:
            for key, value in self.fields:
                self._named.setdefault(key.lower(), []).append(value)
        return self._named


def read_headers(data: bytes, start: int, end: int, reading: Reading, part: int = 0) -> HeaderBlock:
    """Read the header fields of data[start:end]; a line that is none is skipped, or begins the body."""
    if data.startswith((b"\n", b"\r\n"), start, end):
        return HeaderBlock([], data.index(b"\n", start) + 1)
    near = min(end, start + MAX_HEADER_BYTES)
    blank, body = _blank_line(data, start, near)
    stop = blank + 1 if blank >= 0 else near
    block = data[start : start + reading.take(HEADER_BYTES, stop - start, part)]
    if start + len(block) < (stop if blank >= 0 else end):
        # Half a field is none, and would be taken for the beginning of the body.
        block = block[: block.rfind(b"\n") + 1]
    well_formed = _well_formed(block, min(MAX_HEADERS, reading.budget.left(FIELDS)))
    if well_formed is not None and blank >= 0:
        reading.budget.take(FIELDS, len(well_formed))
        return HeaderBlock(well_formed, body)
    # Latin-1 keeps byte and character offsets equal; values with 8-bit bytes are read again below.
    lines = block.decode("latin-1").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    most = min(MAX_HEADERS, reading.budget.left(FIELDS))
    fields: list[tuple[str, list[str]]] = []
    offset = start
    read_to = start + len(block)
    for number, line in enumerate(lines):
        if line[:1] in (" ", "\t"):
            if fields:
                fields[-1][1].append(line.rstrip("\r"))
            else:
                reading.defect("continuation_without_header", "", part)
        elif (field := _FIELD.match(line)) is not None:
            if len(fields) >= most:
                reading.cut(("headers",), "too_many_headers", f"more than {most}", part)
                read_to = offset
                break
            fields.append((field[1], [line[field.end() :].rstrip("\r")]))
        elif line.strip("\r") and not (number == 0 and line.startswith(("From ", ">From "))):
            following = lines[number + 1] if number + 1 < len(lines) else ""
            field = _FIELD.match(following)
            # A message whose first line is broken still has the headers below it; a part begins with its text.
            if field is None or not (
                fields or (part == 0 and b"\nfrom:" in data[start : blank if blank >= 0 else end].lower())
            ):
                reading.defect("headers_not_ended" if fields else "no_headers", "", part)
                reading.budget.take(FIELDS, len(fields))
                return HeaderBlock(_unfold(fields, block, reading, part), offset)
            reading.defect("header_without_colon", "", part)
        offset += len(line) + 1
    reading.budget.take(FIELDS, len(fields))
    if blank < 0 and near < end:
        reading.cut(("headers",), "headers_too_long", f"more than {MAX_HEADER_BYTES} bytes", part)
        blank, body = _blank_line(data, near - 2, near + reading.take(SCANNED, end - near, part))
    if blank < 0:
        body = end
        reading.defect("no_body", "", part)
    unfolded = _unfold(fields, block, reading, part)
    if read_to < body - 2:
        rest = b"\n" + data[read_to:body]
        unfolded += _unfold(_late(rest, unfolded), rest, reading, part)
    return HeaderBlock(unfolded, body)


def _well_formed(block: bytes, most: int) -> list[tuple[str, str]] | None:
    """The fields of a block in ASCII every line of which is as it should be, as nearly all are: the same as line by
    line, and four times as quick. None where a line is not, or there is anything to say of one."""
    if not block.isascii() or b"\0" in block:
        return None
    text = block.decode("ascii").replace("\r\n", "\n")
    if "\r" in text or text[:1] in (" ", "\t"):
        return None
    text = text.removesuffix("\n").replace("\n ", " ").replace("\n\t", "\t")
    fields = _WELL_FORMED.findall(text)
    if not 0 < len(fields) <= most or len(fields) != text.count("\n") + 1:
        return None
    unfolded = [(name, value.strip()) for name, value in fields]
    return None if len(text) > MAX_VALUE and any(len(value) > MAX_VALUE for _, value in fields) else unfolded


def _late(rest: bytes, read: list[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Fields behind a limit without which a message is nobody's or has no parts: the first of each name not read yet.

    Found by their names and not line by line, so that a flood of others before them costs next to nothing.
    """
    lower = rest.lower()
    known = {name.lower() for name, _ in read}
    late: list[tuple[str, list[str]]] = []
    for name in _NEEDED:
        at = -1 if name in known else lower.find(f"\n{name}:".encode())
        if at < 0:
            continue
        value = at + len(name) + 2
        end = rest.find(b"\n", value)
        line = rest[value:] if end < 0 else rest[value:end]
        if len(line) > 2 * MAX_VALUE:
            line = line[:MAX_VALUE] + line[-MAX_VALUE:]
        following = rest[end + 1 : end + MAX_VALUE] if end >= 0 else b""
        folded = takewhile(lambda line: line[:1] in (" ", "\t"), following.decode("latin-1").split("\n"))
        late.append((name, [one.rstrip("\r") for one in (line.decode("latin-1").lstrip(" \t"), *folded)]))
    return late


def _blank_line(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the line before the first empty one ends, and where what is behind that one begins; -1 where none is."""
    plain = data.find(b"\n\n", start, end)
    with_return = data.find(b"\n\r\n", start, end if plain < 0 else plain + 2)
    if with_return >= 0:
        return with_return, with_return + 3
    return plain, plain + 2


def _unfold(fields: list[tuple[str, list[str]]], block: bytes, reading: Reading, part: int) -> list[tuple[str, str]]:
    ascii_only = block.isascii()
    nearby: str | None = None
    unfolded: list[tuple[str, str]] = []
    for name, lines in fields:
        value = lines[0] if len(lines) == 1 else "".join(lines)
        if len(value) > MAX_VALUE:
            reading.cut(("headers",), "header_too_long", name, part)
            # Without its middle: an address stands at the end, behind its name, and so does a boundary.
            value = value[: MAX_VALUE - _TAIL] + value[-_TAIL:]
        if "\0" in value:
            reading.defect("nul_in_header", name, part)
            value = value.replace("\0", "")
        if not ascii_only and not value.isascii():
            if nearby is None:
                named = _CHARSET.search(block)
                nearby = named[1].decode("ascii") if named else ""
            value = _read_eight_bit(value.encode("latin-1"), nearby, reading, part)
        if not ascii_only and not name.isascii():
            reading.defect("header_name_not_ascii", "", part)
            name = name.encode("latin-1").decode("utf-8", "replace")
        unfolded.append((name, value.strip()))
    return unfolded


def _read_eight_bit(value: bytes, nearby: str, reading: Reading, part: int) -> str:
    # Plain UTF-8 in headers is allowed (RFC 6532); anything else is not, and common.
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        reading.defect("header_8bit", "", part)
    return decode_unlabelled(value, nearby, reading, part)


def decode_words(value: str, reading: Reading, part: int = 0) -> str:
    """A header value with its encoded words read (RFC 2047); broken ones stay as written."""
    if "=?" not in value:
        return value
    # Twice, since of three words in a row one substitution joins every other gap.
    joined = _BETWEEN_WORDS.sub(r"\1\2", _BETWEEN_WORDS.sub(r"\1\2", value))
    out: list[str] = []
    end = 0
    pending: list[tuple[str, str]] = []
    charset = ""
    for word in _ENCODED_WORD.finditer(joined):
        label = word[1].partition("*")[0].lower()
        # A character may be split between two words of one charset, so bytes are gathered first.
        if pending and (word.start() != end or (label != charset and codec_for(label) != codec_for(charset))):
            out.append(_read_words(pending, charset, reading, part))
            pending = []
        if word.start() != end:
            out.append(joined[end : word.start()])
        end = word.end()
        charset = label
        pending.append((word[2], word[3]))
    if pending:
        out.append(_read_words(pending, charset, reading, part))
    out.append(joined[end:])
    return clean("".join(out))


def _read_words(words: list[tuple[str, str]], charset: str, reading: Reading, part: int) -> str:
    gathered = b"".join(_word_bytes(encoding, text, reading, part) for encoding, text in words)
    if len(words) > 1 and any(encoding in "bB" and len(text) % 4 for encoding, text in words):
        # Some mailers cut the base 64 itself into words, and not what it stands for.
        whole = "".join(text for encoding, text in words if encoding in "bB")
        if len(whole) % 4 == 0 and not _fits(gathered, charset):
            together = _word_bytes("b", whole, reading, part)
            gathered = together if _fits(together, charset) else gathered
    return decode(gathered, charset, reading, part) if gathered else ""


def _fits(data: bytes, charset: str) -> bool:
    codec = codec_for(charset)
    if codec is None or " " in codec:
        return False
    try:
        data.decode(codec)
    except ValueError:
        return False
    return True


def _word_bytes(encoding: str, text: str, reading: Reading, part: int) -> bytes:
    raw = text.encode("utf-8", "replace")
    if encoding in "qQ":
        return binascii.a2b_qp(raw, header=True)
    try:
        return binascii.a2b_base64(raw)
    except binascii.Error:
        reading.defect("encoded_word_broken", "", part)
    kept = re.sub(rb"[^A-Za-z0-9+/]", b"", raw)
    kept = kept[: len(kept) - 1] if len(kept) % 4 == 1 else kept
    return binascii.a2b_base64(kept + b"=" * (-len(kept) % 4))


def one_line(value: str) -> str:
    """The value with every run of white space made one blank."""
    return " ".join(value.split())
