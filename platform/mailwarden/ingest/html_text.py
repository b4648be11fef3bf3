"""HTML to the text that a reader sees, with its links, and apart from what is hidden or quoted.

A tokenizer in the manner of the HTML standard's, and a bounded stack of open elements instead of a tree: time is
linear in the input, where tree builders can be made to copy open formatting elements without end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mailwarden.ingest.budget import HTML_CHARS, TAGS
from mailwarden.ingest.entities import undo_entities
from mailwarden.ingest.markup_links import LINKING, MarkupLinks, WrittenLink, may_share
from mailwarden.ingest.open_elements import BLOCK, CELL, OpenElements
from mailwarden.ingest.quotes import has_attribution
from mailwarden.ingest.reading import Reading

MAX_OPEN = 256
"""Elements that are open at once; those inside are read as if they stood beside."""
_ATTRIBUTION_TAIL = 5_000

_ATTRIBUTES = r"((?:[^>=]++|=\s*+(?:\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z))?+)*+)"
_MARKUP = re.compile(
    r"<(?:!--(?:-?>|.*?(?:--!?>|\Z))|[!?][^>]*+(?:>|\Z)|/(?![a-zA-Z])[^>]*+(?:>|\Z)"
    rf"|(script|style|title|textarea|xmp|iframe|noembed|noframes)(?=[\s/>]){_ATTRIBUTES}(?:>|\Z)"
    r"(.*?)(?:</\1(?=[\s/>])[^>]*+(?:>|\Z)|\Z)"
    rf"|(/?)([a-zA-Z][^\s/>]*+){_ATTRIBUTES}(?:>|\Z))",
    re.DOTALL | re.IGNORECASE,
)
# The look-behind keeps a search from beginning anew at every letter of a long word.
_ATTRIBUTE = re.compile(r"""(?<![^\s"'>/=])([^\s"'>/=]++)\s*+=\s*(?:"([^"]*+)"?|'([^']*+)'?|([^\s>"']+))""")
# Possessive throughout: no two of the runs can give a character to each other.
_HIDES = re.compile(
    r"display\s*+:\s*+none|visibility\s*+:\s*+(?:hidden|collapse)|mso-hide\s*+:\s*+all"
    r"|font-size\s*+:\s*+(?:0++(?:\.[01]\d*+)?+|\.[01]\d*+|1(?:\.0++)?+(?=\s*+p[xt]))\s*+(?:px|pt|em|rem|%)?+\s*+(?:!|;|$)"
    r"|(?<![a-z-])opacity\s*+:\s*+0*+(?:\.0++)?+\s*+(?:!|;|$)",
    re.IGNORECASE,
)
_CITED = re.compile(r"type\s*=\s*[\"']?cite|\bcite\s*=|gmail_quote|border-left", re.IGNORECASE)
_HIDDEN_ATTRIBUTE = re.compile(r"(?:^|[\s\"'])hidden(?=[\s/=]|$)", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)

_VOID = frozenset((
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
))  # fmt: skip
_SEEN_RAW = frozenset(("textarea", "xmp"))
"""Elements whose content is no markup, and is seen."""
_CLOSES_SAME = frozenset(("li", "dd", "dt", "option", "p"))
# NUL is gone from decoded text, and so is free to mark where lines break.
_BREAK = "\0"
_BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(slots=True)
class HtmlText:
    """What a reader sees of an HTML body. new, quoted: visible text; hidden_chars: characters of text not seen;
    links: as written, in order. base: the address that relative ones are resolved against, "" without one."""

    new: str = ""
    quoted: str = ""
    hidden_chars: int = 0
    links: list[WrittenLink] = field(default_factory=list)
    base: str = ""


def read_html(source: str, reading: Reading, part: int = 0) -> HtmlText:
    """Read the text of an HTML body; markup beyond the budget of the whole message is not read."""
    return _Reader(reading, part).read(source[: reading.take(HTML_CHARS, len(source), part)])


class _Reader:
    def __init__(self, reading: Reading, part: int) -> None:
        self.reading = reading
        self.part = part
        self.new: list[str] = []
        self.quoted: list[str] = []
        self.out = self.new
        self.hidden_chars = 0
        self.links = MarkupLinks(reading, part)
        self.may_share = False
        self.open = OpenElements()
        self.hidden_at = 0
        self.quoted_at = 0
        self.rest_quoted = False
        self.link_href: str | None = None
        self.link_text: list[str] = []

    def read(self, source: str) -> HtmlText:
        end = number = 0
        self.may_share = may_share(source)
        most = self.reading.budget.left(TAGS)
        for number, markup in enumerate(_MARKUP.finditer(source), 1):
            start = markup.start()
            if start > end:
                self._text(source[end:start])
            end = markup.end()
            if number > most:
                break
            name = markup[5]
            if markup[1] is not None:
                raw = markup[1].lower()
                if raw in _SEEN_RAW:
                    self._text(markup[3])
                elif raw == "iframe":
                    self._tag_links(raw, markup[2])
            elif name is not None:
                name = name.lower()
                if markup[4]:
                    self._end_tag(name)
                else:
                    self._start_tag(name, markup[6])
            elif source.startswith("<!--[if", start):
                self.links.conditional(markup[0], lambda text: undo_entities(text, self.reading, self.part))
        else:
            if end < len(source):
                self._text(source[end:])
        self.reading.take(TAGS, number, self.part)
        if source and not source.endswith(">") and end == len(source) and source.rfind(">") < source.rfind("<"):
            self.reading.defect("html_tag_not_ended", "", self.part)
        self._finish_link()
        return HtmlText(_tidy(self.new), _tidy(self.quoted), self.hidden_chars, self.links.end(), self.links.base)

    def _text(self, chunk: str) -> None:
        if "&" in chunk:
            chunk = undo_entities(chunk, self.reading, self.part)
        if self.hidden_at:
            self.hidden_chars += len("".join(chunk.split()))
            return
        if self.open.counts.get("pre"):
            chunk = chunk.replace("\n", _BREAK)
        self.out.append(chunk)
        if self.link_href is not None:
            self.link_text.append(chunk)
        elif "." in chunk or "\\\\" in chunk:
            self.links.text(chunk.replace(_BREAK, " "))

    def _tag_links(self, name: str, attributes: str) -> None:
        self.links.tag(name, lambda wanted: self._attribute(attributes, wanted))

    def _start_tag(self, name: str, attributes: str) -> None:
        if name in LINKING or name[:2] == "v:":
            self._tag_links(name, attributes)
        if self.may_share and name != "a" and may_share(attributes):
            self.links.share(lambda wanted: self._attribute(attributes, wanted))
        if name in _VOID:
            if name == "br" or name == "hr":
                self.out.append(_BREAK)
                if self.link_href is not None:
                    self.link_text.append(" ")
            elif name == "img" and self.link_href is not None:
                self._image_text(attributes)
            return
        if name in BLOCK:
            self.out.append(_BREAK)
            # A paragraph ends where the next block begins, whether or not it says so.
            if self.open.counts.get("p"):
                self._close("p")
            if name in _CLOSES_SAME and self.open.innermost() == name:
                self._close(name)
        elif name in CELL:
            self.out.append(" ")
        if len(self.open) < MAX_OPEN:
            self.open.push(name)
        else:
            self.reading.defect("html_too_deep", f"more than {MAX_OPEN}", self.part)
        if name == "a":
            self._finish_link()
            href = self._attribute(attributes, "href") or self._attribute(attributes, "xlink:href")
            if href:
                self.link_href, self.link_text = href, []
        if attributes:
            self._flags(name, attributes)

    def _flags(self, name: str, attributes: str) -> None:
        depth = len(self.open)
        lower = attributes.lower()
        if not self.hidden_at and _may_hide(lower) and self._is_hidden(attributes):
            self.hidden_at = depth
        if not self.quoted_at and (
            (name == "blockquote" and (_CITED.search(attributes) is not None or self._attributed())) or _quotes(lower)
        ):
            self.quoted_at = depth
            self.out = self.quoted
        if _quotes_rest(lower):
            self.rest_quoted = True
            self.out = self.quoted

    def _attributed(self) -> bool:
        # Of the last pieces no more than an attribution may span: they may be as long as the message.
        return has_attribution(_tidy([piece[-_ATTRIBUTION_TAIL:] for piece in self.new[-20:]]))

    def _end_tag(self, name: str) -> None:
        if name == "a":
            self._finish_link()
        if name in BLOCK:
            self.out.append(_BREAK)
        elif name in CELL:
            self.out.append(" ")
        elif name == "br":
            self.out.append(_BREAK)
        if self.open.counts.get(name):
            self._close(name)

    def _close(self, name: str) -> None:
        """Close the innermost element of that name, and with it all that was left open inside."""
        at = self.open.close(name)
        if at is None:
            return
        if self.hidden_at > at:
            self.hidden_at = 0
        if self.quoted_at > at:
            self.quoted_at = 0
            self.out = self.quoted if self.rest_quoted else self.new

    def _finish_link(self) -> None:
        if self.link_href is not None:
            self.links.add(self.link_href, " ".join("".join(self.link_text).replace(_BREAK, " ").split()))
            self.link_href = None

    def _image_text(self, attributes: str) -> None:
        alt = self._attribute(attributes, "alt")
        if alt:
            self.link_text.append(f" {alt} ")

    def _is_hidden(self, attributes: str) -> bool:
        style = self._attribute(attributes, "style")
        if "/*" in style:
            style = _COMMENT.sub("", style)
        if style and _HIDES.search(style) is not None:
            return True
        return _HIDDEN_ATTRIBUTE.search(_ATTRIBUTE.sub(" ", attributes)) is not None

    def _attribute(self, attributes: str, wanted: str) -> str:
        for match in _ATTRIBUTE.finditer(attributes):
            if match[1].lower() == wanted:
                value = match[2] if match[2] is not None else match[3] if match[3] is not None else match[4]
                return undo_entities(value, self.reading, self.part).strip() if "&" in value else value.strip()
        return ""


def _tidy(pieces: list[str]) -> str:
    text = "".join(pieces)
    lines = [" ".join(line.split()) for line in text.split(_BREAK)]
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


# Of attributes in lower case, and one after another: that costs a thirtieth of a search that minds no case.
def _may_hide(lower: str) -> bool:
    return "display" in lower or "visib" in lower or "font-size" in lower or "hid" in lower or "opacity" in lower


def _quotes(lower: str) -> bool:
    if "quote" in lower and ("gmail_quote" in lower or "yahoo_quoted" in lower or "protonmail_quote" in lower):
        return True
    return "moz-cite-prefix" in lower or "zmail_extra" in lower


def _quotes_rest(lower: str) -> bool:
    if "outlookmessageheader" in lower or "olk_src_body_section" in lower:
        return True
    return "divrplyfwdmsg" in lower or "appendonsend" in lower
