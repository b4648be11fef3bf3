"""Label indexes: text files that say, line by line, what a message is."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailwarden.domain.mail.events import LABEL_SOURCES, LABELS, LabelSource
from mailwarden.errors import DataError
from mailwarden.ingest.archives import normal_name, read_member

_LABELS = {label.lower(): label for label in LABELS}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LABEL_DELAY_DAYS = 1.0
"""Days from a message to when its label became known, where nothing says."""


@dataclass(frozen=True, slots=True)
class GivenLabel:
    """A label as an index gives it.

    label: one of `domain.mail.events.LABELS`. known_us: when it was given, microseconds UTC, None where the index does
    not say. source, stands_for: see `domain.mail.events.Event`.
    """

    label: str
    known_us: int | None = None
    source: LabelSource = "index"
    stands_for: int = 0

    def known_at_us(self, received_us: int, delay_us: int) -> int:
        """When the label of a message received then became known: never before it came, and after the delay where the
        index does not say."""
        return received_us + delay_us if self.known_us is None else max(received_us, self.known_us)


@dataclass(frozen=True, slots=True)
class LabelEntry:
    """One line. label: one of `domain.mail.events.LABELS`; path: normalised, against the index's own folder; end: as
    written, without leading "../"; selected: False where the index writes `Spam` or `Ham` so, its way to set a
    message apart from its subset.

    known_us, source, stands_for: see `GivenLabel`.
    """

    label: str
    path: str
    end: str
    selected: bool
    known_us: int | None = None
    source: LabelSource = "index"
    stands_for: int = 0

    @property
    def given(self) -> GivenLabel:
        """The label with when it was given and how it came about."""
        return GivenLabel(self.label, self.known_us, self.source, self.stands_for)


class LabelIndex:
    """The labels of an index, found by a message's path."""

    def __init__(self, name: str, entries: Iterable[LabelEntry]) -> None:
        self.name = name
        self._entries: dict[str, LabelEntry] = {}
        self._ends: dict[str, LabelEntry | None] = {}
        for entry in entries:
            self._entries[entry.path] = entry
            # Two paths with one end tell nothing apart by it.
            self._ends[entry.end] = None if self._ends.get(entry.end, entry) != entry else entry
        self._root = _common_folder(self._entries)

    @classmethod
    def read(cls, path: Path, member: str | None = None) -> LabelIndex:
        """Read an index from a file, or from a member of an archive.

        Each line is `label path`: ham, spam or a category code in any letter case, then a path relative to the
        index's folder. Behind the path, each after a tab and in either order, may stand when the label was given (a
        date, or a time by RFC 3339, UTC where it names no zone) and how it came about: `user`, `analyst`, `audit`, or
        `audit/50` of a message that was drawn as one of 50. Raises DataError, with the line's number, on a line that
        is not so, and on a path that is given two labels.
        """
        if member is not None:
            name = f"{path}:{member}"
            return cls(name, _entries(name, posixpath.dirname(normal_name(member)), read_member(path, member)))
        try:
            data = path.expanduser().read_bytes()
        except OSError as error:
            raise DataError(f"Label index {path} cannot be read ({error}). Check the path.") from error
        return cls(str(path), _entries(str(path), str(path.expanduser().resolve().parent), data))

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[LabelEntry]:
        return iter(self._entries.values())

    def find(self, full_path: str) -> LabelEntry | None:
        """The entry of a message by `Source.full_path`.

        The same path; for mail that lies elsewhere than the index says (an archive unpacked, a folder moved), the
        longest end of its path that the index names.
        """
        entry = self._entries.get(full_path)
        if entry is not None or _is_below(full_path, self._root):
            return entry
        rest = full_path
        while rest:
            if rest in self._ends:
                return self._ends[rest]
            rest = rest.partition("/")[2]
        return None

    def selects(self, full_path: str) -> bool:
        """Whether a message is labelled and belongs to the index's subset."""
        entry = self.find(full_path)
        return entry is not None and entry.selected


def _entries(name: str, folder: str, data: bytes) -> Iterator[LabelEntry]:
    seen: dict[str, str] = {}
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").splitlines(), 1):
        if not line.strip():
            continue
        word, _, rest = line.strip().partition(" ")
        rest, *columns = rest.strip().split("\t")
        label = _LABELS.get(word.lower())
        if label is None or not rest.strip():
            raise DataError(
                f"Label index {name}, line {number}: expected `label path`, the label one of {', '.join(LABELS)}."
            )
        try:
            told = _told(columns)
        except ValueError as exc:
            raise DataError(
                f"Label index {name}, line {number}: {exc} is neither when the label was given (2026-01-31 or "
                f"2026-01-31T08:30:00Z) nor how it came about (user, analyst, audit, audit/50)."
            ) from exc
        path = posixpath.normpath(posixpath.join(folder, rest.strip()))
        if seen.setdefault(path, label) != label:
            raise DataError(
                f"Label index {name}, line {number}: {rest.strip()} is {label} here and {seen[path]} above. "
                "Leave one label a message."
            )
        end = posixpath.normpath(rest.strip()).replace("../", "").lstrip("/")
        yield LabelEntry(label, path, end, not (label in ("ham", "spam") and word[0].isupper()), *told)


def _told(columns: Iterable[str]) -> tuple[int | None, LabelSource, int]:
    """When a label was given, how it came about and for how many messages it stands; raises ValueError naming a column
    that is none of these."""
    known_us: int | None = None
    source: LabelSource = "index"
    stands_for = 0
    for column in filter(None, (column.strip() for column in columns)):
        said, _, share = column.partition("/")
        known = next((one for one in LABEL_SOURCES if one == said), None)
        if known is not None and (not share or (known == "audit" and share.isdecimal() and int(share))):
            source, stands_for = known, int(share or 0)
            continue
        try:
            time = datetime.fromisoformat(column)
        except ValueError:
            raise ValueError(repr(column)) from None
        known_us = ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)
    return known_us, source, stands_for


def _common_folder(paths: Iterable[str]) -> str:
    try:
        return posixpath.commonpath([posixpath.dirname(path) for path in paths])
    except ValueError:
        return ""


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/") if folder else not path.startswith("/")
