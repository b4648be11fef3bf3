"""Every figure of an evaluation of evasions as plain JSON values, and the trials behind them as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import VERDICTS
from mailwarden.domain.detection.proof import PROOFS
from mailwarden.domain.mail.events import LABELS
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.evasions import Trials, outcome, outcomes
from mailwarden.simulation.evasions.catalog import AS_IT_WAS, pairs, singles
from mailwarden.simulation.evasions.claims import CLAIMS
from mailwarden.simulation.evasions.evasion import kind_of
from mailwarden_services.evaluation.evasions.trials import Trial, Tried

FORGED, WARM_UP = ("forged partner", "own domain"), "warm-up"
FEW_ATTACKS = 200
"""Fewer attacks say too little of single evasions, which is said."""


def table_of(trials: Sequence[Trial]) -> Trials:
    """The trials as columns."""
    guises = (AS_IT_WAS, *(guise.name for guise in (*singles(), *pairs())))
    kinds = tuple(dict.fromkeys((AS_IT_WAS, *(guise.kind for guise in (*singles(), *pairs())))))
    campaigns = {key: number for number, key in enumerate(dict.fromkeys(map(_campaign, trials)))}
    return Trials(
        tenant=Coded.of([one.candidate.tenant for one in trials]),
        message_id=pa.array([one.candidate.message_id for one in trials], pa.string()),
        attack=np.array([one.attack for one in trials], dtype=np.int64),
        campaign=np.array([campaigns[_campaign(one)] for one in trials], dtype=np.int64),
        category=Coded.of([one.candidate.label for one in trials], LABELS),
        new=np.array([one.candidate.new for one in trials], dtype=np.bool_),
        guise=Coded.of([one.guise.name for one in trials], guises),
        kind=Coded.of([one.guise.kind for one in trials], kinds),
        single=np.array([one.guise.single for one in trials], dtype=np.bool_),
        before=Coded.of([one.before for one in trials], VERDICTS),
        after=Coded.of([one.after for one in trials], VERDICTS),
        log_odds_before=np.array([one.odds_before for one in trials]),
        log_odds=np.array([one.odds for one in trials]),
        proof=Coded.of([one.proof for one in trials], PROOFS),
        reasons=pa.array([list(one.reasons) for one in trials], pa.list_(pa.string())),
    )


def _campaign(trial: Trial) -> tuple[str, int]:
    return trial.candidate.tenant, trial.candidate.campaign


def result_of(table: Trials, found: Tried, version: int, source: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """All figures."""
    single, control = table.single, table.guise.has(AS_IT_WAS)
    _, firsts = np.unique(table.attack, return_index=True)
    first = np.isin(np.arange(len(table)), firsts)
    new = int(table.new[first].sum())
    return {
        "bundle": version,
        "source": source,
        "candidates": found.candidates,
        "caught": found.caught,
        "attacks": found.attacks,
        "new_to_the_bundle": new,
        "campaigns": len(np.unique(table.campaign)),
        "trials": len(table),
        "as_it_was": asdict(outcome(table, control, AS_IT_WAS)),
        "whole": [asdict(one) for one in _whole(table)],
        "by_kind": [asdict(one) for one in outcomes(table, table.kind, single)],
        "by_evasion": [asdict(one) for one in outcomes(table, table.guise, single)],
        "by_category": [asdict(one) for one in outcomes(table, table.category, single, LABELS)],
        "pairs_by_kind": [asdict(one) for one in outcomes(table, table.kind, ~single & ~control)],
        "pairs": [asdict(one) for one in outcomes(table, table.guise, ~single & ~control)],
        "forged_by_proof": [asdict(one) for one in outcomes(table, table.proof, _of(table, _is_forged))],
        "reasons_of_forged": _reasons(table),
        "impossible": dict(found.left.impossible),
        "unreadable": found.left.unreadable,
        "repeated": found.left.repeated,
        "warnings": _warnings(found, new),
        "record": dict(record),
    }


def _whole(table: Trials) -> list[Any]:
    content, forged, warm_up = (_of(table, test) for test in (_is_content, _is_forged, _is_warm_up))
    control = table.guise.has(AS_IT_WAS)
    parts: list[tuple[str, NDArray[np.bool_]]] = [
        ("content tricks alone", content & table.single),
        ("two content tricks", content & ~table.single & ~control),
        ("forged From alone", forged & table.single),
        ("forged From with a content trick", forged & ~table.single & _of(table, _has_content)),
        ("forged From with another claim", forged & ~table.single & ~_of(table, _has_content)),
        ("five benign mails before", warm_up & table.single),
        ("five benign mails before, and another evasion", warm_up & ~table.single),
        ("every single evasion", table.single),
        ("every pair", ~table.single & ~control),
    ]
    return [outcome(table, chosen, name) for name, chosen in parts if chosen.any()]


def _of(table: Trials, test: Any) -> NDArray[np.bool_]:
    """(n,) whether the evasions of each trial pass a test, which is asked once a guise."""
    passes = np.array([test(word.split(" + ")) if word != AS_IT_WAS else False for word in table.guise.words])
    return np.asarray(passes[table.guise.codes])


def _is_content(names: Sequence[str]) -> bool:
    return not any(name in CLAIMS for name in names)


def _has_content(names: Sequence[str]) -> bool:
    return any(name not in CLAIMS for name in names)


def _is_forged(names: Sequence[str]) -> bool:
    return any(kind_of(name) in FORGED for name in names)


def _is_warm_up(names: Sequence[str]) -> bool:
    return any(kind_of(name) == WARM_UP for name in names)


def _reasons(table: Trials) -> dict[str, float]:
    """Share of forged attacks of which each reason is said, those said most."""
    chosen = np.flatnonzero(_of(table, _is_forged) & table.single)
    counts: dict[str, int] = {}
    for row in chosen.tolist():
        for name in table.reasons[row].as_py():
            counts[name] = counts.get(name, 0) + 1
    most = sorted(counts, key=lambda name: (-counts[name], name))[:10]
    return {name: counts[name] / len(chosen) for name in most}


def _warnings(found: Tried, new: int) -> list[str]:
    words = []
    if found.attacks < FEW_ATTACKS:
        words.append(f"there are {found.attacks} attacks that are caught: the figures of one evasion say little")
    learned = found.attacks - new
    if learned:
        words.append(
            f"the bundle may have learned from {learned:,} of {found.attacks:,} attacks as they came, and what it says "
            "of them flatters; later mail has others"
        )
    if found.left.unreadable:
        words.append(f"{found.left.unreadable} attacks could not be taken apart, and are in no figure")
    if found.left.repeated:
        words.append(f"{found.left.repeated} messages stand in the home word for word, and are in no figure")
    return words
