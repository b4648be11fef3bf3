"""Style as mail carries it: declarations that bear on what is seen, and style sheets with their selectors.

Source: CSS Syntax 3, Selectors 4, Media Queries 4, as far as mail readers go. All is read in lower case; a mail reader
without a document type, which most mail lacks, minds no case in names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from mailwarden.ingest.colours import css_colour
from mailwarden.ingest.media_queries import screens
from mailwarden.ingest.selectors import Compound, is_invalid, selector

_CACHED_CHARS = 600
KEPT = frozenset((
    "display", "visibility", "opacity", "font-size", "line-height", "color", "background-color", "background-image",
    "height", "max-height", "min-height", "width", "max-width", "min-width", "overflow", "position", "float", "left",
    "right", "top", "bottom", "margin-left", "margin-top", "padding-left", "padding-right", "padding-top",
    "padding-bottom", "text-indent", "letter-spacing", "clip", "clip-path", "transform", "translate", "scale", "zoom",
    "filter", "mso-hide", "content-visibility", "-webkit-text-fill-color", "text-shadow", "-webkit-text-stroke",
    "mix-blend-mode", "direction", "unicode-bidi",
))  # fmt: skip
"""Properties that can hide text, or show it again."""
_DISPLAYS = frozenset((
    "none", "block", "inline", "inline-block", "flex", "inline-flex", "grid", "inline-grid", "list-item", "table",
    "inline-table", "table-row", "table-cell", "table-row-group", "table-header-group", "table-footer-group",
    "table-column", "table-column-group", "table-caption", "contents", "flow-root", "run-in", "initial", "inherit",
    "unset", "revert", "-webkit-box", "-webkit-inline-box", "-webkit-flex", "-ms-flexbox",
))  # fmt: skip
_ANYWHERE = frozenset(("inherit", "initial", "unset", "revert"))
_VISIBILITIES = _ANYWHERE | {"visible", "hidden", "collapse"}
_SHORT = frozenset((
    "font", "background", "margin", "padding", "overflow-x", "overflow-y", "-webkit-transform", "-webkit-clip-path",
    "inset",
))  # fmt: skip
_SIZES = frozenset(("font-size", "height", "max-height", "min-height", "width", "max-width", "min-width"))
_LENGTHS = _SIZES | {
    "left", "right", "top", "bottom", "margin-left", "margin-top", "padding-left", "padding-right", "padding-top",
    "padding-bottom", "text-indent", "letter-spacing",
}  # fmt: skip
_LENGTH_VALUE = re.compile(r"([-+]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9}))(px|pt|pc|in|cm|mm|q|r?em|ex|ch|v[a-z]{1,4}|%)?")
_NUMBER_VALUE = re.compile(r"[-+]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})%?")
_LEAST_SHOWN = 2.5

_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:([0-9a-f]{1,6})[ \t\n\r\f]?|(.))", re.DOTALL | re.IGNORECASE)
_PIECE = re.compile(r"(?:[^;\"'()]++|\"[^\"]*+\"?|'[^']*+'?|\([^()]*+\)?|\))++")
_FONT_SIZE = re.compile(
    r"(?:^|\s)((?:\d{1,6}(?:\.\d{0,6})?|\.\d{1,6})(?:px|pt|pc|em|rem|ex|ch|in|cm|mm|q|vw|vh|%)?|(?:xx?-)?(?:small|large)"
    r"|xxx-large|medium|smaller|larger)(?:\s{0,9}/\s{0,9}([^\s,]{1,20}))?(?=\s{1,9}\S)"
)
_COLOUR_WORD = re.compile(r"#[0-9a-f]{3,8}|(?:rgb|hsl|hwb)a?\([^()]{1,80}\)|[a-z]{3,24}")
_OPEN_COLOUR = r"(?:var|oklch|oklab|lab|lch|color|color-mix|light-dark)\("
_UNKNOWN = re.compile(_OPEN_COLOUR)
# A ground that is not known: an image, or a colour that only some readers have.
_IMAGE = re.compile(rf"url\((?!\s*+[\"']?+\s*+[\"']?+\s*+\))|gradient\(|image\(|image-set\(|{_OPEN_COLOUR}")

Declared = tuple[tuple[str, str, bool], ...]
"""Declarations in order: a property, its value, whether it is important."""


def declarations(style: str) -> Declared:
    """What of a block of declarations bears on what is seen; shorthands as the properties that they stand for.

    >>> declarations("Font: 0/0 a; color:#FFF !important; cursor:default")
    (('font-size', '0', False), ('line-height', '0', False), ('color', '#fff', True))
    """
    return _cached(style) if len(style) <= _CACHED_CHARS else _declarations(style)


def _declarations(style: str) -> Declared:
    style = _undo(style).lower()
    pieces = _PIECE.findall(style) if "(" in style or '"' in style or "'" in style else style.split(";")
    found: list[tuple[str, str, bool]] = []
    for piece in pieces:
        name, _, value = piece.partition(":")
        name = name.strip()
        if name not in KEPT and name not in _SHORT:
            continue
        value = value.strip()
        important = False
        if "!" in value:
            value, _, word = value.rpartition("!")
            if word.strip() != "important":
                continue
            value, important = value.strip(), True
        if name in KEPT:
            if _is_valid(name, value):
                found.append((name, value, important))
            elif name == "background-color" and _UNKNOWN.match(value):
                found.append(("background-image", "url", important))
        else:
            found.extend((longhand, part, important) for longhand, part in _longhands(name, value))
    return tuple(found)


def _is_valid(name: str, value: str) -> bool:
    """Whether a browser would not drop the declaration, by which one before it holds."""
    if name == "display":
        return value in _DISPLAYS
    if name == "visibility":
        return value in _VISIBILITIES
    if name in ("color", "background-color", "-webkit-text-fill-color"):
        return css_colour(value) is not None or value in _ANYWHERE or value == "currentcolor"
    if name in _LENGTHS:
        return _is_length(value, name in _SIZES)
    if name == "opacity":
        return _NUMBER_VALUE.fullmatch(value) is not None or value in _ANYWHERE
    return bool(value)


def _is_length(value: str, sized: bool) -> bool:
    """Whether a browser takes a value for a length; one without unit only where that shows more than it hides, since
    documents with a type drop it and others do not. sized: it must not be negative."""
    length = _LENGTH_VALUE.fullmatch(value)
    if length is None:
        return "(" in value or (value.replace("-", "").isalpha() and value[:1] != "-")
    number = float(length[1])
    if sized and number < 0:
        return False
    return length[2] is not None or number == 0 or (sized and number > _LEAST_SHOWN)


_cached = lru_cache(maxsize=2048)(_declarations)


def _undo(text: str) -> str:
    if "/*" in text:
        text = _COMMENT.sub(" ", text)
    return _ESCAPE.sub(_escaped, text) if "\\" in text else text


def _escaped(found: re.Match[str]) -> str:
    if found[1] is None:
        return found[2]
    number = int(found[1], 16)
    # A blank written so is part of a word, as in "none\\9", which only an old browser read as "none".
    return chr(number) if 32 < number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"


def _longhands(name: str, value: str) -> Iterator[tuple[str, str]]:
    if name == "font":
        size = _FONT_SIZE.search(value)
        if size is not None:
            yield "font-size", size[1]
            yield "line-height", size[2] or "normal"
    elif name == "background":
        image = _IMAGE.search(value) is not None
        yield "background-image", "url" if image else "none"
        words = _COLOUR_WORD.findall(_without_urls(value) if "(" in value else value)
        yield "background-color", next((word for word in words if css_colour(word) is not None), "transparent")
    elif name in ("margin", "padding", "inset"):
        parts = value.split()[:4]
        if parts:
            edges = (parts[0], *(parts[at] if at < len(parts) else parts[at % 2 if at % 2 < len(parts) else 0]
                                 for at in (1, 2, 3)))  # fmt: skip
            if name == "margin":
                edges = (edges[0], "", "", edges[3])
            before = "" if name == "inset" else f"{name}-"
            for side, edge in zip(("top", "right", "bottom", "left"), edges, strict=True):
                if edge and _is_length(edge, name == "padding"):
                    yield before + side, edge
    elif name in ("-webkit-transform", "-webkit-clip-path"):
        yield name[8:], value
    else:
        yield "overflow", value


_URL = re.compile(r"url\([^()]*+\)?")


def _without_urls(value: str) -> str:
    return _URL.sub(" ", value)


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One selector with its declarations. last: what the element itself must be; above: (whether it must be the parent,
    compound), the nearest first; weight: specificity and place, by which rules overrule each other."""

    last: Compound
    above: tuple[tuple[bool, Compound], ...]
    weight: tuple[int, int, int, int]
    declared: Declared


