"""Japanese text as mailers write it: JIS X 0208 with the rows that NEC and IBM added to it, in escapes or in EUC.

Python's codecs know those rows in Shift_JIS alone (code page 932), so that is what such text is brought into.
Source: RFC 1468; WHATWG Encoding, index jis0208; Microsoft's code pages 50220-50222 and 51932.
"""

from __future__ import annotations

import re

MAX_RUNS = 100_000
"""Runs of one character set in a text; what is behind them is not read."""

_ESCAPE = re.compile(rb"\x1b(\$\(?[@-D]|\([A-Z]|&@|\.[AF]|N.)|([\x0e\x0f\n])", re.DOTALL)
_TWO_BYTES = frozenset((b"$@", b"$B", b"$(B", b"$(@"))
_EUC_RUN = re.compile(rb"((?:[\xa1-\xfe][\xa1-\xfe])++)|((?:\x8e[\xa1-\xdf])++)|((?:\x8f[\xa1-\xfe][\xa1-\xfe])++)")
_UP = bytes(byte | 0x80 for byte in range(256))
_LEAD = bytes(
    (((byte & 0x7F) - 1) >> 1) + (0x71 if (byte & 0x7F) <= 0x5E else 0xB1) if 0x21 <= (byte & 0x7F) <= 0x7E else 0x3F
    for byte in range(256)
)
_OF_ODD_ROW = bytes(min((byte & 0x7F) + (0x1F if (byte & 0x7F) <= 0x5F else 0x20), 0xFC) for byte in range(256))
_OF_EVEN_ROW = bytes(min((byte & 0x7F) + 0x7E, 0xFC) for byte in range(256))


def from_escapes(data: bytes) -> bytes | None:
    """ISO-2022-JP and its relatives as code page 932; None where there are too many runs to read.

    JIS X 0212 and other sets of further variants are left to the codecs that know them: they become "?".
    """
    out: list[bytes] = []
    mode = b"(B"
    shifted = False
    end = 0
    for number, found in enumerate(_ESCAPE.finditer(data)):
        if number >= MAX_RUNS:
            return None
        if found.start() > end:
            out.append(_in_932(data[end : found.start()], b"(I" if shifted else mode))
        end = found.end()
        if found[1] is not None:
            mode = found[1]
        elif found[2] == b"\n":
            # A line ends in ASCII, whatever was forgotten on it.
            out.append(b"\n")
            mode, shifted = b"(B", False
        else:
            shifted = found[2] == b"\x0e"
    out.append(_in_932(data[end:], b"(I" if shifted else mode))
    return b"".join(out)


def from_euc(data: bytes) -> bytes | None:
    """EUC-JP with the rows of NEC and IBM as code page 932; None where there are too many runs to read."""
    out: list[bytes] = []
    end = 0
    for number, found in enumerate(_EUC_RUN.finditer(data)):
        if number >= MAX_RUNS:
            return None
        out.append(data[end : found.start()])
        end = found.end()
        if found[1] is not None:
            out.append(_shift(found[1]))
        elif found[2] is not None:
            out.append(found[2][1::2])
        else:
            out.append(b"?" * (len(found[3]) // 3))
    out.append(data[end:])
    return b"".join(out)


def _in_932(run: bytes, mode: bytes) -> bytes:
    if mode in _TWO_BYTES:
        return _shift(run)
    if mode == b"(I":
        return run.translate(_UP)
    return b"?" * (len(run) // 2) if mode.startswith(b"$") else run


def _shift(run: bytes) -> bytes:
    """Pairs of row and cell as Shift_JIS has them; an odd byte at the end is dropped."""
    rows, cells = run[0::2], run[1::2]
    out = bytearray(2 * len(cells))
    out[0::2] = rows[: len(cells)].translate(_LEAD)
    odd, even = cells.translate(_OF_ODD_ROW), cells.translate(_OF_EVEN_ROW)
    out[1::2] = bytes(o if row & 1 else e for row, o, e in zip(rows, odd, even, strict=False))
    return bytes(out)
