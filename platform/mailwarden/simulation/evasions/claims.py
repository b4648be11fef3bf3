"""Evasions by what a message claims to be: of a partner, of a colleague, of a thread, of a list, proven, long known.

Every header field but those that the site's own hosts wrote is the attacker's to choose. What the attacker knows
beside the attack (`Known`) is mail that somebody stole: whose names are known here, and how their mail looks. The
network that the message comes from stays the attacker's, and the site's host says of the name in From what it would
find: that nothing proves it.
"""

from __future__ import annotations

import email
import html
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email import policy
from email.message import EmailMessage
from random import Random

from mailwarden.simulation.evasions.benign import benign
from mailwarden.simulation.evasions.fields import (
    TRACE,
    below_trace,
    changed,
    fields_of,
    header_lines,
    joined,
    lines_of,
    replaced,
    value,
    without,
)
from mailwarden.simulation.evasions.pieces import Pieces, html_part, message_of

WARM_UP = 5
"""Benign mails that a sender writes before the attack."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message of the tenant's that an attacker has seen.

    domain: registrable domain of its sender. authenticated: as the site found it; None where nothing said so.
    """

    raw: bytes
    domain: str
    authenticated: bool | None


@dataclass(frozen=True, slots=True)
class Known:
    """What an attacker knows. partner: the newest mail of somebody outside to whom a recipient writes. colleague: one
    of the tenant's own to a recipient. authserv_id: the name that the site's results bear. Each none where there is
    nothing to know."""

    partner: Letter | None = None
    colleague: Letter | None = None
    authserv_id: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attack on its way. before: whole messages that its sender wrote before, the first first; to the same
    recipients and by the same way."""

    pieces: Pieces
    known: Known
    before: tuple[bytes, ...] = field(default=())

    def of(self, headers: bytes) -> Attempt:
        """The same with other headers."""
        return replace(self, pieces=replace(self.pieces, headers=headers))


Claim = Callable[[Attempt, int], Attempt | None]
"""Takes an attempt and a seed; None where what it would need is not known."""

CLAIMS: dict[str, Claim] = {}
"""By name, the kind first."""

_DMARC = re.compile(rb"dmarc\s*=\s*[a-z]+", re.IGNORECASE)
_HEADER_FROM = re.compile(rb"header\.from\s*=\s*[^\s;]+", re.IGNORECASE)
_HEX_OR_DIGIT = re.compile(rb"[0-9]")


def _named(name: str) -> Callable[[Claim], Claim]:
    def add(claim: Claim) -> Claim:
        CLAIMS[name] = claim
        return claim

    return add


# --- somebody else's name ------------------------------------------------------------------------------------------


@_named("forged partner: the From")
def _partner(attempt: Attempt, seed: int) -> Attempt | None:
    return _as_sender_of(attempt, attempt.known.partner)


@_named("forged partner: in the form of their mail")
def _partner_in_form(attempt: Attempt, seed: int) -> Attempt | None:
    letter = attempt.known.partner
    forged = _as_sender_of(attempt, letter)
    if letter is None or forged is None:
        return None
    return forged.of(_in_form_of(forged.pieces.headers, header_lines(letter.raw), seed))


@_named("displayed name: of a partner")
def _partner_name(attempt: Attempt, seed: int) -> Attempt | None:
    letter = attempt.known.partner
    if letter is None:
        return None
    theirs = value(header_lines(letter.raw), "from")
    mine = value(attempt.pieces.headers, "from")
    address = mine.rpartition("<")[2].rstrip(">").strip()
    name = theirs.rpartition("<")[0].strip() or theirs
    return attempt.of(replaced(attempt.pieces.headers, f"From: {name} <{address}>\n".encode()))


@_named("own domain: a colleague")
def _colleague(attempt: Attempt, seed: int) -> Attempt | None:
    return _as_sender_of(attempt, attempt.known.colleague)


@_named("own domain: a colleague, in the form of their mail")
def _colleague_in_form(attempt: Attempt, seed: int) -> Attempt | None:
    letter = attempt.known.colleague
    forged = _as_sender_of(attempt, letter)
    if letter is None or forged is None:
        return None
    return forged.of(_in_form_of(forged.pieces.headers, header_lines(letter.raw), seed))


def _as_sender_of(attempt: Attempt, letter: Letter | None) -> Attempt | None:
    """The attempt with a letter's From; the site's results deny that name where its mail is authenticated as a rule."""
    if letter is None:
        return None
    lines = lines_of(header_lines(letter.raw), "from")
    if lines is None or not letter.domain:
        return None
    headers = replaced(attempt.pieces.headers, lines)
    return attempt.of(_denied(headers, attempt.known.authserv_id, letter))


def _denied(headers: bytes, authserv_id: str, letter: Letter) -> bytes:
    verdict = b"dmarc=fail" if letter.authenticated else b"dmarc=none"
    domain = b"header.from=" + letter.domain.encode("utf-8", "surrogatepass")

    def deny(lines: bytes) -> bytes:
        if _DMARC.search(lines) is None:
            return lines.rstrip(b"\n") + b";\n\t" + verdict + b" " + domain + b"\n"
        said = _DMARC.sub(verdict, lines)
        return _HEADER_FROM.sub(domain, said)

    return changed(headers, lambda name, lines: _is_result_of(authserv_id, name, lines), deny)


def _is_result_of(authserv_id: str, name: str, lines: bytes) -> bool:
    said = lines.partition(b":")[2].lstrip().lower()
    return name == "authentication-results" and said.startswith(authserv_id.lower().encode())


def _in_form_of(headers: bytes, theirs: bytes, seed: int) -> bytes:
    """What the sender's own mailer would have written, under the trace of the attack.

    Order, mailer and form of the Message-ID are those of the letter; whom it is to, when and about what the attack's.
    """
    rng = Random(seed)
    own = {"to", "cc", "subject", "date", "from"}
    left_out = {"in-reply-to", "references", "bcc", *own}
    fields = [one for one in fields_of(headers) if one[0] in TRACE]
    for name, lines in fields_of(theirs):
        if name in TRACE or name.startswith(("content-", "list-")):
            continue
        if name == "message-id":
            fields.append((name, _HEX_OR_DIGIT.sub(lambda _: b"%d" % rng.randrange(10), lines)))
        elif name in own:
            mine = lines_of(headers, name)
            fields += [] if mine is None else [(name, mine)]
        elif name not in left_out:
            fields.append((name, lines))
    return joined(fields)


# --- a thread ------------------------------------------------------------------------------------------------------


@_named("thread: answers a stolen message, quoted")
def _stolen_thread(attempt: Attempt, seed: int) -> Attempt | None:
    letter = attempt.known.partner or attempt.known.colleague
    if letter is None:
        return None
    headers = header_lines(letter.raw)
    answered = value(headers, "message-id")
    if not answered:
        return None
    references = " ".join([*value(headers, "references").split(), answered])
    answer = _answering(attempt.pieces.headers, answered, references, value(headers, "subject"))
    who, when = value(headers, "from"), value(headers, "date")
    quote = (
        f"<p>On {html.escape(when)}, {html.escape(who)} wrote:</p><blockquote>"
        f"{html.escape(text_of(letter.raw)).replace(chr(10), '<br>')}</blockquote>"
    )
    return replace(attempt, pieces=replace(attempt.pieces, headers=answer, html=attempt.pieces.html + quote))


@_named("thread: made up")
def _made_up_thread(attempt: Attempt, seed: int) -> Attempt | None:
    rng = Random(seed)
    known = " ".join(f"<{rng.getrandbits(64):016x}@mail.partner.example>" for _ in range(3))
    subject = value(attempt.pieces.headers, "subject")
    return attempt.of(_answering(attempt.pieces.headers, known.split()[-1], known, subject))


def _answering(headers: bytes, answered: str, references: str, subject: str) -> bytes:
    about = subject if subject.lower().startswith("re:") else f"Re: {subject}"
    for line in (f"Subject: {about}\n", f"In-Reply-To: {answered}\n", f"References: {references}\n"):
        headers = replaced(headers, line.encode("utf-8", "surrogateescape"))
    return headers


def text_of(raw: bytes, letters: int = 2_000) -> str:
    """The plain text of a message, or what its HTML says, cut to so many letters; "" where none is found."""
    message = email.message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    try:
        body = message.get_body(("plain", "html"))
        found = "" if body is None else str(body.get_content())
    except (LookupError, ValueError, KeyError):
        return ""
    if body is not None and body.get_content_subtype() == "html":
        found = html.unescape(re.sub(r"<[^>]*>", " ", found))
    return found[:letters].strip()


# --- a list, and a word in the site's name ---------------------------------------------------------------------------


@_named("list headers: of a discussion")
def _discussion(attempt: Attempt, seed: int) -> Attempt | None:
    host = "lists.opencommunity.example"
    lines = (
        f"List-Id: Weekly discussion <weekly.{host}>\nList-Unsubscribe: <https://{host}/leave>,\n"
        f" <mailto:weekly-leave@{host}>\nList-Post: <mailto:weekly@{host}>\nPrecedence: list\n"
    )
    return attempt.of(attempt.pieces.headers + lines.encode())


@_named("list headers: of a newsletter")
def _newsletter(attempt: Attempt, seed: int) -> Attempt | None:
    lines = (
        "List-Unsubscribe: <https://news.notice.example/leave>\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\n"
        f"Feedback-ID: {seed}:news:notice\nPrecedence: bulk\n"
    )
    return attempt.of(attempt.pieces.headers + lines.encode())


@_named("trusted results: in the site's name")
def _results(attempt: Attempt, seed: int) -> Attempt | None:
    said = _passes(attempt)
    return None if said is None else attempt.of(below_trace(attempt.pieces.headers, said))


@_named("trusted results: above a Received in the site's name")
def _results_above(attempt: Attempt, seed: int) -> Attempt | None:
    said = _passes(attempt)
    if said is None:
        return None
    site = attempt.known.authserv_id
    hop = f"Received: from mail.notice.example (mail.notice.example [192.0.2.7])\n\tby {site} with ESMTPS id {seed:X};"
    date = value(attempt.pieces.headers, "date") or "Mon, 02 Mar 2026 10:00:00 +0000"
    return attempt.of(below_trace(attempt.pieces.headers, said + f"{hop} {date}\n".encode()))


def _passes(attempt: Attempt) -> bytes | None:
    """A field that says that From is authenticated, as the site would write it; None where the site has no name."""
    site = attempt.known.authserv_id
    address = value(attempt.pieces.headers, "from").rpartition("<")[2].rstrip(">").strip()
    domain = address.rpartition("@")[2]
    if not site or not domain:
        return None
    said = (
        f"Authentication-Results: {site};\n\tspf=pass smtp.mailfrom={domain};\n\tdkim=pass header.d={domain};\n"
        f"\tdmarc=pass header.from={domain}\n"
    )
    return said.encode("utf-8", "surrogateescape")


# --- a sender that is known ------------------------------------------------------------------------------------------


@_named("warm-up: five benign mails")
def _warm_up(attempt: Attempt, seed: int) -> Attempt | None:
    bare = without(attempt.pieces.headers, {"in-reply-to", "references", "reply-to"})
    before = []
    for number in range(WARM_UP):
        rng = Random(seed * WARM_UP + number)
        text = benign(rng.getrandbits(32), 300)
        subject = " ".join(text.split()[:5]).rstrip(".")
        headers = replaced(bare, f"Subject: {subject}\n".encode())
        told = value(bare, "message-id").encode("utf-8", "replace")
        if told:
            fresh = _HEX_OR_DIGIT.sub(lambda _, rng=rng: b"%d" % rng.randrange(10), told)  # type: ignore[misc]
            headers = replaced(headers, b"Message-ID: " + fresh + b"\n")
        before.append(message_of(Pieces(headers, ""), html_part(f"<p>{text}</p>")))
    return replace(attempt, before=(*attempt.before, *before))
