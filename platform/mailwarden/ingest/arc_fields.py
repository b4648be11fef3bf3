"""ARC sets as a message bears them (RFC 8617 section 4): who sealed it, and what that one found."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mailwarden.domain.mail.addresses import normalise_host
from mailwarden.ingest.results import MAX_TEXT, Result, read_results

MAX_SETS = 50
"""Section 4.2.1."""

_INSTANCE = re.compile(r"\s*+i\s*+=\s*+(\d{1,2}+)\s*+;", re.IGNORECASE)
_TAG = re.compile(r"(?:^|;)\s*+(i|d|cv)\s*+=\s*+([^\s;]++)", re.IGNORECASE)


def trusted_seal(fields: Sequence[tuple[str, str]], sealers: frozenset[str]) -> tuple[str, tuple[Result, ...]] | None:
    """The earliest set that only trusted sealers have sealed since: its sealer's domain and its results.

    The newest seal must be a trusted one: whoever sealed last may have changed all before. None where it is not, or
    where the sets cannot be told apart.
    """
    seals: dict[int, str] = {}
    results: dict[int, str] = {}
    for name, value in fields:
        kind = name.lower()
        if kind == "arc-seal":
            tags = {tag[1].lower(): tag[2] for tag in _TAG.finditer(value[:MAX_TEXT])}
            number = _number(tags.get("i", ""))
            if number is None or number in seals:
                return None
            seals[number] = normalise_host(tags.get("d", ""))
        elif kind == "arc-authentication-results":
            instance = _INSTANCE.match(value)
            number = _number(instance[1]) if instance else None
            if instance is None or number is None or number in results:
                return None
            results[number] = value[instance.end() :]
    chosen = 0
    for number in sorted(seals, reverse=True):
        if not any(seals[number] == name or (name[0] == "." and seals[number].endswith(name)) for name in sealers):
            break
        chosen = number
    if not chosen or chosen not in results:
        return None
    return seals[chosen], read_results(results[chosen]).results


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and 0 < int(text) <= MAX_SETS else None
