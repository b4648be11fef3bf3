"""Links of HTML: what a reader clicks, what a form is sent to, and where a page leads or reaches by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from mailwarden.domain.mail.message import LinkPlace
from mailwarden.ingest.budget import LINKS_READ
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.text_links import plain_urls

LINKING = frozenset((
    "area", "base", "button", "embed", "form", "frame", "iframe", "input", "meta", "object",
))  # fmt: skip
"""Elements beside `a` that hold links, and those of vector markup (`v:rect`), whose names have a colon."""

_REFRESH = re.compile(r"\s*+[\d.]*+\s*+[;,]?+\s*+(?>(?:url\s*+=)?)\s*+['\"]?+(.*)", re.IGNORECASE | re.DOTALL)
_CONDITIONAL = re.compile(r"<(?:a|v:[a-z]{1,20})\s([^<>]{0,8000})", re.IGNORECASE)
_HREF = re.compile(r"""(?<![^\s"'])href\s{0,20}+=\s{0,20}+(?:"([^"]*+)"|'([^']*+)'|([^\s>"']++))""", re.IGNORECASE)
_SHARE = re.compile(r"\s*+(?:file:|\\\\|/{4})", re.IGNORECASE)
_LOADING = ("src", "background", "href", "data", "poster")


class WrittenLink(NamedTuple):
    """A link as markup writes it. text: what the reader sees of it."""

    href: str
    text: str = ""
    place: LinkPlace = "anchor"


class MarkupLinks:
    """Gathers the links of one HTML body in reading order, at most as many as a message may hold.

    base: what the first base element says, wherever it stands: links are resolved where they are clicked, and so
    against a base behind them too (HTML standard, 4.2.3).
    """

    def __init__(self, reading: Reading, part: int = 0) -> None:
        self._reading = reading
        self._part = part
        self.found: list[WrittenLink] = []
        self.base = ""
        self._aside: list[str] = []

    def add(self, href: str, text: str = "", place: LinkPlace = "anchor") -> None:
        """Keep a link."""
        if href and len(self.found) <= LINKS_READ.most:
            self.found.append(WrittenLink(href, text, place))

    def text(self, chunk: str) -> None:
        """Keep the bare links of a text outside of anchors."""
        if len(self.found) <= LINKS_READ.most:
            self.found.extend(WrittenLink(url, "", "text") for url in plain_urls(chunk, self._reading, self._part))

    def tag(self, name: str, value_of: Callable[[str], str]) -> None:
        """Keep what a start tag of `LINKING`, or with a colon in its name, holds. value_of: reads an attribute."""
        if name == "base":
            self.base = self.base or value_of("href")
        elif name == "form":
            self.add(value_of("action"), "", "form")
        elif name in ("button", "input"):
            self.add(value_of("formaction"), "", "form")
        elif name in ("iframe", "frame", "embed"):
            self.add(value_of("src"), "", "frame")
        elif name == "object":
            self.add(value_of("data"), "", "frame")
        elif name == "meta":
            if value_of("http-equiv").lower() == "refresh":
                led = _REFRESH.match(value_of("content"))
                if led is not None and led[1]:
                    self.add(led[1].rstrip().rstrip("\"'"), "", "refresh")
        else:
            self.add(value_of("href"))

    def share(self, value_of: Callable[[str], str]) -> None:
        """Keep what any start tag fetches from a file share: Windows signs in there as the message opens."""
        for name in _LOADING:
            value = value_of(name)
            if value and _SHARE.match(value):
                self.add(value, "", "loaded")

    def conditional(self, comment: str, undo: Callable[[str], str]) -> None:
        """Keep what stands in a comment that Outlook reads, where the body has no such link outside of it."""
        for tag in _CONDITIONAL.finditer(comment):
            href = _HREF.search(tag[1])
            if href is not None and len(self._aside) <= LINKS_READ.most:
                self._aside.append(undo(href[1] or href[2] or href[3] or "").strip())

    def end(self) -> list[WrittenLink]:
        """All links, those of conditional comments last."""
        if self._aside:
            known = {link.href for link in self.found}
            for href in dict.fromkeys(self._aside):
                if href not in known:
                    self.add(href)
        return self.found


def may_share(source: str) -> bool:
    """Whether markup may name a file share: looked at once for a body, so that few look at each of their tags."""
    if "\\" in source and "\\\\" in source:
        return True
    return "ile:" in source or "ILE:" in source or "&#92" in source or "////" in source
