"""From the scores of a replay to its figures, and the scores as a file."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.mail.events import LABELS
from mailwarden.errors import DataError
from mailwarden.evaluation.figures import evaluate, latency_figures, ranked
from mailwarden_services.replay.live import rfc3339
from mailwarden_services.scoring_api.times import microseconds

GOOD = "ham"
SCORE_COLUMNS = ("path", "received_at", "label", "score", "verdict", "category")
"""Columns of scores.csv that are no detector's."""

_NEAREST_ONE = 1.0 - 2.0**-53
_NEAREST_ZERO = 1e-300

Times = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class ScoreTable:
    """What a replay was answered, a row a message in order of arrival.

    path: in the source. received_at_us: (n,) microseconds UTC. label: codes of `events.LABELS`, "" where unknown.
    log_odds, score: (n,) fused; score 0..1, higher is worse. verdict: as answered. category: "" where there is none.
    detectors: by name (n,) calibrated probabilities, NaN where a
    detector gave none. latency_seconds: (n,), NaN where it was not measured.
    Raises DataError where the columns differ in length or a label is not known.
    """

    path: Sequence[str]
    received_at_us: Times
    label: Sequence[str]
    log_odds: Values
    score: Values
    verdict: Sequence[str]
    category: Sequence[str]
    detectors: Mapping[str, Values]
    latency_seconds: Values

    def __post_init__(self) -> None:
        words = (self.path, self.label, self.verdict, self.category)
        numbers = (self.received_at_us, self.log_odds, self.score, self.latency_seconds, *self.detectors.values())
        lengths = {len(column) for column in words} | {len(column) for column in numbers}
        if len(lengths) != 1:
            raise DataError(f"the columns of a score table have {sorted(lengths)} rows; give each one value a message")
        unknown = sorted(set(self.label) - {*LABELS, ""})
        if unknown:
            raise DataError(f"a score table has the label {unknown[0]!r}; use one of {', '.join(LABELS)}")

    def __len__(self) -> int:
        return len(self.path)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(n,) whether the label is known."""
        return np.array([label != "" for label in self.label], dtype=bool)

    @property
    def bad(self) -> NDArray[np.bool_]:
        """(n,) whether the label is known and not ham."""
        return np.array([label not in ("", GOOD) for label in self.label], dtype=bool)

    def rows(self, chosen: NDArray[np.bool_]) -> ScoreTable:
        """The table of the rows where (n,) `chosen` is true: a subset's figures are those of its own table."""
        at = np.flatnonzero(chosen).tolist()
        return ScoreTable(
            path=[self.path[i] for i in at],
            received_at_us=self.received_at_us[at],
            label=[self.label[i] for i in at],
            log_odds=self.log_odds[at],
            score=self.score[at],
            verdict=[self.verdict[i] for i in at],
            category=[self.category[i] for i in at],
            detectors={name: values[at] for name, values in self.detectors.items()},
            latency_seconds=self.latency_seconds[at],
        )


def figures(table: ScoreTable, threshold_log_odds: float | None = None) -> dict[str, Any]:
    """Every figure of a score table as plain JSON values.

    threshold_log_odds: fused log-odds from which a message counts as flagged, for LAM%; None leaves LAM% out.
    Returns n, unlabelled, fused and detectors (each `Evaluation.as_json`, over labelled messages), verdicts (how
    many of each label got each), categories (of flagged bad messages, how many got each category, by label)
    and latency.
    """
    known = table.rows(table.labelled)
    return {
        "n": len(table),
        "unlabelled": len(table) - len(known),
        "fused": evaluate(known.log_odds, known.bad, known.label, threshold=threshold_log_odds).as_json(),
        "detectors": {
            name: evaluate(ranked(values), known.bad, known.label).as_json() for name, values in known.detectors.items()
        },
        "verdicts": _counts(known.label, known.verdict),
        "categories": _counts(*_named(known)),
        "latency": latency_figures(table.latency_seconds * 1_000.0),
    }


def _named(table: ScoreTable) -> tuple[list[str], list[str]]:
    pairs = [
        (label, category)
        for label, category in zip(table.label, table.category, strict=True)
        if label != GOOD and category
    ]
    return [label for label, _ in pairs], [category for _, category in pairs]


def _counts(rows: Sequence[str], columns: Sequence[str]) -> dict[str, dict[str, int]]:
    counted = Counter(zip(rows, columns, strict=True))
    table: dict[str, dict[str, int]] = {}
    for row, column in sorted(counted):
        table.setdefault(row, {})[column] = counted[row, column]
    return table


def write_scores(path: Path, table: ScoreTable) -> Path:
    """Write scores.csv, whole or not at all: `SCORE_COLUMNS`, then a column a detector; times in RFC 3339, UTC."""
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*SCORE_COLUMNS, *table.detectors])
        scores = [table.score, *table.detectors.values()]
        for i in range(len(table)):
            # repr of a float reads back as the same float, so that ranks survive the file.
            score, *detectors = ["" if np.isnan(values[i]) else repr(float(values[i])) for values in scores]
            received_at = rfc3339(int(table.received_at_us[i]))
            facts = [table.path[i], received_at, table.label[i], score, table.verdict[i], table.category[i]]
            writer.writerow([*facts, *detectors])
    os.replace(part, path)
    return path


def read_scores(path: Path) -> ScoreTable:
    """The table of a scores.csv; its log-odds are those of the scores, its latencies NaN.

    Raises DataError where the file cannot be read as one.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            header, *rows = list(csv.reader(file))
        if tuple(header[: len(SCORE_COLUMNS)]) != SCORE_COLUMNS or any(len(row) != len(header) for row in rows):
            raise ValueError(f"its columns are not {', '.join(SCORE_COLUMNS)} and a column a detector")
        score = np.array([float(row[3]) for row in rows])
        clipped = np.clip(score, _NEAREST_ZERO, _NEAREST_ONE)
        return ScoreTable(
            path=[row[0] for row in rows],
            received_at_us=np.array([microseconds(datetime.fromisoformat(row[1])) for row in rows], dtype=np.int64),
            label=[row[2] for row in rows],
            log_odds=np.log(clipped) - np.log1p(-clipped),
            score=score,
            verdict=[row[4] for row in rows],
            category=[row[5] for row in rows],
            detectors={
                name: np.array([float(row[len(SCORE_COLUMNS) + i] or "nan") for row in rows])
                for i, name in enumerate(header[len(SCORE_COLUMNS) :])
            },
            latency_seconds=np.full(len(rows), np.nan),
        )
    except (OSError, ValueError, TypeError) as exc:
        raise DataError(f"{path} cannot be read as a scores.csv: {exc}; write it by `mailwarden replay`") from exc
