"""Which declarations hold for an element of a message, and the look that they give it (CSS Cascade 4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from mailwarden.ingest.budget import LOOKS, MATCHES, RULES
from mailwarden.ingest.css import Declared, Rule, Sheet, declarations, read_sheet
from mailwarden.ingest.looks import NEVER_SHOWN, Look, styled
from mailwarden.ingest.markup import MARKUP, RAW
from mailwarden.ingest.open_elements import BLOCK
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.selectors import Compound

ATTRIBUTE = re.compile(r"""(?<![^\s"'>/=])([^\s"'>/=]++)(?>(?:\s*+=\s*(?:"([^"]*+)"?|'([^']*+)'?|([^\s>"']+)))?)""")
"""An attribute of a start tag, with its value where it has one."""
_HINTS = ("hidden", "bgcolor", "background", "color", "size", "text", "link", "open")
STYLED_TAGS = NEVER_SHOWN | {"a", "h1", "h2", "h3", "small", "big", "sub", "sup", "dialog", "details", "summary"}
"""Elements that look other than what is around them without any attribute."""
_QUOTES = frozenset(("gmail_quote", "gmail_quote_container", "yahoo_quoted", "protonmail_quote", "zmail_extra",
                     "tutanota_quote", "mail-quote", "ms-outlook-mobile-reference-message"))  # fmt: skip
_STYLING_NAMES = ("id", "class", "style", *_HINTS)
_SHEET = re.compile("<[sS][tT][yY][lL][eE]")
_CACHED_CHARS = 400
_SHOWN_WITHOUT = frozenset(("details", "dialog"))


class Marks:
    """What the attributes of a start tag say that style goes by; the same object for the same of them where known.

    hints: presentational attributes; values: those that style goes by, or every attribute where selectors may ask for
    any; quote: mail programs name so what they quote, which by itself proves nothing.
    """

    __slots__ = ("classes", "declared", "hints", "id", "quote", "values")

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values
        self.id = values.get("id", "").strip().lower()
        self.classes = frozenset(values["class"].lower().split()) if "class" in values else frozenset()
        style = values.get("style")
        self.declared: Declared = declarations(style) if style else ()
        self.hints = {name: values[name] for name in _HINTS if name in values}
        self.quote = not _QUOTES.isdisjoint(self.classes) or self.id in _QUOTES


def attributes_of(attributes: str) -> dict[str, str]:
    """Attributes by name in lower case, as written; of two of a name the first, "" where there is no value."""
    values: dict[str, str] = {}
    for name, double, single, bare in ATTRIBUTE.findall(attributes):
        values.setdefault(name.lower(), double or single or bare)
    return values


@lru_cache(maxsize=4096)
def _styling(attributes: str) -> tuple[tuple[str, str], ...]:
    """The attributes that style goes by, with their values as written."""
    lower = attributes.lower()
    if not (
        "id" in lower or "style" in lower or "color" in lower or "class" in lower or "size" in lower
        or "background" in lower or "text" in lower or "open" in lower or "link" in lower
    ):  # fmt: skip
        return ()
    values = attributes_of(attributes)
    return tuple([(name, values[name]) for name in _STYLING_NAMES if name in values])


@lru_cache(maxsize=4096)
def _marks(styling: tuple[tuple[str, str], ...]) -> Marks:
    return Marks(dict(styling))


def read_marks(attributes: str, undo: Callable[[str], str], by_any: bool = False) -> Marks | None:
    """The marks of a start tag's attributes, None where they say nothing that style goes by.

    undo: reads the character references of a value; by_any: selectors may ask for any attribute.
    """
    if by_any:
        return Marks(
            {name: undo(value) if "&" in value else value for name, value in attributes_of(attributes).items()}
        )
    # What is remembered of one message after another is short.
    short = len(attributes) <= _CACHED_CHARS
    styling = _styling(attributes) if short else _styling.__wrapped__(attributes)
    if not styling:
        return None
    if "&" in attributes:
        styling = tuple([(name, undo(value) if "&" in value else value) for name, value in styling])
    return _marks(styling) if short else Marks(dict(styling))


class Frame:
    """An open element as selectors see it, with what it stands in.

    The same object wherever the same stands in the same, so that what holds inside of it is found once.
    """

    __slots__ = ("above", "marks", "tag")

    def __init__(self, tag: str, marks: Marks | None, above: Frame | None) -> None:
        self.tag = tag
        self.marks = marks
        self.above = above


class Place:
    """Where text stands: how it looks, and the frame of its element where there are style sheets.

    quote: the element may be what a mail program quotes. inside: places of elements that were opened in it, by name
    and attributes as written, so that what repeats in a body is settled once.
    """

    __slots__ = ("frame", "inside", "look", "quote")

    def __init__(self, look: Look, frame: Frame | None, quote: bool = False) -> None:
        self.look = look
        self.frame = frame
        self.quote = quote
        self.inside: dict[tuple[str, str], Place] = {}


class Cascade:
    """The looks of one HTML body's elements. has_rules: it has style sheets."""

    def __init__(self, source: str, reading: Reading, part: int) -> None:
        self.reading = reading
        self.part = part
        self.sheet = Sheet()
        if _SHEET.search(source) is not None:
            self._read_sheets(source)
        self.has_rules = self.sheet.count > 0
        self.by_any = self.sheet.by_any
        root = Look()
        self.root = Place(root, None)
        self._looks = {root.value(): root}
        self._places: dict[tuple[Look, Frame | None, bool], Place] = {(root, None, False): self.root}
        self._simple: dict[tuple[str, Marks | None], tuple[tuple[Rule, ...], list[Rule]]] = {}
        self._frames: dict[tuple[Frame | None, str, Marks | None], Frame] = {}
        self._inside: dict[tuple[Frame | None, str, Marks | None], tuple[Rule, ...]] = {}

    def open(self, place: Place, name: str, attributes: str, undo: Callable[[str], str], is_link: bool) -> Place:
        """The place of an element that opens in another. undo: reads the character references of a value."""
        marks = read_marks(attributes, undo, self.by_any) if attributes else None
        look, frame = place.look, place.frame
        if marks is not None or self.has_rules or name in STYLED_TAGS:
            look = self._look_of(look, name, marks, frame, is_link)
        if self.has_rules:
            key = (frame, name, marks)
            found = self._frames.get(key)
            frame = found if found is not None else self._frames.setdefault(key, Frame(name, marks, frame))
        quote = name == "blockquote" or (marks is not None and marks.quote and name in BLOCK)
        settled = (look, frame, quote)
        inner = self._places.get(settled)
        if inner is None:
            inner = self._places[settled] = Place(*settled)
        place.inside[name, attributes] = inner
        return inner

    def forget(self) -> None:
        """Let go of what is known of places and looks: each may know itself, which only a collector would find."""
        for place in self._places.values():
            place.inside.clear()
        for look in self._looks.values():
            look.known.clear()

    def _read_sheets(self, source: str) -> None:
        last = max(sheet.start() for sheet in _SHEET.finditer(source))
        at = 0
        while at <= last:
            # Not each "<style" is one: it may stand in an attribute, a comment, a title or a script.
            for markup in MARKUP.finditer(source, at):
                at = markup.end()
                name = markup[2]
                if at > last and markup.start() > last:
                    return
                if name is None or markup[1] or (raw := RAW.get(name.lower())) is None:
                    continue
                begin = at - len(markup[4] or "")
                found = raw.search(source, begin)
                at = found.end() if found is not None else len(source)
                if name.lower() == "style":
                    self._read_sheet(source[begin : found.start() if found is not None else at], markup[3])
                break
            else:
                return

    def _read_sheet(self, text: str, attributes: str) -> None:
        values = attributes_of(attributes)
        if values.get("type", "text/css").strip().lower() in ("", "text/css"):
            most = self.reading.budget.left(RULES)
            count = read_sheet(text, self.sheet, most, values.get("media", ""))
            self.reading.take(RULES, count, self.part)

    def _look_of(self, parent: Look, name: str, marks: Marks | None, frame: Frame | None, is_link: bool) -> Look:
        """How an element looks inside of one that looks like `parent`. frame: of the element around it."""
        if parent.gone:
            return parent
        simple: tuple[Rule, ...] = ()
        held: tuple[Rule, ...] = ()
        if self.has_rules:
            known = self._simple.get((name, marks))
            if known is None:
                known = self._simple[name, marks] = self._candidates(self.sheet.rules, name, marks)
            simple = known[0]
            if known[1]:
                place = (frame, name, marks)
                found = self._inside.get(place)
                if found is None:
                    found = self._inside[place] = self._held(known[1], name, marks, frame)
                held = found
            if marks is None and not simple and not held and name not in STYLED_TAGS:
                return parent
        # Which simple rules hold follows from name and marks.
        key = (name, marks, held, is_link)
        look = parent.known.get(key)
        if look is None:
            look = self._derive(parent, name, marks, simple + held, frame, is_link)
            # Looks of one value are one look, so that what is inside of either is derived once.
            look = parent.known[key] = self._looks.setdefault(look.value(), look)
        return look

    def _derive(
        self,
        parent: Look,
        name: str,
        marks: Marks | None,
        matched: tuple[Rule, ...],
        frame: Frame | None,
        is_link: bool,
    ) -> Look:
        hints = marks.hints if marks is not None else {}
        declared = marks.declared if marks is not None else ()
        if not matched and not declared and not hints and name not in STYLED_TAGS:
            return parent
        if not self.reading.take(LOOKS, 1, self.part):
            return parent
        if name in _SHOWN_WITHOUT and "open" not in hints:
            hints = {**hints, "hidden": ""}
        look = styled(parent, name, _settled(matched, declared), hints, is_link)
        if not look.seen and parent.seen and self.sheet.elsewhere:
            simple, others = self._candidates(self.sheet.elsewhere, name, marks)
            elsewhere = simple + self._held(others, name, marks, frame)
            if elsewhere:
                # What one screen hides and another shows has readers.
                other = styled(parent, name, _settled(matched + elsewhere, declared), hints, is_link)
                return other if other.seen else look
        return look

    def _held(self, rules: Sequence[Rule], name: str, marks: Marks | None, frame: Frame | None) -> tuple[Rule, ...]:
        """Of rules that ask for what is around an element, or for its attributes, those that hold."""
        granted = self.reading.take(MATCHES, len(rules), self.part)
        return tuple(rule for rule in rules[:granted] if _holds(rule, name, marks, frame))

    def _candidates(
        self, rules: dict[str, list[Rule]], name: str, marks: Marks | None
    ) -> tuple[tuple[Rule, ...], list[Rule]]:
        """Rules that hold wherever an element of these names stands, and ones that may."""
        keys = [name, "*"]
        if marks is not None:
            keys += [f".{one}" for one in marks.classes]
            if marks.id:
                keys.append(f"#{marks.id}")
        near = [rule for key in keys for rule in rules.get(key, ())]
        near = near[: self.reading.take(MATCHES, len(near), self.part)]
        simple: list[Rule] = []
        others: list[Rule] = []
        for rule in near:
            if rule.above or rule.last.attributes:
                others.append(rule)
            elif _is(rule.last, name, marks):
                simple.append(rule)
        return tuple(simple), others


def _holds(rule: Rule, name: str, marks: Marks | None, frame: Frame | None) -> bool:
    """Whether a rule holds for an element inside of that frame."""
    if not _is(rule.last, name, marks):
        return False
    for parent_only, compound in rule.above:
        while frame is not None and not parent_only and not _is(compound, frame.tag, frame.marks):
            frame = frame.above
        if frame is None or (parent_only and not _is(compound, frame.tag, frame.marks)):
            return False
        frame = frame.above
    return True


def _is(compound: Compound, name: str, marks: Marks | None) -> bool:
    if compound.tag and compound.tag != name:
        return False
    if not compound.ids and not compound.classes and not compound.attributes:
        return True
    if marks is None:
        return False
    if any(one != marks.id for one in compound.ids) or not marks.classes.issuperset(compound.classes):
        return False
    return all(_has(marks.values.get(one), how, value) for one, how, value in compound.attributes)


def _has(found: str | None, how: str, value: str) -> bool:
    if found is None:
        return False
    found = found.lower()
    if not how:
        return True
    if how == "=":
        return found == value
    if how == "~=":
        return value in found.split()
    if how == "|=":
        return found == value or found.startswith(f"{value}-")
    if not value:
        return False
    if how == "^=":
        return found.startswith(value)
    return found.endswith(value) if how == "$=" else value in found


def _settled(matched: Sequence[Rule], declared: Declared) -> dict[str, str]:
    """Properties by name: the important ones of the style attribute first, then of rules, then its plain ones, ..."""
    if not matched:
        plain = {name: value for name, value, urgent in declared if not urgent}
        return (
            plain
            if len(plain) == len(declared)
            else plain | {name: value for name, value, urgent in declared if urgent}
        )
    ordered = sorted(matched, key=_weight)
    blocks = [rule.declared for rule in ordered]
    style: dict[str, str] = {}
    for important in (False, True):
        for block in (*blocks, declared):
            for name, value, urgent in block:
                if urgent is important:
                    style[name] = value
    return style


def _weight(rule: Rule) -> tuple[int, int, int, int]:
    return rule.weight
