"""The content filter's server: SMTP or LMTP by aiosmtpd, each transaction carried through to the next hop as it comes.

A client speaks with the next hop through the filter: sender and recipients are offered there at once, with their
parameters, and refusals are the next hop's own. The message is read whole, decided, and then handed on or held; the
reply to it waits for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from aiosmtpd.smtp import SMTP

from mailwarden_services.mail_gateway.data_reader import DataReader
from mailwarden_services.mail_gateway.filter_decision import FilterSettings, decide, for_each
from mailwarden_services.mail_gateway.next_hop import HopAway, HopSession, Reply, xforward_lines
from mailwarden_services.mail_gateway.places import Network, may_connect
from mailwarden_services.mail_gateway.scoring_client import MAX_RECIPIENTS, MailEnvelope
from mailwarden_services.mail_gateway.smtp_parameters import (
    MAIL_NEEDS,
    RCPT_NEEDS,
    BadCommand,
    Path,
    read_path,
    read_xforward,
)
from mailwarden_services.mail_gateway.spooled import SpooledMessage

log = structlog.get_logger(__name__)

XFORWARD = "NAME ADDR PORT PROTO HELO IDENT SOURCE"
_READ_BYTES = 1 << 20
_PASSED_ON = ("8BITMIME", "SMTPUTF8", "DSN")

_HOP_AWAY = Reply(451, ("4.4.1 The next hop does not answer; try again later",))
_BROKEN = Reply(451, ("4.3.0 The filter failed; try again later",))


class ContentFilter(SMTP):
    """One connection of a client. open_ones: all that are open, to which this one is added."""

    command_size_limit = 8_192
    line_length_limit = 65_536

    def __init__(
        self,
        settings: FilterSettings,
        open_ones: set[ContentFilter],
        *,
        networks: Sequence[Network] = (),
        max_connections: int = 100,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            self,
            data_size_limit=settings.hard_bytes,
            enable_SMTPUTF8=True,
            hostname=settings.hostname,
            ident="Mailwarden",
            tls_context=tls,
            require_starttls=tls is not None,
            timeout=settings.read_seconds,
            loop=asyncio.get_running_loop(),
        )
        self._settings, self._open_ones = settings, open_ones
        self._networks, self._max_connections = networks, max_connections
        self._hop: HopSession | None = None
        self._xforward: dict[str, str] = {}
        self._mail: Path | None = None
        self._recipients: list[Path] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, of those who may and while there is room."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        if self not in self._open_ones and (
            len(self._open_ones) >= self._max_connections or not may_connect(peer, self._networks)
        ):
            log.warning("connection refused", peer=str(peer), open=len(self._open_ones))
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
        self._open_ones.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Give up what was not acknowledged; the client has it still."""
        self._open_ones.discard(self)
        if self._hop is not None:
            self._hop.abandon()
        super().connection_lost(error)

    async def handle_exception(self, error: Exception) -> str:
        """The reply where the filter itself failed: aiosmtpd's own would be permanent, and have mail bounced."""
        log.error("the filter failed", error=f"{type(error).__name__}: {error}")
        await self._drop_hop()
        return str(_BROKEN)

    async def smtp_EHLO(self, hostname: str) -> None:
        """Greet with what the next hop offers."""
        if self._settings.protocol == "lmtp":
            await self.push("500 5.5.1 This is LMTP: say LHLO")
            return
        await self._hello(hostname)

    async def smtp_LHLO(self, hostname: str) -> None:
        """The greeting of LMTP."""
        if self._settings.protocol == "smtp":
            await self.push("500 5.5.1 This is SMTP: say EHLO")
            return
        await self._hello(hostname)

    async def smtp_HELO(self, hostname: str) -> None:
        """Greet without extensions."""
        await self._hello(hostname, extended=False)

    async def smtp_AUTH(self, arg: str) -> None:
        """Nobody logs in here."""
        await self.push("502 5.5.1 Nobody logs in here")

    async def smtp_XFORWARD(self, arg: str | None) -> None:
        """Take what the client knows of whom it has the message from."""
        try:
            self._xforward.update(read_xforward(arg or ""))
        except BadCommand as error:
            await self.push(str(error))
            return
        await self.push("250 2.0.0 Ok")

    async def smtp_MAIL(self, arg: str | None) -> None:
        """Offer the sender to the next hop."""
        if self._mail is not None:
            await self.push("503 5.5.1 Nested MAIL")
            return
        try:
            path = read_path(arg or "", "FROM:", MAIL_NEEDS)
        except BadCommand as error:
            await self.push(str(error))
            return
        size = path.parameters.get("SIZE", "")
        if size.isascii() and size.isdigit() and int(size[:20]) > self._settings.hard_bytes:
            await self.push(f"552 5.3.4 The message is over {self._settings.hard_bytes} bytes")
            return
        try:
            reply = await self._mail_to_hop(path)
        except HopAway as error:
            log.warning("next hop away", error=str(error))
            await self._drop_hop()
            reply = _HOP_AWAY
        if reply.is_good:
            self._mail, self._recipients = path, []
        await self.push(str(reply))

    async def smtp_RCPT(self, arg: str | None) -> None:
        """Offer a recipient to the next hop."""
        if self._mail is None or self._hop is None:
            await self.push("503 5.5.1 Say MAIL first")
            return
        try:
            path = read_path(arg or "", "TO:", RCPT_NEEDS)
        except BadCommand as error:
            await self.push(str(error))
            return
        # By SMTP one reply stands for all recipients, by LMTP each has its own: so one at a time from one to the other.
        one_by_one = self._settings.protocol == "smtp" and self._settings.next_hop.protocol == "lmtp"
        if len(self._recipients) >= (1 if one_by_one else MAX_RECIPIENTS):
            await self.push("452 4.5.3 Too many recipients; send the rest in another transaction")
            return
        try:
            reply = await self._hop.command(path.line("RCPT TO", RCPT_NEEDS, self._hop.extensions))
        except HopAway as error:
            log.warning("next hop away", error=str(error))
            await self._drop_hop()
            reply = _HOP_AWAY
        if reply.is_good:
            self._recipients.append(path)
        await self.push(str(reply))

    async def smtp_DATA(self, arg: str | None) -> None:
        """Read the message, have it decided, and reply once that is done."""
        if self._mail is None or self._hop is None or not self._recipients:
            await self.push("503 5.5.1 Say MAIL and RCPT first")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        message = SpooledMessage(self._settings.hard_bytes)
        count = len(self._recipients) if self._settings.protocol == "lmtp" else 1
        try:
            if not await self._read_message(message):
                return
            if message.too_large:
                replies = [Reply(552, (f"5.3.4 The message is over {self._settings.hard_bytes} bytes",))] * count
            else:
                replies = await self._decided(message, count)
        finally:
            message.close()
        await self._end_transaction()
        self._reset_timeout()
        await self.push(for_each(replies))

    async def smtp_RSET(self, arg: str | None) -> None:
        """Forget the transaction."""
        await self._end_transaction()
        await self.push("250 2.0.0 Ok")

    async def smtp_QUIT(self, arg: str | None) -> None:
        """Say goodbye on both sides."""
        if self._hop is not None:
            await self._hop.quit()
            self._hop = None
        await super().smtp_QUIT("")

    async def smtp_VRFY(self, arg: str | None) -> None:
        """Nobody is verified."""
        await self.push("252 2.0.0 Send mail and see")

    async def _hello(self, hostname: str, *, extended: bool = True) -> None:
        if not hostname:
            await self.push("501 5.5.4 Say who you are")
            return
        await self._drop_hop()
        assert self.session is not None
        try:
            hop = await self._connected()
        except HopAway as error:
            log.warning("next hop away", error=str(error))
            await self.push(f"421 {_HOP_AWAY.lines[0]}")
            self._close()
            return
        self.session.host_name, self.session.extended_smtp = hostname, extended
        lines = [self._settings.hostname]
        if extended:
            lines += ["PIPELINING", "ENHANCEDSTATUSCODES", f"SIZE {self._settings.hard_bytes}", f"XFORWARD {XFORWARD}"]
            lines += [name for name in _PASSED_ON if name in hop.extensions]
            if self.tls_context is not None and self._tls_protocol is None:
                lines.append("STARTTLS")
        await self.push(str(Reply(250, tuple(lines))))

    async def _connected(self) -> HopSession:
        if self._hop is None:
            settings = self._settings
            self._hop = await HopSession.open(settings.next_hop, helo=settings.hostname, seconds=settings.hop_seconds)
        return self._hop

    async def _mail_to_hop(self, path: Path) -> Reply:
        kept = self._hop is not None
        try:
            return await self._offered(await self._connected(), path)
        except HopAway:
            if not kept:
                raise
        # A connection that was kept may have been ended by the next hop since.
        await self._drop_hop()
        return await self._offered(await self._connected(), path)

    async def _offered(self, hop: HopSession, path: Path) -> Reply:
        if "XFORWARD" in hop.extensions:
            for line in xforward_lines(hop.extensions["XFORWARD"], _encoded(self._xforward)):
                await hop.command(line)
        return await hop.command(path.line("MAIL FROM", MAIL_NEEDS, hop.extensions))

    async def _read_message(self, message: SpooledMessage) -> bool:
        reader = DataReader()
        while not reader.ended:
            data = await self._reader.read(_READ_BYTES)
            if not data:
                return False
            self._reset_timeout()
            try:
                message.write(reader.feed(data))
            except OSError as error:
                log.error("a message could not be kept while it was read", error=str(error))
                await self.push("452 4.3.1 No room for the message; try again later")
                self._close()
                return False
        if reader.rest:
            # What the client sent behind the message, as QUIT, is read next: the buffer was emptied by the read above.
            self._reader.feed_data(reader.rest)
        return True

    async def _decided(self, message: SpooledMessage, count: int) -> list[Reply]:
        assert self._mail is not None and self._hop is not None
        # The reply may take as long as the API's deadline and the next hop together.
        self._reset_timeout(self._settings.hop_seconds * 2 + self._settings.read_seconds)
        try:
            return await decide(self._settings, self._envelope(), message, self._hop)
        except HopAway as error:
            log.warning("next hop away", error=str(error))
            await self._drop_hop(keep_transaction=True)
            return [_HOP_AWAY] * count

    def _envelope(self) -> MailEnvelope:
        assert self._mail is not None
        return MailEnvelope(
            mail_from=self._mail.address,
            rcpt_tos=tuple(path.address for path in self._recipients),
            listener=self._settings.listener,
            client_ip=_address(self._xforward.get("ADDR", "")),
            helo=self._xforward.get("HELO", ""),
            queue_id=self._xforward.get("IDENT", ""),
        )

    async def _end_transaction(self) -> None:
        if self._mail is not None and self._hop is not None:
            try:
                # After a message that was handed on this changes nothing; after one that was held it forgets it.
                await self._hop.command("RSET")
            except HopAway:
                await self._drop_hop()
        self._mail, self._recipients, self._xforward = None, [], {}

    async def _drop_hop(self, *, keep_transaction: bool = False) -> None:
        if self._hop is not None:
            self._hop.abandon()
            self._hop = None
        if not keep_transaction:
            self._mail, self._recipients = None, []

    def _close(self) -> None:
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.close()


async def serve_filter(
    bound: socket.socket,
    settings: FilterSettings,
    *,
    networks: Sequence[Network] = (),
    max_connections: int = 100,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve until cancelled; what is not acknowledged then, the mail system has still."""
    open_ones: set[ContentFilter] = set()
    options: dict[str, Any] = {"networks": networks, "max_connections": max_connections, "tls": tls}
    server = await asyncio.get_running_loop().create_server(
        lambda: ContentFilter(settings, open_ones, **options), sock=bound
    )
    async with server:
        with contextlib.suppress(asyncio.CancelledError):
            await server.serve_forever()


def _encoded(attributes: Mapping[str, str]) -> dict[str, str]:
    def xtext(value: str) -> str:
        return "".join(c if "!" <= c <= "~" and c not in "+=" else f"+{ord(c) & 0xFF:02X}" for c in value)

    return {name: xtext(value) or "[UNAVAILABLE]" for name, value in attributes.items()}


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.removeprefix("IPv6:").removeprefix("IPV6:")))
    except ValueError:
        return ""
