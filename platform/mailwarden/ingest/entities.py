"""HTML character references undone, whatever number they claim."""

from __future__ import annotations

import re
from html import unescape

from mailwarden.ingest.budget import ENTITIES
from mailwarden.ingest.reading import Reading

# `html.unescape` makes an integer of all digits, which the interpreter refuses beyond 4,300 of them.
_MANY_ZEROS = re.compile(r"(&#[xX]?)0{10,}+")
_MANY_DIGITS = re.compile(r"&#(?:[0-9]{20,}+|[xX][0-9a-fA-F]{20,}+);?")


def undo_entities(text: str, reading: Reading, part: int = 0) -> str:
    """The text with its character references read as the HTML standard has it; beyond the budget as written."""
    count = text.count("&")
    if not count or reading.take(ENTITIES, count, part) < count:
        return text
    if "&#" in text:
        text = _MANY_DIGITS.sub("\ufffd", _MANY_ZEROS.sub(r"\g<1>0", text))
    return unescape(text)
