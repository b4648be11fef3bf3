"""Sums of many fusions at once are those of each fusion, to the last bit."""

from __future__ import annotations

import numpy as np

from mailwarden.domain.detection.decision import Calibration, Fusion
from mailwarden.scoring.sums import Sums

NAMES = ("a", "b", "c", "d")


def fusion(rng: np.random.Generator, names: tuple[str, ...]) -> Fusion:
    weights = {name: float(rng.random()) for name in rng.permutation(names).tolist()}
    calibrations = {name: Calibration(float(rng.normal()), float(rng.normal())) for name in NAMES}
    return Fusion(weights, float(rng.normal()), calibrations, {"b": 0.3, "d": -0.7})


def test_they_are_each_fusions_own_alone_and_among_others() -> None:
    rng = np.random.default_rng(3)
    fusions = [fusion(rng, NAMES), *(fusion(rng, tuple(n for n in NAMES if n != away)) for away in NAMES)]
    raw = rng.normal(size=(500, 4)) * 10.0
    silent = rng.random((500, 4)) < 0.2
    # What is away has no number, and no weight.
    raw[silent[:, 3], 3] = np.nan
    found = Sums(fusions, NAMES).logits(raw, silent)
    for own, one in zip(found, fusions, strict=True):
        scores = {name: np.nan_to_num(raw[:, at]) for at, name in enumerate(NAMES)}
        wanted = one.logit(scores, {name: silent[:, at] for at, name in enumerate(NAMES)})
        np.testing.assert_array_equal(own, wanted)
    alone = [Sums(fusions[:1], NAMES).logits(raw[row : row + 1], silent[row : row + 1])[0, 0] for row in range(50)]
    np.testing.assert_array_equal(found[0, :50], alone)
