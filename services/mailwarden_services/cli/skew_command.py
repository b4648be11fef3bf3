"""`skew`: served values and scores against those computed again, and what earlier runs found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mailwarden.domain.status import Status
from mailwarden.settings import Settings
from mailwarden_services.cli.progress import out, stages

if TYPE_CHECKING:
    from mailwarden.monitoring.skew_history import SkewRun
    from mailwarden.monitoring.skew_report import ScoreSkew, SkewReport

_STATUSES = tuple(status for status in Status if status is not Status.UNAVAILABLE)


def skew(
    history: Annotated[
        bool, typer.Option("--history", help="Show what earlier runs found, view by view; measure nothing.")
    ] = False,
) -> None:
    """Recompute every logged feature vector and score, and compare. Exit code 1 where one differs, or none is there.

    A mismatch is a value, or a kind of missing, that was served and is not what the event log says for that message
    at that place in the order. Stale values were right for what had been folded by then, and count freshness lost.
    Scores are those of the bundle that decided, asked again about the vector that it saw; what cannot be asked any more
    is counted, with why. Each run is kept.

    Examples:

        mailwarden skew || echo "served values and history disagree"
        mailwarden skew --history
    """
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.loop import Loop, skew_history

    platform = Platform(Settings())
    if history:
        runs = skew_history(platform).runs()
        for table in history_tables(runs):
            out.print(table)
        if not runs:
            out.print("no run is kept yet; `mailwarden skew` makes one")
        return
    with stages("recomputing logged vectors", len(platform.activity) + 2) as begins:
        report = Loop(platform).skew(begins)
    out.print(view_table(report))
    out.print(feature_table(report))
    if report.scores.lines:
        out.print(score_table(report.scores))
    out.print(
        f"{report.mismatches} mismatching values among {report.compared_values:,} "
        f"({report.values_with_history:,} with history behind them; {report.stale_values} stale); "
        f"{report.status_mismatches} rows of another kind of missing"
    )
    _say_scores(report.scores)
    for line in report.views:
        if line.other_versions:
            out.print(f"{sum(line.other_versions.values()):,} rows of other versions of {line.view} were not compared")
        if line.changed:
            out.print(
                f"[yellow]{line.view} is made by other code, lists or parser than {line.changed:,} rows were logged "
                "by, under the same version: they were not compared; `mailwarden materialize` and `mailwarden train` "
                "bring values and models to the new ones[/]"
            )
    if report.gone:
        out.print(f"{report.gone:,} rows are of messages whose raw mail is gone: their content was not compared")
    served: Counter[int] = sum((Counter(line.facts) for line in report.views), Counter())
    if len(served) > 1:
        shares = ", ".join(f"{rows:,} from set {number}" for number, rows in sorted(served.items()))
        out.print(f"rows were served from {len(served)} fact sets, and each compared with its own: {shares}")
    if report.unknown:
        out.print(f"[red]{report.unknown:,} logged vectors are of messages that the event log does not hold[/]")
    if not report.agrees:
        out.print("if the states online are at fault, `mailwarden materialize --afresh --view NAME` makes them anew")
        raise typer.Exit(1)


def view_table(report: SkewReport) -> Table:
    """Rows of each view by their kind of missing, and how many of those are not what history says."""
    table = Table(
        "view", "rows", "compared", *(status.replace("_", " ") for status in _shown(report)), "unavailable",
        "status mismatches", "behind", "changed", "raw mail gone",
    )  # fmt: skip
    for line in report.views:
        kinds = (line.statuses.get(status, 0) for status in _shown(report))
        counts = (
            line.rows, line.compared, *kinds, line.unavailable, line.status_mismatches, line.behind, line.changed,
            line.gone,
        )  # fmt: skip
        table.add_row(line.view, *(f"{count:,}" for count in counts))
    return table


def score_table(scores: ScoreSkew) -> Table:
    """Rows of the score log by bundle and detector: compared, different, and by why they could not be asked again."""
    reasons = sorted(scores.unanswered)
    table = Table("bundle", "detector", "rows", "compared", "different", *reasons)
    for line in scores.lines:
        counts = (line.rows, line.compared, line.different, *(line.unanswered.get(why, 0) for why in reasons))
        table.add_row(str(line.bundle), line.detector, *(f"{count:,}" for count in counts))
    return table


def _say_scores(scores: ScoreSkew) -> None:
    out.print(f"{scores.different} different scores among {scores.compared:,} that detectors were asked for again")
    for why, rows in sorted(scores.unanswered.items()):
        out.print(f"{rows:,} scores could not be asked for again: {_WHY_NOT.get(why, why)}", soft_wrap=True)
    if scores.unscored:
        out.print(f"{scores.unscored:,} messages with logged vectors have no logged scores")


_WHY_NOT = {
    "texts gone": "texts that the detector read are kept no longer",
    "other version": "a view that the detector reads had another version than now",
    "bundle gone": "the bundle that decided cannot be read any more, as the log says",
    "detector away": "a detector that spoke then does not load now, as the log says",
    "no vector": "their vector is not in the vector log",
}
"""What is said of each reason, of `scoring.logged`, `rescoring` and `monitoring.skew_scores`."""


def _shown(report: SkewReport) -> list[Status]:
    """The kinds of missing that occur, in order."""
    there = {status for line in report.views for status in line.statuses}
    return [status for status in _STATUSES if status in there]


def feature_table(report: SkewReport) -> Table:
    """Values of each feature: compared, wrong, of these null on one side only, and late."""
    table = Table(
        "view", "feature", "compared", "with history", "mismatches", "null when logged", "null in history", "stale"
    )
    for line in report.features:
        counts = (
            line.compared, line.with_history, line.mismatches, line.null_logged, line.null_recomputed, line.stale,
        )  # fmt: skip
        table.add_row(line.view, line.feature, *(f"{count:,}" for count in counts))
    return table


def history_tables(runs: Sequence[SkewRun]) -> list[Table]:
    """A table a view and one of the scores, a line a run, the oldest first."""
    tables: dict[str, Table] = {}
    for run in runs:
        for line in run.views:
            table = tables.get(line.view)
            if table is None:
                table = tables[line.view] = Table(
                    "measured (UTC)", "rows", "values", "with history", "mismatches", "status mismatches",
                    "stale values", "rows behind", title=line.view, title_justify="left",
                )  # fmt: skip
            counts = (
                line.rows, line.compared, line.with_history, line.mismatches, line.status_mismatches, line.stale,
                line.behind,
            )  # fmt: skip
            table.add_row(run.at, *(f"{count:,}" for count in counts))
    if any(run.scores_compared or run.scores_unanswered for run in runs):
        tables["scores"] = Table(
            "measured (UTC)", "compared", "different", "not asked again", title="scores", title_justify="left"
        )
        for run in runs:
            scores = run.scores_compared, run.scores_different, run.scores_unanswered
            tables["scores"].add_row(run.at, *(f"{count:,}" for count in scores))
    return list(tables.values())
