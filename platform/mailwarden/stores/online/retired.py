"""Views that the catalog of generations still names and the code no longer has, and how they leave Redis."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.errors import StoreError
from mailwarden.stores.online.catalog import Catalog, Entry
from mailwarden.stores.online.client import Client, round_trip, translated
from mailwarden.stores.online.keys import catalog_field, catalog_key

FORGET = """
if (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[1], 'version', tonumber(ARGV[1]) + 1)
return 1
"""
"""Script: takes a view out of the catalog where that is still the version that was read. KEYS: the hash. ARGV: that
version, the field."""

_ATTEMPTS = 100
_SCAN = 1_000
_U32 = struct.Struct("<I")


def left_behind(catalog: Catalog, views: Sequence[ActivityView]) -> dict[str, Entry]:
    """Entries of views and versions that are not among `views`, by `keys.catalog_field`."""
    known = {catalog_field(view) for view in views}
    return {name: entry for name, entry in catalog.entries.items() if name not in known}


def drop_left_behind(client: Client, project: str, name: str) -> int:
    """Take one of them out of the catalog, then delete its states and sketches; returns how many keys had some.

    name: as `left_behind` names it. No process may run whose code still has the view: its writers would begin it
    anew. Cut off in between it leaves fields that nobody reads; the same call deletes them. Raises StoreTimeout or
    StoreUnavailable where Redis is away.
    """
    with translated(f"dropping {name}"):
        _forget(client, project, name)
        dropped = 0
        prefix = f"{name}.".encode()
        for keys in _chunks(client.scan_iter(match="*" + project, count=_SCAN)):
            ours = [key for key in keys if _is_entity(key, project.encode())]
            fields = round_trip(client, [("HKEYS", key) for key in ours])
            commands = []
            for key, held in zip(ours, fields, strict=True):
                gone = [field for field in held if field.startswith(prefix)]
                if gone:
                    commands.append(("HDEL", key, *gone))
            dropped += len(commands)
            if commands:
                round_trip(client, commands)
    return dropped


def _forget(client: Client, project: str, name: str) -> None:
    key = catalog_key(project)
    for _ in range(_ATTEMPTS):
        version = round_trip(client, [("HGET", key, "version")])[0] or b"0"
        if round_trip(client, [("EVAL", FORGET, 1, key, version, name)])[0]:
            return
    raise StoreError(f"the catalog of generations was changed by others {_ATTEMPTS} times running; try again")


def _is_entity(key: bytes, project: bytes) -> bool:
    """Whether a Redis key is an entity's of this project: Feast's serialisation, then the project's whole name."""
    try:
        (count,) = _U32.unpack_from(key, 0)
        offset = _U32.size
        # A name and a value for each join key, each with its type and its length before it.
        for _ in range(2 * count):
            (length,) = _U32.unpack_from(key, offset + _U32.size)
            offset += 2 * _U32.size + length
            if offset > len(key):
                return False
    except struct.error:
        return False
    return count > 0 and key[offset:] == project


def _chunks(keys: Iterator[bytes]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    for key in keys:
        part.append(key)
        if len(part) == _SCAN:
            yield part
            part = []
    if part:
        yield part
