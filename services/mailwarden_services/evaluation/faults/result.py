"""An evaluation of faults as plain JSON values, and as a folder: faults.json, report.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mailwarden.domain.detection.decision import HISTORY
from mailwarden.domain.detection.tenant_budget import TRAINED
from mailwarden.errors import DataError
from mailwarden_services.evaluation.faults.asked import FaultsAsked
from mailwarden_services.evaluation.faults.mail import TenantRows
from mailwarden_services.evaluation.faults.trials import Outcome, faults_of, outcome_of, pooled
from mailwarden_services.evaluation.judge import Judge
from mailwarden_services.evaluation.left_out.report import share_words
from mailwarden_services.reports.files import whole_folder, write_json, write_text
from mailwarden_services.reports.grids import Grid, markdown
from mailwarden_services.reports.words import percent

JSON, REPORT = "faults.json", "report.md"
ALLOWED = 2.0
"""How many times its budget good mail may be held back while something is at fault."""

_NOTE = (
    "Held: junk or quarantine, in order of arrival, at each tenant's thresholds; bad mail is thinned by drawing. Away: "
    "broken or absent. Set aside: after so many messages the detector was out of its band. Intervals are 95% (Wilson)."
)


def result_of(
    judge: Judge,
    version: int,
    mail: Mapping[str, TenantRows],
    left: int,
    asked: FaultsAsked,
    record: Mapping[str, Any],
    tick: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Every fault at every share of bad mail, over all tenants that have good and bad mail. Raises DataError where none
    has."""
    tenants = {name: rows for name, rows in mail.items() if rows.bad.any() and not rows.bad.all()}
    if not tenants:
        raise DataError("no tenant has good and bad labelled mail; label some of both, then evaluate")
    champion = judge.champion
    faults = faults_of(champion)
    shares_of = {name: judge.budgets.get(name, TRAINED).share for name in tenants}
    shares: list[dict[str, Any]] = []
    done = 0
    for share in asked.shares:
        draw = np.random.default_rng(asked.seed)
        thinned = [rows.thinned(share, draw) for rows in tenants.values()]
        found = []
        for fault in faults:
            of = [outcome_of(champion, rows, fault, shares_of[rows.tenant]) for rows in thinned]
            found.append(_json(pooled(of)))
            done += 1
            tick(done)
        shares.append({"share": share, "faults": found})
    budget = float(judge.bundle.record["options"]["budgets"]["junk"])
    most = max([budget, *(own for own in shares_of.values() if own is not None)])
    return {
        "bundle": version,
        "tenants": {name: [int((~rows.bad).sum()), int(rows.bad.sum())] for name, rows in tenants.items()},
        "left_out": left,
        "budget": most,
        "shares": shares,
        "record": dict(record),
    }


def _json(outcome: Outcome) -> dict[str, Any]:
    return {
        "fault": outcome.fault.kind,
        "of": outcome.fault.name,
        "good_held": asdict(outcome.good),
        "bad_held": asdict(outcome.bad),
        "set_aside_after": outcome.set_aside_after,
        "others_set_aside": list(outcome.others_set_aside),
    }


def beyond(result: Mapping[str, Any]) -> list[str]:
    """In words, faults under which more good mail is held back than twice the budget."""
    return [
        f"at {percent(one['share'])} bad mail, {_words(fault)}: {share_words(fault['good_held'])} of good mail is held "
        f"back, more than twice {percent(result['budget'])}"
        for one in result["shares"]
        for fault in one["faults"]
        if fault["good_held"]["rate"] > ALLOWED * result["budget"]
    ]


def grids_of(result: Mapping[str, Any]) -> list[Grid]:
    """A table a share of bad mail."""
    return [
        Grid(
            f"With {percent(one['share'])} bad mail",
            ("fault", "good held", "bad held", "set aside after", "others set aside"),
            tuple(_row(fault) for fault in one["faults"]),
            _NOTE,
        )
        for one in result["shares"]
    ]


def _row(fault: Mapping[str, Any]) -> tuple[str, ...]:
    after = fault["set_aside_after"]
    return (
        _words(fault),
        share_words(fault["good_held"]),
        share_words(fault["bad_held"]),
        "" if after is None else f"{after:,}",
        ", ".join(fault["others_set_aside"]),
    )


def _words(fault: Mapping[str, Any]) -> str:
    of = "all history" if fault["of"] == HISTORY else fault["of"]
    return f"{of} {fault['fault']}".strip()


def write_faults(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write it to a new folder; the path of its report. Raises DataError where the folder exists."""
    with whole_folder(folder) as out:
        write_json(out / JSON, result)
        of = "; ".join(f"{name}: {good:,} good, {bad:,} bad" for name, (good, bad) in result["tenants"].items())
        sections = [f"# Faults of bundle {result['bundle']}", f"Mail of {of}.", *_listed(beyond(result))]
        for grid in grids_of(result):
            sections += markdown(grid)
        write_text(out / REPORT, "\n\n".join(sections) + "\n")
    return folder / REPORT


def _listed(words: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {one}" for one in words)] if words else []
