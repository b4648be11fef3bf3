"""Redis keys and fields: Feast's entity key serialisation v3, written without Feast at run time."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from mailwarden.domain.views import ActivityView
from mailwarden.errors import DataError

_STRING = 2
_U32 = struct.Struct("<I")
_TYPED_LENGTH = struct.Struct("<II")


class KeyTemplate:
    """Turns (tenant, *key) into the Redis key of one entity: its serialisation, then the project's name.

    names: the view's keys in their own order, without the tenant; the serialisation sorts join keys by name.
    Source: feast.infra.key_encoding_utils.serialize_entity_key, version 3.
    """

    __slots__ = ("_order", "_prefix", "_suffix", "names")

    def __init__(self, project: str, names: Sequence[str]) -> None:
        self.names = tuple(names)
        join_keys = ("tenant", *self.names)
        self._order = tuple(sorted(range(len(join_keys)), key=lambda i: join_keys[i]))
        encoded = [join_keys[i].encode() for i in self._order]
        self._prefix = _U32.pack(len(encoded)) + b"".join(
            _TYPED_LENGTH.pack(_STRING, len(name)) + name for name in encoded
        )
        self._suffix = project.encode()

    def key(self, tenant: str, values: Sequence[str]) -> bytes:
        """The Redis key of an entity; values in the order of `names`."""
        # Attackers choose addresses: a lone surrogate must make a key of its own, never an exception.
        encoded = [tenant.encode("utf-8", "surrogatepass")]
        encoded += [value.encode("utf-8", "surrogatepass") for value in values]
        parts = [self._prefix]
        for i in self._order:
            value = encoded[i]
            parts.append(_TYPED_LENGTH.pack(_STRING, len(value)))
            parts.append(value)
        parts.append(self._suffix)
        return b"".join(parts)

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


def state_field(view: ActivityView) -> bytes:
    """Hash field of a view's packed state."""
    return f"{view.name}@{view.version}".encode()


def sketch_field(view: ActivityView) -> bytes:
    """Hash field of a view's sketches, which only writers read."""
    return state_field(view) + b":s"


def watermark_key(project: str) -> bytes:
    """Hash of the last sequence number folded, a field a tenant."""
    return f"mailwarden:{project}:watermark".encode()


def unreadable_field(view: ActivityView) -> bytes:
    """Field beside the watermarks that says why a view's states of this version can be used no more."""
    # No tenant's name holds a space.
    return b"unreadable " + state_field(view)


def check_views(views: Sequence[ActivityView]) -> None:
    """Raise DataError where two views would share a field of one hash."""
    names = [view.name for view in views]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"view {name} is given twice; give each view its own name")
