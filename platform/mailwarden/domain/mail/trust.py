"""Whose word on a message's authentication a tenant takes, and how a message was received."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from mailwarden.domain.mail.addresses import normalise_host
from mailwarden.errors import DataError

MAX_TOPMOST = 50
"""Most Authentication-Results fields, and Received fields above them, that a position may count."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Which Authentication-Results fields of a message are believed (RFC 8601 section 7.1); none by default.

    authserv_ids: those that bear such an id. hops: hosts whose Received field ends what is believed: only fields above
    the topmost Received by one of them are, whatever else is said here; ".example.com" names all hosts below. topmost:
    so many fields from the top, whatever id they bear. behind: how many Received fields of the site's own may stand
    above those. sealers: domains whose ARC seal is believed where the chain passes (RFC 8617).
    """

    authserv_ids: frozenset[str] = frozenset()
    hops: frozenset[str] = frozenset()
    topmost: int = 0
    behind: int = 0
    sealers: frozenset[str] = frozenset()

    @property
    def believes(self) -> bool:
        """Whether any field may be believed."""
        return bool(self.authserv_ids or self.hops or self.topmost)

    def and_ids(self, authserv_ids: Iterable[str]) -> Trust:
        """The same, with more authserv-ids."""
        more = frozenset(name.strip().lower().rstrip(".") for name in authserv_ids)
        return replace(self, authserv_ids=self.authserv_ids | more) if more else self

    @property
    def fingerprint(self) -> str:
        """12 hex digits that tell one trust from another; "" where nothing is believed."""
        return _fingerprint(self)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, what is not set left out."""
        values: dict[str, Any] = {
            "authserv_ids": sorted(self.authserv_ids),
            "hops": sorted(self.hops),
            "topmost": self.topmost,
            "behind": self.behind,
            "sealers": sorted(self.sealers),
        }
        return {name: value for name, value in values.items() if value}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Trust:
        """What `to_json` gave."""
        return cls(
            frozenset(values.get("authserv_ids", ())),
            frozenset(values.get("hops", ())),
            values.get("topmost", 0),
            values.get("behind", 0),
            frozenset(values.get("sealers", ())),
        )


@lru_cache(maxsize=4_096)
def _fingerprint(trust: Trust) -> str:
    values = trust.to_json()
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=6).hexdigest() if values else ""


NO_TRUST = Trust()
"""Nobody is believed."""


def checked_trust(trust: Trust) -> Trust:
    """The trust with its names in their one form; raises DataError where a value cannot be meant."""
    for name, count in (("topmost", trust.topmost), ("behind", trust.behind)):
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_TOPMOST:
            raise DataError(f"Trust: {name} is {count!r}; write a number from 0 to {MAX_TOPMOST}.")
    if trust.behind and not trust.topmost:
        raise DataError("Trust: behind counts Received fields above the topmost results; say how many those are too.")
    return Trust(_names(trust.authserv_ids), _names(trust.hops), trust.topmost, trust.behind, _names(trust.sealers))


def _names(names: Iterable[str]) -> frozenset[str]:
    found = set()
    for name in names:
        text = name.strip().removeprefix("*")
        # The dot in front says "all hosts below", and is no part of the name.
        host = normalise_host(text)
        if not host:
            raise DataError(f"Trust: {name!r} is no name. Leave it out, or write it as mx.example.com.")
        found.add(f".{host}" if text.startswith(".") else host)
    return frozenset(found)
