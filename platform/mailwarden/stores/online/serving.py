"""Which generation of each view is read: the catalog as readers keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.stores.online.catalog import VERSION, Catalog, Entry
from mailwarden.stores.online.client import Client, round_trip
from mailwarden.stores.online.keys import STREAMS, catalog_field, catalog_key, streams_key


@dataclass(frozen=True, slots=True)
class Serving:
    """The catalog as of one version.

    version: as Redis writes it. partitions: as recorded in Redis.
    """

    version: bytes
    entries: Mapping[str, Entry]
    partitions: int

    @classmethod
    def fetch(cls, client: Client, project: str) -> Serving:
        """What is served now; raises redis errors."""
        fields, recorded = round_trip(client, [("HGETALL", catalog_key(project)), ("GET", streams_key(project))])
        entries = Catalog.read(fields).entries
        return cls(version_of(fields.get(VERSION)), entries, STREAMS if recorded is None else int(recorded))

    def generation(self, view: ActivityView) -> int | None:
        """The generation to read of a view; None where no reader can use one: see `why_not`."""
        if not self.entries:
            # Nothing was ever folded: every key is one that was never seen.
            return 1
        entry = self.entries.get(catalog_field(view))
        return None if entry is None or entry.unreadable is not None else entry.serving

    def facts(self, view: ActivityView) -> int:
        """The number of the fact set that the generation to read was made of; 0 where there is none."""
        entry, generation = self.entries.get(catalog_field(view)), self.generation(view)
        return 0 if entry is None or generation is None else entry.facts.get(generation, 0)

    def why_not(self, view: ActivityView) -> str:
        """In words, why there is no generation to read."""
        entry = self.entries.get(catalog_field(view))
        return (entry.unreadable if entry is not None else None) or "it is not filled yet"


def version_of(value: bytes | None) -> bytes:
    """The catalog's version from its field; of no catalog it is 0."""
    return b"0" if value is None else value
