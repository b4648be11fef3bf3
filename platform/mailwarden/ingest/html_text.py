"""HTML to the text that a reader sees, with its links, and apart from what is hidden or quoted.

A tokenizer in the manner of the HTML standard's, and a bounded stack of open elements instead of a tree: time is
linear in the input, where tree builders can be made to copy open formatting elements without end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from mailwarden.domain.mail.characters import shown
from mailwarden.domain.mail.long_texts import ends_of
from mailwarden.ingest.budget import HTML_CHARS, QUOTED_CHARS, TAGS
from mailwarden.ingest.cascade import ATTRIBUTE, STYLED_TAGS, Cascade, Frame, read_marks
from mailwarden.ingest.drawn_lines import BREAK, ENDS, OPENS, joined_cells, lines_of, without_marks
from mailwarden.ingest.drawn_lines import CELL as CELL_MARK
from mailwarden.ingest.entities import undo_entities
from mailwarden.ingest.looks import nothing_seen
from mailwarden.ingest.markup import MARKUP, RAW
from mailwarden.ingest.markup_links import LINKING, MarkupLinks, WrittenLink, may_share
from mailwarden.ingest.open_elements import BLOCK, CELL, FORMATTING, Formatting, OpenElements
from mailwarden.ingest.quotes import Names, split_quotes
from mailwarden.ingest.reading import Reading

MAX_OPEN = 512
"""Elements that are open at once; those inside are read as if they stood beside."""
MAX_HIDDEN = 10_000
"""Characters that are kept of hidden text."""
MAX_PREVIEW = 140
"""Characters, blanks apart, that a preview text may have: as much as lists of messages show."""

_VOID = frozenset((
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
))  # fmt: skip


class _Kind(Enum):
    """What an element's tags do to the text around them."""

    VOID = 1
    BLOCK = 2
    CELL = 3


_KINDS = dict.fromkeys(_VOID, _Kind.VOID) | dict.fromkeys(BLOCK, _Kind.BLOCK) | dict.fromkeys(CELL, _Kind.CELL)
_SEEN_RAW = frozenset(("textarea", "xmp"))
"""Elements whose content is no markup, and is seen."""
_CLOSES_SAME = frozenset(("li", "dd", "dt", "option", "p"))
_CELLS, _ROWS = ("td", "th"), ("tbody", "thead", "tfoot")
_ENDED_BY = {
    **dict.fromkeys(_CELLS, _CELLS), "tr": (*_CELLS, "tr"), **dict.fromkeys(_ROWS, (*_CELLS, "tr", *_ROWS)),
    "dt": ("dd",), "dd": ("dt",),
}  # fmt: skip
"""Elements of the same table or list that a start tag ends."""
_STAYS = frozenset(("html", "body"))
"""Elements that end with the document: what stands behind their end tags is still inside of them."""
_ROOTS = _STAYS | {"head"}
_IN_IMAGES = frozenset(("desc", "defs", "metadata", "symbol"))
"""Elements of SVG whose text is not drawn."""


@dataclass(slots=True)
class HtmlText:
    """What a reader sees of an HTML body.

    new, quoted: visible text. hidden, hidden_chars: text that is not seen, its first `MAX_HIDDEN` characters, and how
    many it has, blanks apart. preview: what of it is short, stands in front and is not drawn at all, so that lists of
    messages show it. invisible: characters that no reader sees in the visible text. split_words: words that such
    characters, hidden text, empty elements or cells divide. links: as written, in order. base: the
    address that relative ones are resolved against, "" without one.
    """

    new: str = ""
    quoted: str = ""
    preview: str = ""
    hidden: str = ""
    hidden_chars: int = 0
    invisible: int = 0
    split_words: int = 0
    links: list[WrittenLink] = field(default_factory=list)
    base: str = ""


def read_html(source: str, reading: Reading, part: int = 0, names: Names = "nothing") -> HtmlText:
    """Read the text of an HTML body; of markup beyond the budget of the whole message its start and its end are read.

    names: what the message's headers name of mail before it, as `split_quotes` takes it.
    """
    source = without_marks(source)
    most = reading.take(HTML_CHARS, len(source), part)
    if most < len(source):
        start, end = ends_of(len(source), most)
        source = f"{source[:start]} {source[end:]}"
    return _Reader(source, reading, part).read(names)


