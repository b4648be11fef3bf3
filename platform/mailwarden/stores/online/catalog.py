"""The catalog of generations as Redis holds it: of each view which one serves, is filled, retires or is dropped.

What becomes of a generation, and in what order, is told in `generations`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.errors import DataError
from mailwarden.stores.online.keys import catalog_field

VERSION = b"version"
"""Field of the catalog that every change of it raises by one."""

CHANGE = """
if (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', tonumber(ARGV[1]) + 1, unpack(ARGV, 2))
return 1
"""
"""Script: writes fields of the catalog where it is still the version that was read. KEYS: the hash. ARGV: that
version, then field and value pairs."""


@dataclass(frozen=True, slots=True)
class Filling:
    """A generation on its way. loaded: by tenant, the last seq that was loaded, None while loading goes on.

    caught_up: partitions whose writers fold it with the rest. ahead: by tenant, the (seq, time) that marks are moved to
    by `outrun`; whoever catches up to less does so in vain.
    """

    generation: int
    loaded: Mapping[str, int] | None = None
    caught_up: tuple[int, ...] = ()
    ahead: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Filling:
        """Of an entry's value; `ahead` came later than the others."""
        ahead = {tenant: (seq, time_us) for tenant, (seq, time_us) in body.get("ahead", {}).items()}
        return cls(body["generation"], body["loaded"], tuple(body["caught_up"]), ahead)


@dataclass(frozen=True, slots=True)
class Entry:
    """The generations of one view's version.

    serving: read and folded; None before the first. retiring: folded and read no more. abandoned: neither, their
    fields are to be dropped. unreadable: why the serving one can be neither folded nor read. last: the highest number
    ever given. facts: by generation, the number of its fact set where that is not 0.
    """

    serving: int | None = None
    filling: Filling | None = None
    retiring: tuple[int, ...] = ()
    abandoned: tuple[int, ...] = ()
    unreadable: str | None = None
    last: int = 0
    facts: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    @lru_cache(maxsize=256)
    def read(cls, value: bytes) -> Entry:
        """Of a field's value; raises DataError where it is none."""
        # Kept, since writers read it at every fold and it seldom changes.
        try:
            body = json.loads(value)
            filling = body.pop("filling")
            return cls(
                filling=None if filling is None else Filling.read(filling),
                retiring=tuple(body.pop("retiring")),
                abandoned=tuple(body.pop("abandoned")),
                facts={int(number): facts for number, facts in body.pop("facts", {}).items()},
                **body,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise DataError(
                f"the catalog of generations in Redis holds {value[:100]!r}, which is none ({exc!r}); empty this "
                "Redis and run `mailwarden materialize`"
            ) from exc

    def to_bytes(self) -> bytes:
        """What `read` reads."""
        in_use = {self.serving, *self.retiring, *(() if self.filling is None else (self.filling.generation,))}
        facts = {number: facts for number, facts in self.facts.items() if number in in_use}
        return json.dumps(asdict(replace(self, facts=facts)), separators=(",", ":")).encode()

    def live(self, partition: int) -> tuple[int, ...]:
        """The generations that a partition's writer folds, the one that is read first."""
        serving = () if self.serving is None or self.unreadable is not None else (self.serving,)
        filling = self.filling
        caught_up = filling is not None and filling.loaded is not None and partition in filling.caught_up
        return (*serving, *self.retiring, *((filling.generation,) if filling is not None and caught_up else ()))

    def flipped(self, generation: int) -> Entry:
        """The entry with that generation serving, and the one that served before retiring."""
        retiring, abandoned = self.retiring, self.abandoned
        if self.serving is not None:
            # One that could not be folded lacks events: it must not be folded again.
            if self.unreadable is None:
                retiring = (*retiring, self.serving)
            else:
                abandoned = (*abandoned, self.serving)
        return replace(self, serving=generation, filling=None, retiring=retiring, abandoned=abandoned, unreadable=None)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All generations as of one version. entries: by `catalog_field`, of views that this code may not have too."""

    version: int
    entries: Mapping[str, Entry]

    @classmethod
    def read(cls, fields: Mapping[bytes, bytes]) -> Catalog:
        """Of the hash's fields; an empty one is version 0."""
        entries = {name.decode(): Entry.read(value) for name, value in fields.items() if name != VERSION}
        return cls(int(fields.get(VERSION, 0)), entries)

    def of(self, view: ActivityView) -> Entry:
        """A view's entry; one without any generation where it has none."""
        return self.entries.get(catalog_field(view), Entry())


@dataclass(frozen=True, slots=True)
class Pending:
    """A generation that a partition's writer must catch up before its next batch.

    loaded: by tenant, the last seq that it holds; a tenant that is not named has nothing in it. facts: number of its
    fact set.
    """

    view: ActivityView
    generation: int
    loaded: Mapping[str, int]
    facts: int = 0
