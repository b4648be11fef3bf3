"""Raw scores to calibrated log-odds, and those to one: Platt's sigmoid and a non-negative logistic fusion."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import Calibration, Fusion, sigmoid
from mailwarden.domain.detection.tail import LEVEL
from mailwarden.errors import DataError

_STEPS = 200

SPECIALIST_RIDGE = 30.0
"""How much harder a specialist is held to adding nothing than a generalist to its share: a dozen weights and offsets
fitted freely to a small held-out set say more of that set than of mail."""

_LEAST_SHARE = 0.1
"""Of what a costly detector says, at most ten times as much is added to what the cheap ones say as they say."""


def platt(score: NDArray[np.float64], bad: NDArray[np.bool_], weight: NDArray[np.float64]) -> Calibration:
    """The sigmoid that fits held-out scores best; its slope is never negative.

    score: (n,) any range, higher is worse. weight: (n,) positive. Raises DataError where a class is absent. Targets
    are smoothed, so that classes that do not overlap still give a finite slope. Source: Platt 1999, section 2.2.
    """
    _check_both_classes(bad)
    n_bad, n_good = float(weight[bad].sum()), float(weight[~bad].sum())
    target = np.where(bad, (n_bad + 1.0) / (n_bad + 2.0), 1.0 / (n_good + 2.0))
    centre = float(np.average(score, weights=weight))
    spread = float(np.sqrt(np.average((score - centre) ** 2, weights=weight)))
    if spread == 0.0:
        return Calibration(0.0, float(np.log(n_bad / n_good)))
    design = ((score - centre) / spread)[:, None]
    slope, intercept = _logistic(design, target, weight, ridge=1e-6)
    return Calibration(float(slope[0]) / spread, intercept - float(slope[0]) * centre / spread)


def fuse(
    scores: Mapping[str, NDArray[np.float64]],
    bad: NDArray[np.bool_],
    weight: NDArray[np.float64],
    abstains: Mapping[str, NDArray[np.bool_] | None] = MappingProxyType({}),
    *,
    ridge: float = 1.0,
    specialists: Collection[str] = (),
    held: float = SPECIALIST_RIDGE,
) -> Fusion:
    """Calibrate each detector and weigh them together, on messages that none of them was fitted to.

    scores: (n,) raw scores by detector. weight: (n,) positive. abstains: (n,) by detector, absent or None for nowhere.
    ridge: pull of the weights towards one share each, of `specialists` and of offsets towards none, in units of
    messages: a small held-out set cannot silence a generalist, which judges all mail. specialists: those of one kind of
    attack, whose low scores say little, and which count as far as held-out mail shows that they add something. held:
    how many times as hard these are pulled. Weights
    are never negative; offsets, of detectors that abstain from some rows, are free. One that speaks of one class alone
    cannot be calibrated: that it speaks is then all that counts. Raises DataError where a class is absent.
    """
    names = sorted(scores)
    _check_both_classes(bad)
    calibrations: dict[str, Calibration] = {}
    speaks: dict[str, NDArray[np.bool_]] = {}
    for name in names:
        silent = abstains.get(name)
        spoken = np.ones(len(bad), dtype=np.bool_) if silent is None else ~silent
        if not spoken.all():
            speaks[name] = spoken
        known = bad[spoken]
        if known.any() and not known.all():
            calibrations[name] = platt(scores[name][spoken], known, weight[spoken])
        else:
            calibrations[name] = Calibration(0.0, 0.0)
    parts = []
    for name in names:
        logit = calibrations[name].logit(scores[name])
        parts.append(np.where(speaks[name], logit, 0.0) if name in speaks else logit)
    parts += [spoken.astype(np.float64) for spoken in speaks.values()]
    n_bad, n_good = float(weight[bad].sum()), float(weight[~bad].sum())
    target = np.where(bad, (n_bad + 1.0) / (n_bad + 2.0), 1.0 / (n_good + 2.0))
    shares = np.array([name not in specialists for name in names], dtype=np.float64)
    shares = shares if shares.any() else np.ones(len(names))
    towards = np.concatenate([shares / shares.sum(), np.zeros(len(speaks))])
    special = np.array([name in specialists for name in [*names, *speaks]])
    pull = np.where(special, held * ridge, ridge)
    bounded = np.arange(len(parts)) < len(names)
    found, intercept = _logistic(np.column_stack(parts), target, weight, ridge=pull, towards=towards, bounded=bounded)
    weights, offsets = found[: len(names)].tolist(), found[len(names) :].tolist()
    return Fusion(
        dict(zip(names, weights, strict=True)), intercept, calibrations, dict(zip(speaks, offsets, strict=True))
    )


def _check_both_classes(bad: NDArray[np.bool_]) -> None:
    if not bad.any() or bad.all():
        raise DataError(
            f"Calibration needs bad and good messages: there are {int(bad.sum())} bad of {len(bad)}. "
            "Label more mail, or train over a longer time."
        )


def _logistic(
    design: NDArray[np.float64],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    *,
    ridge: float | NDArray[np.float64],
    towards: NDArray[np.float64] | None = None,
    bounded: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float64], float]:
    """Logistic regression with a free intercept, by Newton steps on the free coordinates.

    ridge: of all coefficients, or (width,) of each. towards: (width,) where the ridge pulls, 0 by default. bounded:
    (width,) coefficients that are >= 0, all by default.
    """
    n, width = design.shape
    full = np.column_stack([design, np.ones(n)])
    pull = np.append(np.full(width, ridge), 1e-9)
    goal = np.append(np.zeros(width) if towards is None else towards, 0.0)
    held = np.append(np.ones(width, dtype=np.bool_) if bounded is None else bounded, False)
    beta = goal.copy()
    value = _loss(full, target, weight, beta, pull, goal)
    for _ in range(_STEPS):
        probability = sigmoid(full @ beta)
        gradient = full.T @ (weight * (probability - target)) + pull * (beta - goal)
        # A coefficient at its bound that the gradient pushes outwards stays there.
        free = ~held | (beta > 0.0) | (gradient < 0.0)
        curve = weight * probability * (1.0 - probability)
        hessian = (full[:, free] * curve[:, None]).T @ full[:, free] + np.diag(pull[free] + 1e-9)
        step = np.zeros(width + 1)
        step[free] = np.linalg.solve(hessian, gradient[free])
        scale = 1.0
        while scale > 1e-8:
            tried = beta - scale * step
            tried[held] = np.maximum(tried[held], 0.0)
            new = _loss(full, target, weight, tried, pull, goal)
            if new < value:
                break
            scale /= 2.0
        else:
            break
        finished = value - new <= 1e-12 * max(1.0, abs(value))
        beta, value = tried, new
        if finished:
            break
    return beta[:-1], float(beta[-1])


def _loss(
    full: NDArray[np.float64],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    beta: NDArray[np.float64],
    pull: NDArray[np.float64],
    goal: NDArray[np.float64],
) -> float:
    margin = full @ beta
    return float(
        np.sum(weight * (np.logaddexp(0.0, margin) - target * margin)) + 0.5 * np.sum(pull * (beta - goal) ** 2)
    )


def stack(
    cheap: Fusion,
    over: NDArray[np.float64],
    scores: Mapping[str, NDArray[np.float64]],
    bad: NDArray[np.bool_],
    weight: NDArray[np.float64],
    abstains: Mapping[str, NDArray[np.bool_]],
    *,
    ridge: float = 1.0,
) -> Fusion:
    """More detectors weighed beside a fusion that is there, on messages that none of them was fitted to.

    cheap: the fusion; over: (n,) how far its log-odds lie over the threshold that they are held against. scores,
    weight, abstains: as `fuse` takes them, of the others alone. The ridge pulls towards the fusion alone, whose
    detectors keep their weights: what is found is put on its scale, and the tail of good mail stays where it was, so
    that thresholds that move by a tenant move for both alike. Raises DataError where a class is absent.
    """
    _check_both_classes(bad)
    names = sorted(scores)
    calibrations, parts, spoken = {}, [over], {}
    for name in names:
        speaks = ~abstains[name]
        known = bad[speaks]
        own = Calibration(0.0, 0.0)
        if known.any() and not known.all():
            own = platt(scores[name][speaks], known, weight[speaks])
        calibrations[name] = own
        parts.append(np.where(speaks, own.logit(np.where(speaks, scores[name], 0.0)), 0.0))
        if not speaks.all():
            spoken[name] = speaks.astype(np.float64)
    n_bad, n_good = float(weight[bad].sum()), float(weight[~bad].sum())
    target = np.where(bad, (n_bad + 1.0) / (n_bad + 2.0), 1.0 / (n_good + 2.0))
    design = np.column_stack([*parts, *spoken.values()])
    towards = np.zeros(design.shape[1])
    towards[0] = 1.0
    bounded = np.arange(design.shape[1]) < len(parts)
    found, _ = _logistic(design, target, weight, ridge=ridge, towards=towards, bounded=bounded)
    share = max(float(found[0]), _LEAST_SHARE)
    weights, offsets = found[1 : len(parts)] / share, found[len(parts) :] / share
    # The tail of good mail stays where it was: what is said of mail that nobody asked about is on the same scale.
    added = np.asarray(design[:, 1:] @ np.concatenate([weights, offsets]))
    before, after = (
        np.quantile(one[~bad], 1.0 - LEVEL, weights=weight[~bad], method="inverted_cdf") for one in (over, over + added)
    )
    intercept = float(before - after)
    return Fusion(
        {**cheap.weights, **dict(zip(names, weights.tolist(), strict=True))},
        cheap.intercept + intercept,
        {**cheap.calibrations, **calibrations},
        {**cheap.offsets, **dict(zip(spoken, offsets.tolist(), strict=True))},
    )
