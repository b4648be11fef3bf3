"""`mailwarden calibrate`: thresholds of tenants that the models did not learn from."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from mailwarden.settings import Settings
from mailwarden_services.cli.acts import note
from mailwarden_services.cli.options import now_us
from mailwarden_services.cli.progress import out, stages


def register(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command()(calibrate)


def calibrate(
    tenant: Annotated[
        list[str] | None, typer.Option("--tenant", help="Of this tenant; repeat; all by default.")
    ] = None,
    until: Annotated[str, typer.Option("--until", help="Only mail received before then counts.")] = "",
) -> None:
    """Find the thresholds of tenants that the models did not learn from, by their own good mail, and have them serve.

    Good mail is told by labels, where there are enough of them, else by other evidence than scores: senders who prove
    themselves, whom the tenant writes to or has long known. What is found is pulled towards what other sites have, the
    more the less mail there is; how much of all its good mail would be held back is said with the interval that so much
    mail supports. Needs mail that was ingested and materialised.

    Examples:

        mailwarden calibrate
        mailwarden calibrate --tenant acme
    """
    from mailwarden.training.splits import moment_us
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.calibrating import calibrate_tenants
    from mailwarden_services.loop import Loop

    with stages("calibrating") as begins:
        platform = Platform(Settings())
        found = calibrate_tenants(
            Loop(platform),
            tenants=tuple(tenant or ()),
            now_us=now_us(),
            until_us=moment_us(until) if until else None,
            progress=begins,
        )
        if found["tenants"]:
            note(platform, "", "model.promote", str(found["version"]), {"calibrated": sorted(found["tenants"])})
    if not found["tenants"]:
        out.print("no tenant has mail that the models did not learn from: nothing changed")
        return
    table = Table(
        "tenant", "messages", "count as good", "by", "thresholds moved by", "of these held back", "of good mail, 95%"
    )
    for name, one in found["tenants"].items():
        by = "labels" if one["labelled"] else "evidence"
        shift, reached = f"{one['shift']:+.2f}", f"{100 * one['reached']:.2f}%"
        _, low, high = (f"{100 * share:.2g}%" for share in one["expected"])
        table.add_row(name, f"{one['n']:,}", f"{one['counted']:,.0f}", by, shift, reached, f"{low} to {high}")
    out.print(table)
    out.print(f"bundle {found['version']} serves with them")
