"""A tenant's own domains: one form of how they are declared, and which host names they cover."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache

from mailwarden.domain.mail.addresses import checked_domain
from mailwarden.errors import DataError


def own_domain(text: str) -> str:
    """The one form of a declared domain: a host name, or `.host` for all names below it; raises DataError.

    `example.com` covers itself alone, `.example.com` (or `*.example.com`) every name below it and not itself.

    >>> [own_domain(text) for text in ("Example.COM.", "*.bücher.example", ".parts.example")]
    ['example.com', '.xn--bcher-kva.example', '.parts.example']
    """
    written = text.strip()
    below = written.startswith((".", "*."))
    host = checked_domain(written.removeprefix("*").removeprefix(".") if below else written, text)
    return f".{host}" if below else host


def names_of(host: str) -> Iterator[str]:
    """How a normalised host may be declared, the nearest first: itself, then each name that it lies below."""
    yield host
    while "." in host:
        host = host.partition(".")[2]
        yield "." + host


def covers(declared: frozenset[str], host: str) -> bool:
    """Whether one of these domains, however they are written, covers a normalised host."""
    return bool(host) and not _forms(declared).isdisjoint(names_of(host))


@lru_cache(maxsize=4_096)
def _forms(declared: frozenset[str]) -> frozenset[str]:
    forms = set()
    for text in declared:
        with contextlib.suppress(DataError):
            forms.add(own_domain(text))
    return frozenset(forms)


def overlap(one: str, other: str) -> bool:
    """Whether some host is covered by both of two declared domains."""
    if one == other:
        return True
    return _within(one, other) or _within(other, one)


def _within(one: str, other: str) -> bool:
    return other.startswith(".") and one.endswith(other)
