"""Loads lists of names from files: one name a line, as they come with the package."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from mailwarden.domain.mail.lists import Lists, lists_of

BUILT_IN = Path(__file__).parent.parent / "lists"
"""Where the package's own files lie, `<list>.txt` each."""


@lru_cache(maxsize=1)
def load_lists() -> Lists:
    """The lists that come with the package."""
    return lists_of({path.stem: path.read_text(encoding="utf-8").split() for path in sorted(BUILT_IN.glob("*.txt"))})
