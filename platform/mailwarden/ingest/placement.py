"""Whether style moves, cuts or turns an element out of sight, as far as that can be told without layout.

Overflow, position and clip of CSS 2.2, Masking 1, Transforms 1. What stays open is taken for seen. size is that of
the element's letters in pixels, style its properties as the cascade settles them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mailwarden.ingest.lengths import FUNCTION, LENGTH, NUMBER, pixels

OFF_SCREEN_PX = 900
"""How far left or above of its place something is out of sight."""
_FAR_RIGHT_PX, _FAR_BELOW_PX = 3_000, 9_000
NO_SPACE_PX = 2
"""At most so much room shows nothing."""

_EDGES = {"height": ("padding-top", "padding-bottom"), "width": ("padding-left", "padding-right")}


def has_no_room(size: float, style: Mapping[str, str], side: Literal["height", "width"]) -> bool:
    """Whether a box that shows nothing outside of itself has no height or width inside of its padding's edge."""
    written = [value for name in (side, f"max-{side}") if (value := style.get(name)) is not None]
    if side == "height":
        # A share of a height that nobody gave is none.
        written = [value for value in written if not value.endswith("%")]
    if not any((room := pixels(value, size)) is not None and room <= NO_SPACE_PX for value in written):
        return False
    shown = (style.get(name) for name in (f"min-{side}", *_EDGES[side]))
    return all(value is None or (pixels(value, size) or 0.0) <= NO_SPACE_PX for value in shown)


def is_off(margin: str, size: float) -> bool:
    """Whether a margin moves what has it out of sight."""
    length = pixels(margin, size)
    return length is not None and length <= -OFF_SCREEN_PX


def comes_back(size: float, style: Mapping[str, str]) -> bool:
    """Whether what moves an element out of sight is undone by what moves it, or its text, to the right again."""
    moves = (style.get(name) for name in ("padding-left", "margin-left", "left"))
    return any(value is not None and (pixels(value, size) or 0.0) >= OFF_SCREEN_PX for value in moves)


def is_far(size: float, style: Mapping[str, str]) -> bool:
    """Whether a positioned element is put beyond what is looked at."""
    for name, before, beyond in (
        ("left", OFF_SCREEN_PX, _FAR_RIGHT_PX),
        ("top", OFF_SCREEN_PX, _FAR_BELOW_PX),
        ("right", OFF_SCREEN_PX, _FAR_RIGHT_PX),
        ("bottom", OFF_SCREEN_PX, _FAR_BELOW_PX),
    ):
        place = style.get(name)
        if place is not None:
            length = pixels(place, size)
            if length is not None and (length <= -before or length >= beyond):
                return True
    return False


def is_clipped(clip: str) -> bool:
    """Whether `clip` leaves nothing of a positioned element."""
    found = FUNCTION.match(clip)
    if found is None or found[1] != "rect":
        return False
    edges = [pixels(part, 16.0) for part in found[2].replace(",", " ").split()]
    if len(edges) != 4:
        return False
    top, right, bottom, left = edges
    flat = top is not None and bottom is not None and bottom - top <= NO_SPACE_PX
    return flat or (left is not None and right is not None and right - left <= NO_SPACE_PX)


def is_cut(path: str) -> bool:
    """Whether `clip-path` leaves nothing of an element."""
    found = FUNCTION.match(path)
    if found is None:
        return False
    name, inside = found[1], found[2].partition(" round ")[0]
    if name == "inset":
        shares = [LENGTH.match(part) for part in inside.split()]
        edges = [float(share[1]) if share is not None and share[2] == "%" else 0.0 for share in shares]
        if not edges or len(edges) > 4:
            return False
        top, right, bottom, left = (edges * 4)[:4] if len(edges) < 3 else [*edges, edges[1]][:4]
        return top + bottom >= 100 or left + right >= 100
    if name in ("circle", "ellipse"):
        radius = LENGTH.match(inside.strip())
        return radius is not None and float(radius[1]) <= 0
    if name == "polygon":
        return all(float(number) == 0 for number in NUMBER.findall(inside))
    return False


def is_turned_away(transform: str) -> bool:
    """Whether `transform` leaves an element without size, shows its edge, or moves it far away."""
    for name, inside in FUNCTION.findall(transform):
        numbers = [float(number) for number in NUMBER.findall(inside)]
        if not numbers:
            continue
        if name.startswith("scale"):
            if any(abs(number) <= 0.05 for number in numbers[:2]):
                return True
        elif name == "matrix":
            if len(numbers) == 6 and abs(numbers[0] * numbers[3] - numbers[1] * numbers[2]) < 1e-3:
                return True
        elif name in ("rotatex", "rotatey"):
            if abs(numbers[0]) % 180 == 90 and "deg" in inside:
                return True
        elif name.startswith("translate"):
            lengths = [pixels(part.strip(), 16.0) for part in inside.split(",")]
            if any(length is not None and not -OFF_SCREEN_PX < length < _FAR_RIGHT_PX for length in lengths):
                return True
    return False


def is_zero(scale: str) -> bool:
    """Whether `scale` leaves an element without width or height."""
    return any(abs(float(number)) <= 0.05 for number in NUMBER.findall(scale)[:2])
