"""`mailwarden`: the command line."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mailwarden import __version__, logs
from mailwarden_services.cli import (
    access_commands,
    bench_command,
    calibrate_command,
    commands,
    dataset_command,
    detector_commands,
    encoder_command,
    evaluate_command,
    feature_commands,
    forget_command,
    gateway_commands,
    list_commands,
    models_command,
    quarantine_commands,
    replay_command,
    rules_commands,
    simulate_command,
    sql_command,
    starter_command,
    tenant_commands,
)
from mailwarden_services.cli.progress import console, out
from mailwarden_services.ending import in_words

app = typer.Typer(
    name="mailwarden",
    help=(
        "Detects e-mail attacks over a shared feature store.\n\n"
        "Start with `mailwarden demo`. On the first day: `starter` and `serve`. On your own mail: `ingest`, "
        "`materialize`, `train`, `serve`, `score`; or `replay`, which does all of it honestly and reports. Settings "
        "are environment variables MAILWARDEN_*; "
        "what is kept lies under MAILWARDEN_HOME (default .mailwarden).\n\n"
        "Exit codes: 0 done, 1 failed or a check did not hold, 2 wrong usage, 65 bad data, 66 not found, 69 a store "
        "is down, 70 a view or detector breaks its contract, 78 wrong settings. Labelled files that are missing are "
        "reported and counted with exit code 0, or 65 under `ingest --strict`.\n\n"
        "Examples:\n\n"
        "    mailwarden demo\n"
        "    mailwarden replay ~/Maildir --labels ~/Maildir/INDEX --out artifacts/mine --domain your-domain.example\n"
        "    mailwarden ingest --help"
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
commands.register(app)
starter_command.register(app)
replay_command.register(app)
simulate_command.register(app)
bench_command.register(app)
tenant_commands.register(app)
access_commands.register(app)
feature_commands.register(app)
detector_commands.register(app)
encoder_command.register(app)
models_command.register(app)
rules_commands.register(app)
list_commands.register(app)
dataset_command.register(app)
evaluate_command.register(app)
calibrate_command.register(app)
sql_command.register(app)
gateway_commands.register(app)
quarantine_commands.register(app)
forget_command.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"mailwarden {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens, as JSON on stderr.")] = False,
) -> None:
    """Set up logging for every command."""
    logs.configure("INFO" if verbose else "ERROR")


def main() -> None:
    """Run the command line; errors become one line and an exit code of `ending.EXIT_CODES`."""

    def say(words: str) -> None:
        console.print(words, style="red", highlight=False, markup=False, soft_wrap=True)

    wanted = any(word in ("-v", "--verbose") for word in sys.argv[1:2])
    with in_words(say, traces=wanted):
        app()
