"""Parquet of one view that is never half-seen: part files that do not change, named by a manifest that is swapped."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mailwarden.errors import DataError, StoreError

_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a table holds as of one publication.

    folders: of the parts, oldest first. files: all data files, relative to the table. source_version: version of
    the Delta table that it was computed from, and source_files its files. last_seq: by tenant, for states. facts:
    number of the fact set that it was computed from.
    before: folders that only the publication before this one names; its readers may still be at them.
    """

    view: str
    version: int
    fingerprint: int
    rows: int
    source_version: int
    folders: tuple[str, ...]
    files: tuple[str, ...]
    source_files: tuple[str, ...] = ()
    last_seq: dict[str, int] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    facts: int = 0


class OfflineTable:
    """A table at `root/<view>/v<version>`, with one writer at a time and any number of readers."""

    def __init__(self, root: Path, view: str, version: int) -> None:
        self.path = root / view / f"v{version}"

    def manifest(self) -> Manifest | None:
        """The newest publication, None before the first; raises DataError where it cannot be read."""
        try:
            body = json.loads((self.path / _MANIFEST).read_text())
            for name in ("folders", "files", "source_files", "before"):
                body[name] = tuple(body[name])
            return Manifest(**body)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as exc:
            raise DataError(
                f"{self.path / _MANIFEST} cannot be read ({exc!r}); delete {self.path} and run `mailwarden materialize`"
            ) from exc

    def files(self, manifest: Manifest) -> list[str]:
        """Absolute paths of a publication's data files."""
        return [str(self.path / name) for name in manifest.files]

    def new_folder(self) -> str:
        """Name of a folder for parts that nothing names yet."""
        return f"parts/{uuid.uuid4().hex}"

    def parts_in(self, folder: str) -> tuple[str, ...]:
        """The data files that Spark wrote into a folder, relative to the table."""
        return tuple(sorted(str(path.relative_to(self.path)) for path in (self.path / folder).rglob("*.parquet")))

    def publish(self, manifest: Manifest) -> None:
        """Make a manifest the newest one, at once; what neither it nor the one before names is deleted."""
        for name in manifest.files:
            _sync(self.path / name)
        target = self.path / _MANIFEST
        temporary = self.path / f"{_MANIFEST}.new"
        with temporary.open("w") as out:
            json.dump(asdict(manifest), out)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(target)
        _sync(self.path)
        named = {Path(name).name for name in (*manifest.folders, *manifest.before)}
        for folder in (self.path / "parts").iterdir():
            if folder.name not in named:
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the table for writing; raises StoreError where another process does."""
        with _held(self.path):
            yield


@contextmanager
def one_at_a_time(root: Path) -> Iterator[None]:
    """Hold all tables under a folder for one run; raises StoreError where another process does."""
    with _held(root):
        yield


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise StoreError(
                f"{folder} is being written by another process; wait for it, then run `mailwarden materialize`"
            ) from exc
        yield


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
