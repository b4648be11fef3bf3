"""Bytes of held mail: a file a message, whole or not there, named after its content."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from mailwarden.errors import NotFound, StoreError, StoreUnavailable

_NAME = re.compile(r"[0-9a-f]{64}-q[0-9a-f]{32}")


class HeldFiles:
    """Files under `folder`, each of one held message: `SHA256-HELDID`, in folders of the hash's first two digits.

    A message that is held twice has two files, so that removing one never takes another's bytes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, held_id: str, sha256: str) -> Path:
        """Where the bytes of a held message lie."""
        return self.folder / sha256[:2] / f"{sha256}-{held_id}"

    def write(self, held_id: str, chunks: Iterable[bytes]) -> tuple[str, int]:
        """Keep a message's bytes, on disk when it returns; their SHA-256 and number. Raises StoreUnavailable."""
        digest, size = hashlib.sha256(), 0
        temporary: Path | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, name = tempfile.mkstemp(prefix="writing-", dir=self.folder)
            temporary = Path(name)
            with os.fdopen(descriptor, "wb") as file:
                for chunk in chunks:
                    digest.update(chunk)
                    size += file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            sha256 = digest.hexdigest()
            path = self.path(held_id, sha256)
            if not path.parent.exists():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                _sync_folder(self.folder)
            temporary.rename(path)
            _sync_folder(path.parent)
        except OSError as error:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
            raise StoreUnavailable(
                f"held mail cannot be written to {self.folder}: {error.strerror}; see to the disk and its rights"
            ) from error
        return sha256, size

    def read(self, held_id: str, sha256: str) -> bytes:
        """The bytes of a held message; raises NotFound without its file, StoreError where they are damaged."""
        path = self.path(held_id, sha256)
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"the bytes of {held_id} are gone: {path} is not there; restore it from a backup") from error
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise StoreError(f"{path} is damaged: its bytes are not those that were held; restore it from a backup")
        return content

    def remove(self, held_id: str, sha256: str) -> None:
        """Remove the file of a held message, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.path(held_id, sha256).unlink()

    def older_than(self, time_s: float) -> Iterator[tuple[Path, str | None]]:
        """Files last changed before a time (seconds since the epoch), with its held id; None for half-written ones."""
        for path in sorted(self.folder.glob("writing-*")) + sorted(self.folder.glob("??/*")):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time_s:
                    yield path, path.name.partition("-")[2] if _NAME.fullmatch(path.name) else None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
