"""Trained models as files, addressed by what they hold."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from mailwarden.errors import DataError, NotFound, StoreError
from mailwarden.stores.disk import full_disk, is_full

_URI = re.compile(r"sha256/([0-9a-f]{2})/(\1[0-9a-f]{62})")


class ModelArtefacts:
    """A folder of immutable files. Their URIs are relative to it, so that it can be moved as a whole."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, content: bytes) -> tuple[str, str]:
        """Keep `content` and return its (uri, SHA-256 in hex); the same content again is kept once.

        The file appears whole or not at all, and is on the disk when this returns.
        Raises StoreError where it cannot be written.
        """
        digest = hashlib.sha256(content).hexdigest()
        uri = f"sha256/{digest[:2]}/{digest}"
        path = self._root / uri
        try:
            # A file that rotted is written anew.
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                _write_whole(path, content)
        except OSError as error:
            if is_full(error):
                raise full_disk(path, "A model cannot be written") from error
            raise StoreError(f"Model artefact {path} cannot be written: {error}. Mend the disk.") from error
        return uri, digest

    def of_digest(self, sha256: str) -> bytes:
        """The content of that SHA-256 in hex; raises as `get` does."""
        return self.get(f"sha256/{sha256[:2]}/{sha256}", sha256)

    def get(self, uri: str, sha256: str) -> bytes:
        """Return the content kept under `uri`, whose SHA-256 must be `sha256`.

        Raises DataError on a URI of another form, NotFound where there is no such file, StoreError where
        it cannot be read or does not hold what it held.
        """
        if not _URI.fullmatch(uri):
            raise DataError(f"Artefact URI {uri!r} is not one that this store gave (sha256/xx/...).")
        path = self._root / uri
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"Model artefact {path} does not exist. Restore it, or train the model again.") from error
        except OSError as error:
            raise StoreError(f"Model artefact {path} cannot be read: {error}.") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise StoreError(
                f"Model artefact {path} does not have the SHA-256 {sha256} on record: it was changed or "
                "damaged. Restore it, or train the model again."
            )
        return content


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
