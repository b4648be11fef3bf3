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
