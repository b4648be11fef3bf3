"""`mailwarden dataset`: training sets as plain Parquet."""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from mailwarden.settings import Settings
from mailwarden_services.cli.options import now_us
from mailwarden_services.cli.progress import console, out, stages


def register(app: typer.Typer) -> None:
    """Add `dataset` and its commands to the application."""
    dataset = typer.Typer(
        help=(
            "Training sets for pandas and SQL, with the values that serving has.\n\n"
            "Example:\n\n    mailwarden dataset export behaviour --out sets/behaviour"
        ),
        no_args_is_help=True,
    )
    dataset.callback()(_dataset)
    dataset.command("export")(export)
    app.add_typer(dataset, name="dataset")


def _dataset() -> None:
    """Training sets for pandas and SQL, with the values that serving has."""


def export(
    service: Annotated[str, typer.Argument(help="A FeatureService; each detector has one of its name.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder to write; it must not exist.")],
    begin: Annotated[str, typer.Option("--from", help="Messages received from then on: 2026-01-31[T08:30:00Z].")] = "",
    end: Annotated[str, typer.Option("--until", help="Messages received before then.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Of this tenant alone; of all by default.")] = "",
    known_by: Annotated[
        str, typer.Option("--labels-known-by", help="Labels as they were known then; now by default.")
    ] = "",
    split: Annotated[
        list[str],
        typer.Option(help="NAME=FROM..UNTIL (either end may be left out) or NAME=tenant:ONE+TWO; repeat for each."),
    ] = [],  # noqa: B006 - typer's way to say "none given"
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Messages without a label as well, with a null one.")
    ] = False,
) -> None:
    """Write a training set: FOLDER/data (Parquet, a row a recipient, a column a feature) and FOLDER/dataset.json.

    Values are those of the moment that each message was accepted, as serving had them. Columns are named
    view__feature; view__status says why a value is null. Content must have been computed by `mailwarden materialize`.
    Messages that are in no split are left out, and counted.

    Examples:

        mailwarden dataset export behaviour --out sets/behaviour
        mailwarden dataset export behaviour --out sets/2026 --labels-known-by 2026-03-01 \\
            --split train=2026-01-01..2026-02-01 --split test=2026-02-01..
        mailwarden dataset export behaviour --out sets/sites --split train=tenant:acme+other --split test=tenant:third
    """
    from mailwarden.training.export import ExportOptions
    from mailwarden.training.splits import moment_us, parse_splits
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.loop import Loop

    now = now_us()
    options = ExportOptions(
        service=service,
        cutoff_us=moment_us(known_by) if known_by else now,
        from_us=moment_us(begin) if begin else None,
        until_us=moment_us(end) if end else None,
        tenant=tenant or None,
        splits=parse_splits(split),
        unlabelled=unlabelled,
        record={
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["mailwarden", *sys.argv[1:]]),
        },
    )
    with stages("exporting") as begins:
        card = Loop(Platform(Settings())).export(folder, options, begins)
    table = Table("split", "rows", "messages", "labels")
    for name, part in card["splits"].items():
        labels = ", ".join(f"{label} {n:,}" for label, n in part["labels"].items())
        table.add_row(name, f"{part['rows']:,}", f"{part['messages']:,}", labels)
    out.print(table)
    if card["rows_in_no_split"]:
        out.print(f"{card['rows_in_no_split']:,} rows are in no split and were left out")
    for view, rows in card["content_unavailable"].items():
        if rows:
            why = "run `mailwarden materialize` first, or their raw mail is gone"
            console.print(f"[yellow]{rows:,} rows have no {view}: {why}[/]")
    out.print(f"{folder}/data and {folder}/dataset.json written", highlight=False, soft_wrap=True)
