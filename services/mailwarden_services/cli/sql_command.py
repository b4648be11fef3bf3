"""`mailwarden sql`: the lake and the offline store as SQL views."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mailwarden.errors import ConfigError, did_you_mean
from mailwarden.settings import Settings
from mailwarden_services.cli.progress import out


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(sql)


def sql(
    engine: Annotated[str, typer.Option(help="duckdb or spark: whose SQL it is.")] = "duckdb",
    file: Annotated[Path | None, typer.Option("--out", help="A file to write; printed by default.")] = None,
) -> None:
    """Print statements that open the lake and the offline store as views, for DuckDB or Spark SQL.

    Views: events, messages, labels, signals, tombstones, vectors (what each decision was made with), scores (what each
    detector said then, or why it said nothing), texts (that features saw), raw_mail (without the mail itself), and each
    content view by its name. They show the newest version as it is now;
    run it again to see more. States of activity views are packed: `mailwarden dataset export` gives their values.
    Decisions lie in the SQL database.

    Examples:

        mailwarden sql | duckdb mail.duckdb
        mailwarden sql --engine spark --out views.sql
    """
    from mailwarden.stores.lake.sql_views import ENGINES, view_statements
    from mailwarden.stores.lake.tables import tables

    chosen = next((known for known in ENGINES if known == engine), None)
    if chosen is None:
        hint = did_you_mean(engine, ENGINES) or f" There are {', '.join(ENGINES)}."
        raise ConfigError(f"--engine {engine!r} is none.{hint}")
    found = tables(Settings())
    text = "".join(
        f"-- {name}: version {table.version}, {len(table.files)} files below {table.root}\n"
        for name, table in found.items()
    )
    text += "".join(f"{statement};\n" for statement in view_statements(found.values(), chosen))
    if file is not None:
        file.write_text(text, encoding="utf-8")
        out.print(f"{len(found)} tables as views in {file}", highlight=False, soft_wrap=True)
        return
    # As it is: a terminal's width must not break a statement.
    typer.echo(text, nl=False)
