"""HTML to the text that a reader sees, with its links, and apart from what is hidden or quoted.

A tokenizer in the manner of the HTML standard's, and a bounded stack of open elements instead of a tree: time is
linear in the input, where tree builders can be made to copy open formatting elements without end.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mailwarden.domain.mail.characters import shown
from mailwarden.domain.mail.long_texts import ends_of
from mailwarden.ingest import tags
from mailwarden.ingest.budget import HTML_CHARS, QUOTED_CHARS, TAGS
from mailwarden.ingest.cascade import ATTRIBUTE
from mailwarden.ingest.drawn_lines import BREAK, joined_cells, lines_of, without_marks
from mailwarden.ingest.drawn_lines import CELL as CELL_MARK
from mailwarden.ingest.elements import Elements
from mailwarden.ingest.entities import undo_entities
from mailwarden.ingest.markup import MARKUP, RAW
from mailwarden.ingest.markup_links import MarkupLinks, WrittenLink, may_share
from mailwarden.ingest.quotes import Names, split_quotes
from mailwarden.ingest.reading import Reading

MAX_HIDDEN = 10_000
"""Characters that are kept of hidden text."""
MAX_PREVIEW = 140
"""Characters, blanks apart, that a preview text may have: as much as lists of messages show."""

_SEEN_RAW = frozenset(("textarea", "xmp"))
"""Elements whose content is no markup, and is seen."""


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


class _Reader(Elements):
    def __init__(self, source: str, reading: Reading, part: int) -> None:
        super().__init__(source, reading, part)
        self.source = source
        self.hidden: list[str] = []
        self.hidden_chars = 0
        self.hidden_kept = 0
        self.aside = False
        self.begun = False
        self.preview = ""
        self.links = MarkupLinks(reading, part)
        self.may_share = may_share(source)
        self.split_words = 0
        self.divided = False
        self.link_href: str | None = None
        self.link_text: list[str] = []
        self.loose: list[str] = []
        self.loose_end = 0

    def read(self, names: Names) -> HtmlText:
        source, facts_of, out, pres = self.source, tags.FACTS, self.out, self.pres
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
                        self.links.conditional(markup[0], self.undo)
                    continue
                facts = facts_of.get(name)
                if facts is None:
                    name = name.lower()
                    facts = facts_of.get(name, 0)
                if closes:
                    self._end_tag(name, facts)
                elif facts & tags.BREAK:
                    self._break()
                elif not facts & tags.RAW:
                    self._start_tag(name, attributes, facts)
                else:
                    if name == "iframe":
                        self._tag_links(name, attributes)
                    end = self._raw(name, attributes, end - len(blanks or ""))
                    break
                if blanks:
                    if pres or self.link_href is not None:
                        self._blanks(blanks)
                    else:
                        out.append(" ")
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
        self.cascade.forget()
        return self._finish(names)

    def _raw(self, name: str, attributes: str, begin: int) -> int:
        """Pass an element whose content is no markup; where it ends."""
        found = RAW[name].search(self.source, begin)
        if name in _SEEN_RAW:
            self.open(name, attributes, tags.RAW)
            self._text(self.source[begin : found.start() if found is not None else len(self.source)])
            self.close(name)
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
            self.format_again()
        look = self.look
        if not look.seen:
            self._hide(chunk)
            return
        if not self.begun:
            self._end_front()
        if self.pres:
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
        self.out.append(chunk.replace("\n", BREAK) if self.pres else " ")
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

    def _start_tag(self, name: str, attributes: str, facts: int) -> None:
        if facts & tags.LINKING or (not facts and name[:2] == "v:"):
            self._tag_links(name, attributes)
        if self.may_share and name != "a" and may_share(attributes):
            self.links.share(lambda wanted: self._attribute(attributes, wanted))
        is_link = False
        if facts & tags.BLOCK:
            self.out.append(BREAK)
            # A paragraph ends where the next block begins, whether or not it says so.
            if self.paragraphs:
                self.close("p")
            if facts & tags.CLOSES_SAME and self.stack.names and self.stack.names[-1] == name:
                self.close(name)
            elif facts & tags.ENDS_OTHERS:
                self.close_others(name)
        elif facts & tags.CELL:
            self.out.append(CELL_MARK)
            if facts & tags.ENDS_OTHERS:
                self.close_others(name)
        elif facts & tags.VOID:
            self._void(name, attributes)
            return
        else:
            if facts & tags.ANCHOR:
                self._finish_link()
                href = self._attribute(attributes, "href") or self._attribute(attributes, "xlink:href")
                is_link = bool(href)
            if self.formatting.lost:
                self.format_again()
        self.open(name, attributes, facts, is_link)
        if is_link:
            self.link_href, self.link_text = href, []

    def _void(self, name: str, attributes: str) -> None:
        if name == "hr":
            self._break()
        elif name == "img" and self.link_href is not None:
            self._image_text(attributes)

    def _break(self) -> None:
        self.out.append(BREAK)
        if self.link_href is not None:
            self.link_text.append(" ")
        self.end_line()

    def _end_tag(self, name: str, facts: int) -> None:
        empty = self.opened_at == len(self.out)
        if facts & (tags.BLOCK | tags.BREAK):
            self.out.append(BREAK)
        elif facts & tags.CELL:
            self.out.append(" ")
        elif facts & tags.ANCHOR:
            self._finish_link()
        elif facts & tags.FORMATTING and self.formatting.lost and self.formatting.ended(name):
            return
        if not facts & tags.STAYS and self.stack.places.get(name):
            self.divided = self.divided or empty
            self.close(name)

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
