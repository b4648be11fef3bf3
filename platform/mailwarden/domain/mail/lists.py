"""Lists of names that features look things up in: free mail, shorteners, brands and the like, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lists:
    """Named lists of one version; what `stores.lists` loads.

    names: by list ("free_mail", "shorteners", ...) its entries, normalised as domains are. ranks: registrable domains
    by popularity, 1 the most popular. fingerprint: digest of every list's content; part of that of each view that
    looks something up.
    """

    names: Mapping[str, frozenset[str]]
    ranks: Mapping[str, int]
    fingerprint: str

    def holds(self, name: str, entry: str) -> bool:
        """Whether a list holds an entry, as given; raises KeyError on an unknown list."""
        return entry in self.names[name]


NO_LISTS = Lists({}, {}, "")
