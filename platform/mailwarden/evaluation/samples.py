"""A bounded sample of what was judged, drawn by seed: errors, and what was judged rightly beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.rules.signals import DERIVED, derived, read_by
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.resampling import SEED
from mailwarden.evaluation.scored import Scored

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MISSED, WRONGLY_HELD = "missed", "wrongly held"
CAUGHT, DELIVERED = "caught", "delivered"
OUTCOMES = (MISSED, WRONGLY_HELD, CAUGHT, DELIVERED)
"""What became of a labelled message at the deployed thresholds (junk and quarantine hold); the first two are errors."""

MOST: Mapping[str, int] = {MISSED: 1_000, WRONGLY_HELD: 1_000, CAUGHT: 4_000, DELIVERED: 4_000}
"""Messages of each outcome that are looked at; of more so many are drawn."""


def outcomes(scored: Scored) -> Coded:
    """The outcome of each message, none where it has no label."""
    code = np.where(scored.bad, np.where(scored.held_back, 2, 0), np.where(scored.held_back, 1, 3))
    return Coded(np.where(scored.labelled, code, -1).astype(np.int32), OUTCOMES)


def drawn(
    outcome: Coded, chosen: Flags, most: Mapping[str, int] = MOST, *, seed: int = SEED
) -> tuple[NDArray[np.intp], Floats]:
    """(k,) rising positions of the messages that are looked at, and how many of their outcome each stands for."""
    random = np.random.default_rng(seed)
    places, weights = [], []
    for word in OUTCOMES:
        own = np.flatnonzero(outcome.has(word) & chosen)
        kept = own if len(own) <= most[word] else random.choice(own, most[word], replace=False)
        places.append(kept)
        weights.append(np.full(len(kept), len(own) / max(1, len(kept))))
    place, weight = np.concatenate(places), np.concatenate(weights)
    order = np.argsort(place)
    return place[order], weight[order]


@dataclass(frozen=True, slots=True)
class Sample:
    """n messages that were drawn, in order of time.

    rows: their deciding rows, of numeric features alone. names: features, and of `signals.DERIVED` what can be told of
    them; values: (n, names), NaN for null. detectors: names; said: (n, detectors) calibrated log-odds, NaN where
    nothing was said. outcome: of `OUTCOMES`. weight: (n,) how many each stands for. early: (n,) whether it came in the
    earlier half of the time.
    """

    tenant: Coded
    message_id: pa.Array
    at_us: NDArray[np.int64]
    label: Coded
    outcome: Coded
    weight: Floats
    early: Flags
    rows: FeatureTable
    names: tuple[str, ...]
    values: Floats
    detectors: tuple[str, ...]
    said: Floats

    def __len__(self) -> int:
        return len(self.at_us)

    @classmethod
    def of(
        cls, scored: Scored, place: NDArray[np.intp], weight: Floats, early: Flags, rows: FeatureTable,
        features: Sequence[str],
    ) -> Sample:  # fmt: skip
        """scored: all that was judged. place, weight: as `drawn` gives them. early: (k,). rows: k, with these numeric
        features at least."""
        part = scored.take(place)
        signals = tuple(DERIVED) if read_by(DERIVED) <= set(features) else ()
        columns = [rows.numeric(features), *(column[:, None] for column in (derived(rows) if signals else ()))]
        detectors = tuple(sorted(part.detectors))
        said = [part.detectors[name].calibrated for name in detectors]
        return cls(
            tenant=part.tenant,
            message_id=part.message_id,
            at_us=part.at_us,
            label=part.label,
            outcome=outcomes(part),
            weight=weight,
            early=early,
            rows=rows,
            names=(*features, *signals),
            values=np.concatenate(columns, axis=1),
            detectors=detectors,
            said=np.stack(said, axis=1) if said else np.empty((len(place), 0)),
        )
