"""Labelled rows and their features to a bundle that serves: detectors fitted, calibrated, fused and judged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.detection.evidence import FEATURES as EVIDENCE
from mailwarden.domain.detection.evidence import evidence_of
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.usual import usual_of
from mailwarden.domain.status import Status
from mailwarden.errors import ContractError, DataError, MailwardenError, NotFound
from mailwarden.evaluation.figures import Evaluation, evaluate
from mailwarden.stores.bundle import Bundle, Member
from mailwarden.training.combining import Combining, Unseen, combinations_of
from mailwarden.training.consult_all import Ground, consult_all
from mailwarden.training.dataset import LabelledRows
from mailwarden.training.good_named import GoodMail, Heard
from mailwarden.training.naming import TOGETHER, named_rightly
from mailwarden.training.outages import training_set
from mailwarden.training.said import Said
from mailwarden.training.sites import parts_left_out
from mailwarden.training.split import split_by_time
from mailwarden.training.thresholds import Budgets, shares_reached

Progress = Callable[[str], None]

_SPECIAL = 2
"""Who names so many categories at most is a specialist in them."""

_NONE_KEPT: Mapping[str, bytes] = MappingProxyType({})
_NO_CONTENT: Mapping[str, Sequence[int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """What may be chosen.

    budgets: false-positive rates of the actions. ablate: views whose features are all taken as null. refit: after
    calibration the detectors learn from all rows, the held-out ones too, and keep the calibration. ridge: pull of the
    fusion's weights towards one share each, in messages (`calibrate.fuse`), for tenants that nobody knows: held-out
    mail of sites that were learned from flatters who learned most of them, and equal shares travel better. own: tenants
    that are learned from have a fusion of their own (`combining`).
    """

    seed: int = 7
    budgets: Budgets = field(default_factory=Budgets)
    ablate: tuple[str, ...] = ()
    refit: bool = True
    ridge: float = 100.0
    own: bool = True


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a training.

    detectors: each fitted one's bytes. bundle: of these, its members in no registry yet. evaluations: on messages that
    no detector was fitted to, by detector and "fused". fingerprint: of rows and features. parameters: of each detector
    trained anew, plain JSON values. threshold_words: how each threshold was found.
    """

    detectors: Mapping[str, bytes]
    bundle: Bundle
    evaluations: Mapping[str, Evaluation]
    fingerprint: str
    parameters: Mapping[str, Mapping[str, Any]]
    threshold_words: tuple[str, ...]
    seed: int

    @property
    def not_learned(self) -> list[str]:
        """Detectors that had too little of their kind to learn from, and abstain from everything."""
        return sorted(name for name, found in self.parameters.items() if found.get("learned") is False)

    def fetch(self, member: Member) -> bytes:
        """A detector's bytes, before the registry has them; raises NotFound where it is of another training."""
        for name, own in self.bundle.members.items():
            if own.sha256 == member.sha256:
                return self.detectors[name]
        raise NotFound("This detector is not of this training.")


