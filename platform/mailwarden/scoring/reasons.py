"""Why a message scored as it did: what its detectors say of it, with the features behind each and what is usual."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mailwarden.domain.detection.detector import Evidence, Signal
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.scoring.batch import Scores
from mailwarden.scoring.champion import Champion

REASONS_A_DETECTOR = 3
_EVIDENCE = 6
"""Features that stand beside a reason, at most."""
LEAST_TRUST = 0.3
"""Share of its own weight that a detector's reason keeps, however little the fusion leans on the detector."""


def reasons(
    champion: Champion,
    features: FeatureTable,
    scores: Scores,
    *,
    limit: int = 5,
    silenced: Collection[str] = frozenset(),
) -> list[Signal]:
    """The signals of every detector for one message's worst row, weighted as the fusion weighs them, strongest first.

    silenced: rules that are no reasons.

    No detector fills the list alone, and none is silenced: what adds little to the score may say it best. One that
    failed or abstains has no reasons, and one that cannot explain itself leaves its own out.
    """
    row = champion.deciding(features, scores)
    fusion = scores.combination.fusion
    signals: list[Signal] = []
    for name, detector in champion.detectors.items():
        if name not in scores.detectors:
            continue
        trust = fusion.weights.get(name, 0.0) * abs(fusion.calibrations[name].slope)
        trust = max(trust, LEAST_TRUST)
        try:
            found = detector.explain(row, 0, limit=REASONS_A_DETECTOR + len(silenced))
            kept = [signal for signal in found if signal.name not in silenced][:REASONS_A_DETECTOR]
            own = [backed(champion, signal, row, trust) for signal in kept]
        except Exception as exc:
            champion.failed(name, "explain", exc)
            continue
        signals += own
    return strongest(signals, limit)


def backed(champion: Champion, signal: Signal, row: FeatureTable, trust: float = 1.0) -> Signal:
    """A reason with the values of the features that it rests on in a table of one row, and what is usual. trust: what
    its weight counts."""
    usual = champion.usual
    evidence = tuple([Evidence(name, row.number(name, 0), usual.get(name)) for name in signal.features[:_EVIDENCE]])
    return Signal(signal.name, signal.words, signal.weight * trust, signal.features, evidence)


def strongest(signals: Sequence[Signal], limit: int) -> list[Signal]:
    """At most `limit` signals that add to the score, each name once, strongest first; none that rests on no more than a
    stronger one does."""
    chosen: dict[str, Signal] = {}
    for signal in sorted(signals, key=lambda signal: (-signal.weight, signal.name)):
        told = signal.evidence and any(
            set(signal.features) <= set(other.features) for other in chosen.values() if _is_of_numbers(other)
        )
        if signal.weight > 0 and signal.name not in chosen and not told:
            chosen[signal.name] = signal
    return list(chosen.values())[:limit]


def _is_of_numbers(signal: Signal) -> bool:
    # Of one text much may be said.
    return any(found.value is not None for found in signal.evidence)
