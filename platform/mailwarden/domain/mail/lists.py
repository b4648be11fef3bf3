"""Lists of names that features look things up in: free mail, shorteners, brands and the like, as data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from mailwarden.errors import NotFound


@dataclass(frozen=True, slots=True)
class Lists:
    """Named lists, each of one version; what `stores.lists` loads.

    names: by list ("free_mail", "disposable", "shorteners", "free_hosts") its host names, normalised as hosts are.
    ranks: registrable domains by popularity, 1 the most popular (list "popular"). fingerprint: digest of every list's
    version and content; part of that of each view that looks something up. brands: by name, in the form that
    `brand_name` gives, the registrable domains that are the brand's own (list "brands"). fingerprints: by list its
    own digest. redirectors: by host and path, how the target stands in a link (list "redirectors"), which the parser
    reads for itself; see `stores.redirector_list`.
    """

    names: Mapping[str, frozenset[str]]
    ranks: Mapping[str, int]
    fingerprint: str
    brands: Mapping[str, frozenset[str]] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    redirectors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def holds(self, name: str, host: str) -> bool:
        """Whether a list holds a normalised host name, or one that it lies under; raises KeyError on an unknown list.

        >>> lists = lists_of({"free_hosts": ["github.io", "docs.google.com"]})
        >>> [lists.holds("free_hosts", host) for host in ("shop.github.io", "docs.google.com", "google.com")]
        [True, True, False]
        """
        return _is_under(host, self.names[name])

    def rank_of(self, domain: str) -> int | None:
        """Place of a registrable domain among popular ones, 1 the most popular; raises KeyError without that list."""
        if not self.ranks:
            self._must_have("popular")
        return self.ranks.get(domain)

    def is_brand(self, name: str) -> bool:
        """Whether a name, in the form that `brand_name` gives, is a brand's; raises KeyError without that list."""
        if not self.brands:
            self._must_have("brands")
        return name in self.brands

    def owns(self, brand: str, host: str) -> bool:
        """Whether a normalised host name is one of the brand's own, or lies under one; False for no brand."""
        return _is_under(host, self.brands.get(brand, frozenset()))

    def only(self, names: Iterable[str]) -> Self:
        """Some of the lists: what looks another one up gets KeyError, and never an empty answer."""
        chosen = frozenset(names)
        return replace(
            self,
            names={name: entries for name, entries in self.names.items() if name in chosen},
            ranks=self.ranks if "popular" in chosen else {},
            brands=self.brands if "brands" in chosen else {},
            redirectors=self.redirectors if "redirectors" in chosen else {},
            fingerprints={name: digest for name, digest in self.fingerprints.items() if name in chosen},
        )

    def _must_have(self, name: str) -> None:
        # A list that is there and empty has no entry; one that is not there must not pass for it.
        if name not in self.fingerprints:
            raise KeyError(name)

    def fingerprint_of(self, names: Iterable[str]) -> str:
        """Digest of the lists of these names, whatever their order; raises NotFound on a name that no list has."""
        wanted = sorted(set(names))
        if missing := [name for name in wanted if name not in self.fingerprints]:
            known = ", ".join(sorted(self.fingerprints)) or "none"
            raise NotFound(f"no list is named {missing[0]!r}; there are: {known}")
        return _digest([f"{name} {self.fingerprints[name]}" for name in wanted])


def brand_name(name: str) -> str:
    """The one form of a brand's name: without regard to case, one space between words.

    >>> brand_name("  Deutsche  POST ")
    'deutsche post'
    """
    return " ".join(name.casefold().split())


def lists_of(
    names: Mapping[str, Iterable[str]],
    ranks: Mapping[str, int] | None = None,
    brands: Mapping[str, Iterable[str]] | None = None,
    versions: Mapping[str, str] | None = None,
    redirectors: Mapping[str, tuple[str, ...]] | None = None,
) -> Lists:
    """Lists with their fingerprints, from entries in normal form. versions: by list; part of its fingerprint."""
    versions = versions or {}
    sets = {name: frozenset(entries) for name, entries in names.items()}
    rows = {name: sorted(entries) for name, entries in sets.items()}
    owned = {}
    if brands is not None:
        owned = {brand: frozenset(domains) for brand, domains in brands.items()}
        rows["brands"] = [f"{brand}: {' '.join(sorted(domains))}" for brand, domains in sorted(owned.items())]
    if redirectors is not None:
        rows["redirectors"] = [f"{key}: {' '.join(how)}" for key, how in sorted(redirectors.items())]
    if ranks is not None:
        rows["popular"] = [f"{rank} {domain}" for domain, rank in sorted(ranks.items())]
    prints = {name: _digest([versions.get(name, ""), *entries]) for name, entries in rows.items()}
    whole = _digest([f"{name} {digest}" for name, digest in sorted(prints.items())])
    return Lists(sets, dict(ranks or {}), whole, owned, prints, dict(redirectors or {}))


def _is_under(host: str, entries: frozenset[str]) -> bool:
    while host:
        if host in entries:
            return True
        host = host.partition(".")[2]
    return False


def _digest(lines: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


NO_LISTS = Lists({}, {}, "")
