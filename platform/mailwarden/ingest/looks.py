"""What style makes of an element: whether text in it is seen, and what elements inside inherit.

Of each property that can hide text the value that a browser computes, as far as that can be known without layout
(CSS 2.2, Color 4, Display 3, Transforms 1). What stays open is taken for seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mailwarden.ingest.colours import Colour, attribute_colour, css_colour, is_seen, over
from mailwarden.ingest.lengths import FUNCTION, LENGTH, NUMBER, pixels
from mailwarden.ingest.open_elements import BLOCK, CELL
from mailwarden.ingest.placement import (
    NO_SPACE_PX,
    OFF_SCREEN_PX,
    comes_back,
    has_no_room,
    is_clipped,
    is_cut,
    is_far,
    is_off,
    is_turned_away,
    is_zero,
)

READABLE_PX = 2.5
"""The least size of letters that can be read, in pixels."""
_LEAST_OPACITY = 0.1
_LEAST_ZOOM = 0.1

_BLACK, _WHITE, _LINK = (0, 0, 0), (255, 255, 255), (0, 0, 238)
_SIZES = {
    "xx-small": 9.0, "x-small": 10.0, "small": 13.0, "medium": 16.0, "large": 18.0, "x-large": 24.0, "xx-large": 32.0,
    "xxx-large": 48.0, "initial": 16.0,
}  # fmt: skip
_FONT_SIZES = (10.0, 10.0, 13.0, 16.0, 18.0, 24.0, 32.0, 48.0)
_SIZED_BY_TAG = {"h1": 2.0, "h2": 1.5, "h3": 1.17, "small": 0.83, "big": 1.2, "sub": 0.83, "sup": 0.83}
_OUTLINES = frozenset(("text-shadow", "-webkit-text-stroke", "mix-blend-mode"))
_COLOURS = re.compile(r"#[0-9a-f]{3,8}|(?:rgb|hsl|hwb)a?\([^()]{1,80}\)|[a-z]{3,24}")
_FONT_ATTRIBUTE = re.compile(r"\s{0,20}([-+]?)(\d{1,3})")

_FLAT = frozenset(("tr", "tbody", "thead", "tfoot", "table")) | CELL
"""Elements that grow with what they hold, whatever height is given."""
_BOXES = frozenset((
    "block", "inline-block", "flex", "inline-flex", "grid", "inline-grid", "list-item", "flow-root",
))  # fmt: skip
_CLIPS = frozenset(("hidden", "clip", "scroll", "auto"))

NEVER_SHOWN = frozenset(("template", "datalist", "audio", "video", "rp", "progress", "meter"))
"""Elements whose content no mail reader shows, or shows only where it knows no better."""


class Look:
    """How text directly inside an element looks.

    seen: it can be read. gone: nothing inside can be seen, whatever its own style. aside: it is drawn, but where or in
    a colour that nobody sees. visible, size (px), opacity, colour with its alpha, link (the colour of links), indented,
    flat (lines without height), clipped, heaped (letters one on the other), outlined (a shadow or a stroke of another
    colour around them), backwards: what elements inside inherit; ground: what they stand on, None
    where an image lies behind. Looks are shared and never changed; `known` keeps those that were derived from one.
    """

    __slots__ = (
        "alpha", "aside", "backwards", "clipped", "colour", "flat", "gone", "ground", "heaped", "indented", "known",
        "link", "opacity", "outlined", "seen", "size", "visible",
    )  # fmt: skip

    def __init__(self) -> None:
        self.gone = False
        self.visible = True
        self.size = 16.0
        self.opacity = 1.0
        self.colour: Colour = _BLACK
        self.alpha = 1.0
        self.link: Colour = _LINK
        self.ground: Colour | None = _WHITE
        self.indented = False
        self.heaped = False
        self.outlined = False
        self.flat = False
        self.clipped = False
        self.backwards = False
        self.seen = True
        self.aside = False
        self.known: dict[object, Look] = {}

    def copy(self) -> Look:
        """A look that inherits all."""
        look = Look.__new__(Look)
        look.gone, look.visible, look.size, look.opacity = self.gone, self.visible, self.size, self.opacity
        look.colour, look.alpha, look.ground = self.colour, self.alpha, self.ground
        look.aside = self.aside
        look.indented, look.flat, look.clipped = self.indented, self.flat, self.clipped
        look.heaped, look.outlined = self.heaped, self.outlined
        look.backwards, look.seen, look.known, look.link = self.backwards, self.seen, {}, self.link
        return look

    def value(self) -> tuple[object, ...]:
        """What text in it and elements inside it take from it: two looks of one value are one."""
        return (
            self.gone, self.aside, self.visible, self.size, self.opacity, self.colour, self.alpha, self.link,
            self.ground, self.indented, self.flat, self.clipped, self.backwards, self.heaped, self.outlined,
        )  # fmt: skip

    def judge(self) -> None:
        """Settle whether text is seen."""
        ground = self.ground
        if (
            self.gone
            or not self.visible
            or self.size < READABLE_PX
            or (self.flat and self.clipped)
            or self.opacity < _LEAST_OPACITY
        ):
            self.seen = False
            return
        self.seen = not (self.indented or self.heaped) and (
            ground is None or self.outlined or is_seen(over(self.colour, self.alpha * self.opacity, ground), ground)
        )
        self.aside = not self.seen


def styled(parent: Look, tag: str, style: Mapping[str, str], hints: Mapping[str, str], is_link: bool) -> Look:
    """The look of an element inside of `parent`. style: properties as the cascade settles them; hints: attributes
    that say how it looks, which any style overrules."""
    look = parent.copy()
    if tag in NEVER_SHOWN:
        look.gone = True
    if is_link:
        look.colour, look.alpha = look.link, 1.0
    if tag in _SIZED_BY_TAG:
        look.size *= _SIZED_BY_TAG[tag]
    if hints:
        _hint(look, tag, hints)
    if style:
        _size(look, parent, style)
        _paint(look, parent, style)
        _place(look, tag, style)
    if "hidden" in hints and style.get("display", "none") == "none":
        look.gone = True
    look.judge()
    return look


def nothing_seen(parent: Look) -> Look:
    """The look of an element in which nothing can be seen."""
    look = parent.copy()
    look.gone, look.seen = True, False
    return look


def _hint(look: Look, tag: str, hints: Mapping[str, str]) -> None:
    if tag == "font":
        colour = attribute_colour(hints.get("color", ""))
        if colour is not None:
            look.colour, look.alpha = colour, 1.0
        size = _FONT_ATTRIBUTE.match(hints.get("size", ""))
        if size is not None:
            step = int(size[2])
            look.size = _FONT_SIZES[min(7, max(1, step if not size[1] else 3 + step if size[1] == "+" else 3 - step))]
    elif tag == "body":
        colour = attribute_colour(hints.get("text", ""))
        if colour is not None:
            look.colour, look.alpha = colour, 1.0
        look.link = attribute_colour(hints.get("link", "")) or look.link
    if tag in _FLAT or tag == "body":
        ground = attribute_colour(hints.get("bgcolor", ""))
        if hints.get("background"):
            look.ground = None
        elif ground is not None:
            look.ground = ground


def _size(look: Look, parent: Look, style: Mapping[str, str]) -> None:
    size = style.get("font-size")
    if size is not None:
        if size in _SIZES:
            look.size = _SIZES[size]
        elif size in ("smaller", "larger"):
            look.size = parent.size * (1 / 1.2 if size == "smaller" else 1.2)
        elif size in ("inherit", "unset"):
            look.size = parent.size
        else:
            found = pixels(size, parent.size, parent.size)
            if found is None and "(" in size:
                # Of what is computed, the largest length that it names.
                found = max(
                    (pixels(one[0], parent.size, parent.size) or 0.0 for one in LENGTH.finditer(size)), default=16.0
                )
            if found is not None and found >= 0:
                look.size = found
    line = style.get("line-height")
    if line is not None and line != "inherit":
        height = LENGTH.match(line)
        unit = height[2] if height is not None else None
        if height is None:
            look.flat = False
        elif unit is None:
            look.flat = float(height[1]) <= 0.1
        else:
            look.flat = (pixels(line, look.size, look.size) or 0.0) <= NO_SPACE_PX


def _paint(look: Look, parent: Look, style: Mapping[str, str]) -> None:
    for name in ("color", "-webkit-text-fill-color"):
        colour = style.get(name)
        if colour is not None:
            read = (_BLACK, 1.0) if colour == "initial" else css_colour(colour)
            look.colour, look.alpha = read if read is not None else (parent.colour, parent.alpha)
    ground = style.get("background-color")
    if ground is not None:
        read = css_colour(ground)
        if read is not None and (look.ground is not None or read[1] >= 1.0):
            look.ground = over(read[0], read[1], look.ground or _WHITE)
    if not _OUTLINES.isdisjoint(style):
        outlines = (_is_outline(style[name], look.ground) for name in sorted(_OUTLINES.intersection(style)))
        look.outlined = any(outlines)
    image = style.get("background-image")
    if image is not None and image not in ("none", "initial", ""):
        # What an image looks like is not known, and text on it is taken for seen.
        look.ground = None
    opacity = style.get("opacity")
    if opacity is not None:
        look.opacity *= _share(opacity)
    if "filter" in style:
        for name, inside in FUNCTION.findall(style["filter"]):
            if name == "opacity":
                look.opacity *= _share(inside.strip())
            elif name == "alpha" and "opacity" in inside:
                look.opacity *= _share(inside.partition("=")[2].strip() + "%")


def _is_outline(drawn: str, ground: Colour | None) -> bool:
    """Whether a shadow or a stroke lets text be seen whatever its own colour."""
    colours = [read for word in _COLOURS.findall(drawn) if (read := css_colour(word)) is not None]
    return drawn in ("difference", "exclusion") or any(
        ground is None or is_seen(over(*colour, ground), ground) for colour in colours
    )


def _share(value: str) -> float:
    number = NUMBER.match(value)
    if number is None:
        return 1.0
    return min(1.0, max(0.0, float(number[0]) / (100 if value.endswith("%") else 1)))


def _place(look: Look, tag: str, style: Mapping[str, str]) -> None:
    display = style.get("display", "")
    # A link that one mail program does not show has a drawn button for it beside: the others show it.
    if (
        display == "none"
        or (style.get("mso-hide") == "all" and tag != "a")
        or style.get("content-visibility") == "hidden"
    ):
        look.gone = True
        return
    visibility = style.get("visibility")
    if visibility is not None:
        if visibility in ("visible", "initial"):
            look.visible = True
        elif visibility in ("hidden", "collapse"):
            look.visible = False
    position = style.get("position")
    placed = position in ("absolute", "fixed")
    boxed = (
        placed or display in _BOXES or (tag in BLOCK and display != "inline") or style.get("float", "none") != "none"
    )
    if style.get("overflow") in _CLIPS and (boxed or tag in CELL):
        look.clipped = True
        grows = tag in _FLAT or display.startswith(("table", "inline-table"))
        if boxed and not grows and (has_no_room(look.size, style, "height") or has_no_room(look.size, style, "width")):
            look.gone = True
    elif "line-height" in style:
        # Lines without height are cut off where their own box ends, and may be seen in one around it.
        look.clipped = False
    if (placed or position == "relative") and is_far(look.size, style) and not comes_back(look.size, style):
        look.gone = look.aside = True
    aside, above = style.get("margin-left"), style.get("margin-top")
    if (aside is not None and is_off(aside, look.size) and not comes_back(look.size, style)) or (
        boxed and above is not None and is_off(above, look.size)
    ):
        look.gone = look.aside = True
    spacing = style.get("letter-spacing")
    if spacing is not None:
        look.heaped = (pixels(spacing, look.size) or 0.0) <= -0.5 * max(look.size, 1.0)
    if "zoom" in style and 0 < (pixels(style["zoom"], 16.0, 1.0) or 0.0) <= _LEAST_ZOOM:
        look.gone = True
    indent = style.get("text-indent")
    if indent is not None and (boxed or tag in CELL):
        length = pixels(indent, look.size)
        look.indented = length is not None and abs(length) >= OFF_SCREEN_PX and not comes_back(look.size, style)
    if placed and "clip" in style and is_clipped(style["clip"]):
        look.gone = look.aside = True
    if "clip-path" in style and is_cut(style["clip-path"]):
        look.gone = look.aside = True
    turns = (boxed or tag in _FLAT) and ("transform" in style or "scale" in style or "translate" in style)
    if turns and (
        is_turned_away(style.get("transform", ""))
        or is_turned_away(f"translate({style.get('translate', '').replace(' ', ',')})")
        or is_zero(style.get("scale", "1"))
    ):
        look.gone = look.aside = True
    if style.get("direction") == "rtl":
        look.backwards = style.get("unicode-bidi") in ("bidi-override", "isolate-override")
    elif "unicode-bidi" in style or "direction" in style:
        look.backwards = False
