"""Addresses and host names: one normal form, so that one correspondent is one key."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import idna
import tldextract

from mailwarden.errors import DataError

MAX_ADDRESS = 320
"""Longest address that is read as one: 64 for the local part, @, 255 for the domain (RFC 5321)."""

_MAX_HOST = 253
_MAX_LABEL = 63
_JOINERS = "\u200c\u200d"

# Bundled snapshot only: a look-up in a message's path must not wait for a network, nor differ by machine.
_SUFFIXES = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

_PLAIN_ADDRESS = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,128}@[a-z0-9](?:[a-z0-9_-]|\.(?!\.|$)){0,253}")
_UNREADABLE = re.compile(r"[\s\x00-\x1f\x7f<>,;()\"]")
_EDGES = (
    ".\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""What stands around a name: dots, and white space as Python has it."""
_LABEL_EDGE = re.compile("[\u3002\uff0e\uff61]")
_NO_HOST = re.compile(r"[\x00-,/:-@\[-^`{-\x7f]")
_MAX_WRITTEN = 4
"""How many code points one octet of a name may have been written with: Hangul in its letters takes the most, three."""
# The look-ahead and the look-behind hold the run to a dot or colon and a last digit without ever going back in it.
_IP_LITERAL = re.compile(r"\[?(?=[0-9a-f]*+[:.])[0-9a-f.:]++(?<=[0-9])\]?|\[[0-9a-f:.]++\]|[0-9a-f]*+:[0-9a-f:.]*+")


@lru_cache(maxsize=65_536)
def normalise_address(address: str) -> str:
    """The one form of an address: lower case and NFC, domain by `normalise_host`, no brackets; "" where it is none.

    Sub-addresses (`name+tag@`) and dots are kept: what they mean is the receiving site's business.
    Source: RFC 5321 section 4.1.2, RFC 6532 section 3.1.

    >>> normalise_address("<Ann.Lee@Example.COM.>")
    'ann.lee@example.com'
    >>> normalise_address("undisclosed recipients")
    ''
    """
    if len(address) > _MAX_WRITTEN * MAX_ADDRESS:
        return ""
    text = address.strip()
    plain = text.lower() if text.isascii() else ""
    if _PLAIN_ADDRESS.fullmatch(plain):
        return plain
    text = text.strip("<>").strip()
    if text[:7].lower() == "mailto:":
        text = text[7:]
    local, at, domain = text.rpartition("@")
    if not at:
        return ""
    # Not the domain: what its capital letters become is UTS 46's to say.
    local = _lower(local)
    if local.startswith("@") and ":" in local:
        local = local.partition(":")[2]  # a source route: "@relay:name@host"
    if len(local) > 1 and local[0] == local[-1] == '"':
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
        if _UNREADABLE.search(local) or "@" in local:
            local = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
    elif _UNREADABLE.search(local):
        return ""
    host = normalise_host(domain)
    if not local or not host or _UNREADABLE.search(host) or len(local) + len(host) >= MAX_ADDRESS:
        return ""
    return f"{local}@{host}"


@lru_cache(maxsize=65_536)
def normalise_host(host: str) -> str:
    """A host name in lower case ASCII, without the root dot; "" where too long.

    One name has one form, whether it comes as U-labels or A-labels, in capitals, wide letters and dots, or
    decomposed; and two names have two: `ß`, final sigma and joiners in their context are letters of their own. A
    label that UTS 46 refuses stays as written, in lower case, and the others do not suffer for it; so does an A-label
    whatever it decodes to, since that is the name that the DNS is asked for. Work is bounded by the length of a name.
    Source: UTS 46 (Unicode 18) sections 4 and 4.1, non-transitional, with CheckJoiners, CheckBidi label by label and
    the ASCII of STD 3 and the underscore; RFC 5891 section 4.4.

    >>> normalise_host("Großbank.Example.")
    'xn--grobank-2va.example'
    >>> normalise_host("grossbank.example")
    'grossbank.example'
    """
    text = host.strip(_EDGES)
    if text.isascii():
        return text.lower() if len(text) <= _MAX_HOST else ""
    if len(text) > _MAX_WRITTEN * _MAX_HOST:
        return ""
    labels = _LABEL_EDGE.sub(".", text).strip(_EDGES).split(".")
    name = ".".join(_ascii_label(label) or _ascii_label(_lower(label)) or _lower(label) for label in labels)
    return name if len(name) <= _MAX_HOST else ""


def _ascii_label(label: str) -> str:
    """A label's one form in ASCII; "" where UTS 46 refuses it."""
    if label.isascii():
        return label.lower()
    try:
        mapped = idna.uts46_remap(label, std3_rules=False)
        # Longer ones cannot fit once encoded, and what follows takes time by the length squared.
        if not 0 < len(mapped) <= _MAX_LABEL or "." in mapped or _NO_HOST.search(mapped):
            return ""
        if mapped.isascii():
            return mapped
        if mapped.startswith("xn--"):
            return ""
        idna.check_initial_combiner(mapped)
        idna.check_bidi(mapped)
        if not all(idna.valid_contextj(mapped, at) for at, letter in enumerate(mapped) if letter in _JOINERS):
            return ""
        encoded = "xn--" + mapped.encode("punycode").decode("ascii")
    except ValueError:
        return ""
    return encoded if len(encoded) <= _MAX_LABEL else ""


def _lower(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text.lower())


