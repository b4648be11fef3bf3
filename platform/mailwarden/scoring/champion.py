"""The detectors and the fusion that serve now, ready to score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import Fusion, Thresholds, sigmoid
from mailwarden.domain.detection.detector import Detector, FeatureTable, Signal
from mailwarden.logs import FailureLog

log = structlog.get_logger(__name__)

REASONS_A_DETECTOR = 3
LEAST_TRUST = 0.3
"""Share of its own weight that a detector's reason keeps, however little the fusion leans on the detector."""


@dataclass(frozen=True)
class Champion:
    """A fitted set of detectors with how their scores combine.

    version: of the bundle in the registry. detector_versions: of each detector's model there.
    content_views: names of the views of the message alone. categoriser: the detector that names the category, "" for
    none. withheld: views that the detectors were trained without, and so must not see. trained_on: by content view
    that its detectors read, the version and fingerprint that gave its training set.
    """

    version: int
    detectors: Mapping[str, Detector]
    detector_versions: Mapping[str, int]
    fusion: Fusion
    thresholds: Thresholds
    content_views: frozenset[str]
    categoriser: str
    withheld: frozenset[str] = frozenset()
    trained_on: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    _failures: FailureLog = field(
        default_factory=lambda: FailureLog(log, "a detector failed", "detector"), init=False, repr=False, compare=False
    )

    @cached_property
    def of_content(self) -> frozenset[str]:
        """Detectors that read nothing but the message, and so give all its recipients the same score."""
        return frozenset(
            name
            for name, detector in self.detectors.items()
            if all(feature.partition(":")[0] in self.content_views for feature in detector.features)
        )

    def score(self, features: FeatureTable) -> Scores:
        """Scores of the rows of ONE message: (n_recipients,) each; content-only detectors run once.

        A detector that raises, or gives anything but a finite score a row, counts as undecided and is `broken`.
        """
        features = self._visible(features)
        raw: dict[str, NDArray[np.float64]] = {}
        broken = []
        first = features.take(np.zeros(1, dtype=np.intp)) if features.n > 1 else features
        for name in self.detectors:
            score = self._raw(name, first if name in self.of_content else features)
            if not np.isfinite(score).all():
                broken.append(name)
                # A score that is no number would compare as good mail; the calibrated even odds say nothing instead.
                calibration = self.fusion.calibrations[name]
                even = -calibration.intercept / calibration.slope if calibration.slope else 0.0
                score = np.where(np.isfinite(score), score, even)
            raw[name] = score if len(score) == features.n else np.repeat(score, features.n)
        logit = self.fusion.logit(raw)
        worst = int(np.argmax(logit))
        probability = {name: float(self.fusion.probability(name, score)[worst]) for name, score in raw.items()}
        return Scores(worst, float(logit[worst]), float(sigmoid(logit)[worst]), probability, tuple(broken))

    def category(self, features: FeatureTable, scores: Scores) -> str:
        """The likeliest category of the worst row; SP where no detector names one."""
        detector = self.detectors.get(self.categoriser)
        if detector is None:
            return "SP"
        try:
            named = detector.categorise(_row(self._visible(features), scores.worst))
        except Exception as exc:
            self._failed(self.categoriser, "categorise", exc)
            return "SP"
        return named[0] if named else "SP"

    def reasons(self, features: FeatureTable, scores: Scores, *, limit: int = 5) -> list[Signal]:
        """The signals of every detector for the worst row, weighted as the fusion weighs them, strongest first.

        No detector fills the list alone, and none is silenced: what adds little to the score may say it best. A
        broken detector has no reasons, and one that cannot explain itself leaves its own out.
        """
        row = _row(self._visible(features), scores.worst)
        signals: list[Signal] = []
        for name, detector in self.detectors.items():
            if name in scores.broken:
                continue
            trust = self.fusion.weights.get(name, 0.0) * abs(self.fusion.calibrations[name].slope)
            trust = max(trust, LEAST_TRUST)
            try:
                found = detector.explain(row, 0, limit=REASONS_A_DETECTOR)
                own = [Signal(s.name, s.words, s.weight * trust) for s in found]
            except Exception as exc:
                self._failed(name, "explain", exc)
                continue
            signals += own
        return strongest(signals, limit)

    def _raw(self, name: str, features: FeatureTable) -> NDArray[np.float64]:
        # A team's code may fail in any way; one detector must cost neither the decision nor the event.
        try:
            score = np.asarray(self.detectors[name].score(features), dtype=np.float64)
        except Exception as exc:
            self._failed(name, "score", exc)
            return np.full(features.n, np.nan)
        if score.shape != (features.n,) or not np.isfinite(score).all():
            self._failed(name, "score", None)
        return score if score.shape == (features.n,) else np.full(features.n, np.nan)

    def _failed(self, name: str, what: str, exc: Exception | None) -> None:
        self._failures.add(name, exc, without="no finite score a row", doing=what)

    def _visible(self, features: FeatureTable) -> FeatureTable:
        if not self.withheld:
            return features
        columns = {
            name: _nulls(column) if name.partition(":")[0] in self.withheld else column
            for name, column in features.columns.items()
        }
        return FeatureTable(columns, features.n)


@dataclass(frozen=True, slots=True)
class Scores:
    """One message's scores: its worst row, fused log-odds and probability there, and calibrated ones by detector.

    broken: detectors that raised or gave no finite score, and so counted as undecided.
    """

    worst: int
    logit: float
    probability: float
    detectors: Mapping[str, float]
    broken: tuple[str, ...]


def _nulls(column: NDArray[Any]) -> NDArray[Any]:
    return np.full(len(column), None, dtype=object) if column.dtype == object else np.full(len(column), np.nan)


def _row(features: FeatureTable, row: int) -> FeatureTable:
    return features if features.n == 1 else features.take(np.array([row], dtype=np.intp))


def strongest(signals: Sequence[Signal], limit: int) -> list[Signal]:
    """At most `limit` signals that add to the score, each name once, strongest first."""
    best: dict[str, Signal] = {}
    for signal in signals:
        if signal.weight > 0 and (signal.name not in best or best[signal.name].weight < signal.weight):
            best[signal.name] = signal
    return sorted(best.values(), key=lambda signal: (-signal.weight, signal.name))[:limit]
