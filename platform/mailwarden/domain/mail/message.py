"""One e-mail message as parsed: what the raw bytes say, and nothing that history adds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mailwarden.domain.mail.addresses import address_domain, normalise_address
from mailwarden.domain.mail.directory_answer import DirectoryAnswer
from mailwarden.domain.mail.events import Flow, Signal
from mailwarden.domain.mail.inner import InnerFile
from mailwarden.domain.mail.own_domains import covers
from mailwarden.domain.mail.reception import Reception
from mailwarden.domain.mail.trust import Trust
from mailwarden.domain.status import Status, worst

TimeSource = Literal["envelope", "mbox_from", "received", "date", "none"]

Aspect = Literal["headers", "text", "links", "attachments", "inner", "authentication"]
"""What of a message is read: its header fields, the text that a reader sees, links in it, files beside it, what is
inside of those files and of nested messages, and its signatures and sender records where they are verified here."""


AuthorMark = Literal["comment_in_address", "several_angles", "route", "encoded_address", "lookalike_mark"]
"""How a From is written that mail programs do not write so, and show in different ways: a comment inside of an address,
several addresses in angle brackets for one name, a source route, an encoded word for an address, a mark that only looks
like @ or a dot in an address."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the mail system that hands a message over knows of it.

    received_at_us: microseconds since the epoch, UTC, or None where unknown.
    mail_from: the SMTP reverse path, "" for the null path, None where unknown.
    rcpt_to: SMTP recipients; empty where unknown.
    time_source: what `received_at_us` was read from.
    reception: how it was received beside that; None where unknown.
    auth_user: who logged in to send it, as the mail system names them; queue_id: what it calls the message; flow: which
    way it says that the mail goes. Each None where it does not say.
    clock_us: the clock of whoever takes it in, microseconds UTC. A message that bears a time further ahead of it than
        `times.LIVE_AHEAD_US`, given or its own, is taken in at the clock's time. None where no clock is handed in.
    """

    received_at_us: int | None = None
    mail_from: str | None = None
    rcpt_to: tuple[str, ...] = ()
    time_source: TimeSource = "envelope"
    reception: Reception | None = None
    auth_user: str | None = None
    queue_id: str | None = None
    flow: Flow | None = None
    clock_us: int | None = None

    def submitted_by(self, own_domains: frozenset[str]) -> bool:
        """Whether the mail system says that the owner of these domains sends it: by the user who logged in, whose
        domain is one of them, else by where it came in.
        """
        user = "" if self.auth_user is None else normalise_address(self.auth_user)
        return covers(own_domains, address_domain(user)) or self.flow == "outbound"

    @classmethod
    def kept(
        cls,
        received_at_us: int | None,
        mail_from: str | None,
        rcpt_to: tuple[str, ...],
        time_source: TimeSource,
        reception: Reception | None,
    ) -> Envelope:
        """The envelope of a message that was kept with its reception."""
        beside = reception or Reception()
        return cls(
            received_at_us,
            mail_from,
            rcpt_to,
            time_source,
            reception,
            beside.auth_user or None,
            beside.queue_id or None,
            beside.flow or None,
        )

    def trust_or(self, otherwise: Trust) -> Trust:
        """The trust that the message was received with, and another where that is not known."""
        return otherwise if self.reception is None or self.reception.trust is None else self.reception.trust


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address with its display name, both decoded.

    address: normalised by `domain.mail.addresses.normalise_address`; "" where the header holds none that can be read.
    display_name: decoded (RFC 2047), white space collapsed; "" where absent.
    domain: registrable domain of the address; "" where there is none.
    """

    address: str
    display_name: str
    domain: str


LinkPlace = Literal["anchor", "text", "subject", "form", "refresh", "frame", "loaded"]
"""Where in a message a link stands: what a reader clicks (an anchor, an area, a vector shape), bare text, the subject,
what a form is sent to, what the page goes to by itself, what it shows within, what it fetches from a file share."""

LinkMark = Literal[
    "bare", "base", "userinfo", "port", "ip_form", "encoded_host", "wide_host", "slashes", "controls", "rewritten",
    "redirected", "target_unread",
]  # fmt: skip
"""What is odd in how a link is written.

bare: without scheme; base: moved by a base element; userinfo: a name before the host; port: not the scheme's own;
ip_form: an IPv4 address in another form than four decimal numbers; encoded_host, wide_host: percent-encoding, or
letters or dots that are read as ASCII, in the host; slashes: backward, too few or too many before the host; controls:
line ends or control characters inside; rewritten: by what protects a mailbox; redirected: through a site that sends
its visitors on; target_unread: one of these whose target does not stand in it.
"""


