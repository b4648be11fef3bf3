"""Structured header fields: a leading token and its parameters, comments taken out (RFC 2045, 2231, 5322)."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from mailwarden.ingest.budget import BODY
from mailwarden.ingest.charsets import clean, decode
from mailwarden.ingest.reading import Reading

_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]++|\\.)*+)"?|([^;]*))', re.DOTALL)
# A token, and at most one parameter of usual characters: "text/plain; charset=utf-8".
_SIMPLE = re.compile(
    r"\s*+([\w.+/-]++)\s*+(?>(?:;\s*+([\w-]++)=(?:\"([ !#-\x27*-\[\]-~]++)\"|([\w.+=/-]++))\s*+(?>(?:;\s*+)?))?)",
    re.ASCII,
)
_FIRST_WORD = re.compile(r"\s*+([^\s;=]++)")
# A field that begins with a parameter, its leading token left out.
_ONLY_PARAMETER = re.compile(r"\s*+[\w*-]++\s*+=")
_GAP_BEFORE_PARAMETER = re.compile(r"[\s,]++(?=[\w*-]++\s*+=)")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_OUTSIDE = re.compile(r'"(?:[^"\\]++|\\.)*+"|\\.|\(', re.DOTALL)
_INSIDE = re.compile(r"\\.|[()]", re.DOTALL)
# Where a comment stood. White space to patterns and to `strip`, and in no header of an honest mailer.
_HOLE = "\x1f"
_NAMES = frozenset(("name", "filename"))
MAX_BRACKETS = 1_000
"""Brackets and quotes of one field that are looked at for comments."""


class Structured(NamedTuple):
    """A structured field. token: the leading one in lower case; parameters: by lower-case name, the first of each;
    repeated: (name, value) of those that came again."""

    token: str
    parameters: dict[str, str]
    repeated: tuple[tuple[str, str], ...] = ()


def read_parameters(value: str, reading: Reading, part: int = 0) -> Structured:
    """The leading token of a structured header in lower case, and its parameters by lower-case name.

    Comments are no part of either, nested ones and those that hold parameters included. Continued and charset-marked
    parameters (RFC 2231) are put together; encoded words in them, which the RFC forbids and mailers write, are read.
    """
    simple = _SIMPLE.fullmatch(value)
    if simple is not None:
        token, name, quoted, bare = simple.groups()
        return Structured(token.lower(), {} if name is None else {name.lower(): quoted or bare})
    comments: list[str] = []
    if "(" in value:
        value, comments = _take_comments(value.replace(_HOLE, " "), reading, part)
        if comments:
            reading.defect("comment_in_parameters", "", part)
    token, semicolon, _ = value.partition(";")
    if "=" in token and _ONLY_PARAMETER.match(token):
        reading.defect("parameter_without_semicolon", "", part)
        token, semicolon, value = "", ";", f";{value}"
    elif "=" in token and (lost := _lost_semicolon(token)) is not None:
        reading.defect("parameter_without_semicolon", "", part)
        token, semicolon = token[lost[0] : lost[1]], ";"
        value = f"{token};{value[lost[2] :]}"
    token = token.partition("(")[0].replace(_HOLE, "").strip().strip('"').lower()
    if not semicolon:
        return Structured(token, {})
    plain: dict[str, str] = {}
    repeated: list[tuple[str, str]] = []
    pieces: dict[str, dict[int, tuple[bool, str]]] = {}
    for match in _PARAMETER.finditer(value):
        name = match[1].lower()
        text = _ESCAPED.sub(r"\1", match[2]) if match[2] is not None else match[3].strip()
        if comments:
            if name in _NAMES and name not in plain and _HOLE in text:
                # A name of a file that nobody quoted may hold brackets of its own.
                text = _with_comments(text, comments[value.count(_HOLE, 0, match.start(3)) :])
            name, text = name.replace(_HOLE, ""), text.replace(_HOLE, "").strip()
        if "*" in name:
            base, _, number = name.rstrip("*").partition("*")
            index = int(number) if number.isdecimal() and len(number) < 4 else 0
            pieces.setdefault(base, {}).setdefault(index, (name.endswith("*"), text))
        elif name in plain:
            reading.defect("parameter_repeated", name, part)
            repeated.append((name, clean(text)))
        else:
            plain[name] = clean(text)
    for base, numbered in pieces.items():
        plain[base] = _join_pieces(numbered, reading, part)
    return Structured(token, plain, tuple(repeated))


def without_comments(value: str, reading: Reading, part: int = 0) -> str:
    """The value with a blank in place of each comment (RFC 5322 section 3.2.2)."""
    return _take_comments(value, reading, part)[0].replace(_HOLE, " ") if "(" in value else value


def _take_comments(value: str, reading: Reading, part: int) -> tuple[str, list[str]]:
    """The value with a hole in place of each comment that is closed, and the comments in order."""
    kept: list[str] = []
    comments: list[str] = []
    depth = start = end = at = looked = 0
    while (edge := (_INSIDE if depth else _OUTSIDE).search(value, at)) is not None:
        at = edge.end()
        looked += 1
        if looked > MAX_BRACKETS:
            reading.cut(BODY, "too_many_comments", f"more than {MAX_BRACKETS:,} brackets", part)
            break
        if edge[0] == "(":
            if not depth:
                start = edge.start()
            depth += 1
        elif edge[0] == ")":
            depth -= 1
            if not depth:
                kept.append(value[end:start])
                comments.append(value[start:at])
                end = at
    kept.append(value[end:])
    return _HOLE.join(kept), comments


def _with_comments(text: str, comments: list[str]) -> str:
    """The text with the comments inside of it put back; those at its ends are none of it."""
    parts = text.split(_HOLE)
    return parts[0] + "".join(comment + part for comment, part in zip(comments, parts[1:], strict=False))


def _lost_semicolon(token: str) -> tuple[int, int, int] | None:
    """Start and end of the leading word that blanks or commas part from a parameter, and where that begins."""
    word = _FIRST_WORD.match(token)
    if word is None:
        return None
    comma = token.rfind(",", word.start(1), word.end(1))
    for end in (word.end(1), comma):
        if end > word.start(1) and (gap := _GAP_BEFORE_PARAMETER.match(token, end)) is not None:
            return word.start(1), end, gap.end()
    return None


def _join_pieces(numbered: dict[int, tuple[bool, str]], reading: Reading, part: int) -> str:
    charset = ""
    gathered: list[bytes] = []
    for index in sorted(numbered):
        encoded, text = numbered[index]
        if encoded and not gathered and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)
        raw = text.encode("utf-8", "replace")
        gathered.append(unquote_to_bytes(raw) if encoded else raw)
    return decode(b"".join(gathered), charset, reading, part)
