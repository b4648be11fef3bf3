"""A message's links: each read to where it leads in the end, and gathered within the budget of the whole message."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from mailwarden.domain.mail.addresses import is_ip_literal, registrable_domain
from mailwarden.domain.mail.message import LinkMark, LinkPlace, Url
from mailwarden.ingest.budget import LINKS, LINKS_READ, UNWRAPPED
from mailwarden.ingest.charsets import clean
from mailwarden.ingest.markup_links import WrittenLink
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.redirectors import CONFLICT, MAX_DEPTH, table_in_use, target_of
from mailwarden.ingest.text_links import plain_urls
from mailwarden.ingest.web_address import Address, is_base, parse_address, resolve, tidy_address

MAX_URL_TEXT = 500
"""Characters that are kept of the text that a reader sees of a link."""

Origin = Literal["html", "text", "subject", "qr"]

_WHOLE_ADDRESS = re.compile(r"\s*+[<(\[\"']?(https?://[^\s<>\"]{4,4000})\s*+", re.IGNORECASE)


def read_url(
    url: str,
    text: str,
    origin: Origin,
    reading: Reading,
    part: int = 0,
    *,
    place: LinkPlace = "anchor",
    base: str = "",
) -> Url | None:
    """The link, with its host where it leads to one; None where it leads nowhere outside of the message.

    base: the address of the document's base element as written, "" without one.
    """
    url, controls = tidy_address(url)
    marks: list[LinkMark] = ["controls"] if controls else []
    if base and (whole := _moved(base, url)) != url:
        url = whole
        marks.append("base")
    address = parse_address(url, reading, part, in_text=place == "text" or place == "subject")
    if address is None:
        return None
    scheme = address.scheme
    marks += address.marks
    target, address, via = _end_of(url, address, marks, reading, part)
    host = address.host
    if not address.inside and scheme == "mailto":
        domain = registrable_domain(host)
    else:
        domain = host if is_ip_literal(host) else registrable_domain(host)
    return Url(
        url=url,
        text=text
        if len(text) <= MAX_URL_TEXT and text.isascii() and text.isprintable()
        else clean(text)[:MAX_URL_TEXT],
        host=host,
        domain=domain,
        origin=origin,
        scheme=scheme,
        target="" if target == url else target,
        via=via,
        shown=_shown(text, reading, part) if via or "://" in text else "",
        place=place,
        marks=tuple(dict.fromkeys(marks)) if marks else (),
    )


def _moved(base: str, url: str) -> str:
    base, _ = tidy_address(base)
    if base[:2] in ("//", "\\\\", "/\\", "\\/"):
        base = f"https:{base}"
    if not url or not is_base(base):
        return url
    try:
        return resolve(base, url)
    except ValueError:
        return url


def _end_of(
    url: str, address: Address, marks: list[LinkMark], reading: Reading, part: int
) -> tuple[str, Address, tuple[str, ...]]:
    """Where a link leads once what carries it is undone, and the registrable domains that it goes through."""
    table = table_in_use()
    via: tuple[str, ...] = ()
    for depth in range(MAX_DEPTH + 1):
        if address.inside:
            inside = address.inside
        else:
            domain = registrable_domain(address.host)
            entry = table.find(address.host, domain, url) if domain else None
            if entry is None:
                break
            inside = target_of(entry, url) if depth < MAX_DEPTH and reading.take(UNWRAPPED, 1, part) else CONFLICT
            if not inside and not entry.rewrites:
                break  # a page of that site which sends nobody on
            if not inside or inside == CONFLICT:
                marks += ("rewritten" if entry.rewrites else "redirected", "target_unread")
                break
            marks.append("rewritten" if entry.rewrites else "redirected")
        tidy, controls = tidy_address(inside)
        read = parse_address(tidy, reading, part)
        if read is None or not (read.host or read.inside) or depth == MAX_DEPTH:
            break
        if not address.inside:
            via = (*via, domain)
        if controls:
            marks.append("controls")
        marks += read.marks
        url, address = tidy, read
    return url, address, via


def _shown(text: str, reading: Reading, part: int) -> str:
    """The registrable domain that a text leads to which is a rewritten link itself; "" for every other text."""
    written = _WHOLE_ADDRESS.fullmatch(text)
    if written is None:
        return ""
    url, _ = tidy_address(written[1])
    address = parse_address(url, reading, part)
    if address is None or not address.host:
        return ""
    _, end, via = _end_of(url, address, [], reading, part)
    return registrable_domain(end.host) or end.host if via else ""


class UrlList:
    """Gathers links in reading order: each (url, text, origin) once, within the budget of the whole message."""

    def __init__(self, reading: Reading) -> None:
        self._urls: dict[tuple[str, str, str], Url] = {}
        self._others: dict[tuple[str, str, str], Url] = {}
        self._written: set[tuple[str, str, str, str]] = set()
        self._reading = reading

    def add_markup(self, links: Iterable[WrittenLink], base: str, part: int) -> None:
        """Keep the links of an HTML body, if they lead anywhere."""
        for link in links:
            self._add(link.href, link.text, "html", part, link.place, base)

    def add_text(self, text: str, part: int) -> None:
        """Keep the links of a plain body."""
        for url in plain_urls(text, self._reading, part):
            self._add(url, "", "text", part, "text", "")

    def add_addresses(self, urls: Iterable[str], part: int) -> None:
        """Keep links that stand where nothing but a link does, as in a calendar's property."""
        for url in urls:
            self._add(url, "", "text", part, "text", "")

    def add_subject(self, subject: str) -> None:
        """Keep the links of a subject: with a scheme, `www.` or a path, since subjects are full of mere names."""
        if "." in subject:
            for url in plain_urls(subject, self._reading):
                if "/" in url or "\\" in url or url[:4].lower() == "www.":
                    self._add(url, "", "subject", 0, "subject", "")

    def _add(self, url: str, text: str, origin: Origin, part: int, place: LinkPlace, base: str) -> None:
        written = (url, text, origin, base)
        if written in self._written or not self._reading.take(LINKS_READ, 1, part):
            return
        self._written.add(written)
        read = self._reading.attempt(
            "links", lambda: read_url(url, text, origin, self._reading, part, place=place, base=base), None, part
        )
        if read is None:
            return
        kept = self._urls if read.host and read.scheme != "mailto" else self._others
        key = (read.url, read.text, origin)
        if key not in kept and self._reading.take(LINKS, 1, part):
            kept[key] = read

    def read(self) -> tuple[Url, ...]:
        """The links so far that lead to a host."""
        return tuple(self._urls.values())

    def others(self) -> tuple[Url, ...]:
        """Those that lead to none."""
        return tuple(self._others.values())
