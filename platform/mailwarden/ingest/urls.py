"""Links: found in text without backtracking, and read to a host the way a browser would."""

from __future__ import annotations

import re
import socket
from typing import Literal
from urllib.parse import unquote

from mailwarden.domain.mail.addresses import is_ip_literal, registrable_domain
from mailwarden.domain.mail.message import Url
from mailwarden.ingest.budget import LINKS, LINKS_READ
from mailwarden.ingest.charsets import clean
from mailwarden.ingest.hosts import read_host
from mailwarden.ingest.reading import Reading

MAX_URL = 4_000
MAX_URL_TEXT = 500
"""Characters that are kept of a link, and of the text that a reader sees of it."""

_START = re.compile(r"(?:(?:https?|ftp)://|(?<![\w@./-])www\.(?=\w))[^\s<>\"\x00-\x1f]{1,4000}", re.IGNORECASE)
_TRAILING = ".,;:!?'`*_~|\\]}"
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{0,30}):", re.IGNORECASE)
_AUTHORITY = re.compile(r"[/\\]*([^/\\?#]*)")
_NUMERIC = re.compile(r"(?:0x[0-9a-f]+|\d+)(?:\.(?:0x[0-9a-f]+|\d+)){0,3}")
_STRIPPED_BY_BROWSERS = {ord(c): None for c in "\t\r\n"}
_EDGES = "".join(map(chr, range(33))) + "\xa0"
_WEB = frozenset({"http", "https", "ftp"})


def plain_urls(text: str) -> list[str]:
    """URLs that a reader's client would make clickable in plain text, in order."""
    if "://" not in text and "www." not in text and "WWW." not in text:
        return []
    found: list[str] = []
    for match in _START.finditer(text):
        found.append(_trim(match[0]))
        if len(found) > LINKS_READ.most:
            break
    return found


def _trim(url: str) -> str:
    # A bracket closes the sentence around the link unless it was opened inside the link.
    unopened = url.count(")") - url.count("(")
    end = len(url)
    while end and (url[end - 1] in _TRAILING or (url[end - 1] == ")" and unopened > 0)):
        end -= 1
        unopened -= url[end] == ")"
    return url[:end]


def read_url(url: str, text: str, origin: Literal["html", "text", "qr"], reading: Reading, part: int = 0) -> Url | None:
    """The link with its host and registrable domain; None where it leads to no host (mailto:, #, relative)."""
    url = clean(url.strip(_EDGES).translate(_STRIPPED_BY_BROWSERS))[:MAX_URL]
    rest = url
    scheme = _SCHEME.match(url)
    if scheme is not None:
        if scheme[1].lower() not in _WEB:
            return None
        rest = url[scheme.end() :]
    elif not url.startswith(("//", "\\\\", "/\\", "\\/")) and url[:4].lower() != "www.":
        return None
    authority = _AUTHORITY.match(rest)
    host = _read_host(authority[1] if authority else "", reading, part)
    if not host:
        return None
    return Url(
        url=url,
        text=clean(text)[:MAX_URL_TEXT],
        host=host,
        domain=host if is_ip_literal(host) else registrable_domain(host),
        origin=origin,
    )


def _read_host(authority: str, reading: Reading, part: int) -> str:
    host = authority.rpartition("@")[2]
    if host.startswith("["):
        return host.partition("]")[0].lstrip("[").lower()[:100]
    host = host.partition(":")[0]
    if "%" in host:
        host = unquote(host)
    host = read_host(clean(host), reading, "links", part)
    if host and host[0].isdigit() and _NUMERIC.fullmatch(host):
        try:
            # Browsers read 0x7f.1 and 2130706433 as addresses, and so must we.
            return socket.inet_ntoa(socket.inet_aton(host))
        except (OSError, ValueError):
            return host
    return host if not any(c.isspace() for c in host) else ""


class UrlList:
    """Gathers links in reading order: each (url, text, origin) once, within the budget of the whole message."""

    def __init__(self, reading: Reading) -> None:
        self._urls: dict[tuple[str, str, str], Url] = {}
        self._written: set[tuple[str, str, str]] = set()
        self._reading = reading

    def add(self, url: str, text: str, origin: Literal["html", "text"], part: int) -> None:
        """Keep a link, if it leads anywhere."""
        written = (url, text, origin)
        if written in self._written or not self._reading.take(LINKS_READ, 1, part):
            return
        self._written.add(written)
        read = self._reading.attempt("links", lambda: read_url(url, text, origin, self._reading, part), None, part)
        if read is None:
            return
        key = (read.url, read.text, origin)
        if key not in self._urls and self._reading.take(LINKS, 1, part):
            self._urls[key] = read

    def read(self) -> tuple[Url, ...]:
        """The links so far."""
        return tuple(self._urls.values())
