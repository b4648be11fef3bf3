"""What detectors say of rows that they did not learn from, fused and judged message by message."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import Fusion
from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.evaluation.figures import worst_by_message
from mailwarden.training.calibrate import SPECIALIST_RIDGE, fuse
from mailwarden.training.dataset import LabelledRows
from mailwarden.training.split import TimeSplit


@dataclass(frozen=True, slots=True)
class Said:
    """What detectors say of the held-out rows: (n,) of all rows, raw scores NaN elsewhere, and where they abstain."""

    raw: Mapping[str, NDArray[np.float64]]
    silent: Mapping[str, NDArray[np.bool_]]

    @classmethod
    def of(
        cls, fitted: Mapping[str, Detector], tables: Mapping[str, FeatureTable], index: NDArray[np.intp], n: int
    ) -> Said:
        """What fitted detectors say of the rows at `index`, of n; tables: of these rows alone."""
        raw, silent = {}, {}
        for name, detector in fitted.items():
            said = detector.score(tables[name])
            raw[name] = np.full(n, np.nan)
            raw[name][index] = said.raw
            silent[name] = np.zeros(n, dtype=np.bool_)
            if said.abstains is not None:
                silent[name][index] = said.abstains
        return cls(raw, silent)

    @classmethod
    def joined(cls, parts: Sequence[Said], indices: Sequence[NDArray[np.intp]]) -> Said:
        """Of the rows of each part, at its own indices, which no two share."""
        raw = {name: score.copy() for name, score in parts[0].raw.items()}
        silent = {name: marks.copy() for name, marks in parts[0].silent.items()}
        for part, index in zip(parts[1:], indices[1:], strict=True):
            for name in raw:
                raw[name][index] = part.raw[name][index]
                silent[name][index] = part.silent[name][index]
        return cls(raw, silent)

    def with_others(self, others: Said) -> Said:
        """The same with detectors replaced by those of `others`."""
        return Said({**self.raw, **others.raw}, {**self.silent, **others.silent})

    def without(self, names: Collection[str]) -> Said:
        """The same without these detectors."""
        return Said(
            {name: score for name, score in self.raw.items() if name not in names},
            {name: marks for name, marks in self.silent.items() if name not in names},
        )

    def at(self, index: NDArray[np.intp]) -> Said:
        """Of these rows alone, (len(index),) each."""
        return Said(
            {name: score[index] for name, score in self.raw.items()},
            {name: marks[index] for name, marks in self.silent.items()},
        )

    def fused(
        self,
        rows: LabelledRows,
        index: NDArray[np.intp],
        ridge: float,
        specialists: Collection[str] = (),
        held: float = SPECIALIST_RIDGE,
    ) -> Fusion:
        """The fusion that fits the rows at `index`; ridge, specialists, held: see `calibrate.fuse`. Raises DataError
        where a class is absent."""
        own, bad, weight = self.at(index), rows.bad[index], rows.weight[index]
        return fuse(own.raw, bad, weight, own.silent, ridge=ridge, specialists=specialists, held=held)


@dataclass(frozen=True, slots=True)
class Judged:
    """Messages of the judging part: the worst score of their rows, by detector and fused (log-odds)."""

    bad: NDArray[np.bool_]
    labels: Sequence[str]
    by_detector: Mapping[str, NDArray[np.float64]]
    fused: NDArray[np.float64]

    @classmethod
    def of(cls, rows: LabelledRows, split: TimeSplit, said: Said, fusion: Fusion) -> Judged:
        """Of the messages that judge."""
        last = np.flatnonzero(split.judge[rows.message])
        number = (np.cumsum(split.judge) - 1)[rows.message[last]]
        n = int(split.judge.sum())
        first = rows.of_messages()[split.judge]
        own = said.at(last)
        # Who abstains catches nothing.
        spoken = {
            name: np.where(own.silent[name], np.min(score, initial=0.0) - 1.0, score) for name, score in own.raw.items()
        }
        return cls(
            bad=rows.bad[first],
            labels=[rows.labels[row] for row in first],
            by_detector={name: worst_by_message(number, score, n) for name, score in spoken.items()},
            fused=worst_by_message(number, fusion.logit(own.raw, own.silent), n),
        )
