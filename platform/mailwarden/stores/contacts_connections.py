"""Connections to the contacts' file: opened, opened again after it failed, and an empty file where it is damaged."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from mailwarden.stores.contacts_file import TABLES, VERSION, connect, translated

UNTIL_DAMAGED_SECONDS = 60.0
"""A file that cannot be read so soon after it was opened again is taken for damaged."""

_log = structlog.get_logger(__name__)


class Connections:
    """One connection writes, mostly in a thread of its own; the other reads what was committed, and never waits.

    salt: the file's, and its successors' in this process, so that digests in memory stay what they are. failure: why
    it could not be read, or that it is damaged, since it was opened; None where all is well. begun: how often `replace`
    was needed.
    """

    file: sqlite3.Connection
    asked: sqlite3.Connection
    salt: bytes

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure: sqlite3.Error | None = None
        self.begun = 0
        self._mended_at = float("-inf")
        path.parent.mkdir(parents=True, exist_ok=True)
        with translated(path):
            self._open_or_replace()

    @contextmanager
    def asking(self) -> Iterator[sqlite3.Connection]:
        """What is asked inside the block; raises StoreError where the file cannot be read, and remembers it."""
        with translated(self.path):
            try:
                yield self.asked
            except sqlite3.Error as exc:
                self.failure = exc
                raise

    def not_written(self, error: sqlite3.Error) -> None:
        """Take note that it could not be written: what is damaged is to be mended."""
        if _is_damage(error):
            self.failure = error

    def mend(self) -> bool:
        """Open the file again; True where an empty one is in its place, since it was damaged or is gone.

        Raises StoreError where it cannot be opened.
        """
        again = time.monotonic() - self._mended_at < UNTIL_DAMAGED_SECONDS
        self._mended_at = time.monotonic()
        if _is_damage(self.failure, again=again):
            self.replace(str(self.failure))
            return True
        salt = self.salt
        self.close()
        try:
            with translated(self.path):
                replaced = self._open_or_replace()
        finally:
            found, self.salt = self.salt, salt
        if replaced or found != salt:
            # Digests in memory are by the salt of before.
            self.replace("it is another one")
            return True
        self.failure = None
        return False

    def replace(self, why: str) -> None:
        """An empty file in its place."""
        salt = self.salt
        self.close()
        try:
            with translated(self.path):
                self._replace(why)
                self.file.execute("update secret set salt = ?", (salt,))
        finally:
            # What is in memory is by this one, whatever a file that was half made holds.
            self.salt = salt
        self.failure = None
        self.begun += 1

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()
        self.asked.close()

    def _open_or_replace(self) -> bool:
        try:
            self._open()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as exc:
            self._replace(str(exc))
            return True
        return False

    def _replace(self, why: str) -> None:
        _log.warning("contacts are damaged and made again from the event log", file=self.path.name, why=why)
        for end in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)
        self._open()

    def _open(self) -> None:
        self.file = connect(self.path)
        try:
            version = self.file.execute("pragma user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise sqlite3.DatabaseError(f"it is of version {version}, not {VERSION}")
            if version == 0:
                self.file.executescript(f"begin; {TABLES} pragma user_version = {VERSION}; commit;")
            self.file.execute("insert into secret select ? where not exists (select 1 from secret)", (os.urandom(16),))
            self.salt = self.file.execute("select salt from secret").fetchone()[0]
            self.asked = connect(self.path)
        except BaseException:
            self.file.close()
            raise


def _is_damage(error: sqlite3.Error | None, *, again: bool = False) -> bool:
    """Whether an error says that the file itself is damaged. again: it was opened anew just before."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or (again and code == sqlite3.SQLITE_IOERR)
