"""Where mail comes from in bulk: a message, a folder, an mbox, a Maildir or an archive, one message at a time."""

from __future__ import annotations

import io
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import DataError
from mailwarden.ingest.archives import is_archive, members_of
from mailwarden.ingest.mbox import read_mbox
from mailwarden.ingest.receive import unwrapped

MBOX_SUFFIXES = (".mbox", ".mbx")
SINGLE_SUFFIXES = (".eml", ".msg", ".txt")

_LOOKED_AT = 16_384
_HEADER = re.compile(
    rb"^(?:from|to|cc|bcc|subject|date|sender|reply-to|received|return-path|message-id|delivered-to|mime-version|"
    rb"content-[a-z-]+|in-reply-to|references|list-[a-z-]+|x-[a-z0-9-]+|arc-[a-z-]+|dkim-signature|"
    rb"authentication-results|envelope-to|status|lines|resent-[a-z-]+|apparently-to|newsgroups|organization)[ \t]*:",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class RawMessage:
    """One message as found. path: its name in the source, with "/"; raw: without an mbox `From ` line, which the
    envelope then speaks for."""

    path: str
    raw: bytes
    envelope: Envelope


class Source(ABC):
    """Messages in the order in which the source holds them; may be iterated again.

    name: for people. base: prefix that makes a message's path one that a label index can be held against: an
    absolute folder, or "" inside an archive. skipped: names of files, in the last iteration, that are no mail.
    Iterating raises DataError where the source breaks off, or holds no mail at all.
    """

    def __init__(self, name: str, base: str) -> None:
        self.name = name
        self.base = base
        self.skipped: list[str] = []

    def __iter__(self) -> Iterator[RawMessage]:
        self.skipped = []
        found = False
        for message in self._messages():
            found = True
            yield message
        if not found:
            raise DataError(f"{self.name} holds no mail. Give a message, an mbox, a Maildir, or a folder of messages.")

    def full_path(self, message: RawMessage) -> str:
        """The message's path with the source's base."""
        return f"{self.base}/{message.path}" if self.base else message.path

    @abstractmethod
    def _messages(self) -> Iterator[RawMessage]: ...

    def _one(self, path: str, file: IO[bytes]) -> Iterator[RawMessage]:
        """What a file holds: the messages of an mbox by its suffix, one message, or none."""
        if path.lower().endswith(MBOX_SUFFIXES):
            for number, message in enumerate(read_mbox(file), 1):
                yield _unwrapped(f"{path}/{number}", message)
            return
        raw = file.read()
        if looks_like_mail(raw):
            yield _unwrapped(path, raw)
        else:
            self.skipped.append(path)


class FileSource(Source):
    """One file with one message; raises DataError where it is no mail."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), str(path.parent))
        self._path = path

    def _messages(self) -> Iterator[RawMessage]:
        with _opened(self._path) as file:
            raw = file.read()
        if not looks_like_mail(raw):
            raise DataError(f"{self._path} is not mail: it begins with no header. Give a message as it was received.")
        yield _unwrapped(self._path.name, raw)


class MboxSource(Source):
    """A file of messages, each after a `From ` line (mboxrd or mboxo); never held whole in memory."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), str(path))
        self._path = path

    def _messages(self) -> Iterator[RawMessage]:
        with _opened(self._path) as file:
            for number, raw in enumerate(read_mbox(file), 1):
                yield _unwrapped(str(number), raw)


class FolderSource(Source):
    """Every message in a folder and those below it, in natural order of names; hidden files are passed over."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), str(path))
        self._path = path

    def _messages(self) -> Iterator[RawMessage]:
        for path in _files(self._path):
            with _opened(path) as file:
                yield from self._one(path.relative_to(self._path).as_posix(), file)


class MaildirSource(Source):
    """A Maildir: `cur`, then `new`; never `tmp`, whose messages are not whole yet."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), str(path))
        self._path = path

    def _messages(self) -> Iterator[RawMessage]:
        for folder in ("cur", "new"):
            for path in _files(self._path / folder):
                with _opened(path) as file:
                    yield from self._one(path.relative_to(self._path).as_posix(), file)


class ArchiveSource(Source):
    """A tar, plain or packed with gzip, bzip2, xz or zstd, read as a stream in its own order."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), "")
        self._path = path

    def _messages(self) -> Iterator[RawMessage]:
        for name, raw in members_of(self._path):
            if not any(part.startswith(".") for part in name.split("/")):
                yield from self._one(name, io.BytesIO(raw))


def open_source(path: Path) -> Source:
    """The source that a path is; raises DataError where there is nothing, or nothing that mail can be read from."""
    path = path.expanduser()
    if not path.exists():
        raise DataError(f"{path} does not exist. Give the path of a message, an mbox, a Maildir, a folder or a tar.")
    path = path.resolve()
    if path.is_dir():
        maildir = (path / "cur").is_dir() and (path / "new").is_dir()
        return MaildirSource(path) if maildir else FolderSource(path)
    if is_archive(path):
        return ArchiveSource(path)
    suffix = path.suffix.lower()
    if suffix in MBOX_SUFFIXES:
        return MboxSource(path)
    with _opened(path) as file:
        mbox = suffix not in SINGLE_SUFFIXES and file.read(5) == b"From "
    return MboxSource(path) if mbox else FileSource(path)


def looks_like_mail(raw: bytes) -> bool:
    """Whether bytes begin as a message does: a header that mail has stands before the first empty line."""
    for line in raw[:_LOOKED_AT].lstrip(b"\xef\xbb\xbf\r\n").splitlines():
        if not line.strip():
            return False
        if _HEADER.match(line):
            return True
    return False


def natural_key(name: str) -> tuple[tuple[int, str | int], ...]:
    """Sorts names as people count: `inmail.2` before `inmail.10`."""
    parts = re.split(r"(\d+)", name)
    return tuple((1, int(part)) if part.isdecimal() and part.isascii() else (0, part) for part in parts)


def _unwrapped(path: str, raw: bytes) -> RawMessage:
    return RawMessage(path, *unwrapped(raw, Envelope()))


def _files(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: natural_key(entry.name))
    except OSError as error:
        raise DataError(f"Folder {folder} cannot be read ({error}). Check its permissions.") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        # A link to a folder could lead back up, and never end.
        if entry.is_dir() and not entry.is_symlink():
            yield from _files(entry)
        elif entry.is_file():
            yield entry


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}). Check the file and its permissions.") from error
