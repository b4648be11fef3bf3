"""`mailwarden features`: feature views as teams make, check, price, version and retire them."""

from __future__ import annotations

from collections.abc import Callable

import typer

from mailwarden_services.cli.feature_folders import check, new, version
from mailwarden_services.cli.feature_plan import plan
from mailwarden_services.cli.feature_retiring import retire
from mailwarden_services.cli.feature_tables import listing, show, usage


def register(app: typer.Typer) -> None:
    """Add `features` and its commands to the application."""
    features = typer.Typer(
        help=(
            "Feature views, as teams make them: one folder each, nothing else edited.\n\n"
            "They need neither mail nor Java. `new` or `version` lays a folder out, `check` judges it, `plan` says "
            "what it would cost, `feast apply` and `mailwarden materialize` make it serve.\n\n"
            "Example:\n\n    mailwarden features new sender_bulk --keys sender --owner bulk-mail"
        ),
        no_args_is_help=True,
    )
    commands: dict[str, Callable[..., None]] = {
        "list": listing,
        "show": show,
        "new": new,
        "version": version,
        "check": check,
        "plan": plan,
        "usage": usage,
        "retire": retire,
    }
    for name, command in commands.items():
        features.command(name)(command)
    app.add_typer(features, name="features")
