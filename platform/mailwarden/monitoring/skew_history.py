"""The history of skew measurements: one line of JSON a run, in a file that only grows."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mailwarden.errors import StoreError
from mailwarden.monitoring.skew_report import SkewReport


@dataclass(frozen=True, slots=True)
class ViewRun:
    """A view's share of a run: values compared, and what of them was wrong or late; rows whose status was.

    changed, gone: as in `ViewSkew`.
    """

    view: str
    rows: int
    compared: int
    with_history: int
    mismatches: int
    status_mismatches: int
    stale: int
    behind: int
    changed: int = 0
    gone: int = 0


@dataclass(frozen=True, slots=True)
class SkewRun:
    """One measurement. at_us: when it was made, microseconds UTC. events, vectors: versions of the two logs.

    agrees: see `SkewReport.agrees`. scores_compared, scores_different, scores_unanswered: rows of the score log.
    """

    at_us: int
    events: int
    vectors: int
    agrees: bool
    views: tuple[ViewRun, ...]
    scores_compared: int = 0
    scores_different: int = 0
    scores_unanswered: int = 0

    @property
    def at(self) -> str:
        """When it was made, to the second."""
        return datetime.fromtimestamp(self.at_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def run_of(report: SkewReport, *, at_us: int, events: int, vectors: int) -> SkewRun:
    """What is kept of a report. events, vectors: versions of the two logs."""
    views = []
    for line in report.views:
        features = [feature for feature in report.features if feature.view == line.view]
        views.append(
            ViewRun(
                line.view,
                line.compared,
                sum(feature.compared for feature in features),
                sum(feature.with_history for feature in features),
                sum(feature.mismatches for feature in features),
                line.status_mismatches,
                sum(feature.stale for feature in features),
                line.behind,
                line.changed,
                line.gone,
            )
        )
    scores = report.scores
    rows = scores.compared, scores.different, sum(scores.unanswered.values())
    return SkewRun(at_us, events, vectors, report.agrees, tuple(views), *rows)


class SkewHistory:
    """The runs kept at `path`; runs at once add a line each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, run: SkewRun) -> None:
        """Keep a run; raises StoreError where the file cannot be written."""
        line = json.dumps(asdict(run), separators=(",", ":")).encode() + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                size = os.fstat(handle).st_size
                # A line that a crash cut short must not swallow this one.
                torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
                os.write(handle, b"\n" + line if torn else line)
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as exc:
            raise StoreError(f"skew history {self._path} cannot be written ({exc}); see to its folder") from exc

    def runs(self) -> list[SkewRun]:
        """All runs, the oldest first; a line that was cut short is passed over."""
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise StoreError(f"skew history {self._path} cannot be read ({exc}); see to its folder") from exc
        return [run for line in lines if (run := _read(line)) is not None]


def _read(line: str) -> SkewRun | None:
    try:
        found: dict[str, Any] = json.loads(line)
        return SkewRun(**{**found, "views": tuple(ViewRun(**view) for view in found["views"])})
    except (ValueError, TypeError, KeyError):
        return None
