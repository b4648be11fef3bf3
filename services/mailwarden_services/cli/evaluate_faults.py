"""`mailwarden evaluate --faults`: what is held back while a detector is away, fires on everything, or says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from mailwarden_services.cli.progress import console, out, stages, ticker

if TYPE_CHECKING:
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.evaluation.faults.asked import FaultsAsked


def evaluate_faults(
    platform: Platform, version: int | None, asked: FaultsAsked, folder: Path | None, record: Mapping[str, Any]
) -> None:
    """Try every fault on a bundle, print the tables, and write the report where a folder is given."""
    from mailwarden_services.evaluation.faults.mail import mail_by_tenant
    from mailwarden_services.evaluation.faults.result import beyond, grids_of, result_of, write_faults
    from mailwarden_services.evaluation.faults.trials import faults_of
    from mailwarden_services.evaluation.home import judge_of
    from mailwarden_services.loop import Loop
    from mailwarden_services.reports.grids import rich_table

    judge, registered = judge_of(platform, version)
    with stages(f"judging by bundle {registered.version}") as begins:
        mail, left = mail_by_tenant(Loop(platform), judge, asked, begins)
    with ticker("faults", len(asked.shares) * len(faults_of(judge.champion))) as tick:
        result = result_of(judge, registered.version, mail, left, asked, record, tick)
    for grid in grids_of(result):
        out.print(rich_table(grid))
    for words in beyond(result):
        console.print(f"[yellow]{escape(words)}[/]", highlight=False, soft_wrap=True)
    if folder is not None:
        path = write_faults(folder, result)
        out.print(f"report: {path}", highlight=False, soft_wrap=True)
