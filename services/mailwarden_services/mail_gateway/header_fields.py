"""Header fields of a message in a gateway: forged ones out, ours in, the rest as it came."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from email.header import Header

OURS = "x-mailwarden-"
"""What begins the names that only we may write: a sender's own are taken out."""


def is_forged(name: str, remove: Collection[str]) -> bool:
    """Whether a field of this name is taken out. remove: further names, in lower case."""
    name = name.strip(" \t").lower()
    return name.startswith(OURS) or name in remove


def ascii_value(value: str) -> str:
    """A value for a field that is added: white space single, other than ASCII as encoded words."""
    value = " ".join(value.split())
    return value if value.isascii() else Header(value, "utf-8", maxlinelen=2_000).encode(linesep=" ")


def rewritten(
    chunks: Iterable[bytes], added: Sequence[tuple[str, str]], remove: Collection[str], top: bytes = b""
) -> Iterator[bytes]:
    """A message's bytes with `top` and the added fields first, without those that are forged; its body as it is.

    chunks: the message with CRLF line ends. Nothing is held back but one line of the header; bodies pass in chunks.
    """
    yield top + b"".join(f"{name}: {ascii_value(value)}\r\n".encode() for name, value in added)
    rest, dropping = b"", False
    source = iter(chunks)
    for chunk in source:
        lines = (rest + chunk).split(b"\r\n")
        rest = lines.pop()
        kept: list[bytes] = []
        for at, line in enumerate(lines):
            if not line:
                # The header ends here; what follows is the body.
                yield b"".join(one + b"\r\n" for one in [*kept, b""]) + b"\r\n".join([*lines[at + 1 :], rest])
                yield from source
                return
            if line[:1] not in (b" ", b"\t"):
                dropping = is_forged(line.partition(b":")[0].decode("latin-1"), remove) and b":" in line
            if not dropping:
                kept.append(line)
        yield b"".join(one + b"\r\n" for one in kept)
        # A line without end would otherwise be gone through again with each chunk.
        if len(rest) > 1 << 20:
            yield rest
            yield from source
            return
    if (
        rest
        and not (dropping and rest[:1] in (b" ", b"\t"))
        and not is_forged(rest.partition(b":")[0].decode("latin-1"), remove)
    ):
        yield rest