@dataclass(frozen=True, slots=True)
class Url:
    """A link. Host and domain are those of where it leads in the end, once what rewrites and redirects is undone.

    url: as written, absolute where a base makes it so; text: what the reader sees ("" for a bare URL in plain text);
    host: lower case; domain: registrable domain or the IP literal; origin: what it was found in.
    scheme: of where it leads, lower case. target: that address; "" where it is `url` itself. via: registrable domains
    that it goes through, outermost first. shown: where the text is a rewritten link itself, the registrable domain that
    one leads to; "" for every other text. place, marks: see `LinkPlace` and `LinkMark`.
    """

    url: str
    text: str
    host: str
    domain: str
    origin: Literal["html", "text", "subject", "qr"]
    scheme: str = ""
    target: str = ""
    via: tuple[str, ...] = ()
    shown: str = ""
    place: LinkPlace = "anchor"
    marks: tuple[LinkMark, ...] = ()


@dataclass(frozen=True, slots=True)
class QrCode:
    """A QR code in an image. text: what it holds; url: the link in that, None without one."""

    text: str
    url: Url | None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is not the body text. content_type: detected from the bytes; declared_type: as the part claims;
    size: bytes after decoding; sha256: hex of the decoded bytes; nested: it is a message/rfc822 part."""

    filename: str
    declared_type: str
    content_type: str
    size: int
    sha256: str
    nested: bool = False


@dataclass(frozen=True, slots=True)
class Invitation:
    """A calendar part. method: a word of RFC 5546 in upper case, "" for none; organizer: address as normalised, ""
    where none is given; organizer_domain: registrable domain of that; attendees: how many are named."""

    method: str = ""
    organizer: str = ""
    organizer_domain: str = ""
    attendees: int = 0


@dataclass(frozen=True, slots=True)
class Hop:
    """One Received header, as far as it can be read. received_at_us: None where its date cannot be read."""

    from_host: str
    from_ip: str
    by_host: str
    for_address: str
    received_at_us: int | None


@dataclass(frozen=True, slots=True)
class Authentication:
    """What is known of who sent a message: from trusted Authentication-Results (RFC 8601), else verified here.

    spf, dkim, dmarc, arc: a verdict word of the RFC in lower case, or None where nothing that is believed speaks of the
        method.
    dkim_domain, spf_domain, dmarc_domain: registrable domain that was authenticated, "" where not given.
    dkim_aligned, spf_aligned: a passing result is of the From's registrable domain; None without result.
    signatures: DKIM results, one a signature. source: by whom it was said: a trusted field's author, "own" where it was
        verified here, "" by nobody. forged: fields that bear a trusted id where only a sender can have put them;
        None where no id is trusted.
    policy: what the author's domain asks for where DMARC fails (none, quarantine, reject); None where not known.
    sealer: domain of a trusted sealer whose ARC chain passed, "" without; sealer_vouches: whether the From was
        authenticated when the message came to it, None where it does not say.
    """

    spf: str | None = None
    dkim: str | None = None
    dmarc: str | None = None
    arc: str | None = None
    spf_domain: str = ""
    dkim_domain: str = ""
    dkim_aligned: bool | None = None
    spf_aligned: bool | None = None
    dmarc_domain: str = ""
    signatures: int = 0
    source: Literal["", "header", "own"] = ""
    forged: int | None = None
    policy: str | None = None
    sealer: str = ""
    sealer_vouches: bool | None = None

    @property
    def speaks(self) -> bool:
        """Whether there is a result of SPF, DKIM or DMARC."""
        return self.spf is not None or self.dkim is not None or self.dmarc is not None

    def vouches_for(self, domain: str) -> bool | None:
        """Whether a From of this registrable domain is proven; None where no result speaks of SPF, DKIM or DMARC.

        DMARC's pass, where it is of that domain or does not say of which, an aligned DKIM pass, or an SPF pass of the
        domain itself. What could not be looked up proves nothing. Source: RFC 7489 section 3.1.
        """
        if not self.speaks:
            return None
        if self.dmarc == "pass" and self.dmarc_domain in ("", domain):
            return True
        if self.dkim == "pass" and self.dkim_aligned is True:
            return True
        if self.source == "own" and self.spf is None and not self.signatures:
            return None  # there was nothing to verify, and nobody said which host it came from
        return self.spf == "pass" and bool(self.spf_domain) and self.spf_domain == domain


@dataclass(frozen=True, slots=True)
class Defect:
    """Something malformed in the bytes. code: a fixed word such as "header_without_colon"; detail: at most 200
    characters, never body text; part: index of the MIME part in walking order, 0 the whole message."""

    code: str
    detail: str = ""
    part: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """A message, parsed; it holds every header in order and never raises on what it could not read.

    headers: (name as written, unfolded decoded value) in order.
    sender: first mailbox of From, else of Sender, else the envelope's reverse path.
    to, cc, reply_to: as in the headers. recipients: the envelope's, else `for` of the top Received, else To and Cc;
        normalised addresses, distinct, in order.
    received_at_us: event time in microseconds UTC with its `time_source`; None (source "none") where nothing
        gives one.
    claimed_at_us: the time that it bears where that lay ahead and received_at_us is what it was set back to; else None.
    date_us: the Date header, None where absent, unreadable or outside 1990..2099.
    message_id_header, in_reply_to, references: ids without their angle brackets, "" or empty where absent.
    subject, new_text, quoted_text: decoded text; new_text is the newest text apart from quotes, and the whole where
        all is quoted (a bare forward). Hidden HTML text is in neither.
    charsets: labels of the body texts, lower case, distinct. part_types: as declared, in walking order.
    urls: links that lead to a host, distinct by (url, text, origin); those of nested messages are in `nested` only.
    other_links: those that lead to none (mailto:, tel:, data:, javascript:, an application's), likewise; host and
        domain are then those of a mail address, else "".
    html: there was an HTML body. html_chars, text_chars: characters of each body as decoded.
    hidden_chars: characters of HTML text that a reader does not see, blanks and `preview` apart; hidden_text: the
        first 10,000 of them. preview: a short hidden text in front, as lists of messages show it.
    invisible_chars: characters of the bodies' visible text that no reader sees and no writing system asks for; they
        are not in new_text. split_words: words of it that such characters, hidden text, empty elements or table
        cells divide; there they are whole.
    hops: Received headers, topmost first. client_ip: address of the host that handed it over to the site: as its mail
        system says, else as the Received field says by which it came in; "" where neither does. nested: messages inside
        (message/rfc822), parsed to a bounded depth.
    content_sha256: hex of the raw bytes. size: bytes. content_key: the same for every copy of the message, whichever
        way it came, see `ingest.content_keys`; "" where nothing tells its copies from other mail, and of nested ones.
    unread: what was not read in full, and why; each aspect at most once.
    authors: every mailbox of every From field, in order: a reader may be shown any of them. author_marks: what is odd
        about how they are written, see `AuthorMark`.
    qr_codes: of its images, each text once: where there is little text and they are small; see `events.SIGNALS` for
        those that are read later. pending: the signals that it waits for.
    body_parts: parts with text that the reader sees. invitations: calendar parts, whose text is part of new_text.
    outside_chars, outside_links: letters before and behind the parts of multiparts, which no reader shows, and links
        among them.
    inner: its files that were looked into, and those inside of them, each before what it holds; those of messages
        inside are in `nested`, where messages out of such files are too.
    directory: what the tenant's directory and own domains said of it when it was accepted; None where nobody knows.
    """

    headers: tuple[tuple[str, str], ...]
    sender: Mailbox
    to: tuple[Mailbox, ...]
    cc: tuple[Mailbox, ...]
    reply_to: tuple[Mailbox, ...]
    return_path: str | None
    recipients: tuple[str, ...]
    received_at_us: int | None
    time_source: TimeSource
    date_us: int | None
    message_id_header: str
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    subject: str
    new_text: str
    quoted_text: str
    html: bool
    html_chars: int
    text_chars: int
    hidden_chars: int
    charsets: tuple[str, ...]
    part_types: tuple[str, ...]
    urls: tuple[Url, ...]
    attachments: tuple[Attachment, ...]
    hops: tuple[Hop, ...]
    authentication: Authentication
    nested: tuple[Message, ...]
    defects: tuple[Defect, ...]
    content_sha256: str
    size: int
    unread: tuple[tuple[Aspect, Status], ...] = ()
    hidden_text: str = ""
    preview: str = ""
    invisible_chars: int = 0
    split_words: int = 0
    qr_codes: tuple[QrCode, ...] = ()
    pending: tuple[Signal, ...] = ()
    other_links: tuple[Url, ...] = ()
    body_parts: int = 0
    invitations: tuple[Invitation, ...] = ()
    outside_chars: int = 0
    outside_links: int = 0
    inner: tuple[InnerFile, ...] = ()
    authors: tuple[Mailbox, ...] = ()
    author_marks: tuple[AuthorMark, ...] = ()
    claimed_at_us: int | None = None
    content_key: str = ""
    client_ip: str = ""
    directory: DirectoryAnswer | None = None

    def status_of(self, aspects: Iterable[Aspect]) -> Status:
        """How well these aspects were read: present, or the worst reason why one of them was not."""
        wanted = frozenset(aspects)
        return worst(status for aspect, status in self.unread if aspect in wanted)

    def header(self, name: str) -> str | None:
        """The first header of that name (any case), None where absent."""
        wanted = name.lower()
        for key, value in self.headers:
            if key.lower() == wanted:
                return value
        return None
