"""Addresses and host names: one normal form, so that one correspondent is one key."""

from __future__ import annotations

import re
from functools import lru_cache

import tldextract

MAX_ADDRESS = 320
"""Longest address that is read as one: 64 for the local part, @, 255 for the domain (RFC 5321)."""

# Bundled snapshot only: a look-up in a message's path must not wait for a network, nor differ by machine.
_SUFFIXES = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

_PLAIN_ADDRESS = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,128}@[a-z0-9](?:[a-z0-9_-]|\.(?!\.|$)){0,253}")
_UNREADABLE = re.compile(r"[\s\x00-\x1f\x7f<>,;()\"]")
_LABEL_EDGE = re.compile("[\u3002\uff0e\uff61]")
# The look-ahead and the look-behind hold the run to a dot or colon and a last digit without ever going back in it.
_IP_LITERAL = re.compile(r"\[?(?=[0-9a-f]*+[:.])[0-9a-f.:]++(?<=[0-9])\]?|\[[0-9a-f:.]++\]|[0-9a-f]*+:[0-9a-f:.]*+")


@lru_cache(maxsize=65_536)
def normalise_address(address: str) -> str:
    """The one form of an address: lower case, domain in ASCII (IDNA), no brackets; "" where it is not an address.

    Sub-addresses (`name+tag@`) and dots are kept: what they mean is the receiving site's business.
    Source: RFC 5321 section 4.1.2, RFC 5890.

    >>> normalise_address("<Ann.Lee@Example.COM.>")
    'ann.lee@example.com'
    >>> normalise_address("undisclosed recipients")
    ''
    """
    if len(address) > MAX_ADDRESS + 40:
        return ""
    text = address.strip().lower()
    if _PLAIN_ADDRESS.fullmatch(text):
        return text
    text = text.strip("<>").strip()
    if text.startswith("mailto:"):
        text = text[7:]
    local, at, domain = text.rpartition("@")
    if not at:
        return ""
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
    """A host name in lower case ASCII (IDNA where it can be had), without the root dot; "" where too long.

    Source: RFC 5890, RFC 3490 section 3.1 for the dots.
    """
    text = host.strip().lower().strip(".")
    if len(text) > 253:
        return ""
    if text.isascii():
        return text
    text = _LABEL_EDGE.sub(".", text)
    if any(len(label) > 63 for label in text.split(".")):
        return text.strip(".")
    try:
        return text.encode("idna").decode("ascii").lower().strip(".")
    except UnicodeError:
        # One label that IDNA 2003 refuses must not lose the domain: it stays as written.
        return text.strip(".")


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
