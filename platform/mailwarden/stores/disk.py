"""What the disk says when it takes no more, or gives damaged bytes back: which disk, which file, and what to do."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mailwarden.errors import StoreError, StoreUnavailable

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_FULL_WORDS = re.compile(r"no space left on device|disk quota exceeded|database or disk is full", re.IGNORECASE)


def is_full(error: BaseException) -> bool:
    """Whether an error, or what it came of, says that a disk takes no more; libraries may say so in words alone."""
    seen: BaseException | None = error
    while seen is not None:
        if (isinstance(seen, OSError) and seen.errno in FULL) or _FULL_WORDS.search(str(seen)):
            return True
        seen = seen.__cause__
    return False


def mount_of(path: Path) -> Path:
    """The mount point of the disk that a path lies on, whether or not it exists yet."""
    place = path.expanduser().absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    place = place.resolve()
    while not place.is_mount():
        place = place.parent
    return place


def free_bytes(path: Path) -> int:
    """Bytes that are free to this user on the disk that a path lies on."""
    found = os.statvfs(mount_of(path))
    return found.f_bavail * found.f_frsize


def full_disk(path: Path, doing: str) -> StoreUnavailable:
    """The error for a disk that took no more: its mount point, what is free, and the mend.

    doing: what was tried, for people, as "the spool cannot be written".
    """
    try:
        found = os.statvfs(mount_of(path))
        what = f"{found.f_bavail * found.f_frsize:,} bytes and {found.f_favail:,} files are free there"
    except OSError:
        what = "what is free there cannot be told"
    return StoreUnavailable(
        f"{doing}: the disk at {mount_of(path)} is full ({what}; {path}). Free or enlarge it; nothing that was "
        "acknowledged is lost, and mail goes on by itself then."
    )


@contextmanager
def full_disk_named(path: Path, doing: str) -> Iterator[None]:
    """Raise StoreUnavailable, with the disk named, where what is inside fails for want of space; others pass.

    path: what is written. Use it inside of a store's own translation of errors.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, StoreUnavailable) and is_full(error):
            raise full_disk(path, doing) from error
        raise


def damaged(path: Path | str, what: str, error: BaseException, mend: str) -> StoreError:
    """The error for a file whose bytes are not what was written. what: as "a file of the event log"."""
    return StoreError(f"{path}, {what}, is damaged or unreadable ({_first_line(error)}). {mend}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
