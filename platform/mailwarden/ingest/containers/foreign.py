"""Archives that libarchive reads: RAR, 7-Zip, Cabinet, ISO 9660, LHA, cpio.

Only the format that the bytes bear is switched on, and no filter: nothing is unpacked that was not asked for, and what
comes out is counted block by block. A library that asks for memory as an archive tells it to is refused what goes
beyond a bound; see `_memory_bound`.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mailwarden.domain.status import Status
from mailwarden.ingest.budget import INNER_FILES, UNPACKED_SLOWLY
from mailwarden.ingest.containers.contents import Contents, Member, member_of

MAX_ENTRIES = 1_000
MAX_READ = 2 << 20
"""Bytes of one file that are read."""
_MEMORY = 192 << 20
_BLOCK = 1 << 16
_FORMATS = {
    "application/x-7z-compressed": "7zip",
    "application/vnd.ms-cab-compressed": "cab",
    "application/x-iso9660-image": "iso9660",
    "application/x-lha": "lha",
    "application/x-cpio": "cpio",
}
_RAR5 = b"Rar!\x1a\x07\x01\0"
_SKIPS_WITHOUT_READING = frozenset(("iso9660", "lha", "rar", "cpio"))
FOREIGN_TYPES = (*_FORMATS, "application/x-rar")
"""Content types that are opened here."""


def open_foreign(data: bytes, contents: Contents, kind: str) -> None:
    """The files of an archive of one of `FOREIGN_TYPES`."""
    contents.traits.add("archive")
    name = _FORMATS.get(kind) or ("rar5" if _RAR5 in data[:1_000_000] else "rar")
    with _memory_bound():
        if name == "7zip":
            # Names first: its directory is read apart, and files before a long one must not hide those behind it.
            names = list(_entries(data, name, contents, read=False))
            contents.members += names[len(contents.members) :]
            read = list(_entries(data, name, contents, read=True)) if names else []
            contents.members[: len(read)] = read
        else:
            contents.members += _entries(data, name, contents, read=True)


def load_library() -> Any:
    """libarchive; raises OSError where the system has none."""
    # By its soname: a search for it starts a compiler or two.
    os.environ.setdefault("LIBARCHIVE", "libarchive.so.13")
    import libarchive
    import libarchive.exception

    return libarchive


def _entries(data: bytes, name: str, contents: Contents, *, read: bool) -> Iterator[Member]:
    libarchive = load_library()
    try:
        with libarchive.memory_reader(data, format_name=name, filter_name="none") as archive:
            for number, entry in enumerate(archive):
                if number >= MAX_ENTRIES:
                    contents.reading.over(INNER_FILES, contents.part)
                    contents.traits.add("over_budget")
                    return
                if entry.isdir:
                    continue
                member = _member(entry, name, contents, read)
                if member is None:
                    return
                yield member
    except libarchive.exception.ArchiveError as error:
        contents.unread(Status.ENCRYPTED if _is_locked(error) else Status.DAMAGED)


def _member(entry: Any, name: str, contents: Contents, read: bool) -> Member | None:
    """A file, read as far as may be; None where nothing more may be read of the archive."""
    title, size = str(entry.pathname or ""), int(entry.size or 0)
    if not read:
        return member_of(title, b"") if not size else Member(title, size, lambda most: b"")
    left = contents.reading.budget.left(UNPACKED_SLOWLY)
    if not left and size:
        contents.take(1, UNPACKED_SLOWLY)
        return None
    wanted = _BLOCK if size > MAX_READ and name in _SKIPS_WITHOUT_READING else left
    pieces, got = [], 0
    try:
        for block in entry.get_blocks(_BLOCK):
            granted = contents.take(len(block), UNPACKED_SLOWLY)
            if got < MAX_READ:
                pieces.append(bytes(block[:granted]))
            got += granted
            if granted < len(block) or got >= wanted:
                break
    except Exception as error:
        encrypted = _is_locked(error)
        contents.unread(Status.ENCRYPTED if encrypted else Status.DAMAGED)
        return Member(title, size, lambda most: b"", encrypted)
    whole = b"".join(pieces)
    return Member(title, max(size, got), lambda most: whole[:most])


def _is_locked(error: Exception) -> bool:
    words = str(error).lower()
    return "encrypt" in words or "crypto" in words or "passphrase" in words or "password" in words


@contextmanager
def _memory_bound() -> Iterator[None]:
    """No more address space than now and a bound above it: what an archive's head asks for beyond that is refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        with open("/proc/self/statm", "rb") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        yield
        return
    bound = now + _MEMORY if hard == resource.RLIM_INFINITY else min(now + _MEMORY, hard)
    if soft != resource.RLIM_INFINITY and soft <= bound:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
