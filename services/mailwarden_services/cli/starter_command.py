"""`mailwarden starter`: models before there is any label."""

from __future__ import annotations

from typing import Annotated

import typer

from mailwarden.settings import Settings
from mailwarden_services.cli.acts import note
from mailwarden_services.cli.options import now_us
from mailwarden_services.cli.progress import out, stages, ticker


def register(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command()(starter)


def starter(
    seed: Annotated[int, typer.Option(help="Of the simulated world and of the training.")] = 7,
    days: Annotated[int, typer.Option(min=10, help="Days of the simulated company's mail.")] = 30,
    force: Annotated[bool, typer.Option("--force", help="Also where this home's own training serves.")] = False,
) -> None:
    """Build models that need no labels, and have them serve until `train` takes over; under three minutes on two cores.

    They learn from a simulated company's mail alone. Mail that was ingested here, labelled or not, counts as history
    and is materialised; of what bears a label, the good raises thresholds. Every answer says that a starter gave it.
    A running `serve` takes it up by itself.

    Examples:

        mailwarden starter
        mailwarden ingest ~/Maildir --domain your-domain.example && mailwarden starter
    """
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.starter.build import build_starter
    from mailwarden_services.starter.world import World

    settings = Settings()
    world = World(seed, days)
    built = build_starter(settings, world, now_us=now_us(), seed=seed, force=force, ticker=ticker, stages=stages)
    note(Platform(settings), "", "model.promote", str(built["version"]), {"starter": built["starter"]})
    out.print_json(data=built)
