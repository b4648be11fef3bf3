"""What a replay's outcome comes to: its table of scores and its report."""

from __future__ import annotations

import os
import platform as machine
import sys
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from mailwarden.evaluation.figures import lam_percent
from mailwarden_services.loop import code_revision
from mailwarden_services.replay.experiment import ReplayOutcome, ReplayPlan
from mailwarden_services.replay.figures import ScoreTable, figures
from mailwarden_services.replay.live import rfc3339
from mailwarden_services.replay.stream import ScoredMessage

PACKAGES = ("feast", "pyspark", "redis", "pandas", "numpy", "pyarrow", "scikit-learn", "catboost", "deltalake")
FLAGGED = ("junk", "quarantine")
NAMED = 100
"""So many paths at most are named of each kind of message that was left out."""


def score_table(outcome: ReplayOutcome) -> ScoreTable:
    """The answers as columns, in order of arrival."""
    answers = [scored.answer for scored in outcome.scored]
    names = sorted({name for answer in answers for name in answer["detectors"]})

    def of(name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        # Who abstains, or is away, catches nothing.
        return np.array([answer["detectors"].get(name, {}).get("score", 0.0) for answer in answers])

    return ScoreTable(
        path=[scored.message.path for scored in outcome.scored],
        received_at_us=np.array([scored.message.time_us for scored in outcome.scored], dtype=np.int64),
        label=[scored.message.label for scored in outcome.scored],
        log_odds=np.array([answer["log_odds"] for answer in answers]),
        score=np.array([answer["score"] for answer in answers]),
        verdict=[answer["verdict"] for answer in answers],
        category=[answer["category"] or "" for answer in answers],
        detectors={name: of(name) for name in names},
        latency_seconds=np.array([scored.seconds for scored in outcome.scored]),
    )


def with_lam(found: dict[str, Any], table: ScoreTable) -> dict[str, Any]:
    """The figures with LAM% of the verdicts themselves: junk and quarantine are "bad"."""
    flagged = np.array([verdict in FLAGGED for verdict in table.verdict], dtype=np.float64)
    if table.bad.any() and not table.bad.all():
        found["fused"]["lam"] = lam_percent(flagged, table.bad, 0.5)
    return found


def report_of(
    plan: ReplayPlan, outcome: ReplayOutcome, table: ScoreTable, *, mail: str, command: str, title: str
) -> dict[str, Any]:
    """The report as plain JSON values, as `report.write_report` takes it."""
    n = len(outcome.scored)
    stream = outcome.seconds.get("stream", 0.0)
    subsets: dict[str, Any] = {}
    for name, index in outcome.subsets.items():
        chosen = np.array([index.selects(scored.message.full_path) for scored in outcome.scored], dtype=bool)
        part = table.rows(chosen)
        subsets[name] = with_lam(figures(part), part)
    ingested = outcome.ingested
    return {
        "title": title,
        "mail": mail,
        "run": {
            "command": command,
            "code_revision": code_revision(),
            "seed": plan.seed,
            "data_fingerprint": outcome.spill.fingerprint,
            "without_views": list(plan.without),
            "versions": {"python": machine.python_version(), **{name: version(name) for name in PACKAGES}},
            "machine": f"{machine.system()} {machine.machine()}, {_cores()} cores",
        },
        "split": {
            "train_messages": outcome.split,
            "test_messages": n,
            "split_at": rfc3339(outcome.scored[0].message.time_us) if n else None,
            "label_delay_days": plan.label_delay_days,
            "retrain_days": plan.retrain_days,
            "labels_given": outcome.labels_given,
        },
        "source": source_facts(outcome),
        "refused": refusals(outcome),
        **with_lam(figures(table), table),
        "subsets": subsets,
        "throughput": {
            "messages_per_second": n / stream if stream else None,
            "cpu_ms_per_message": {name: 1e3 * s / n for name, s in outcome.cpu_seconds.items()} if n else {},
            "note": "one message at a time: each waits until the one before was folded into the features",
        },
        "skew": outcome.skew,
        "retrainings": outcome.trainings,
        "training": outcome.trainings[0] if outcome.trainings else {},
        "seconds": outcome.seconds,
        "ingest": {}
        if ingested is None
        else {
            "messages": ingested.messages,
            "added": ingested.added,
            "labels": ingested.labels,
            "signals": ingested.signals,
            "messages_with_defect": dict(ingested.defects),
        },
        "example": example_of(outcome),
    }


def source_facts(outcome: ReplayOutcome) -> dict[str, Any]:
    """What the source held. labelled_but_missing: None where it was not read to its end (--limit)."""
    spill = outcome.spill
    return {
        "messages": len(spill),
        "unlabelled": spill.unlabelled,
        "times_set_back": sum(message.clamped for message in spill.messages),
        "labelled_but_missing": None if spill.missing is None else len(spill.missing),
        "missing": list((spill.missing or ())[:NAMED]),
    }


def refusals(outcome: ReplayOutcome) -> dict[str, Any]:
    """How many messages of the stream the API would not take, by HTTP status, and the first of them by path."""
    return {
        "count": len(outcome.refused),
        "by_status": {str(status): n for status, n in sorted(Counter(r.status for r in outcome.refused).items())},
        "messages": [{"path": r.message.path, "status": r.status, "words": r.words} for r in outcome.refused[:NAMED]],
    }


def example_of(outcome: ReplayOutcome) -> Mapping[str, Any]:
    """The flagged message with the most detectors' reasons behind it, without a word of its content."""
    flagged = [s for s in outcome.scored if s.answer["verdict"] != "deliver" and s.answer["signals"]]
    if not flagged:
        return {}
    chosen = max(flagged, key=_telling)
    answer = chosen.answer
    return {
        "path": chosen.message.path,
        "label": chosen.message.label,
        **{key: answer[key] for key in ("verdict", "category", "score", "signals", "detectors", "features")},
    }


def _telling(scored: ScoredMessage) -> tuple[bool, bool, int]:
    label = scored.message.label
    return label not in ("", "ham", "spam", "SP"), label not in ("", "ham"), len(scored.answer["signals"])


def _cores() -> int:
    return os.cpu_count() or 1


def command_line() -> str:
    """The command that runs now, as it was typed."""
    return " ".join(["mailwarden", *sys.argv[1:]])