class _Reader:
    def __init__(self, source: str, reading: Reading, part: int) -> None:
        self.source = source
        self.reading = reading
        self.part = part
        self.cascade = Cascade(source, reading, part)
        self.out: list[str] = []
        self.hidden: list[str] = []
        self.hidden_chars = 0
        self.hidden_kept = 0
        self.aside = False
        self.begun = False
        self.preview = ""
        self.links = MarkupLinks(reading, part)
        self.may_share = may_share(source)
        self.open = OpenElements()
        self.formatting = Formatting()
        self.look = self.cascade.root
        self.frames: list[Frame] = []
        self.quotes: list[int] = []
        self.split_words = 0
        self.divided = False
        self.opened_at = -1
        self.link_href: str | None = None
        self.link_text: list[str] = []
        self.loose: list[str] = []
        self.loose_end = 0
        self.looks = [self.look]
        if self.cascade.has_rules:
            self._imply("html", "body")

    def _imply(self, *names: str) -> None:
        """Open the elements that are there whether or not a document says so, for its rules to hold on them."""
        for name in names:
            if f"<{name}" not in self.cascade.lower:
                self._open(name, "", False)

    def read(self, names: Names) -> HtmlText:
        source = self.source
        end = number = 0
        most = self.reading.budget.left(TAGS)
        while True:
            for markup in MARKUP.finditer(source, end):
                start, stop = markup.span()
                if start > end:
                    self._text(source[end:start])
                number += 1
                end = stop
                if number > most:
                    break
                closes, name, attributes, blanks = markup.groups()
                if name is None:
                    self.divided = True
                    if source.startswith("<!--[if", start):
                        self.links.conditional(markup[0], self._undo)
                    continue
                name = name.lower()
                if closes:
                    self._end_tag(name)
                elif name == "br":
                    self._break()
                elif name not in RAW:
                    self._start_tag(name, attributes)
                else:
                    if name == "iframe":
                        self._tag_links(name, attributes)
                    end = self._raw(name, attributes, end - len(blanks or ""))
                    break
                if blanks:
                    self._blanks(blanks)
            else:
                if end < len(source):
                    self._text(source[end:])
                break
            if number > most:
                break
        self.reading.take(TAGS, number, self.part)
        if source and not source.endswith(">") and end == len(source) and source.rfind(">") < source.rfind("<"):
            self.reading.defect("html_tag_not_ended", "", self.part)
        self._finish_link()
        return self._finish(names)

    def _raw(self, name: str, attributes: str, begin: int) -> int:
        """Pass an element whose content is no markup; where it ends."""
        found = RAW[name].search(self.source, begin)
        if name in _SEEN_RAW:
            self._open(name, attributes, False)
            self._text(self.source[begin : found.start() if found is not None else len(self.source)])
            self._close(name)
        self.divided = True
        return found.end() if found is not None else len(self.source)

    def _finish(self, names: Names) -> HtmlText:
        text, joined = joined_cells("".join(self.out))
        seen = shown(lines_of(text))
        text = seen.text
        most = self.reading.take(QUOTED_CHARS, len(text), self.part)
        if most < len(text):
            start, end = ends_of(len(text), most)
            text = f"{text[:start]}\n{text[end:]}"
        new, quoted = split_quotes(text, names)
        hidden = shown(lines_of("".join(self.hidden))).text if self.hidden else ""
        return HtmlText(
            new, quoted, self.preview, hidden[:MAX_HIDDEN], self.hidden_chars, seen.invisible,
            self.split_words + joined + seen.split_words, self.links.end(), self.links.base,
        )  # fmt: skip

    def _text(self, chunk: str) -> None:
        if chunk.isspace():
            self._blanks(chunk)
            return
        if "&" in chunk:
            chunk = undo_entities(chunk, self.reading, self.part)
        if self.formatting.lost:
            self._format_again()
        look = self.look
        if not look.seen:
            self._hide(chunk)
            return
        if not self.begun:
            self._end_front()
        if self.open.places.get("pre"):
            chunk = chunk.replace("\n", BREAK)
        if look.backwards:
            chunk = chunk[::-1]
        if self.divided:
            self.divided = False
            if chunk[:1].isalpha() and self.out and self.out[-1][-1:].isalpha():
                self.split_words += 1
        self.out.append(chunk)
        if self.link_href is not None:
            self.link_text.append(chunk)
        elif chunk:
            self._loose(chunk)

    def _loose(self, chunk: str) -> None:
        """Gather text outside of anchors: a link in it goes on over inline tags, as its reader sees it."""
        loose = self.loose
        at = len(self.out)
        if loose:
            before = loose[-1]
            if (
                self.loose_end != at - 1
                or chunk[0].isspace()
                or not (before[-1].isalnum() or before[-1] == "-" or "://" in before[-80:])
            ):
                self._end_loose()
        loose.append(chunk)
        self.loose_end = at

    def _end_loose(self) -> None:
        loose = self.loose
        text = loose[0] if len(loose) == 1 else "".join(loose)
        loose.clear()
        if "." in text or "\\\\" in text:
            self.links.text(text.replace(BREAK, " "))

    def _blanks(self, chunk: str) -> None:
        """White space alone, which needs no look."""
        self.out.append(chunk.replace("\n", BREAK) if self.open.places.get("pre") else " ")
        if self.link_href is not None:
            self.link_text.append(" ")

    def _hide(self, chunk: str) -> None:
        count = len("".join((chunk if chunk.isascii() else shown(chunk).text).split()))
        if not count:
            return
        self.divided = True
        self.hidden_chars += count
        self.aside = self.aside or self.look.aside
        if self.hidden_kept < MAX_HIDDEN:
            self.hidden_kept += len(chunk)
            self.hidden += (chunk, " ")

    def _end_front(self) -> None:
        """The first seen text: what was hidden before it is a preview text, if it is short enough for one."""
        self.begun = True
        if 0 < self.hidden_chars <= MAX_PREVIEW and not self.aside:
            self.preview = shown(lines_of("".join(self.hidden))).text

    def _tag_links(self, name: str, attributes: str) -> None:
        if self.loose:
            self._end_loose()
        self.links.tag(name, lambda wanted: self._attribute(attributes, wanted))

    def _start_tag(self, name: str, attributes: str) -> None:
        if name in LINKING or name[:2] == "v:":
            self._tag_links(name, attributes)
        if self.may_share and name != "a" and may_share(attributes):
            self.links.share(lambda wanted: self._attribute(attributes, wanted))
        kind = _KINDS.get(name)
        if kind is _Kind.VOID:
            self._void(name, attributes)
            return
        is_link = False
        if kind is _Kind.BLOCK:
            self.out.append(BREAK)
            # A paragraph ends where the next block begins, whether or not it says so.
            if self.open.places.get("p"):
                self._close("p")
            if name in _CLOSES_SAME and self.open.names and self.open.names[-1] == name:
                self._close(name)
            elif name in _ENDED_BY:
                self._end_by(name)
        elif kind is _Kind.CELL:
            self.out.append(CELL_MARK)
            places = self.open.places
            if places.get("td") or places.get("th"):
                self._end_by(name)
        elif name == "a":
            self._finish_link()
            href = self._attribute(attributes, "href") or self._attribute(attributes, "xlink:href")
            is_link = bool(href)
        if self.formatting.lost and kind is None:
            self._format_again()
        self._open(name, attributes, is_link)
        if is_link:
            self.link_href, self.link_text = href, []

    def _end_by(self, name: str) -> None:
        """Close what ends where such an element begins, whether or not it says so."""
        places = self.open.places
        tables = places.get("table")
        least = tables[-1] if tables else -1
        for other in _ENDED_BY.get(name, ()):
            found = places.get(other)
            if found and found[-1] > least:
                self._close(other)

    def _open(self, name: str, attributes: str, is_link: bool) -> None:
        if len(self.looks) > MAX_OPEN:
            self.reading.defect("html_too_deep", f"more than {MAX_OPEN}", self.part)
            return
        marks = None
        if name in _ROOTS and (name == "head" or self.open.places.get(name)):
            # What stands behind a head's tag and belongs into no head is in the body, of which there is one.
            return
        if attributes:
            marks = read_marks(attributes, self._undo, self.cascade.by_any)
        look = self.look
        if marks is not None or self.cascade.has_rules or name in STYLED_TAGS:
            if name == "summary" and self.open.names and self.open.names[-1] == "details":
                look = self.looks[-2]
            look = self.look = self.cascade.look_of(look, name, marks, self.frames, is_link)
        if self.open.places.get("svg") and name in _IN_IMAGES:
            look = self.look = nothing_seen(look)
        if name == "blockquote" or (marks is not None and marks.quote and name in BLOCK):
            self.quotes.append(len(self.looks) - 1)
            self.out.append(OPENS)
        if attributes and name in FORMATTING:
            self.formatting.opened(len(self.looks) - 1, name, attributes)
        self.open.push(name)
        self.looks.append(look)
        self.opened_at = len(self.out)
        if self.cascade.has_rules:
            self.frames.append(self.cascade.frame(self.frames, name, marks))

    def _undo(self, value: str) -> str:
        return undo_entities(value, self.reading, self.part)

    def _void(self, name: str, attributes: str) -> None:
        if name == "hr":
            self._break()
        elif name == "img" and self.link_href is not None:
            self._image_text(attributes)

    def _break(self) -> None:
        self.out.append(BREAK)
        if self.link_href is not None:
            self.link_text.append(" ")
        if self.look.indented:
            # Only the first line is moved out of sight.
            look = self.look.copy()
            look.indented = False
            look.judge()
            self.look = self.looks[-1] = look

    def _end_tag(self, name: str) -> None:
        empty = self.opened_at == len(self.out)
        kind = _KINDS.get(name)
        if kind is _Kind.BLOCK or name == "br":
            self.out.append(BREAK)
        elif kind is _Kind.CELL:
            self.out.append(" ")
        elif name == "a":
            self._finish_link()
        if self.formatting.lost and name in FORMATTING and self.formatting.ended(name):
            return
        if self.open.places.get(name) and name not in _STAYS:
            self.divided = self.divided or empty
            self._close(name)

    def _close(self, name: str) -> None:
        """Close the innermost element of that name, and with it all that was left open inside."""
        at = self.open.close(name)
        if at is None:
            return
        opened = self.formatting.open
        if opened and opened[-1][0] >= at:
            self.formatting.closed(at, name, self._cells())
        del self.looks[at + 1 :]
        self.look = self.looks[-1]
        if self.quotes:
            while self.quotes and self.quotes[-1] >= at:
                self.quotes.pop()
                self.out.append(ENDS)
        if self.frames:
            del self.frames[at:]

    def _cells(self) -> int:
        places = self.open.places
        return sum(len(places[cell]) for cell in CELL if cell in places)

    def _format_again(self) -> None:
        for name, attributes in self.formatting.again(self._cells()):
            self._open(name, attributes, False)

    def _finish_link(self) -> None:
        if self.loose:
            self._end_loose()
        if self.link_href is not None:
            text = " ".join("".join(self.link_text).replace(BREAK, " ").split())
            self.links.add(self.link_href, shown(text).text)
            self.link_href = None

    def _image_text(self, attributes: str) -> None:
        alt = self._attribute(attributes, "alt")
        if alt and not self.look.gone:
            self.link_text.append(f" {alt} ")

    def _attribute(self, attributes: str, wanted: str) -> str:
        for match in ATTRIBUTE.finditer(attributes):
            if match[1].lower() == wanted:
                value = match[2] if match[2] is not None else match[3] if match[3] is not None else match[4] or ""
                return undo_entities(value, self.reading, self.part).strip() if "&" in value else value.strip()
        return ""
