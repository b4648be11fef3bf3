"""Figures as words, and what must not stand in a report."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

CATEGORY_WORDS = {
    "CP": "credential phishing",
    "MW": "malware",
    "BE": "business e-mail compromise",
    "VF": "vendor fraud",
    "LA": "lateral",
    "EA": "compromised partner",
    "CB": "callback",
    "EX": "extortion",
    "RC": "reconnaissance",
    "SC": "scam",
    "SP": "spam, graymail",
}
"""What a category means."""

NOTHING = "–"

SHARED = "shared: of the messages that weighed the detectors and chose the thresholds too, which flatters"
"""Said beside figures that too few messages for parts of their own are measured on."""

_ADDRESS = re.compile(r"""[^\s@<>"'(),;:=\[\]{}|/\\]+@([^\s@<>"'(),;:=\[\]{}|/\\]+)""")


def without_addresses(value: Any) -> Any:
    """A JSON value with the local part of every mail address in it, keys too, left out.

    >>> without_addresses({"words": "ann@example.com wrote"})
    {'words': '…@example.com wrote'}
    """
    if isinstance(value, str):
        return _ADDRESS.sub(r"…@\1", value)
    if isinstance(value, Mapping):
        return {without_addresses(str(key)): without_addresses(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_addresses(item) for item in value]
    return value


def percent(share: float) -> str:
    """A share as words, 0.9876 as 98.8%."""
    return f"{100 * share:.1f}%"


def budget_words(budget: float) -> str:
    """A false-positive budget as words, 0.001 as 0.1%."""
    return f"{100 * budget:g}%"


def figure(value: float | None, digits: int) -> str:
    """A number with so many digits after the point."""
    return NOTHING if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def category_words(code: str) -> str:
    """A label, and what it means where it is a category."""
    return f"{code} {CATEGORY_WORDS[code]}" if code in CATEGORY_WORDS else code
