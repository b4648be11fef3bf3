"""Raw scores to calibrated log-odds, and those to one: Platt's sigmoid and a non-negative logistic fusion."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import Calibration, Fusion, sigmoid
from mailwarden.errors import DataError

_STEPS = 200


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
    *,
    ridge: float = 1.0,
) -> Fusion:
    """Calibrate each detector and weigh them together, on messages that none of them was fitted to.

    scores: (n,) raw scores by detector. weight: (n,) positive. ridge: pull of the weights towards one share each,
    in units of messages: a small held-out set cannot silence a detector. Weights are never negative.
    Raises DataError where a class is absent.
    """
    names = sorted(scores)
    calibrations = {name: platt(scores[name], bad, weight) for name in names}
    design = np.column_stack([calibrations[name].logit(scores[name]) for name in names])
    n_bad, n_good = float(weight[bad].sum()), float(weight[~bad].sum())
    target = np.where(bad, (n_bad + 1.0) / (n_bad + 2.0), 1.0 / (n_good + 2.0))
    weights, intercept = _logistic(design, target, weight, ridge=ridge, towards=1.0 / len(names))
    return Fusion({name: float(value) for name, value in zip(names, weights, strict=True)}, intercept, calibrations)


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
    ridge: float,
    towards: float = 0.0,
) -> tuple[NDArray[np.float64], float]:
    """Logistic regression with coefficients >= 0 and a free intercept, by Newton steps on the free coordinates."""
    n, width = design.shape
    full = np.column_stack([design, np.ones(n)])
    pull = np.append(np.full(width, ridge), 1e-9)
    goal = np.append(np.full(width, towards), 0.0)
    beta = goal.copy()
    value = _loss(full, target, weight, beta, pull, goal)
    for _ in range(_STEPS):
        probability = sigmoid(full @ beta)
        gradient = full.T @ (weight * (probability - target)) + pull * (beta - goal)
        # A coefficient at its bound that the gradient pushes outwards stays there.
        free = np.append((beta[:-1] > 0.0) | (gradient[:-1] < 0.0), True)
        curve = weight * probability * (1.0 - probability)
        hessian = (full[:, free] * curve[:, None]).T @ full[:, free] + np.diag(pull[free] + 1e-9)
        step = np.zeros(width + 1)
        step[free] = np.linalg.solve(hessian, gradient[free])
        scale = 1.0
        while scale > 1e-8:
            tried = beta - scale * step
            tried[:-1] = np.maximum(tried[:-1], 0.0)
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