@dataclass(slots=True)
class Sheet:
    """The rules of a message's style sheets by what their last compound names. elsewhere: those that hold on another
    screen, a telephone's or a dark one; count: of all rules; by_any: one of them asks for any attribute."""

    rules: dict[str, list[Rule]] = field(default_factory=dict)
    elsewhere: dict[str, list[Rule]] = field(default_factory=dict)
    count: int = 0
    by_any: bool = False

    def add(self, rule: Rule, elsewhere: bool) -> None:
        """Keep a rule under an id, a class, a tag or none ("*") that it asks for."""
        last = rule.last
        key = f"#{last.ids[0]}" if last.ids else f".{last.classes[0]}" if last.classes else last.tag or "*"
        (self.elsewhere if elsewhere else self.rules).setdefault(key, []).append(rule)
        self.by_any = self.by_any or any(one.attributes for one in (last, *(above for _, above in rule.above)))
        self.count += 1


_MARK = re.compile(r"[{}]")
_OPAQUE = re.compile(
    r"/\*.*?(?:\*/|\Z)|\"(?:[^\"\\\n]++|\\.)*+\"?|'(?:[^'\\\n]++|\\.)*+'?|url\(\s*+[^\s\"')(][^)\"'(]*+\)", re.DOTALL
)
_CONDITION = re.compile(r"\s*+\(\s*+([a-z-]{1,40})\s*+:([^()]{1,80})\)\s*+")
_SKIPPED = ("@font-face", "@page", "@keyframes", "@-webkit-keyframes", "@-moz-keyframes", "@-ms-viewport", "@viewport",
            "@property", "@counter-style", "@list")  # fmt: skip


