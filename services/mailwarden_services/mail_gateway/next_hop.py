"""The next hop of a content filter, spoken to by SMTP or LMTP: nothing counts as handed on before its own reply."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mailwarden.errors import MailwardenError
from mailwarden_services.mail_gateway.places import NextHop

MAX_REPLY_BYTES = 1 << 16


class HopAway(MailwardenError):
    """The next hop cannot be reached, or does not speak as it should; what was being handed on is not."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of SMTP: its code and lines, without code."""

    code: int
    lines: tuple[str, ...]

    def __str__(self) -> str:
        last = len(self.lines) - 1
        return "\r\n".join(f"{self.code}{' ' if at == last else '-'}{line}" for at, line in enumerate(self.lines))

    @property
    def is_good(self) -> bool:
        """Whether it says that what was asked is done."""
        return 200 <= self.code < 300


@dataclass
class HopSession:
    """One connection to the next hop; each step raises HopAway where it cannot be taken.

    seconds: for connecting and for each reply. extensions: what it offers, upper case, with its parameters.
    """

    hop: NextHop
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    seconds: float
    extensions: Mapping[str, str]

    @classmethod
    async def open(cls, hop: NextHop, *, helo: str, seconds: float) -> HopSession:
        """Connect and greet."""
        try:
            async with asyncio.timeout(seconds):
                if hop.place.path is not None:
                    reader, writer = await asyncio.open_unix_connection(str(hop.place.path), limit=MAX_REPLY_BYTES)
                else:
                    reader, writer = await asyncio.open_connection(
                        hop.place.host, hop.place.port, limit=MAX_REPLY_BYTES
                    )
        except (OSError, TimeoutError) as error:
            raise HopAway(f"{hop} cannot be reached: {error or 'no answer'}") from error
        session = cls(hop, reader, writer, seconds, {})
        try:
            if not (greeting := await session._reply()).is_good:
                raise HopAway(f"{hop} greets with {greeting}")
            hello = await session.command(f"{'LHLO' if hop.protocol == 'lmtp' else 'EHLO'} {helo}")
            if not hello.is_good:
                raise HopAway(f"{hop} answers the greeting with {hello}")
        except HopAway:
            session.abandon()
            raise
        offered = (line.partition(" ") for line in hello.lines[1:])
        session.extensions = {name.upper(): parameters for name, _, parameters in offered}
        return session

    async def command(self, line: str) -> Reply:
        """Send one command and read its reply."""
        if "\r" in line or "\n" in line:
            raise HopAway(f"{self.hop}: a command with a line end in it is not sent")
        await self._send(line.encode("utf-8", "surrogateescape") + b"\r\n")
        return await self._reply()

    async def data(self, chunks: Iterable[bytes], recipients: int) -> list[Reply]:
        """Send a message after its recipients were taken, and read the reply to it: one for each recipient by LMTP.

        chunks: with CRLF line ends alone. recipients: how many were taken.
        """
        ready = await self.command("DATA")
        if ready.code != 354:
            return [ready] * (recipients if self.hop.protocol == "lmtp" else 1)
        for chunk in stuffed(chunks):
            await self._send(chunk)
        return [await self._reply() for _ in range(recipients if self.hop.protocol == "lmtp" else 1)]

    async def quit(self) -> None:
        """Say goodbye, and wait for nothing."""
        with contextlib.suppress(HopAway):
            await self._send(b"QUIT\r\n")
        self.abandon()

    def abandon(self) -> None:
        """End the connection as it is."""
        self.writer.close()

    async def _send(self, data: bytes) -> None:
        try:
            self.writer.write(data)
            async with asyncio.timeout(self.seconds):
                await self.writer.drain()
        except (OSError, TimeoutError) as error:
            raise HopAway(f"{self.hop} went away: {error or 'it takes nothing more'}") from error

    async def _reply(self) -> Reply:
        lines: list[str] = []
        try:
            async with asyncio.timeout(self.seconds):
                while True:
                    line = (await self.reader.readuntil(b"\n")).decode("utf-8", "replace").rstrip("\r\n")
                    if len(line) < 3 or not line[:3].isdigit() or len(lines) > 200:
                        raise HopAway(f"{self.hop} answered {line[:80]!r}, which is no reply")
                    lines.append(line[4:])
                    if line[3:4] != "-":
                        return Reply(int(line[:3]), tuple(lines))
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise HopAway(f"{self.hop} went away: {error or 'no reply in time'}") from error


def stuffed(chunks: Iterable[bytes]) -> Iterable[bytes]:
    """A message as it goes over the wire: dots at the start of lines doubled, its end at its end."""
    at_start, held = True, b""
    for chunk in chunks:
        data, held = held + chunk, b""
        if data.endswith(b"\r"):
            # Half a line end: what follows it may be a dot at the start of a line.
            data, held = data[:-1], b"\r"
        if not data:
            continue
        yield (b"." if at_start and data[:1] == b"." else b"") + data.replace(b"\r\n.", b"\r\n..")
        at_start = data.endswith(b"\r\n")
    yield held + (b".\r\n" if at_start and not held else b"\r\n.\r\n")


def xforward_lines(offered: str, attributes: Mapping[str, str]) -> Sequence[str]:
    """XFORWARD commands that hand on what is known, of the attributes that the next hop offers to take."""
    takes = set(offered.upper().split())
    lines: list[str] = []
    for name, value in attributes.items():
        if name not in takes:
            continue
        word = f" {name}={value}"
        if lines and len(lines[-1]) + len(word) <= 500:
            lines[-1] += word
        else:
            lines.append("XFORWARD" + word)
    return lines
