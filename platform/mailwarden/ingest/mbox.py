"""Taking an mbox apart (RFC 4155; the mboxrd and mboxo ways of quoting)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# A line of text may begin with "From " and not have been quoted: only one that ends in a time and year separates.
_SEPARATOR = re.compile(rb"From [^\n]*\d{1,2}:\d{2}[^\n]*\d{4}[^\n]*\r?\n?")
_QUOTED = re.compile(rb">+From ")


def read_mbox(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The messages of an mbox, each with its `From ` line and its quoting taken back.

    lines: with their line ends. What stands before the first `From ` line is passed over.
    """
    message: list[bytes] | None = None
    blank = True
    for line in lines:
        if blank and line.startswith(b"From ") and _SEPARATOR.fullmatch(line):
            if message is not None:
                yield _joined(message)
            message = [line]
            blank = False
            continue
        blank = line in (b"\n", b"\r\n")
        if message is not None:
            message.append(line[1:] if line.startswith(b">") and _QUOTED.match(line) else line)
    if message is not None:
        yield _joined(message)


def _joined(lines: list[bytes]) -> bytes:
    # The empty line before the next separator is the mbox's, not the message's.
    if len(lines) > 2 and lines[-1] in (b"\n", b"\r\n"):
        lines.pop()
    return b"".join(lines)
