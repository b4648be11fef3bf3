"""Redis keys and fields: Feast's entity key serialisation v3, written without Feast at run time."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.errors import DataError

STREAMS = 4
"""Partitions where nothing else is said; what holds for a Redis is recorded under `streams_key`."""

_STRING = 2
_U32 = struct.Struct("<I")
_TYPED_LENGTH = struct.Struct("<II")


class KeyTemplate:
    """Turns (tenant, *key) into the Redis key of one entity: its serialisation, then the project's name.

    names: the view's keys in their own order, without the tenant; the serialisation sorts join keys by name.
    Source: feast.infra.key_encoding_utils.serialize_entity_key, version 3.
    """

    __slots__ = ("_names", "_order", "_prefix", "_suffix", "names")

    def __init__(self, project: str, names: Sequence[str]) -> None:
        self.names = tuple(names)
        join_keys = ("tenant", *self.names)
        self._order = tuple(sorted(range(len(join_keys)), key=lambda i: join_keys[i]))
        self._names = tuple(join_keys[i] for i in self._order)
        encoded = [name.encode() for name in self._names]
        self._prefix = _U32.pack(len(encoded)) + b"".join(
            _TYPED_LENGTH.pack(_STRING, len(name)) + name for name in encoded
        )
        self._suffix = project.encode()

    def key(self, tenant: str, values: Sequence[str]) -> bytes:
        """The Redis key of an entity; values in the order of `names`."""
        named = (tenant, *values)
        return b"".join([self._prefix, *[encoded(named[i]) for i in self._order], self._suffix])

    def joined(self, parts: Mapping[str, bytes]) -> bytes | None:
        """The same of values that `encoded` made, by join key, the tenant's among them; None where one is missing."""
        try:
            return self._prefix + b"".join([parts[name] for name in self._names]) + self._suffix
        except KeyError:
            return None

    def owns(self, key: bytes) -> bool:
        """Whether a Redis key is of this template: its join keys, and this project and no longer name."""
        if not key.startswith(self._prefix):
            return False
        offset = len(self._prefix)
        for _ in self._order:
            if len(key) < offset + 8:
                return False
            kind, length = _TYPED_LENGTH.unpack_from(key, offset)
            if kind != _STRING:
                return False
            offset += 8 + length
        return key[offset:] == self._suffix

    def scan_pattern(self) -> bytes:
        """A SCAN pattern that every key of this template matches, and some others may: ask `owns` of each."""
        special = {ord(c) for c in "*?[]\\^-"}
        return b"".join(b"\\" + bytes([c]) if c in special else bytes([c]) for c in self._prefix) + b"*"


@lru_cache(maxsize=20_000)
def encoded(value: str) -> bytes:
    """One value of a key as it stands in `KeyTemplate.joined`: encoded once for all keys of a message."""
    # Attackers choose addresses: a lone surrogate must make a key of its own, never an exception.
    data = value.encode("utf-8", "surrogatepass")
    return _TYPED_LENGTH.pack(_STRING, len(data)) + data


def state_field(view: ActivityView, generation: int = 1) -> bytes:
    """Hash field of a view's packed state in one generation."""
    return f"{view.name}@{view.version}.{generation}".encode()


def sketch_field(view: ActivityView, generation: int = 1) -> bytes:
    """Hash field of a view's sketches in one generation, which only writers read."""
    return state_field(view, generation) + b":s"


def fields_of(view: ActivityView, generation: int) -> tuple[bytes, ...]:
    """Hash fields of a view in one generation: the state, and where it counts names the sketches."""
    # Views without distincts have no sketches, and then the field is neither read nor written.
    if view.distincts:
        return state_field(view, generation), sketch_field(view, generation)
    return (state_field(view, generation),)


def catalog_field(view: ActivityView) -> str:
    """Field of a view in the catalog of generations."""
    return f"{view.name}@{view.version}"


def catalog_key(project: str) -> bytes:
    """Hash of the generations of every view; see `generations`."""
    return f"mailwarden:{project}:generations".encode()


def facts_key(project: str) -> bytes:
    """Hash: by number of a fact set, the seqs up to which its states are made of it alone; see `generations`."""
    return f"mailwarden:{project}:facts".encode()


def streams_key(project: str) -> bytes:
    """String: how many partitions the project's streams, marks and leases are spread over."""
    return f"mailwarden:{project}:streams".encode()


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that an entity's Redis key belongs to: 0..partitions-1, by CRC-32."""
    return zlib.crc32(key) % partitions


def stream_key(project: str, partition: int) -> bytes:
    """Redis stream of a partition's events."""
    return _of_partition(project, partition, "stream")


def marks_key(project: str, partition: int) -> bytes:
    """Hash of how far a partition's stream was filled and folded, by tenant; see `watermark`."""
    return _of_partition(project, partition, "marks")


def lease_key(project: str, partition: int) -> bytes:
    """String: the token of the writer that works at a partition."""
    return _of_partition(project, partition, "lease")


def _of_partition(project: str, partition: int, what: str) -> bytes:
    # Braces are a Cluster's hash tag: what scripts of one partition touch lies in one slot.
    return f"mailwarden:{project}:{{p{partition:02}}}:{what}".encode()


def check_views(views: Sequence[ActivityView]) -> None:
    """Raise DataError where two views would share a field of one hash."""
    names = [view.name for view in views]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"view {name} is given twice; give each view its own name")
