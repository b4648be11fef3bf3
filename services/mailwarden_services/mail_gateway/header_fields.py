"""Header fields of a message in a gateway: forged ones out, ours in, the rest as it came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from email.header import Header

_LONG_LINE = 1 << 18
"""Bytes of a header line from which it is passed on in pieces."""

OURS = "x-mailwarden-"
"""What begins the names that only we may write: a sender's own are taken out."""


def is_forged(name: str, remove: Collection[str]) -> bool:
    """Whether a field of this name is taken out. remove: further names, in lower case."""
    name = name.strip(" \t").lower()
    return name.startswith(OURS) or name in remove


def ascii_value(value: str) -> str:
    """A value for a field that is added: other than ASCII as encoded words."""
    return value if value.isascii() else Header(" ".join(value.split()), "utf-8", maxlinelen=2_000).encode(linesep=" ")


def rewritten(
    chunks: Iterable[bytes],
    added: Sequence[tuple[str, str]],
    remove: Collection[str],
    remove_fields: Collection[tuple[str, int]] = (),
    top: bytes = b"",
) -> Iterator[bytes]:
    """A message's bytes with `top` and the added fields first, without those that are forged; its body as it is.

    chunks: the message with CRLF line ends. remove: names in lower case, of which all go. remove_fields: single ones,
    name and number, 1 the topmost. Nothing is held back but one line of the header; bodies pass in chunks.
    """
    fields = (f"{name}: {ascii_value(value)}".replace("\n", "\r\n") for name, value in added)
    yield top + b"".join(field.encode() + b"\r\n" for field in fields)
    seen: Counter[str] = Counter()

    def goes(line: bytes) -> bool:
        name = line.partition(b":")[0].decode("latin-1").strip(" \t").lower()
        seen[name] += 1
        return b":" in line and (is_forged(name, remove) or (name, seen[name]) in remove_fields)

    rest, dropping, mid_line = b"", False, False
    source = iter(chunks)
    for chunk in source:
        lines = (rest + chunk).split(b"\r\n")
        rest = lines.pop()
        kept: list[bytes] = []
        for at, line in enumerate(lines):
            if not line and not mid_line:
                # The header ends here; what follows is the body.
                yield b"".join(one + b"\r\n" for one in [*kept, b""]) + b"\r\n".join([*lines[at + 1 :], rest])
                yield from source
                return
            if line[:1] not in (b" ", b"\t") and not mid_line:
                dropping = goes(line)
            mid_line = False
            if not dropping:
                kept.append(line)
        yield b"".join(one + b"\r\n" for one in kept)
        # A line without end is not gone through again with each chunk: what it is, its beginning has told.
        if len(rest) > _LONG_LINE or (mid_line and rest):
            if rest[:1] not in (b" ", b"\t") and not mid_line:
                dropping = goes(rest)
            mid_line = True
            if not dropping:
                yield rest
            rest = b""
    if rest and not (dropping if mid_line or rest[:1] in (b" ", b"\t") else goes(rest)):
        yield rest
