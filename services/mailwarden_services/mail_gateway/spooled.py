"""A message on its way through a gateway: in memory up to a mebibyte, on disk beyond it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator

IN_MEMORY_BYTES = 1 << 20
_CHUNK = 1 << 16


class SpooledMessage:
    """The bytes of one message, written once and read as often as wanted.

    limit: bytes beyond which nothing more is kept; `size` counts on, so that `too_large` tells.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - closed by `close`

    @property
    def too_large(self) -> bool:
        """Whether more came than is kept."""
        return self.size > self.limit

    def write(self, data: bytes) -> None:
        """Add bytes at the end; those beyond the limit are counted and dropped."""
        if (room := self.limit - self.size) > 0:
            self._file.write(data if len(data) <= room else data[:room])
        self.size += len(data)

    def chunks(self) -> Iterator[bytes]:
        """The bytes from the start, 64 KiB at a time."""
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            yield chunk

    def content(self) -> bytes:
        """All of it in one piece."""
        return b"".join(self.chunks())

    def sha256(self) -> str:
        """SHA-256 of what is kept, in hexadecimal digits."""
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()

    def close(self) -> None:
        """Give the memory and the file back."""
        self._file.close()
