"""The elements of an HTML body that are open while it is read, with what each of them makes of the text in it."""

from __future__ import annotations

from mailwarden.ingest.cascade import Cascade, Place
from mailwarden.ingest.drawn_lines import ENDS, OPENS
from mailwarden.ingest.entities import undo_entities
from mailwarden.ingest.looks import nothing_seen
from mailwarden.ingest.open_elements import CELL, Formatting, OpenElements
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.tags import ENDED_BY, FACTS, FORMATTING, ODD, ROOT

MAX_OPEN = 512
"""Elements that are open at once; those inside are read as if they stood beside."""
_IN_IMAGES = frozenset(("desc", "defs", "metadata", "symbol"))
"""Elements of SVG whose text is not drawn."""


class Elements:
    """Opens and closes elements, and writes into `out` where what may be a quote opens and ends.

    place, look: of text that stands here. places: of the document and of each open element, the innermost last.
    opened_at: how much had been written when the last element opened, so that an empty one is told.
    """

    def __init__(self, source: str, reading: Reading, part: int) -> None:
        self.reading = reading
        self.part = part
        self.cascade = Cascade(source, reading, part)
        self.out: list[str] = []
        self.opened_at = -1
        self.stack = OpenElements()
        self.formatting = Formatting()
        self.place = self.cascade.root
        self.look = self.place.look
        self.places = [self.place]
        self.quotes: list[int] = []
        where = self.stack.where
        self.paragraphs, self.tables, self.pres, self.images = where("p"), where("table"), where("pre"), where("svg")
        self.cells = [where(name) for name in sorted(CELL)]
        if self.cascade.has_rules:
            # These are there whether or not a document says so, for its rules to hold on them.
            lower = source.lower()
            for name in ("html", "body"):
                if f"<{name}" not in lower:
                    self.open(name, "", FACTS[name])

    def open(self, name: str, attributes: str, facts: int, is_link: bool = False) -> None:
        """Open an element. facts: of its name, see `tags`; is_link: it is an anchor that leads somewhere."""
        at = len(self.places) - 1
        if at >= MAX_OPEN:
            self.reading.defect("html_too_deep", f"more than {MAX_OPEN}", self.part)
            return
        if facts & ODD:
            if facts & ROOT and (name == "head" or self.stack.places.get(name)):
                # What stands behind a head's tag and belongs into no head is in the body, of which there is one.
                return
            inner = self._odd(name, attributes, is_link)
        else:
            known = self.place.inside.get((name, attributes))
            inner = known if known is not None else self.cascade.open(self.place, name, attributes, self.undo, is_link)
        if inner.quote:
            self.quotes.append(at)
            self.out.append(OPENS)
        if facts & FORMATTING and attributes:
            self.formatting.opened(at, name, attributes)
        self.stack.push(name)
        self.places.append(inner)
        self.place = inner
        self.look = inner.look
        self.opened_at = len(self.out)

    def _odd(self, name: str, attributes: str, is_link: bool) -> Place:
        place, look = self.place, self.look
        if name == "summary" and self.stack.names and self.stack.names[-1] == "details":
            look = self.places[-2].look
        # Of its own, so that nothing of it is taken for what stands elsewhere.
        inner = self.cascade.open(Place(look, place.frame), name, attributes, self.undo, is_link)
        if self.images and name in _IN_IMAGES:
            inner = Place(nothing_seen(inner.look), inner.frame, inner.quote)
        return inner

    def undo(self, value: str) -> str:
        """An attribute's value without its character references."""
        return undo_entities(value, self.reading, self.part)

    def end_line(self) -> None:
        """A line ends here: only the first of an element is moved out of sight by its indent."""
        if self.look.indented:
            look = self.look.copy()
            look.indented = False
            look.judge()
            self.look = look
            self.place = self.places[-1] = Place(look, self.place.frame, self.place.quote)

    def close_others(self, name: str) -> None:
        """Close what ends where such an element begins, whether or not it says so."""
        places = self.stack.places
        least = self.tables[-1] if self.tables else -1
        for other in ENDED_BY.get(name, ()):
            found = places.get(other)
            if found and found[-1] > least:
                self.close(other)

    def close(self, name: str) -> None:
        """Close the innermost element of that name, and with it all that was left open inside."""
        at = self.stack.close(name)
        if at is None:
            return
        opened = self.formatting.open
        if opened and opened[-1][0] >= at:
            self.formatting.closed(at, name, self._cell_count())
        del self.places[at + 1 :]
        place = self.place = self.places[-1]
        self.look = place.look
        while self.quotes and self.quotes[-1] >= at:
            self.quotes.pop()
            self.out.append(ENDS)

    def _cell_count(self) -> int:
        return sum(map(len, self.cells))

    def format_again(self) -> None:
        """Open the formatting elements again that did not end themselves."""
        for name, attributes in self.formatting.again(self._cell_count()):
            self.open(name, attributes, FORMATTING)
