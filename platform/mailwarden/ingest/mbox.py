"""Taking an mbox apart, and the `From ` lines that mail out of one begins with (RFC 4155; mboxrd and mboxo)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mailwarden.domain.mail.addresses import MAX_ADDRESS, normalise_address
from mailwarden.ingest.budget import Budget
from mailwarden.ingest.dates import read_mbox_date, read_zone
from mailwarden.ingest.headers import read_headers
from mailwarden.ingest.reading import Reading

# A line of text may begin with "From " and not have been quoted: only one that ends in a time and year separates.
_TIME = re.compile(rb"\d:\d{2}")
_YEAR = re.compile(rb"\d{4}")
_QUOTED = re.compile(rb">+From ")
# "From : a@b.example" is a header, written as RFC 822 still allowed.
_MBOX_LINE = re.compile(rb">?From (?![ \t]*:)[^\n]{0,2000}+\n")
_MBOX_LINES = re.compile(rb"(?:>?From (?![ \t]*:)[^\n]{0,2000}+\n)++")


@dataclass(frozen=True, slots=True)
class MboxFrom:
    """An mbox `From ` line. mail_from: its address, "" where it has none; received_at_us: None where unreadable."""

    mail_from: str
    received_at_us: int | None


def read_mbox(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The messages of an mbox, each with its `From ` line and its quoting taken back.

    lines: with their line ends. What stands before the first `From ` line is passed over.
    """
    message: list[bytes] | None = None
    blank = True
    for line in lines:
        if blank and line.startswith(b"From ") and _separates(line):
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


def _separates(line: bytes) -> bool:
    time = _TIME.search(line, 5)
    return time is not None and _YEAR.search(line, time.end()) is not None


def _joined(lines: list[bytes]) -> bytes:
    # The empty line before the next separator is the mbox's, not the message's.
    if len(lines) > 2 and lines[-1] in (b"\n", b"\r\n"):
        lines.pop()
    return b"".join(lines)


def split_mbox_from(raw: bytes) -> tuple[MboxFrom | None, bytes]:
    """The `From ` line that a message from an mbox begins with, and the message without it.

    Where several stand there, as in mail that was put away twice, the first speaks and all are taken off.
    The line's time has no zone and is the receiving host's own, so it is read in the top Received's zone.
    """
    lines = _MBOX_LINES.match(raw)
    if lines is None:
        return None, raw
    line = _MBOX_LINE.match(raw)
    end = lines.end()
    rest = raw[end:]
    fields = read_headers(rest, 0, len(rest), Reading(Budget())).first("received")
    zone = read_zone(fields.rpartition(";")[2].strip()) if fields else 0
    text = line[0].decode("latin-1") if line else ""
    words = text.split(None, 2)
    address = normalise_address(words[1]) if len(words) > 1 and len(words[1]) <= MAX_ADDRESS else ""
    return MboxFrom(address, read_mbox_date(text, zone)), rest