def read_sheet(text: str, sheet: Sheet, most: int, media: str = "") -> int:
    """Add a style sheet's rules that bear on what is seen; how many it has, of which at most `most` are read."""
    read = _cached_rules if len(text) <= _CACHED_SHEET else _rules
    count, rules = read(text, most, media)
    for last, above, specificity, declared, elsewhere in rules:
        sheet.add(Rule(last, above, (*specificity, sheet.count), declared), elsewhere)
    return count


class _Read(NamedTuple):
    last: Compound
    above: tuple[tuple[bool, Compound], ...]
    specificity: tuple[int, int, int]
    declared: Declared
    elsewhere: bool


def _rules(text: str, most: int, media: str) -> tuple[int, tuple[_Read, ...]]:
    if "/*" in text or '"' in text or "'" in text or "url(" in text:
        text = _OPAQUE.sub(_seen_through, text)
    text = text.replace("<!--", " ").replace("-->", " ")
    stray = False
    blocks: list[tuple[bool, bool]] = [screens(media)]
    rules: list[_Read] = []
    at = count = 0
    while (mark := _MARK.search(text, at)) is not None:
        before = text[at : mark.start()]
        at = mark.end()
        if mark[0] == "}":
            if len(blocks) > 1:
                blocks.pop()
            else:
                stray = True
            continue
        head = before.rpartition(";")[2].strip().lower()
        if stray:
            # A brace that closes nothing is part of what follows, which is no rule so.
            stray = False
            blocks.append((False, False))
            continue
        if head.startswith("@"):
            blocks.append(_within(blocks[-1], head))
            continue
        end = text.find("}", at)
        end = len(text) if end < 0 else end
        here, there = blocks[-1]
        declared = declarations(text[at:end].strip()) if here or there else ()
        at = end + 1
        begun = len(rules)
        for written in head.split(","):
            count += 1
            if count > most:
                return count, tuple(rules)
            written = _unescaped(written.strip())
            read = selector(written) if declared else None
            if read is not None:
                rules.append(_Read(*read, declared, not here))
            elif declared and is_invalid(written):
                del rules[begun:]
                break
    return count, tuple(rules)


def _seen_through(found: re.Match[str]) -> str:
    """A comment as a blank, and a string without braces of its own, which would end blocks."""
    if found[0][0] == "/":
        return " "
    return _MARK.sub("", found[0])


def _within(around: tuple[bool, bool], head: str) -> tuple[bool, bool]:
    """Where the rules of an at-rule's block hold, by where those around it do."""
    here, there = around
    if head.startswith("@media"):
        now, other = screens(head[6:])
        return here and now, (here or there) and (now or other)
    if head.startswith(_SKIPPED):
        return False, False
    # What only some readers know holds where it shows something.
    return here and head.startswith("@supports") and _is_supported(head[9:]), here or there


def _is_supported(condition: str) -> bool:
    found = _CONDITION.fullmatch(condition)
    return found is not None and found[1] in KEPT and _is_valid(found[1], found[2].strip())


_CACHED_SHEET = 8_000
_cached_rules = lru_cache(maxsize=128)(_rules)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: f"\\{_escaped(found)}", text).lower() if "\\" in text else text
