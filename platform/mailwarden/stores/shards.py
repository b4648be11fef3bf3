"""Shards: which tenants are numbered together, by one sequencer over a spool of its own.

A tenant's shard is its name's hash among so many. A home remembers how many it is served with: another number moves
tenants, and a tenant may move only once all that its former shard accepted is logged.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from mailwarden.errors import ConfigError

MOST = 64

SHARDS_FOLDER = "shards.d"
"""Of a home: a folder a shard but the first, whose files lie in the home itself."""

_FILE = "shards"


def shard_of(tenant: str, shards: int) -> int:
    """The tenant's shard, from 0 on; the same in every process and for ever."""
    digest = hashlib.blake2b(tenant.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % shards


def shards_of(home: Path) -> int:
    """How many shards a home was served with last; 1 where nothing says so. Raises ConfigError on a damaged file."""
    path = home / _FILE
    try:
        text = path.read_text()
    except FileNotFoundError:
        return 1
    if not text.strip().isdecimal() or not 1 <= int(text) <= MOST:
        raise ConfigError(
            f"{path} should hold a number from 1 to {MOST}; write that of the folders in {home / 'shards.d'}"
        )
    return int(text)


def remember(home: Path, shards: int) -> None:
    """Write down how many there are, whole or not at all."""
    unfinished = home / f"{_FILE}.new"
    with unfinished.open("w") as file:
        file.write(f"{shards}\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(home / _FILE)
