"""The elements of HTML that are open at a place in it, and which of them an end tag closes."""

from __future__ import annotations

BLOCK = frozenset((
    "address", "article", "aside", "blockquote", "body", "center", "dd", "details", "dialog", "dir", "div", "dl",
    "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header",
    "hgroup", "html", "legend", "li", "listing", "main", "menu", "nav", "ol", "optgroup", "option", "p", "plaintext",
    "pre", "section", "select", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul",
))  # fmt: skip
"""Elements that begin a line of their own."""
CELL = frozenset(("td", "th", "caption"))
# Elements that an end tag of an inline element does not reach across (HTML standard, "special").
SPECIAL = BLOCK | CELL | {"button", "applet", "marquee", "object", "template"}


class OpenElements:
    """A stack of open elements whose every step costs the same, however deep it is.

    names: of the open elements, the innermost last. places: where each name stands in it, an empty list where it stands
    no more. An end tag looks at where its name, a table and a special element stand last, and never through what is
    open between.
    """

    __slots__ = ("_special", "names", "places")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.places: dict[str, list[int]] = {}
        self._special: list[int] = []

    def where(self, name: str) -> list[int]:
        """Where elements of that name stand, now and later: the same list for as long as the stack is used."""
        return self.places.setdefault(name, [])

    def push(self, name: str) -> None:
        """Open an element."""
        at = len(self.names)
        self.names.append(name)
        places = self.places.get(name)
        if places is None:
            self.places[name] = [at]
        else:
            places.append(at)
        if name in SPECIAL:
            self._special.append(at)

    def close(self, name: str) -> int | None:
        """Close the innermost of that name with all inside; how many stay open, None where nothing was closed.

        An inline element's end does not reach across a special element, and nothing but its own end out of a table.
        """
        names = self.names
        if names and names[-1] == name:
            # Most end tags close what was opened last.
            names.pop()
            at = self.places[name].pop()
            if self._special and self._special[-1] == at:
                self._special.pop()
            return at
        places = self.places.get(name)
        if not places:
            return None
        at = places[-1]
        if name not in SPECIAL and self._special and self._special[-1] > at:
            return None
        tables = self.places.get("table")
        if name != "table" and tables and tables[-1] > at:
            return None
        for gone in reversed(names[at:]):
            self.places[gone].pop()
        del names[at:]
        while self._special and self._special[-1] >= at:
            self._special.pop()
        return at


FORMATTING = frozenset(("b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"))
"""Elements that format what comes behind until they end themselves, whatever else ends before."""
# Leaving one of these forgets what was left open inside.
_FORGETS = CELL | {"applet", "marquee", "object", "table", "tbody", "template", "tfoot", "thead", "tr"}
_MOST_LOST = 16


class Formatting:
    """Formatting elements that were closed with what they stood in before they ended themselves.

    A browser opens them again where the next text begins: the list of active formatting elements of the HTML standard.
    open: those with attributes that stand open, each as (number in the stack, name, attributes). lost: those that wait
    to be opened again, each as (cells around it, name, attributes), the last `_MOST_LOST` of them.
    """

    __slots__ = ("lost", "open")

    def __init__(self) -> None:
        self.open: list[tuple[int, str, str]] = []
        self.lost: list[tuple[int, str, str]] = []

    def opened(self, at: int, name: str, attributes: str) -> None:
        """A formatting element was opened as the stack's element number `at`."""
        self.open.append((at, name, attributes))

    def closed(self, at: int, by: str, cells: int) -> None:
        """All open elements from number `at` on were closed, by an end of the element there."""
        opened: list[tuple[int, str, str]] = self.open
        inside: list[tuple[int, str, str]] = []
        while opened and opened[-1][0] >= at:
            gone = opened.pop()
            if gone[0] > at:
                inside.append((cells, *gone[1:]))
        if inside and by not in _FORGETS:
            self.lost = [*self.lost, *reversed(inside)][-_MOST_LOST:]

    def ended(self, name: str) -> bool:
        """Whether an end tag is that of an element that waits to be opened again; it does no more then."""
        for number in range(len(self.lost) - 1, -1, -1):
            if self.lost[number][1] == name:
                del self.lost[number]
                return True
        return False

    def again(self, cells: int) -> list[tuple[str, str]]:
        """Names and attributes of those to open again inside of so many cells; what waits outside of one waits on."""
        found = [(name, attributes) for around, name, attributes in self.lost if around == cells]
        self.lost = [lost for lost in self.lost if lost[0] < cells]
        return found
