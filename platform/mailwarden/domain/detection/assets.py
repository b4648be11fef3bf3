"""Large files that detectors share and that no model holds a copy of: encoders, by their SHA-256.

A detector's bytes name them. Where they lie is the process's: a folder of artefacts, as `stores.sql.artefacts` lays one
out, or bytes that were sent with a bundle.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from mailwarden.errors import NotFound, StoreError

_folders: list[Path] = []
_held: dict[str, bytes] = {}


def look_in(folder: Path) -> None:
    """Look for them in this folder of artefacts too, before those that were named earlier."""
    if folder in _folders:
        _folders.remove(folder)
    _folders.insert(0, folder)


def folders() -> tuple[Path, ...]:
    """Where they are looked for, for another process."""
    return tuple(_folders)


def hold(content: bytes) -> str:
    """Keep one in this process's memory, and return its SHA-256 in hex."""
    digest = sha256(content).hexdigest()
    _held[digest] = content
    return digest


def is_there(digest: str) -> bool:
    """Whether one of that SHA-256 can be had; it is not read."""
    return digest in _held or any((folder / _path(digest)).is_file() for folder in _folders)


def asset(digest: str) -> bytes:
    """The bytes of that SHA-256 in hex; raises NotFound where there is none, StoreError where it cannot be read or is
    another."""
    if digest in _held:
        return _held[digest]
    for folder in _folders:
        path = folder / _path(digest)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"Model artefact {path} cannot be read: {error}.") from error
        if sha256(content).hexdigest() != digest:
            raise StoreError(f"Model artefact {path} is not what its name says: it was changed. Make it again.")
        return content
    raise NotFound(f"No file with the SHA-256 {digest} is among the model artefacts.")


def _path(digest: str) -> str:
    return f"sha256/{digest[:2]}/{digest}"
