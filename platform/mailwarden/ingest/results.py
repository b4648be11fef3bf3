"""One Authentication-Results value as RFC 8601 section 2.2 has it, and as large receivers write it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

Method = Literal["spf", "dkim", "dmarc", "arc"]

MAX_TEXT = 16 * 1024
"""Characters of one value that are read."""
MAX_RESULTS = 200

# A quote that is never closed holds the rest: to look for its end at every quote anew would take time by the square.
_PIECE = re.compile(r'"((?:[^"\\]++|\\.)*+)"?|(\()|(;)|([^"(;]++)', re.DOTALL)
_COMMENT_EDGE = re.compile(r"\\.|[()]", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_RESULT = re.compile(r"\s*+([a-z0-9][a-z0-9_-]*+)\s*+(?:/\s*+(\d++)\s*+)?=\s*+([a-z0-9_-]++)", re.IGNORECASE)
# The look-behind keeps a search from beginning anew at every letter of a long word.
_PROPERTY = re.compile(r"(?<![\w.-])([a-z0-9_-]++)\s*+\.\s*+([a-z0-9_-]++)\s*+=\s*+([^\s;]++)", re.IGNORECASE)
_METHODS = frozenset(("spf", "dkim", "dmarc", "arc"))
_VERDICTS = frozenset(("none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"))
# Words that large receivers write and the RFC does not have.
_SPELLINGS = {"hardfail": "fail", "error": "temperror", "bestguesspass": "none", "unknown": "permerror"}
# What stands in quotes is one word, whatever its characters: those that would part words are put aside meanwhile.
_ASIDE = {ord(char): 0xF800 + ord(char) for char in '\t\n\r ;=./()"<>'}
_BACK = {aside: char for char, aside in _ASIDE.items()}


@dataclass(frozen=True, slots=True)
class Result:
    """What one method found. verdict: a word of the RFC; properties: "ptype.property" in lower case to its value."""

    method: Method
    verdict: str
    properties: Mapping[str, str]

    def property(self, *names: str) -> str:
        """The first of these properties that is given, "" where none is."""
        return next((value for name in names if (value := self.properties.get(name))), "")


@dataclass(frozen=True, slots=True)
class Results:
    """One field. authserv_id: in lower case, "" where the field bears none, as Microsoft 365 writes it. chain: what a
    passing `arc` result says of the ARC set, and the `i=` of an ARC-Authentication-Results, are not in it."""

    authserv_id: str
    results: tuple[Result, ...]


def read_results(value: str) -> Results:
    """The results of a field; those of a version that is not known are none, and so are methods not asked for."""
    sections = _sections(value[:MAX_TEXT])
    first = sections[0]
    if _RESULT.match(first):
        return Results("", _results(sections))
    words = first.split()
    if not words or (len(words) > 1 and words[1] != "1"):
        # Section 2.5: another version of the field may mean other things by the same words.
        return Results("", ())
    return Results(words[0].translate(_BACK).lower().rstrip("."), _results(sections[1:]))


def _results(sections: list[str]) -> tuple[Result, ...]:
    found: list[Result] = []
    for section in sections[:MAX_RESULTS]:
        match = _RESULT.match(section)
        if match is None or match[1].lower() not in _METHODS or (match[2] or "1") != "1":
            continue
        verdict = match[3].lower()
        verdict = _SPELLINGS.get(verdict, verdict)
        properties: dict[str, str] = {}
        for one in _PROPERTY.finditer(section, match.end()):
            properties.setdefault(f"{one[1]}.{one[2]}".lower(), one[3].translate(_BACK))
        method = cast(Method, match[1].lower())
        found.append(Result(method, verdict if verdict in _VERDICTS else "permerror", properties))
    return tuple(found)


def _sections(value: str) -> list[str]:
    """The value cut at semicolons, without comments; neither quoted strings nor comments can cut it."""
    sections: list[list[str]] = [[]]
    position = 0
    while (piece := _PIECE.match(value, position)) is not None:
        position = piece.end()
        if piece[1] is not None:
            sections[-1].append(_ESCAPED.sub(r"\1", piece[1]).translate(_ASIDE))
        elif piece[2]:
            position = _behind_comment(value, position)
            sections[-1].append(" ")
        elif piece[3]:
            sections.append([])
        else:
            sections[-1].append(piece[4])
    return ["".join(pieces) for pieces in sections]


def _behind_comment(value: str, position: int) -> int:
    """Where a comment ends that is open at `position`; a quote in it is a character like others (RFC 5322 3.2.2)."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(value, position):
        depth += (edge[0] == "(") - (edge[0] == ")")
        if not depth:
            return edge.end()
    return len(value)
