"""A message before it is put into bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mailwarden.domain.mail.message import Envelope
from mailwarden.simulation.people import Person, Route

_LINK = re.compile(r"\[\[([^|\]]*)\|([^\]]*)\]\]")


@dataclass(frozen=True, slots=True)
class File:
    """An attachment. inline: shown in the HTML body by its content id."""

    name: str
    mime_type: str
    content: bytes
    inline: bool = False


@dataclass(slots=True)
class Draft:
    """What a sender wants to send, and what the border host will know of it.

    paragraphs: text in which `[[words|url]]` is a link. to, cc: header recipients. rcpt: the envelope's where it
    differs (blind copies). reply_to: Reply-To address. mail_from: reverse path, the From address where None.
    quoted: earlier message, without marks; quoted_head: the line above it. html: an HTML alternative is made.
    only_html: and no plain text. hidden: text that an HTML reader does not see. skew_s: Date minus arrival, seconds.
    forged_results: an Authentication-Results value that the sender wrote. label, campaign: the truth.
    case: what is told of it beside: which hard case of good mail, or how the attacker disguised it.
    """

    sender: Person
    to: Sequence[Person]
    subject: str
    paragraphs: list[str]
    route: Route
    message_id: str
    label: str = "ham"
    campaign: str | None = None
    cc: Sequence[Person] = ()
    rcpt: tuple[str, ...] = ()
    reply_to: str = ""
    mail_from: str | None = None
    in_reply_to: str = ""
    references: tuple[str, ...] = ()
    quoted: str = ""
    quoted_head: str = ""
    files: list[File] = field(default_factory=list)
    html: bool = False
    only_html: bool = False
    hidden: str = ""
    skew_s: int = -4
    headers: tuple[tuple[str, str], ...] = ()
    forged_results: str = ""
    charset: str = "utf-8"
    case: str = ""

    @property
    def text(self) -> str:
        """The new text as plain paragraphs, links as they are noted."""
        return "\n\n".join(p for p in self.paragraphs if p)

    @property
    def read(self) -> str:
        """The new text as a reader of plain text has it, which answers quote."""
        return _LINK.sub(lambda m: m[2] if m[1] in ("", m[2]) else f"{m[1]} <{m[2]}>", self.text)


@dataclass(frozen=True, slots=True)
class SimulatedMessage:
    """One delivered message with its truth.

    raw: RFC 5322 bytes. envelope: arrival time, reverse path, recipients. label: "ham", "SP" or an attack category.
    path: a unique name that sorts in order of arrival. campaign: shared by the messages of one attacker's run.
    case: the hard case of good mail, or the attacker's disguise, "" where there is none.
    """

    raw: bytes
    envelope: Envelope
    label: str
    path: str
    campaign: str | None
    case: str = ""