def train(
    rows: LabelledRows,
    features: Mapping[str, FeatureTable],
    detectors: Mapping[str, type[Detector]],
    options: TrainingOptions,
    *,
    history: Collection[str] = (),
    kept: Mapping[str, bytes] = _NONE_KEPT,
    content: Mapping[str, Sequence[int]] = _NO_CONTENT,
    progress: Progress = lambda stage: None,
) -> Trained:
    """Fit detectors to the earlier mail, fuse them and set thresholds on the later; the same input, the same bytes.

    features: each detector's table, its rows those of `rows`. history: views of history, which may be unavailable: all
    of them at once are learned and fused without, too. kept: those of `detectors` that go into the bundle as
    they are, bytes of theirs. They too are fitted to the earlier mail, but only to be calibrated: what they learned
    may reach into the later mail, where their scores would flatter them. content: by content view, the version and
    fingerprint that its values were made by, for the record. Raises DataError where the labels do not
    suffice or all detectors are kept, ContractError where a detector's table is absent or of another length.
    """
    if kept and not set(detectors) - set(kept):
        raise DataError("No detector was named to train: all of them are kept as they are.")
    tables = _tables(rows, features, detectors, options.ablate)
    bad_messages = rows.bad[rows.of_messages()]
    split = split_by_time(bad_messages, rows.tenant[rows.of_messages()])
    early = np.flatnonzero(split.fit[rows.message])
    fitting = _Fitting(rows, tables, history, options, progress)
    cheap = {name: kind for name, kind in detectors.items() if kind.stage == "cheap"}
    costly = {name: kind for name, kind in detectors.items() if name not in cheap}
    fitted = {name: fitting.fit(kind, early) for name, kind in cheap.items()}

    progress("calibrate and fuse")
    late = np.flatnonzero(split.held_out[rows.message])
    said = Said.of(fitted, {name: table.take(late) for name, table in tables.items()}, late, rows.n)
    blind = said
    read = {name: _history_of(kind, history) for name, kind in cheap.items()}
    if any(read.values()):
        # As they would have been had no history been there.
        again = {name: detector for name, detector in fitted.items() if read[name]}
        hidden = {name: tables[name].take(late).lacking(read[name], Status.UNAVAILABLE) for name in again}
        blind = said.with_others(Said.of(again, hidden, late, rows.n))
    combining = Combining(
        rows,
        split,
        _unseen(rows, tables, cheap, fitting, read),
        options.budgets,
        _evidence(tables),
        options.ridge,
        frozenset(name for name, kind in cheap.items() if 0 < len(kind.categories) <= _SPECIAL),
        options.own,
    )
    combined = combining(said)
    without = combining.without_each(said, blind if any(read.values()) else None)
    whole, others = combined.combination, combinations_of(without)
    judged = combined.judged
    evaluations = {name: evaluate(score, judged.bad, judged.labels) for name, score in judged.by_detector.items()}
    evaluations["fused"] = combined.evaluation
    consulted: dict[str, Any] = {}
    if costly:
        ground = Ground(rows, tables, split, early, late, combining.fusing, options.budgets, combining.evidence)
        unseen = combining.unseen
        blinds = blind, unseen.blind if unseen else None
        whole, others, fitted_costly, stacked = consult_all(
            ground, costly, fitting.fit, whole, others, (said, unseen.said if unseen else None), blinds
        )
        fitted |= fitted_costly
        evaluations |= stacked.evaluations
        consulted = stacked.as_json()
    evaluations = {name: replace(found, shared=split.shared) for name, found in evaluations.items()}
    asked_first = {name: fitted[name] for name in cheap}
    naming, right = named_rightly(rows, tables, asked_first, said, combined.fusion, split)
    good = GoodMail(rows, tables, read, naming, options.budgets.junk)
    left_out = combining.unseen
    apart = None if left_out is None else Heard(left_out.said, left_out.blind, left_out.parts)
    whole, others = good.named(whole, others, Heard(said, blind, [(late, asked_first)]), apart)

    if options.refit:
        every = np.arange(rows.n)
        fitted |= {name: fitting.fit(kind, every) for name, kind in detectors.items() if name not in kept}
    fingerprint = rows.fingerprint([tables[name] for name in sorted(tables)])
    record = {
        "fingerprint": fingerprint,
        "seed": options.seed,
        "options": asdict(options) | {"ablate": list(options.ablate)},
        "messages": rows.n_messages,
        "rows": rows.n,
        "kept": sorted(kept),
        "content": {name: list(made_by) for name, made_by in sorted(content.items())},
        "split": split.as_json(),
        "thresholds": list(combined.chosen.words),
        "held_out_good_reached": list(shares_reached(judged.fused[~judged.bad], combined.chosen.thresholds)),
        "categories_right": right,
        "evaluations": {name: evaluation.as_json() for name, evaluation in evaluations.items()},
        "without": {name: one.evaluation.as_json() for name, one in without.items()},
        "consulted": consulted,
    }
    contents = {name: kept.get(name) or detector.to_bytes() for name, detector in fitted.items()}
    return Trained(
        detectors=contents,
        bundle=Bundle(
            members={
                name: Member(0, sha256(content).hexdigest(), detectors[name].version)
                for name, content in contents.items()
            },
            whole=whole,
            categoriser=max(sorted(set(right) - {TOGETHER}), key=lambda name: right[name], default=""),
            naming=naming,
            record=record,
            without=others,
            usual=usual_of(tables.values(), rows.of_messages()[~bad_messages]),
        ),
        evaluations=evaluations,
        fingerprint=fingerprint,
        parameters={name: detector.parameters() for name, detector in fitted.items() if name not in kept},
        threshold_words=combined.chosen.words,
        seed=options.seed,
    )


