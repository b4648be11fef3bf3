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

    counts: how many of a name are open. An end tag looks at where its name, a table and a special element stand last,
    and never through what is open between.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._stack: list[str] = []
        self._places: dict[str, list[int]] = {}
        self._special: list[int] = []

    def __len__(self) -> int:
        return len(self._stack)

    def innermost(self) -> str:
        """The name of the element opened last, "" where none is open."""
        return self._stack[-1] if self._stack else ""

    def push(self, name: str) -> None:
        """Open an element."""
        at = len(self._stack)
        self._stack.append(name)
        self._places.setdefault(name, []).append(at)
        if name in SPECIAL:
            self._special.append(at)
        self.counts[name] = self.counts.get(name, 0) + 1

    def close(self, name: str) -> int | None:
        """Close the innermost of that name with all inside; how many stay open, None where nothing was closed.

        An inline element's end does not reach across a special element, and nothing but its own end out of a table.
        """
        places = self._places.get(name)
        if not places:
            return None
        at = places[-1]
        if name not in SPECIAL and self._special and self._special[-1] > at:
            return None
        tables = self._places.get("table")
        if name != "table" and tables and tables[-1] > at:
            return None
        for gone in reversed(self._stack[at:]):
            self.counts[gone] -= 1
            self._places[gone].pop()
        del self._stack[at:]
        while self._special and self._special[-1] >= at:
            self._special.pop()
        return at
