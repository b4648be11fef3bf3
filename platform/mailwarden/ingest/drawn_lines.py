"""Pieces of HTML text put together to lines; marks between them tell of breaks, cells and what may be a quote."""

from __future__ import annotations

import re
from itertools import pairwise

from mailwarden.ingest.quotes import MARK

# NUL is gone from decoded text, and so is free to mark where lines break; the others are taken out of it first.
BREAK, OPENS, ENDS, CELL = "\0", "\x0e", "\x0f", "\x1f"
"""Between pieces: a line ends; a block that may be a quote opens and ends; a cell begins."""

_MARKS = str.maketrans("", "", OPENS + ENDS + CELL + MARK)
_BLANK_LINES = re.compile(r"\n{3,}")
_LETTER_CELLS = re.compile(r"(?>(?:\x1f[^\S\x1f]*+[^\W\d_][^\S\x1f]*+(?=[\x1f\x00]|\Z)){4,99999})")
_WEEK = 7


def without_marks(source: str) -> str:
    """A source that has none of the marks."""
    return source.translate(_MARKS) if OPENS in source or ENDS in source or CELL in source or MARK in source else source


def lines_of(text: str) -> str:
    """Text with its blanks collapsed and its lines broken; lines inside of what may be a quote begin with `MARK`."""
    if OPENS not in text:
        lines = [" ".join(line.split()) for line in text.split(BREAK)]
    else:
        lines, depth = [], 0
        for line in text.split(BREAK):
            if OPENS in line or ENDS in line:
                depth += line.count(OPENS) - line.count(ENDS)
                line = line.replace(OPENS, "").replace(ENDS, "")
            line = " ".join(line.split())
            lines.append(MARK + line if depth and line else line)
    joined = "\n".join(lines)
    return (_BLANK_LINES.sub("\n\n", joined) if "\n\n\n" in joined else joined).strip()


def joined_cells(text: str) -> tuple[str, int]:
    """Text in which words that have a cell for each letter are whole, and how many those are."""
    joined = 0

    def join(cells: re.Match[str]) -> str:
        nonlocal joined
        letters = "".join(cells[0].split())
        # The days of a week and an alphabet have such cells too.
        if len(letters) == _WEEK or all(ord(second) - ord(first) == 1 for first, second in pairwise(letters)):
            return cells[0]
        joined += 1
        return f" {letters} "

    return (_LETTER_CELLS.sub(join, text), joined) if CELL in text else (text, 0)
