"""Reading a spool from a checkpoint that outlives the reader."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from mailwarden.errors import ConfigError, StoreError
from mailwarden.stores.spool_files import (
    FRAME,
    checksum,
    pack_mark,
    read_committed,
    read_mark,
    segment_path,
    segments_of,
    sync_folder,
)

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class SpoolReader:
    """One named reader of a spool, which may lie in another process than the writer's.

    It begins after its checkpoint: a record that was polled but not committed comes again after a restart.
    Raises ConfigError on a name that is not 1 to 63 of a-z, 0-9, underscore and hyphen.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory.expanduser().resolve()
        self._checkpoint_path = checkpoint_path(self._directory, name)
        self._checkpoint = read_mark(self._checkpoint_path)
        self._position = self._checkpoint
        self._base = -1
        self._segment = -1

    @property
    def checkpoint(self) -> int:
        """The position that was committed last."""
        return self._checkpoint

    def lag_bytes(self) -> int:
        """Bytes of committed records that this reader has not committed yet."""
        return max(0, read_committed(self._directory) - self._checkpoint)

    def poll(self, limit: int = 1000, max_bytes: int = 16 << 20) -> list[tuple[int, bytes]]:
        """The next records, each with its position; empty where there are none now.

        limit: how many at most. max_bytes: no further record is begun beyond it. Raises StoreError, naming file
        and offset, on a record that is damaged, and where records were removed before they were read.
        """
        committed = read_committed(self._directory)
        records: list[tuple[int, bytes]] = []
        taken, began = 0, self._position
        try:
            while self._position < committed and len(records) < limit and taken < max_bytes:
                self._seek()
                payload = self._read_record(committed)
                taken += len(payload)
                self._position += FRAME.size + len(payload)
                records.append((self._position, payload))
        except StoreError:
            # What is not handed over is not read: the next poll begins with it.
            self._position = began
            raise
        except OSError as error:
            self._position = began
            raise StoreError(f"Spool {self._directory}: cannot be read ({error}). Check the disk.") from error
        return records

    def commit(self, position: int) -> None:
        """Move the checkpoint to a position that `poll` returned; durable when it returns."""
        if not self._checkpoint <= position <= self._position:
            raise StoreError(
                f"Spool reader {self._checkpoint_path.stem}: position {position} lies outside what was read since "
                f"the checkpoint ({self._checkpoint} to {self._position}). Commit positions that poll returned."
            )
        if position == self._checkpoint:
            return
        temporary = self._checkpoint_path.with_suffix(".tmp")
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(handle, pack_mark(position))
                os.fsync(handle)
            finally:
                os.close(handle)
            os.replace(temporary, self._checkpoint_path)
            sync_folder(self._directory)
        except OSError as error:
            raise StoreError(f"Spool checkpoint {self._checkpoint_path}: cannot be written ({error}).") from error
        self._checkpoint = position

    def close(self) -> None:
        """Let go of the open segment."""
        if self._segment >= 0:
            os.close(self._segment)
            self._segment, self._base = -1, -1

    def _seek(self) -> None:
        """Have the segment open in which the next record begins."""
        if self._segment >= 0 and self._position < self._base + os.fstat(self._segment).st_size:
            return
        bases = segments_of(self._directory)
        behind = [base for base in bases if base <= self._position]
        if not behind:
            if self._checkpoint > 0 or not bases:
                raise StoreError(
                    f"Spool {self._directory}: the segment with position {self._position} is gone, though reader "
                    f"{self._checkpoint_path.stem!r} has not read it. Name every reader when segments are retired."
                )
            # A new reader begins with the oldest record that is still there.
            self._position = bases[0]
            behind = bases[:1]
        if behind[-1] != self._base:
            self.close()
            self._segment = os.open(segment_path(self._directory, behind[-1]), os.O_RDONLY | os.O_CLOEXEC)
            self._base = behind[-1]

    def _read_record(self, committed: int) -> bytes:
        offset = self._position - self._base
        head = os.pread(self._segment, FRAME.size, offset)
        if len(head) == FRAME.size:
            length, crc = FRAME.unpack(head)
            if self._position + FRAME.size + length <= committed:
                payload = os.pread(self._segment, length, offset + FRAME.size)
                if len(payload) == length and checksum(payload) == crc:
                    return payload
        raise StoreError(
            f"Spool file {segment_path(self._directory, self._base)}: the record at byte {offset} is damaged or "
            "gone. Restore the file from a copy, or move the spool away and hand the mail over again."
        )


def checkpoint_path(directory: Path, name: str) -> Path:
    """The file of a reader's checkpoint; raises ConfigError on a name that cannot be one."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"Spool reader name {name!r} cannot be used. Write 1 to 63 of a-z, 0-9, '_' and '-'.")
    return directory / f"{name}.checkpoint"


def readers_of(directory: Path) -> set[str]:
    """The names of all readers that ever committed a place in a spool."""
    return {path.stem for path in directory.expanduser().glob("*.checkpoint")}


def retire(directory: Path, reader_names: Iterable[str]) -> int:
    """Remove the segments that lie wholly behind the checkpoints of all these readers; return how many.

    A reader that has committed nothing yet holds everything back; the newest segment always stays.
    Raises ConfigError where no reader is named: that would remove what nobody has read.
    """
    folder = directory.expanduser().resolve()
    marks = [read_mark(checkpoint_path(folder, name)) for name in reader_names]
    if not marks:
        raise ConfigError(f"Spool {folder}: name the readers whose checkpoints segments must lie behind.")
    bases = segments_of(folder)
    spent = [base for base, following in pairwise(bases) if following <= min(marks)]
    for base in spent:
        segment_path(folder, base).unlink(missing_ok=True)
    if spent:
        sync_folder(folder)
    return len(spent)
