"""The milter protocol on the wire: commands of the mail system read, replies to it written.

Replies and flags are kilter.protocol's. Commands are read here: what stands in them is chosen by strangers (greetings,
header names, addresses in any bytes), and kilter.protocol reads it strictly as ASCII, and raises.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kilter.protocol.buffer import SimpleBuffer
from kilter.protocol.messages import (
    ActionFlags,
    ChangeHeader,
    Continue,
    InsertHeader,
    Message,
    Negotiate,
    ProtocolFlags,
    Quarantine,
    ReplyCode,
    TemporaryFailure,
)

from mailwarden.errors import DataError

MAX_PACKET_BYTES = 1 << 20
"""Of one command; mail systems send bodies in pieces of 64 KiB, and each header field whole."""

WANTED_ACTIONS = ActionFlags.ADD_HEADERS | ActionFlags.CHANGE_HEADERS | ActionFlags.QUARANTINE
SILENT = (
    ProtocolFlags.NR_CONNECT
    | ProtocolFlags.NR_HELO
    | ProtocolFlags.NR_SENDER
    | ProtocolFlags.NR_RECIPIENT
    | ProtocolFlags.NR_DATA
    | ProtocolFlags.NR_UNKNOWN
    | ProtocolFlags.NR_HEADER
    | ProtocolFlags.NR_END_OF_HEADERS
    | ProtocolFlags.NR_BODY
)
WANTED_PROTOCOL = SILENT | ProtocolFlags.NO_UNKNOWN | ProtocolFlags.HEADER_LEADING_SPACE
"""All but unknown commands is needed; nothing but the end of a message waits for a reply, where the mail system can."""

_SILENT_COMMANDS: Mapping[bytes, ProtocolFlags] = {
    b"C": ProtocolFlags.NR_CONNECT,
    b"H": ProtocolFlags.NR_HELO,
    b"M": ProtocolFlags.NR_SENDER,
    b"R": ProtocolFlags.NR_RECIPIENT,
    b"T": ProtocolFlags.NR_DATA,
    b"U": ProtocolFlags.NR_UNKNOWN,
    b"L": ProtocolFlags.NR_HEADER,
    b"N": ProtocolFlags.NR_END_OF_HEADERS,
    b"B": ProtocolFlags.NR_BODY,
}

CONTINUE, TEMPFAIL = Continue(), TemporaryFailure()


@dataclass(frozen=True, slots=True)
class Agreed:
    """What was negotiated with a mail system."""

    version: int
    actions: ActionFlags
    protocol: ProtocolFlags

    def waits_for_reply(self, command: bytes) -> bool:
        """Whether the mail system waits for a reply to the command (its letter) before it goes on."""
        flag = _SILENT_COMMANDS.get(command)
        return flag is not None and flag not in self.protocol


async def read_command(reader: asyncio.StreamReader) -> tuple[bytes, bytes] | None:
    """The next command, its letter and its data; None where the mail system has ended the connection.

    Raises DataError on a packet that is empty or over MAX_PACKET_BYTES.
    """
    try:
        size = int.from_bytes(await reader.readexactly(4), "big")
        if not 1 <= size <= MAX_PACKET_BYTES:
            raise DataError(f"a milter packet says that it has {size} bytes")
        packet = await reader.readexactly(size)
        return packet[:1], packet[1:]
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def negotiate(data: bytes) -> Agreed:
    """What we take of what a mail system offers; raises DataError where it is no offer or of a version before 6."""
    if len(data) < 12:
        raise DataError("the milter negotiation is too short")
    version, actions, protocol = struct.unpack_from("!LLL", data)
    if version < 6:
        raise DataError(f"the mail system speaks milter version {version}; set milter_protocol = 6")
    return Agreed(6, WANTED_ACTIONS & ActionFlags(actions), WANTED_PROTOCOL & ProtocolFlags(protocol))


def texts_of(data: bytes) -> list[bytes]:
    """The NUL-terminated texts of a command."""
    texts = data.split(b"\0")
    return texts[:-1] if texts[-1] == b"" else texts


def macros_of(data: bytes) -> dict[str, str]:
    """Macros by name without braces, of a macro command's data."""
    texts = [text.decode("utf-8", "surrogateescape") for text in texts_of(data[1:])]
    return {name.strip("{}"): value for name, value in zip(texts[::2], texts[1::2], strict=False)}


def client_of(data: bytes) -> str:
    """The client's address of a connect command's data; "" where it has none (a unix socket, a mail of its own)."""
    _, _, rest = data.partition(b"\0")
    if rest[:1] not in (b"4", b"6"):
        return ""
    return rest[3:].partition(b"\0")[0].decode("ascii", "replace").removeprefix("IPv6:")


def packed(*replies: Message) -> bytes:
    """Replies as bytes for the mail system."""
    written = bytearray()
    for reply in replies:
        buffer = SimpleBuffer(_room(reply))
        reply.pack(buffer)
        written += buffer[:]
    return bytes(written)


def agreed_reply(agreed: Agreed) -> bytes:
    """The reply to a negotiation."""
    return packed(Negotiate(agreed.version, agreed.actions, agreed.protocol))


def edits(removed: Iterable[tuple[str, int]], added: Sequence[tuple[str, str]]) -> list[Message]:
    """Header fields taken out, then those put in at the top, in their order.

    removed: names with their numbers, 1 the topmost of a name. The last of a name goes first, so that whether a mail
    system still counts those that are gone does not matter. added: values are ASCII, folded by a line feed and a tab.
    """
    out: list[Message] = [
        ChangeHeader(at, name, b"") for name, at in sorted(removed, key=lambda one: (-one[1], one[0]))
    ]
    return out + [
        InsertHeader(0, name, b" " + value.replace("\0", " ").encode("ascii", "replace"))
        for name, value in reversed(added)
    ]


def quarantine(reason: str) -> Message:
    """Have the mail system keep the message."""
    return Quarantine(_plain(reason)[:200] or "held by Mailwarden")


def refuse(code: str, words: str) -> Message:
    """Refuse the message. code: as "550 5.7.1"; a percent sign would be read as a mark of the protocol's own."""
    return ReplyCode(f"{code} {_plain(words).replace('%', ' ')[:400]}\0".encode("ascii", "replace"))


def _plain(text: str) -> str:
    return " ".join(text.replace("\0", " ").split())


def _room(reply: Message) -> int:
    match reply:
        case ChangeHeader():
            return len(reply.name) + len(reply.value) + 64
        case Quarantine():
            return 4 * len(reply.reason) + 64
        case ReplyCode():
            return len(reply.content) + 64
    return 256