def _history_of(kind: type[Detector], history: Collection[str]) -> frozenset[str]:
    return frozenset(feature.partition(":")[0] for feature in kind.features) & frozenset(history)


def _evidence(tables: Mapping[str, FeatureTable]) -> NDArray[np.float64] | None:
    """(n,) how much each row counts as good without its label; None where no detector reads what tells it."""
    columns: dict[str, NDArray[Any]] = {}
    n = 0
    for table in tables.values():
        n = table.n
        columns |= {name: table.columns[name] for name in EVIDENCE if name in table.columns and name not in columns}
    return evidence_of(FeatureTable(columns, n)) if len(columns) == len(set(EVIDENCE)) else None


def _unseen(
    rows: LabelledRows,
    tables: Mapping[str, FeatureTable],
    detectors: Mapping[str, type[Detector]],
    fitting: _Fitting,
    read: Mapping[str, Collection[str]],
) -> Unseen | None:
    """Every site scored by detectors that learned from the others; None where there is but one. See `sites`."""
    parts = parts_left_out(rows)
    if not parts:
        return None
    found: list[tuple[Said, Said, NDArray[np.intp]]] = []
    asked: list[tuple[NDArray[np.intp], Mapping[str, Detector]]] = []
    for out in parts:
        index = np.flatnonzero(out)
        fitted = {name: fitting.fit(kind, np.flatnonzero(~out)) for name, kind in detectors.items()}
        part = {name: table.take(index) for name, table in tables.items()}
        said = Said.of(fitted, part, index, rows.n)
        hidden = {name: part[name].lacking(read[name], Status.UNAVAILABLE) for name in fitted if read[name]}
        again = Said.of({name: fitted[name] for name in hidden}, hidden, index, rows.n)
        found.append((said, said.with_others(again), index))
        asked.append((index, fitted))
    indices = [index for _, _, index in found]
    return Unseen(
        Said.joined([said for said, _, _ in found], indices),
        Said.joined([blind for _, blind, _ in found], indices),
        np.sort(np.concatenate(indices)),
        asked,
    )


def _tables(
    rows: LabelledRows,
    features: Mapping[str, FeatureTable],
    detectors: Mapping[str, type[Detector]],
    ablate: Sequence[str],
) -> dict[str, FeatureTable]:
    if not detectors:
        raise DataError("No detector was named to train.")
    tables = {}
    if all(kind.stage == "costly" for kind in detectors.values()):
        raise DataError("All detectors that are to be trained are costly; name a cheap one too, which is asked first.")
    for name in detectors:
        if name not in features or features[name].n != rows.n:
            there = "none" if name not in features else f"one of {features[name].n} rows"
            raise ContractError(f"Detector {name} needs a feature table of {rows.n} rows; there is {there}.")
        tables[name] = features[name].lacking(ablate, Status.UNAVAILABLE)
    return tables


@dataclass(frozen=True, slots=True)
class _Fitting:
    """Fits detectors to some of the rows."""

    rows: LabelledRows
    tables: Mapping[str, FeatureTable]
    history: Collection[str]
    options: TrainingOptions
    progress: Progress

    def fit(self, kind: type[Detector], index: NDArray[np.intp]) -> Detector:
        """A detector that has learned from the rows at these positions."""
        self.progress(f"fit {kind.name} to {len(index):,} rows")
        detector = kind()
        seed = self.options.seed
        learned = training_set(kind, self.rows, self.tables[kind.name], index, history=self.history, seed=seed)
        try:
            detector.fit(learned, seed=seed)
        except MailwardenError:
            raise
        except Exception as exc:
            # A team's code may fail in any way.
            messages = len(np.unique(self.rows.message[index]))
            raise DataError(
                f"Detector {kind.name} cannot learn from {messages:,} messages ({exc}). Label more mail, run "
                "`mailwarden materialize` where features are not computed, or name the detectors to train without it."
            ) from exc
        return detector
