"""On which screens the rules of a media query hold (Media Queries 4)."""

from __future__ import annotations

import re
from functools import lru_cache

_RANGE = re.compile(r"\(\s{0,9}(?:device-)?width\s{0,9}(<|>)=?\s{0,9}([^()<>=]{1,40})\)")
_FEATURE = re.compile(r"\(\s{0,9}([a-z-]{1,40})\s{0,9}(?::\s{0,9}([^()]{1,40}))?\)")
_LENGTH = re.compile(r"(\d{1,6}(?:\.\d{0,4})?)\s{0,3}(px|em|rem)?")
_DESK, _TELEPHONE = 1024.0, 375.0


@lru_cache(maxsize=256)
def screens(media: str) -> tuple[bool, bool]:
    """Of a list of media queries: whether one holds on a desk's screen in light colours, and whether on another one.

    >>> screens("print"), screens("screen and (max-width: 600px)"), screens("(min-width: 300px)")
    ((False, False), (False, True), (True, True))
    """
    media = media.strip().lower()[:400]
    if not media:
        return True, True
    queries = media.split(",")
    desk = any(_holds(query, _DESK, False) for query in queries)
    return desk, desk or any(
        _holds(query, width, dark) for query in queries for width, dark in ((_TELEPHONE, False), (_DESK, True))
    )


def _holds(query: str, width: float, dark: bool) -> bool:
    words = query.partition("(")[0].split()
    kind = next((word for word in words if word not in ("only", "not", "and")), "all")
    if kind in ("all", "screen"):
        held = all(_has(name, value.strip(), width, dark) for name, value in _FEATURE.findall(query))
        if held and ("<" in query or ">" in query):
            held = all(
                _has("max-width" if than == "<" else "min-width", value.strip(), width, dark)
                for than, value in _RANGE.findall(query)
            )
    else:
        held = False
    return held != ("not" in words)


def _has(name: str, value: str, width: float, dark: bool) -> bool:
    if name == "prefers-color-scheme":
        return (value == "dark") is dark
    if name in ("max-width", "max-device-width", "min-width", "min-device-width"):
        length = _LENGTH.match(value)
        if length is None:
            return False
        limit = float(length[1]) * (1.0 if length[2] in (None, "px") else 16.0)
        return width <= limit if name.startswith("max") else width >= limit
    if name.endswith("device-pixel-ratio"):
        return value[:1] == "0" or value == "1"
    return name in ("hover", "color", "min-color", "orientation", "pointer") and value != "portrait"