def address_domain(address: str) -> str:
    """The host of a normalised address; "" where there is none."""
    return address.rpartition("@")[2] if "@" in address else ""


def is_ip_literal(host: str) -> bool:
    """Whether a normalised host is an IPv4 or IPv6 literal, in brackets or not."""
    return _IP_LITERAL.fullmatch(host) is not None


@lru_cache(maxsize=65_536)
def registrable_domain(host: str) -> str:
    """The part of a host name that somebody registered; "" for an IP literal, one label or a public suffix.

    Private suffixes count (`shop.github.io` is its own domain); a top-level domain that the list does not know
    is taken as a suffix of one label. Source: the Public Suffix List as bundled with tldextract.

    >>> registrable_domain("mail.news.example.co.uk")
    'example.co.uk'
    >>> registrable_domain("mx.parts.example")
    'parts.example'
    """
    name = normalise_host(host)
    if "." not in name or is_ip_literal(name) or name[0] == "[":
        return ""
    # An empty label ("a..b") makes no name that anybody registered, and the suffix list would guess at one.
    labels = [label for label in name.split(".") if label]
    name = ".".join(labels)
    if len(labels) < 2:
        return ""
    found = _SUFFIXES.extract_str(name, include_psl_private_domains=True)
    if not found.suffix:
        return ".".join(labels[-2:])
    if not found.domain:
        found = _SUFFIXES.extract_str(name)
    return f"{found.domain}.{found.suffix}" if found.domain else ""


RESERVED_TOP_LEVELS = frozenset(("example", "test", "invalid"))
"""Top-level domains for examples (RFC 2606): nobody owns a name there, and texts about links are full of them."""


def is_top_level(label: str) -> bool:
    """Whether a label in lower case, as written or as an A-label, is a top-level domain that exists.

    Source: the Public Suffix List as bundled with tldextract.

    >>> [is_top_level(label) for label in ("com", "museum", "рф", "xn--p1ai", "docx", "example")]
    [True, True, True, True, False, False]
    """
    return label in _top_levels()


@lru_cache(maxsize=1)
def _top_levels() -> frozenset[str]:
    names = [suffix for suffix in _SUFFIXES.tlds if "." not in suffix]
    return frozenset((*names, *(normalise_host(name) for name in names if not name.isascii())))


_DISPLAYED = re.compile(r"[^<>]*<([^<>]*)>\s*")
_NOT_OF_A_HOST = re.compile(r"[^a-z0-9._-]")


def checked_sender(entry: str) -> str:
    """An entry of a list of senders in its one form, an address or a domain; raises DataError, in words, on others.

    Read as what it is: `Ann <ann@example.com>` and `mailto:ann@example.com` (an address), `@example.com`,
    `*@example.com` and names in other scripts (a domain), `.example.com` and `*.example.com` (all names below it).
    What they stand for: `entries_for`. Other patterns, links, IP addresses, and names that everybody registers below
    are refused.

    >>> [checked_sender(one) for one in ("Ann Lee <Ann.Lee@Example.COM>", "@Bücher.example", "*.a.example")]
    ['ann.lee@example.com', 'xn--bcher-kva.example', '.a.example']
    """
    text = entry.strip()
    shown = _DISPLAYED.fullmatch(text)
    text = (shown[1] if shown else text).strip()
    local, at, host = text.rpartition("@")
    if not at and text.startswith((".", "*.")):
        return "." + checked_domain(text.removeprefix("*").removeprefix("."), entry)
    if not at or local.strip() in ("", "*"):
        return checked_domain(host, entry)
    address = normalise_address(text)
    domain = address_domain(address)
    if not address or "*" in address or (_NOT_OF_A_HOST.search(domain) and not is_ip_literal(domain)):
        raise DataError(
            f"{entry!r} is no sender's address. Write name@example.com, or example.com for all addresses at it and "
            "below it; patterns are not read."
        )
    return address


def checked_domain(name: str, entry: str | None = None) -> str:
    """A domain in its one form; raises DataError, in words that quote `entry`, where it is none or everybody's.

    >>> checked_domain("@Mail.Example.com.")
    'mail.example.com'
    """
    entry = name if entry is None else entry
    text = name.strip().removeprefix("@")
    if not text:
        raise DataError(f"{entry!r} is an empty name. Leave it out.")
    host = normalise_host(text)
    labels = host.split(".")
    odd = text[0] == "." or _NOT_OF_A_HOST.search(host)
    if is_ip_literal(host):
        raise DataError(f"{entry!r} is an IP address; write a domain, as example.com.")
    if odd or "" in labels or any(len(label) > _MAX_LABEL for label in labels):
        raise DataError(
            f"{entry!r} is no domain. Write example.com, or .example.com for the names below it; no path, port or "
            "other pattern."
        )
    if not registrable_domain(host):
        raise DataError(
            f"{entry!r} is a name that everybody registers below. Write the whole domain, as example.{host}."
        )
    return host


def entries_for(address: str) -> tuple[str, ...]:
    """Entries of a list, beside the address itself, that stand for a normalised address; the nearest first.

    Its host, each domain above that, and each of these with a leading dot, which stands for names below alone. An IP
    literal has itself alone.

    >>> entries_for("ann@mail.example.com")
    ('mail.example.com', '.example.com', 'example.com', '.com', 'com')
    """
    host = address_domain(address)
    if not host:
        return ()
    found = [host]
    while "." in host and not is_ip_literal(host):
        host = host.partition(".")[2]
        found += [f".{host}", host]
    return tuple(found)
