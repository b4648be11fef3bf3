"""Labelled rows and their features to a bundle that serves: detectors fitted, calibrated, fused and judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, combinations
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import Combination, Fusion, away_name
from mailwarden.domain.detection.detector import Detector, FeatureTable, TrainingSet
from mailwarden.errors import ContractError, DataError
from mailwarden.stores.bundle import Bundle
from mailwarden.training.calibrate import fuse
from mailwarden.training.dataset import LabelledRows, ablated
from mailwarden.training.evaluate import Evaluation, evaluate, worst_by_message
from mailwarden.training.split import TimeSplit, split_by_time
from mailwarden.training.thresholds import Budgets, choose_thresholds, shares_reached

Progress = Callable[[str], None]

_FEW = 4
"""Up to so many detectors a fusion is fitted for every choice of them that may be left."""

_NONE_KEPT: Mapping[str, bytes] = MappingProxyType({})
_NO_CONTENT: Mapping[str, Sequence[int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """What may be chosen.

    budgets: false-positive rates of the actions. ablate: views whose features are all taken as null. refit: after
    calibration the detectors learn from all rows, the held-out ones too, and keep the calibration.
    """

    seed: int = 7
    budgets: Budgets = field(default_factory=Budgets)
    ablate: tuple[str, ...] = ()
    refit: bool = True


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a training.

    bundle: ready to serve. evaluations: on messages that no detector was fitted to, by detector and "fused".
    fingerprint: of rows and features. parameters: of each detector trained anew, plain JSON values. threshold_words:
    how each threshold was found.
    """

    bundle: Bundle
    evaluations: Mapping[str, Evaluation]
    fingerprint: str
    parameters: Mapping[str, Mapping[str, Any]]
    threshold_words: tuple[str, ...]
    seed: int


