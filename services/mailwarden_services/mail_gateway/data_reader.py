"""The bytes after DATA: where they end, dots undone, line ends made one kind."""

from __future__ import annotations

import re

_BARE_LF = re.compile(rb"(?<!\r)\n")
_END = b"\r\n.\r\n"


class DataReader:
    """Takes what a client sends after DATA, in any pieces, and gives the message.

    Only CRLF, a dot and CRLF end it. Line feeds without a carriage return become CRLF, as Postfix makes them: a server
    behind that took them for line ends would otherwise see another end of the message than we do.
    """

    def __init__(self) -> None:
        # The line before the first one ended with CRLF.
        self._held = b"\r\n"
        self._virtual = 2
        self.rest: bytes | None = None

    @property
    def ended(self) -> bool:
        """Whether the end has come; `rest` has what the client sent after it."""
        return self.rest is not None

    def feed(self, data: bytes) -> bytes:
        """Take a piece and return what of the message is certain by now."""
        data = self._held + data
        end = data.find(_END)
        if end >= 0:
            self.rest, data, self._held = data[end + len(_END) :], data[: end + 2], b""
        else:
            # What may begin an end, or a line with a dot, waits for the next piece.
            cut = data.find(b"\r", max(0, len(data) - len(_END) + 1))
            cut = len(data) if cut < 0 else cut
            data, self._held = data[:cut], data[cut:]
        if not data:
            return b""
        data = data.replace(b"\r\n.", b"\r\n")
        if data.count(b"\n") != data.count(b"\r\n"):
            data = _BARE_LF.sub(b"\r\n", data)
        data, self._virtual = data[self._virtual :], 0
        return data
