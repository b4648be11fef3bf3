"""One connection of a mail system to the milter: many messages, each asked about at its end."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import structlog
from kilter.protocol.messages import ActionFlags, Message, ProtocolFlags

from mailwarden.errors import DataError, MailwardenError
from mailwarden.stores.quarantine import Held
from mailwarden_services.mail_gateway import milter_wire as wire
from mailwarden_services.mail_gateway.header_fields import ascii_value, is_forged
from mailwarden_services.mail_gateway.scoring_client import Away, MailAnswer, MailEnvelope, not_scored
from mailwarden_services.mail_gateway.spooled import SpooledMessage

log = structlog.get_logger(__name__)

WhenAway = Literal["tempfail", "accept"]

_AWAY_WORDS = "451 4.7.1", "The mail filter does not answer; try again later"


class Holder(Protocol):
    """What keeps mail that is held."""

    async def hold_in_mta(self, answer: MailAnswer, envelope: MailEnvelope, message: SpooledMessage) -> None:
        """Note that the mail system holds a message under its queue id."""

    async def released(self, message: SpooledMessage, recipients: Sequence[str]) -> Held | None:
        """The released message that this is, which passes for these recipients once."""

    async def passed(self, held: Held, recipients: Sequence[str]) -> None:
        """Note that it passed."""


@dataclass(frozen=True)
class MilterSettings:
    """How a milter decides. listener: name for the API; "" takes the mail system's `{daemon_name}`, else "milter".

    read_seconds: for the mail system to go on; idle connections end after it. max_bytes: of a message that is kept.
    """

    ask: Callable[[MailEnvelope, SpooledMessage], Awaitable[MailAnswer]]
    holder: Holder | None
    when_away: WhenAway = "tempfail"
    listener: str = ""
    max_bytes: int = 26_214_400
    read_seconds: float = 3_600.0


class MilterSession:
    """Reads commands and writes replies until the mail system ends the connection."""

    def __init__(self, settings: MilterSettings, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._settings, self._reader, self._writer = settings, reader, writer
        self._agreed = wire.Agreed(6, ActionFlags.NONE, ProtocolFlags.NONE)
        self._macros: dict[str, str] = {}
        self._client = self._helo = ""
        self._message = SpooledMessage(settings.max_bytes)
        self._reset()

    async def run(self) -> None:
        """Serve the connection; what a mail system sends wrong ends it, with a line in the log."""
        try:
            clock = asyncio.get_running_loop().time
            async with asyncio.timeout(None) as limit:
                while True:
                    limit.reschedule(clock() + self._settings.read_seconds)
                    command = await wire.read_command(self._reader)
                    if command is None or command[0] == b"Q":
                        return
                    await self._handle(*command)
        except TimeoutError:
            log.info("milter connection idle, ended")
        except DataError as error:
            log.warning("milter connection ended", error=str(error))
        except ConnectionError:
            log.info("the mail system ended a milter connection")
        finally:
            self._message.close()

    def _reset(self) -> None:
        self._message.close()
        self._mail_from, self._recipients = "", list[str]()
        self._names: Counter[str] = Counter()
        self._message = SpooledMessage(self._settings.max_bytes)
        self._in_header = True
        for name in ("i", "auth_authen", "mail_addr", "rcpt_addr"):
            self._macros.pop(name, None)

    async def _handle(self, letter: bytes, data: bytes) -> None:
        match letter:
            case b"O":
                self._agreed = wire.negotiate(data)
                if self._agreed.actions != wire.WANTED_ACTIONS:
                    log.warning(
                        "the mail system does not offer all that is asked for", offered=str(self._agreed.actions)
                    )
                self._writer.write(wire.agreed_reply(self._agreed))
            case b"D":
                self._macros.update(wire.macros_of(data))
            case b"C":
                self._client, self._helo = wire.client_of(data), ""
            case b"H":
                self._helo = _text(data)
            case b"M":
                macros = dict(self._macros)
                self._reset()
                self._macros = macros
                self._mail_from = _address(data)
            case b"R":
                self._recipients.append(_address(data))
            case b"L":
                self._header(data)
            case b"N":
                self._end_header()
            case b"B":
                self._end_header()
                self._message.write(data)
            case b"E":
                self._end_header()
                self._message.write(data)
                self._writer.write(wire.packed(*await self._decide()))
                self._reset()
            case b"A":
                self._reset()
            case b"K":
                self._reset()
                self._macros, self._client, self._helo = {}, "", ""
            case b"T" | b"U":
                pass
            case _:
                raise DataError(f"the mail system sent a milter command {letter!r} that is none")
        if self._agreed.waits_for_reply(letter):
            self._writer.write(wire.packed(wire.CONTINUE))
        await self._writer.drain()

    def _header(self, data: bytes) -> None:
        name, _, rest = data.partition(b"\0")
        value = rest.removesuffix(b"\0").replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        # As negotiated, the value begins right after the colon; else one space is taken for granted.
        space = b"" if ProtocolFlags.HEADER_LEADING_SPACE in self._agreed.protocol else b" "
        self._names[name.decode("latin-1").strip(" \t").lower()] += 1
        self._message.write(name + b":" + space + value + b"\r\n")

    def _end_header(self) -> None:
        if self._in_header:
            self._in_header = False
            self._message.write(b"\r\n")

    def _envelope(self) -> MailEnvelope:
        macros = self._macros
        return MailEnvelope(
            mail_from=self._mail_from,
            rcpt_tos=tuple(self._recipients),
            listener=self._settings.listener or macros.get("daemon_name") or "milter",
            client_ip=address_or_nothing(self._client),
            helo=self._helo,
            auth_user=macros.get("auth_authen", ""),
            queue_id=macros.get("i", ""),
        )

    async def _decide(self) -> list[Message]:
        envelope = self._envelope()
        try:
            answer = await self._settings.ask(envelope, self._message)
        except Away as error:
            log.warning("not scored", queue_id=envelope.queue_id, then=self._settings.when_away, error=str(error))
            if self._settings.when_away == "tempfail":
                return [wire.refuse(*_AWAY_WORDS)]
            answer = not_scored("filter away")
        except Exception:
            # A mail system that gets no reply would wait, and then do as its own default says.
            log.exception("not decided", queue_id=envelope.queue_id)
            return [wire.refuse(*_AWAY_WORDS)]
        return await self._replies(answer, envelope)

    async def _replies(self, answer: MailAnswer, envelope: MailEnvelope) -> list[Message]:
        holder = self._settings.holder
        if answer.action in ("quarantine", "reject") and holder is not None:
            try:
                if (held := await holder.released(self._message, envelope.rcpt_tos)) is not None:
                    await holder.passed(held, envelope.rcpt_tos)
                    return [*self._edits(replace(answer, action="accept", add_headers=())), wire.CONTINUE]
            except MailwardenError as error:
                log.warning("not looked up among released mail", queue_id=envelope.queue_id, error=str(error))
        if answer.action == "reject":
            return [wire.refuse("550 5.7.1", answer.refusal)]
        if answer.action == "quarantine" and ActionFlags.QUARANTINE in self._agreed.actions:
            if holder is not None:
                try:
                    await holder.hold_in_mta(answer, envelope, self._message)
                except MailwardenError as error:
                    # The mail system holds it all the same, and its own tools show it.
                    log.error("held by the mail system, but not listed", queue_id=envelope.queue_id, error=str(error))
            # Without our fields: a message that is released must not be sorted by what we once thought of it.
            bare = replace(answer, add_headers=())
            reason = next((one.reason for one in answer.tenants if one.reason), "held")
            return [*self._edits(bare), wire.quarantine(f"Mailwarden: {reason}"), wire.CONTINUE]
        return [*self._edits(answer), wire.CONTINUE]

    def _edits(self, answer: MailAnswer) -> list[Message]:
        removed: set[tuple[str, int]] = set()
        if ActionFlags.CHANGE_HEADERS in self._agreed.actions:
            for name, count in self._names.items():
                if is_forged(name, answer.remove_headers):
                    removed.update((name, at) for at in range(1, count + 1))
            removed.update(one for one in answer.remove_fields if one[1] <= self._names[one[0]])
        if ActionFlags.ADD_HEADERS not in self._agreed.actions:
            return wire.edits(removed, ())
        return wire.edits(removed, [(name, ascii_value(value)) for name, value in answer.add_headers])


def address_or_nothing(text: str) -> str:
    """The IP address that the text is; "" where it is none."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _address(data: bytes) -> str:
    return _text(data).strip().removeprefix("<").removesuffix(">")
