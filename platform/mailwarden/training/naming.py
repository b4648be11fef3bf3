"""Fits how much each detector's word on the category counts, on held-out attacks that were labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mailwarden.domain.detection.decision import Fusion
from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.detection.naming import Naming, Voice, Word, sureness
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.training.dataset import LabelledRows
from mailwarden.training.said import Said
from mailwarden.training.split import TimeSplit

TOGETHER = "together"
"""Stands among the names of detectors for all of them, as their words add up."""

_FIRST = (1.0, 0.25)
"""A voice before anything is known of it: base, slope."""

_RIDGE = np.array([1.0, 10.0])
"""Pull of each of these, in messages."""


def fit_naming(words: Mapping[str, Word], truth: Sequence[str]) -> Naming:
    """Voices that make the truth likeliest: a softmax over the sums of `Naming`, by maximum likelihood with a ridge
    towards equal voices.

    words: what each detector says of n messages that it did not learn from. truth: n codes. A category weighs as the
    square root of how many messages it has, so that one that is frequent does not decide alone. Without messages all
    voices are equal.
    """
    names = sorted(words)
    n = len(truth)
    goal = np.tile(_FIRST, (len(names), 1))
    if not n or not names:
        return _naming(names, goal)
    right = np.array([CATEGORIES.index(code) for code in truth])
    counts = np.bincount(right, minlength=len(CATEGORIES))
    weight = 1.0 / np.sqrt(counts[right])
    weight *= n / weight.sum()
    at = np.array([[CATEGORIES.index(code) for code in words[name].codes] for name in names])
    odds = np.array([np.where(words[name].silent, 0.0, sureness(words[name].log_odds)) for name in names])
    speaks = np.array([~words[name].silent for name in names], dtype=np.float64)
    rows = np.arange(n)

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        voices = flat.reshape(-1, 2)
        adds = speaks * (voices[:, :1] + voices[:, 1:] * odds)
        sums = np.zeros((n, len(CATEGORIES)))
        for own, place in zip(adds, at, strict=True):
            sums[rows, place] += own
        sums -= sums.max(axis=1, keepdims=True)
        chance = np.exp(sums)
        chance /= chance.sum(axis=1, keepdims=True)
        value = -float(weight @ np.log(np.maximum(chance[rows, right], 1e-300)))
        pull = chance * weight[:, None]
        pull[rows, right] -= weight
        by_word = pull[rows, at] * speaks
        slope = np.column_stack([by_word.sum(axis=1), (by_word * odds).sum(axis=1)])
        off = voices - goal
        return value + 0.5 * float((_RIDGE * off**2).sum()), (slope + _RIDGE * off).ravel()

    found = minimize(loss, goal.ravel(), jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * goal.size)
    return _naming(names, found.x.reshape(-1, 2))


def named_rightly(
    rows: LabelledRows,
    tables: Mapping[str, FeatureTable],
    fitted: Mapping[str, Detector],
    said: Said,
    fusion: Fusion,
    split: TimeSplit,
) -> tuple[Naming, dict[str, float]]:
    """The voices that fit held-out attacks, and the share of later ones that is named rightly: by each detector that
    names any, and by all `TOGETHER`. Empty where there are none.

    The share is of attacks that no voice was fitted to, unless fusing and judging share all held-out mail.
    """
    first = rows.of_messages()[split.held_out]
    bad = first[rows.bad[first]]
    truth = ["SP" if rows.labels[row] == "spam" else rows.labels[row] for row in bad]
    words = {}
    for name, detector in fitted.items():
        codes = detector.categorise(tables[name].take(bad))
        if codes is not None:
            words[name] = Word(codes, fusion.calibrations[name].logit(said.raw[name][bad]), said.silent[name][bad])
    fitting = split.fuse[rows.message[bad]]
    if split.shared or fitting.all():
        fitting = np.ones(len(bad), dtype=np.bool_)
        judging = fitting
    else:
        judging = ~fitting
    naming = fit_naming({name: word.take(fitting) for name, word in words.items()}, _chosen(truth, fitting))
    wanted = _chosen(truth, judging)
    if not wanted:
        return naming, {}
    right = {name: _share(_chosen(word.codes, judging), wanted) for name, word in words.items()}
    together = naming.named({name: word.take(judging) for name, word in words.items()}, len(wanted))
    return naming, {**right, TOGETHER: _share(together, wanted)}


def _chosen(codes: Sequence[str], where: NDArray[np.bool_]) -> list[str]:
    return [code for code, here in zip(codes, where.tolist(), strict=True) if here]


def _share(named: Sequence[str], truth: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(named, truth, strict=True)) / len(truth)


def _naming(names: Sequence[str], voices: NDArray[np.float64]) -> Naming:
    return Naming({name: Voice(float(base), float(slope)) for name, (base, slope) in zip(names, voices, strict=True)})
