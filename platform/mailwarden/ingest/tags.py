"""What the names of HTML's tags say of how they are read: a number for each, whose bits are looked at."""

from __future__ import annotations

from mailwarden.ingest.markup import RAW as _RAW
from mailwarden.ingest.markup_links import LINKING as _LINKING
from mailwarden.ingest.open_elements import BLOCK as _BLOCK
from mailwarden.ingest.open_elements import CELL as _CELL
from mailwarden.ingest.open_elements import FORMATTING as _FORMATTING

VOID, BLOCK, CELL, BREAK, ANCHOR, RAW, LINKING, FORMATTING, CLOSES_SAME, ENDS_OTHERS, STAYS, ROOT, ODD = (
    1 << bit for bit in range(13)
)
"""It has no end tag; it begins a line; a cell; it breaks a line; `a`; its content is no markup; it may hold links that
are not anchors; it formats until it ends itself; a next one ends it; it ends others of its table or list; it ends with
the document; there is one in a document; where it stands changes what it is."""

ENDED_BY = {
    **dict.fromkeys(("td", "th"), ("td", "th")),
    "tr": ("td", "th", "tr"),
    **dict.fromkeys(("tbody", "thead", "tfoot"), ("td", "th", "tr", "tbody", "thead", "tfoot")),
    "dt": ("dd",),
    "dd": ("dt",),
}
"""Elements of the same table or list that a start tag ends."""

_OF = (
    (VOID, ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta")),
    (VOID, ("param", "source", "track", "wbr")),
    (BLOCK, _BLOCK),
    (CELL, _CELL),
    (BREAK, ("br",)),
    (ANCHOR, ("a",)),
    (RAW, _RAW),
    (LINKING, _LINKING),
    (FORMATTING, _FORMATTING),
    (CLOSES_SAME, ("li", "dd", "dt", "option", "p")),
    (ENDS_OTHERS, ENDED_BY),
    (STAYS, ("html", "body")),
    (ROOT, ("html", "body", "head")),
    (ODD, ("html", "body", "head", "summary", "desc", "defs", "metadata", "symbol")),
)  # fmt: skip
FACTS: dict[str, int] = {}
"""By name in lower case; a name that is not there has none of these bits."""
for _bit, _names in _OF:
    for _name in _names:
        FACTS[_name] = FACTS.get(_name, 0) | _bit
