"""Selectors of style sheets, as far as mail's elements can be held against them (Selectors 4)."""

from __future__ import annotations

import re
from typing import NamedTuple


class Compound(NamedTuple):
    """What one element must be: its tag ("" for any), ids, classes, and (attribute, operator, value) each."""

    tag: str
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    attributes: tuple[tuple[str, str, str], ...]


_PART_PATTERN = r"[.#](?!-?[0-9])(?:\\.|[\w-])++|\[[^\]]*+\]|::?[\w-]++(?>(?:\([^()]*+\))?)"
_COMPOUND = re.compile(rf"(\*|[a-z_](?:\\.|[\w-])*+)?+((?>(?:{_PART_PATTERN}){{0,999}}))")
_PART = re.compile(_PART_PATTERN)
_ATTRIBUTE = re.compile(
    r"\[\s*+([\w-]++)\s*+(?>(?:([~|^$*]?+=)\s*+(\"[^\"]*+\"|'[^']*+'|[^\s\]\"']++)\s*+[is]?+\s*+)?)\]"
)
_COMBINATOR = re.compile(r"\s*+([>+~])\s*+|\s++")
_HELD = frozenset((":link", ":any-link", ":enabled"))
_PSEUDO = frozenset((
    "active", "after", "backdrop", "before", "checked", "default", "defined", "dir", "disabled", "empty",
    "enabled", "file-selector-button", "first-child", "first-letter", "first-line", "first-of-type", "focus",
    "focus-visible", "focus-within", "fullscreen", "has", "hover", "in-range", "indeterminate", "invalid", "is", "lang",
    "last-child", "last-of-type", "link", "any-link", "marker", "not", "nth-child", "nth-last-child",
    "nth-last-of-type", "nth-of-type", "only-child", "only-of-type", "optional", "out-of-range", "placeholder",
    "placeholder-shown", "read-only", "read-write", "required", "root", "scope", "selection", "target", "valid",
    "visited", "where",
))  # fmt: skip
MAX_COMPOUNDS = 8
MAX_SELECTOR = 300


def selector(text: str) -> tuple[Compound, tuple[tuple[bool, Compound], ...], tuple[int, int, int]] | None:
    """A selector in lower case as (the element, what stands above it, specificity); None for one that mail's elements
    cannot be held against (siblings, states, generated content)."""
    if len(text) > MAX_SELECTOR:
        return None
    compounds: list[Compound] = []
    parents: list[bool] = []
    ids = classes = tags = at = 0
    while at < len(text):
        found = _COMPOUND.match(text, at)
        if found is None or found.end() == at or len(compounds) == MAX_COMPOUNDS:
            return None
        compound = _compound(found[1] or "", found[2])
        if compound is None:
            return None
        compounds.append(compound)
        ids += len(compound.ids)
        classes += len(compound.classes) + len(compound.attributes)
        tags += bool(compound.tag)
        at = found.end()
        if at == len(text):
            break
        combinator = _COMBINATOR.match(text, at)
        if combinator is None or combinator[1] in ("+", "~"):
            return None
        parents.append(combinator[1] == ">")
        at = combinator.end()
    if not compounds:
        return None
    above = tuple(zip(reversed(parents), reversed(compounds[:-1]), strict=True))
    return compounds[-1], above, (ids, classes, tags)


def _compound(tag: str, rest: str) -> Compound | None:
    ids: list[str] = []
    classes: list[str] = []
    attributes: list[tuple[str, str, str]] = []
    for part in _PART.findall(rest):
        if part == ":root" and tag in ("", "*", "html"):
            tag = "html"
        elif part[0] == "#":
            ids.append(part[1:].replace("\\", ""))
        elif part[0] == ".":
            classes.append(part[1:].replace("\\", ""))
        elif part[0] == "[":
            written = _ATTRIBUTE.fullmatch(part)
            if written is None:
                return None
            attributes.append((written[1], written[2] or "", (written[3] or "").strip("\"'")))
        elif part not in _HELD:
            return None
    return Compound("" if tag == "*" else tag, tuple(ids), tuple(classes), tuple(attributes))


def is_invalid(text: str) -> bool:
    """Whether a selector in lower case, which `selector` does not take, is one that no browser takes: it voids the
    whole rule that it stands in."""
    at = 0
    while at < len(text) <= MAX_SELECTOR:
        found = _COMPOUND.match(text, at)
        if found is None or found.end() == at:
            return "(" not in text  # lists inside of :is(), cut at their commas
        for part in _PART.findall(found[2]):
            name = part.lstrip(":").partition("(")[0]
            if part[0] == ":" and name not in _PSEUDO and not part.startswith("::-webkit-"):
                return True
        at = found.end()
        combinator = _COMBINATOR.match(text, at)
        if combinator is not None:
            at = combinator.end()
            if at == len(text):
                return True
        elif at < len(text) and text[at] != "(":
            return True
    return not text
