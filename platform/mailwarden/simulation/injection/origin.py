"""Where an attack came from, and the message without what its first receiver wrote into it."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from mailwarden.simulation.injection.letter import Field, Letter
from mailwarden.simulation.injection.received import Hop, read_received, reshuffled, time_of
from mailwarden.simulation.people import documentation_ip

_SENDER_IP = re.compile(r"(?:sender IP is|client-ip=|designate[s]?\s)\s*\(?([0-9a-fA-F:.]{3,45})", re.IGNORECASE)
_RESULT = re.compile(r"(?:^|[;\s])(spf|dkim|dmarc|arc)\s*=\s*([a-z]+)", re.IGNORECASE)
_PROPERTY = re.compile(r"(smtp\.mailfrom|header\.d|header\.i|header\.from)\s*=\s*\"?<?([^\s;\"<>()]+)", re.IGNORECASE)
_COMMENT = re.compile(r"\([^()]*\)")
_ADDRESS = re.compile(r"[^\s<>\"(),;:]+@[^\s<>\"(),;:]+")

TRACE = frozenset(
    ("received", "return-path", "delivered-to", "x-original-to", "envelope-to", "x-envelope-to",
     "authentication-results", "received-spf", "arc-seal", "arc-message-signature", "arc-authentication-results",
     "x-received", "x-google-smtp-source", "x-gm-message-state", "x-google-dkim-signature", "dkim-signature",
     "domainkey-signature", "dkim-filter")
)  # fmt: skip
"""Fields that hosts write on the way, and signatures that they check."""

_RECEIVERS = re.compile(
    r"x-ms-(?!has-attach|tnef)|x-microsoft-|x-eop|x-incoming|x-sid-|x-sender-ip$|x-message-(?:delivery|info)$|x-forefront"
    r"|x-pm-|x-spam|x-rspamd|x-virus|x-antivirus|x-exchange-antispam|x-ovh-|x-original-to$|delivered-to$|envelope-to$"
    r"|x-envelope-to$|received-spf$|authentication-results-original$|x-forwarded-(?:to|for)$|x-tmn$|x-proofpoint|x-barracuda|x-ham-|x-spamd|x-bogosity|status$|x-status$|x-keywords$|x-uid"
)
_OF_LISTS = re.compile(
    r"list-|precedence$|x-mailing-list$|x-beenthere$|x-mailman|(?:x-)?message-id-hash$|x-mailfrom$|archived-at$"
    r"|errors-to$|x-headers-end$|x-content-filtered-by$|mailing-list$|delivered-to$"
)
_FOOTER = re.compile(rb"\r?\n_{20,}\r?\n[^\n]*(?:mailing list|@)[\s\S]{0,600}$", re.IGNORECASE)
_TAG = re.compile(r"^\s*\[[\w. -]{2,40}\]\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Origin:
    """The path of an attack as its first receiver saw it.

    helo: of the host that handed it over; ip: its address. mail_from: reverse path. results: method to its verdict and
    domain. recipients: addresses that the mail was for, in lower case. at_us: when it came, None where nothing says.
    """

    helo: str
    ip: str
    mail_from: str
    results: dict[str, tuple[str, str]]
    recipients: tuple[str, ...]
    at_us: int | None


def take_origin(letter: Letter, rng: random.Random) -> Origin:
    """Read where the message came from, and take off what its receiver and a list between wrote into it.

    Where it bears no path, the sender's domain and an address of RFC 2544 stand for one.
    """
    listed = bool(letter.first("list-id") or letter.first("x-mailing-list") or letter.first("x-beenthere"))
    hops = [(at, read_received(one.value)) for at, one in enumerate(letter.fields) if one.key == "received"]
    border = _border(letter, hops, listed)
    hop = next((one for at, one in hops if at == border), None)
    from_domain = (_address(letter.first("from")) or "unknown.example").rpartition("@")[2]
    mail_from = _address(letter.first("return-path"))
    if listed and hop is not None:
        mail_from = _of_spf(letter) or _address(letter.first("from"))
    origin = Origin(
        helo=hop.from_host if hop and "." in hop.from_host else f"mail.{from_domain}",
        ip=hop.from_ip if hop else documentation_ip(rng),
        mail_from=mail_from,
        results=_results(letter, border, hop),
        recipients=_recipients(letter, hops),
        at_us=next((one.at_us for at, one in hops if one.at_us is not None), None) or time_of(letter.first("date")),
    )
    _strip(letter, border, listed, hop, rng)
    return origin


def _border(letter: Letter, hops: list[tuple[int, Hop]], listed: bool) -> int:
    """Where the Received field stands by which the message came in; -1 where none does."""
    outside = [(at, hop) for at, hop in hops if hop.outside]
    if not outside:
        return -1
    if listed and len(hops) > 1:
        makers = {_maker(hops[0][1].from_host), _maker(letter.first("list-id").strip("<> ").rpartition("<")[2])}
        inner = [at for at, hop in outside if _maker(hop.by_host) in makers]
        if inner:
            return inner[-1]
    said = {ip for field in letter.fields if field.key in ("authentication-results", "received-spf", "x-sender-ip")
            for ip in (*_SENDER_IP.findall(field.value), field.value)}  # fmt: skip
    for at, hop in outside:
        if hop.from_ip in said:
            return at
    for at, hop in outside:
        if _maker(hop.from_host) != _maker(hop.by_host):
            return at
    return outside[0][0]


def _strip(letter: Letter, border: int, listed: bool, hop: Hop | None, rng: random.Random) -> None:
    kept: list[Field] = []
    for at, field in enumerate(letter.fields):
        above = at <= border
        if above and (field.key in TRACE or field.key.startswith(("x-", "arc-"))):
            continue
        if _RECEIVERS.match(field.key) or field.key in ("return-path", "bcc"):
            continue
        if field.key == "authentication-results" and hop is not None and _is_of(field.value, hop):
            continue
        if listed and (
            _OF_LISTS.match(field.key) or (field.key == "sender" and re.search("bounce|owner", field.value))
        ):
            continue
        kept.append(field)
    letter.fields = kept
    if listed:
        _undo_list(letter)
        letter.put("Subject", _TAG.sub("", letter.first("subject")))
        letter.body = _FOOTER.sub(letter.eol, letter.body)
    given = letter.first("message-id")
    if hop is not None and given and _maker(given.rpartition("@")[2].strip("<> ")) == _maker(hop.by_host):
        # The receiver gave one to a message that had none.
        letter.put("Message-ID", f"<{reshuffled(rng, '20230101aaaaaa.AAAA0')}@{hop.from_host or 'localhost'}>")


def _undo_list(letter: Letter) -> None:
    """Give the author back where the list put its own address in his place."""
    found = re.search(r"^(.*?)\s+via\s", letter.first("from"))
    reply_to = letter.first("reply-to")
    if found is not None and "@" in reply_to:
        letter.put("From", reply_to)
        letter.remove(("reply-to",))


def _is_of(results: str, hop: Hop) -> bool:
    """Whether results bear the name of the host that took the message in, some of which write them below."""
    return _maker(results.split(";")[0].strip()) == _maker(hop.by_host)


def _results(letter: Letter, border: int, hop: Hop | None) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for at, field in enumerate(letter.fields):
        if field.key != "authentication-results":
            continue
        if hop is not None and at > border and not _is_of(field.value, hop):
            continue
        text = _COMMENT.sub(" ", field.value)
        marks = list(_RESULT.finditer(text))
        for number, mark in enumerate(marks):
            end = marks[number + 1].start() if number + 1 < len(marks) else len(text)
            named = {m[1].lower(): m[2] for m in _PROPERTY.finditer(text[mark.end() : end])}
            method = mark[1].lower()
            key = {"spf": "smtp.mailfrom", "dkim": "header.d", "dmarc": "header.from"}.get(method, "")
            domain = named.get(key) or named.get("header.i", "")
            domain = domain.rpartition("@")[2].lower()
            found.setdefault(method, (mark[2].lower(), "" if domain == "none" else domain))
    return found


def _recipients(letter: Letter, hops: list[tuple[int, Hop]]) -> tuple[str, ...]:
    found = [hop.recipient for _, hop in hops if hop.recipient]
    found += [_address(value) for key in ("delivered-to", "x-original-to", "envelope-to") for value in letter.all(key)]
    named = _ADDRESS.findall(" ".join((*letter.all("to"), *letter.all("cc"))))
    if not found or len(named) == 1:
        found += named
    return tuple(dict.fromkeys(one.lower().strip("'.") for one in found if one))


def _of_spf(letter: Letter) -> str:
    for value in letter.all("received-spf"):
        found = re.search(r"envelope-from=\"?<?([^\s;<>\"]+@[^\s;<>\"]+)", value)
        if found:
            return found[1]
    return ""


def _address(value: str) -> str:
    found = re.search(r"<([^<>\s]*@[^<>\s]*)>", value) or _ADDRESS.search(value)
    return "" if found is None else found[found.lastindex or 0].lower()


def _maker(host: str) -> str:
    """Who runs a host, roughly: the label before the public suffix."""
    labels = [label for label in host.lower().strip("[]<>.").split(".") if label]
    if len(labels) > 2 and len(labels[-2]) <= 3 and len(labels[-1]) == 2:
        return labels[-3]
    return labels[-2] if len(labels) > 1 else host
