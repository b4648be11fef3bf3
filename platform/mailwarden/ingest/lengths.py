"""Lengths, numbers and functions as CSS writes them (Values and Units 4)."""

from __future__ import annotations

import re

_PX = {
    "px": 1.0, "pt": 4 / 3, "pc": 16.0, "in": 96.0, "cm": 37.8, "mm": 3.78, "q": 0.945, "rem": 16.0, "vw": 10.24,
    "vh": 7.68,
}  # fmt: skip
LENGTH = re.compile(r"([-+]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9}))(px|pt|pc|in|cm|mm|q|r?em|ex|ch|v[wh]|%)?(?![\w.])")
"""A length: its number and its unit, if it has one."""
FUNCTION = re.compile(r"([a-z0-9]{1,20})\(([^()]{0,200})\)")
"""A function of others that are none: its name, and what stands in its brackets."""
NUMBER = re.compile(r"[-+]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})")
"""A number without a unit."""


def pixels(value: str, size: float, whole: float = 1000.0) -> float | None:
    """A CSS length in pixels, None for what is none. size: of the letters; whole: what a share is of."""
    found = LENGTH.fullmatch(value)
    if found is None:
        return None
    number, unit = float(found[1]), found[2]
    if unit is None or unit == "px":
        return number
    if unit == "%":
        return number / 100 * whole
    return number * (_PX[unit] if unit in _PX else size if unit == "em" else size / 2)
