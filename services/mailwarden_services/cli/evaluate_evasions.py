"""`mailwarden evaluate --evasions`: what becomes of attacks that are caught when their sender evades."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from mailwarden_services.cli.progress import console, out, stages, ticker

if TYPE_CHECKING:
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.evaluation.evasions.asked import EvasionsAsked


def evaluate_evasions(
    platform: Platform, version: int | None, asked: EvasionsAsked, folder: Path | None, record: Mapping[str, Any]
) -> None:
    """Try evasions on a bundle, print their tables, and write the report where a folder is given."""
    from mailwarden_services.evaluation.evasions.attacks import candidates_of
    from mailwarden_services.evaluation.evasions.report import grids_of, write_evasions
    from mailwarden_services.evaluation.evasions.result import result_of, table_of
    from mailwarden_services.evaluation.evasions.trials import tried
    from mailwarden_services.evaluation.home import judge_of
    from mailwarden_services.reports.grids import rich_table
    from mailwarden_services.reports.words import without_addresses

    judge, registered = judge_of(platform, version)
    with stages(f"choosing attacks for bundle {registered.version}"):
        candidates = candidates_of(platform, registered, asked)
    with ExitStack() as bars:

        def progress(words: str, total: int) -> Callable[[int], None]:
            bars.close()
            return bars.enter_context(ticker(words, total))

        found = tried(platform, registered.version, candidates, asked, progress)
    table = table_of(found.trials)
    of = f"labelled mail of {asked.wanted.tenant}" if asked.wanted.tenant else "labelled mail"
    result = result_of(table, found, registered.version, of, {**record, "seed": asked.seed})
    result["warnings"] += [f"detector {name} is away, and judged nothing: {why}"
                           for name, why in judge.champion.away.items()]  # fmt: skip
    for grid in grids_of(without_addresses(result)):
        out.print(rich_table(grid))
    for words in result["warnings"]:
        console.print(f"[yellow]{escape(words)}[/]", highlight=False, soft_wrap=True)
    if folder is not None:
        with stages("writing"):
            path = write_evasions(folder, result, table)
        out.print(f"report: {path}", highlight=False, soft_wrap=True)