def train(
    rows: LabelledRows,
    features: Mapping[str, FeatureTable],
    detectors: Mapping[str, type[Detector]],
    options: TrainingOptions,
    *,
    kept: Mapping[str, bytes] = _NONE_KEPT,
    content: Mapping[str, Sequence[int]] = _NO_CONTENT,
    progress: Progress = lambda stage: None,
) -> Trained:
    """Fit detectors to the earlier mail, fuse them and set thresholds on the later; the same input, the same bytes.

    features: each detector's table, its rows those of `rows`. kept: those of `detectors` that go into the bundle as
    they are, bytes of theirs. They too are fitted to the earlier mail, but only to be calibrated: what they learned
    may reach into the later mail, where their scores would flatter them. content: by content view, the version and
    fingerprint that its values were made by, for the record. Raises DataError where the labels do not
    suffice or all detectors are kept, ContractError where a detector's table is absent or of another length.
    """
    if kept and not set(detectors) - set(kept):
        raise DataError("No detector was named to train: all of them are kept as they are.")
    tables = _tables(rows, features, detectors, options.ablate)
    bad_messages = rows.bad[rows.of_messages()]
    split = split_by_time(bad_messages)
    early = np.flatnonzero(rows.message < split.fuse_from)
    fitted = {name: _fit(kind, rows, tables[name], early, options, progress) for name, kind in detectors.items()}

    progress("calibrate and fuse")
    late = np.flatnonzero(rows.message >= split.fuse_from)
    late_scores = {name: detector.score(tables[name].take(late)) for name, detector in fitted.items()}
    scores = {name: _spread(score, late, rows.n) for name, score in late_scores.items()}
    fusing = late if split.shared else late[rows.message[late] < split.judge_from]
    fusion = fuse({name: score[fusing] for name, score in scores.items()}, rows.bad[fusing], rows.weight[fusing])

    judged = _Judged.of(rows, split, scores, fusion)
    chosen = choose_thresholds(judged.fused[~judged.bad], options.budgets)
    without = _without_each(rows, split, scores, fusing, options)
    junk = chosen.thresholds.junk
    evaluations = {name: evaluate(score, judged.bad, judged.labels) for name, score in judged.by_detector.items()}
    evaluations["fused"] = evaluate(judged.fused, judged.bad, judged.labels, threshold=junk)
    right = _categories_right(rows, tables, fitted, split)

    if options.refit:
        whole = np.arange(rows.n)
        fitted |= {
            name: _fit(kind, rows, tables[name], whole, options, progress)
            for name, kind in detectors.items()
            if name not in kept
        }
    fingerprint = rows.fingerprint([tables[name] for name in sorted(tables)])
    record = {
        "fingerprint": fingerprint,
        "seed": options.seed,
        "options": asdict(options) | {"ablate": list(options.ablate)},
        "messages": rows.n_messages,
        "rows": rows.n,
        "kept": sorted(kept),
        "content": {name: list(made_by) for name, made_by in sorted(content.items())},
        "split": asdict(split),
        "thresholds": list(chosen.words),
        "held_out_good_reached": list(shares_reached(judged.fused[~judged.bad], chosen.thresholds)),
        "categories_right": right,
        "evaluations": {name: evaluation.as_json() for name, evaluation in evaluations.items()},
        "without": {name: found.as_json() for name, (_, found) in without.items()},
    }
    return Trained(
        bundle=Bundle(
            detectors={name: kept.get(name) or detector.to_bytes() for name, detector in fitted.items()},
            versions={name: kind.version for name, kind in detectors.items()},
            fusion=fusion,
            thresholds=chosen.thresholds,
            categoriser=max(sorted(right), key=lambda name: right[name]) if right else "",
            record=record,
            without={name: combination for name, (combination, _) in without.items()},
        ),
        evaluations=evaluations,
        fingerprint=fingerprint,
        parameters={name: detector.parameters() for name, detector in fitted.items() if name not in kept},
        threshold_words=chosen.words,
        seed=options.seed,
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    """Messages of the judging part: the worst score of their rows, by detector and fused (log-odds)."""

    bad: NDArray[np.bool_]
    labels: Sequence[str]
    by_detector: Mapping[str, NDArray[np.float64]]
    fused: NDArray[np.float64]

    @classmethod
    def of(
        cls, rows: LabelledRows, split: TimeSplit, scores: Mapping[str, NDArray[np.float64]], fusion: Fusion
    ) -> _Judged:
        last = np.flatnonzero(rows.message >= split.judge_from)
        number = rows.message[last] - split.judge_from
        n = rows.n_messages - split.judge_from
        first = rows.of_messages()[split.judge_from :]
        of_rows = {name: score[last] for name, score in scores.items()}
        return cls(
            bad=rows.bad[first],
            labels=[rows.labels[row] for row in first],
            by_detector={name: worst_by_message(number, score, n) for name, score in of_rows.items()},
            fused=worst_by_message(number, fusion.logit(of_rows), n),
        )


def _without_each(
    rows: LabelledRows,
    split: TimeSplit,
    scores: Mapping[str, NDArray[np.float64]],
    fusing: NDArray[np.intp],
    options: TrainingOptions,
) -> dict[str, tuple[Combination, Evaluation]]:
    """How the others' scores become a decision where detectors are away, by `away_name`; judged as the whole is.

    For each detector alone, and for several at once where there are few.
    """
    most = len(scores) - 1 if len(scores) <= _FEW else 1
    found: dict[str, tuple[Combination, Evaluation]] = {}
    for away in chain.from_iterable(combinations(sorted(scores), n) for n in range(1, min(most, len(scores) - 1) + 1)):
        others = {name: score for name, score in scores.items() if name not in away}
        fusion = fuse({name: score[fusing] for name, score in others.items()}, rows.bad[fusing], rows.weight[fusing])
        judged = _Judged.of(rows, split, others, fusion)
        thresholds = choose_thresholds(judged.fused[~judged.bad], options.budgets).thresholds
        evaluation = evaluate(judged.fused, judged.bad, judged.labels, threshold=thresholds.junk)
        found[away_name(away)] = Combination(fusion, thresholds), evaluation
    return found


def _tables(
    rows: LabelledRows,
    features: Mapping[str, FeatureTable],
    detectors: Mapping[str, type[Detector]],
    ablate: Sequence[str],
) -> dict[str, FeatureTable]:
    if not detectors:
        raise DataError("No detector was named to train.")
    tables = {}
    for name in detectors:
        if name not in features or features[name].n != rows.n:
            there = "none" if name not in features else f"one of {features[name].n} rows"
            raise ContractError(f"Detector {name} needs a feature table of {rows.n} rows; there is {there}.")
        tables[name] = ablated(features[name], ablate) if ablate else features[name]
    return tables


def _fit(
    kind: type[Detector],
    rows: LabelledRows,
    table: FeatureTable,
    index: NDArray[np.intp],
    options: TrainingOptions,
    progress: Progress,
) -> Detector:
    progress(f"fit {kind.name} to {len(index):,} rows")
    detector = kind()
    detector.fit(
        TrainingSet(
            features=table if len(index) == rows.n else table.take(index),
            bad=rows.bad[index],
            labels=[rows.labels[row] for row in index],
            weight=rows.weight[index],
            at_us=rows.at_us[index],
        ),
        seed=options.seed,
    )
    return detector


def _spread(score: NDArray[np.float64], index: NDArray[np.intp], n: int) -> NDArray[np.float64]:
    out = np.full(n, np.nan)
    out[index] = score
    return out


def _categories_right(
    rows: LabelledRows, tables: Mapping[str, FeatureTable], fitted: Mapping[str, Detector], split: TimeSplit
) -> dict[str, float]:
    """Share of held-out bad messages whose category each detector names rightly, of the detectors that name any."""
    first = rows.of_messages()[split.fuse_from :]
    bad = first[rows.bad[first]]
    truth = ["SP" if rows.labels[row] == "spam" else rows.labels[row] for row in bad]
    right = {}
    for name, detector in fitted.items():
        named = detector.categorise(tables[name].take(bad))
        if named is not None and len(bad):
            right[name] = sum(a == b for a, b in zip(named, truth, strict=True)) / len(bad)
    return right
