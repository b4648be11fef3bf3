"""The detectors and the fusion that serve now, ready to score.

A detector may be away: it did not load, or it raises. Scores of the others mean less together than all of them, and
thresholds of the whole are not theirs. So with one away the fusion counts that was fitted without it, with thresholds
of its own (`Bundle.without`). With more away likewise, but nothing stronger than a banner is given. With none that fits
(a bundle from before these were kept, none left) the whole's counts with the absent ones undecided, and no more than a
banner either.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import Combination, Fusion, Thresholds, Verdict, away_name, sigmoid
from mailwarden.domain.detection.detector import Detector, FeatureTable, Signal
from mailwarden.logs import FailureLog
from mailwarden.stores.bundle import Bundle

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
    that its detectors read, the version and fingerprint that gave its training set. without: what counts where a
    detector is away, by its name. away: detectors of the bundle that did not load, by name, with why.
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
    without: Mapping[str, Combination] = field(default_factory=dict)
    away: Mapping[str, str] = field(default_factory=dict)
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

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        classes: Mapping[str, type[Detector]],
        *,
        version: int,
        content_views: frozenset[str],
        unread: Mapping[str, str] | None = None,
    ) -> Champion:
        """A bundle with those of its detectors that load; the others are `away`, and logged.

        unread: why a folder of detectors holds no class, by its name.
        """
        detectors, away = bundle.load_each(classes, unread)
        for name, why in away.items():
            log.error("a detector is away; the others serve without it", detector=name, why=why, bundle=version)
        return cls(
            version=version,
            detectors=detectors,
            detector_versions={name: bundle.versions[name] for name in detectors},
            fusion=bundle.fusion,
            thresholds=bundle.thresholds,
            content_views=content_views,
            categoriser=bundle.categoriser,
            withheld=frozenset(bundle.record["options"]["ablate"]),
            trained_on={name: (int(v), int(f)) for name, (v, f) in bundle.record.get("content", {}).items()},
            without=bundle.without,
            away=away,
        )

    def combination(self, away: Collection[str]) -> tuple[Combination, bool]:
        """How scores become a verdict with some detectors away, and whether more than a banner may be given."""
        if not away:
            return Combination(self.fusion, self.thresholds), True
        found = self.without.get(away_name(away))
        if found is not None:
            few = len(away) > 1
            return (Combination(found.fusion, found.thresholds.banner_at_most()) if few else found), not few
        return Combination(self.fusion.leaving_out(away), self.thresholds.banner_at_most()), False

    def score(self, features: FeatureTable) -> Scores:
        """Scores of the rows of ONE message: (n_recipients,) each; content-only detectors run once.

        A detector that raises, or gives anything but a finite score a row, is `broken` and away for this message.
        """
        features = self._visible(features)
        raw: dict[str, NDArray[np.float64]] = {}
        broken = []
        first = features.take(np.zeros(1, dtype=np.intp)) if features.n > 1 else features
        for name in self.detectors:
            score = self._raw(name, first if name in self.of_content else features)
            if not np.isfinite(score).all():
                # A score that is no number would compare as good mail.
                broken.append(name)
                continue
            raw[name] = score if len(score) == features.n else np.repeat(score, features.n)
        combination, enough = self.combination({*self.away, *broken})
        fusion = combination.fusion
        # Where no detector is left the sum is one number.
        logit = np.broadcast_to(fusion.logit(raw), (features.n,))
        worst = int(np.argmax(logit))
        probability = {name: float(fusion.probability(name, score)[worst]) for name, score in raw.items()}
        return Scores(
            worst, float(logit[worst]), float(sigmoid(logit)[worst]), probability, tuple(broken), combination, enough
        )

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
            fusion = scores.combination.fusion
            trust = fusion.weights.get(name, 0.0) * abs(fusion.calibrations[name].slope)
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

    broken: detectors that raised or gave no finite score, and so were away. combination: what the log-odds come of, and
    the thresholds that they are held against. enough: more than a banner may be given.
    """

    worst: int
    logit: float
    probability: float
    detectors: Mapping[str, float]
    broken: tuple[str, ...]
    combination: Combination
    enough: bool = True

    def verdict(self, budget: float | None) -> Verdict:
        """The strongest verdict that the log-odds reach, within a tenant's own false-positive budget."""
        return self.combination.thresholds.within(budget).verdict(self.logit)


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
