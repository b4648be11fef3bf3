"""`reparse`: facts derived anew from raw mail, and what `status` says of fact sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mailwarden.settings import Settings
from mailwarden_services.cli.options import now_us
from mailwarden_services.cli.progress import out, ticker

if TYPE_CHECKING:
    from mailwarden_services.bootstrap import Platform


def reparse(
    tenant: Annotated[
        list[str], typer.Option("--tenant", help="Only this tenant's; repeatable. All tenants by default.")
    ] = [],  # noqa: B006 - typer's way to say "none given"
    again: Annotated[
        bool, typer.Option("--again", help="Also where this very code derived all facts that are there.")
    ] = False,
) -> None:
    """Derive facts anew from raw mail, beside those of the event log, after the parser or a tenant's settings changed.

    Every event keeps its seq, id and times; the log stays as it is, and mail may flow meanwhile. Events whose raw mail
    is gone keep the facts that they have, and are counted. The new set is in force with its last tenant; a run that was
    cut off is gone on with. Run `materialize` after it, which makes the states of the new facts and has them serve, and
    `train`, whose models should see the facts that serve. Restart `serve` where it still runs the code of before.

    Exit code 65 where nothing changed: --again derives all the same.

    Examples:

        mailwarden reparse && mailwarden materialize
        mailwarden reparse --tenant acme --again
    """
    from mailwarden.ingest.reparse import reparse as derive
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.cli.unlogged import wait_for_tombstones
    from mailwarden_services.scoring_api.answers import site_of

    settings = Settings()
    platform = Platform(settings)
    owners = [platform.tenants.get(name) for name in tenant] if tenant else platform.tenants.list()
    settings.run_path.mkdir(parents=True, exist_ok=True)
    done: dict[str, int] = {}
    with ticker("deriving facts", None) as tick:

        def say(name: str, messages: int) -> None:
            done[name] = messages
            tick(sum(done.values()))

        derive(
            platform.facts,
            platform.events,
            platform.raw,
            {owner.name: site_of(owner) for owner in owners},
            made_at_us=now_us(),
            again=again,
            scratch=settings.run_path,
            progress=say,
            settle=lambda: wait_for_tombstones(settings),
        )
    out.print(fact_table(fact_status(platform)))
    out.print("run `mailwarden materialize` to have the new facts serve, then `mailwarden train`")


def fact_status(platform: Platform) -> dict[str, Any]:
    """What there is of fact sets, as plain JSON values.

    set: number of the one in force, 0 for the event log's own facts. sets: how many are kept. version, fingerprint: of
    this code. other_fingerprints: of other code that logged events under the same version. tenants: what the set has
    of each that it covers, and `events_beyond`, logged since.
    """
    from mailwarden.domain.mail.facts import FACTS_VERSION
    from mailwarden.stores.content_code import facts_fingerprint

    newest, own = platform.facts.newest(), facts_fingerprint()
    tenants = {
        name: {**asdict(facts), "events_beyond": platform.events.last_seq(name) - facts.through}
        for name, facts in sorted(newest.tenants.items())
    }
    return {
        "set": newest.number,
        "sets": len(platform.facts.all()),
        "version": FACTS_VERSION,
        "fingerprint": own,
        "other_fingerprints": [p for p in platform.facts.noted().get(FACTS_VERSION, ()) if p != own],
        "tenants": tenants,
    }


def fact_table(found: Mapping[str, Any]) -> Table:
    """The same as a table, a line a tenant."""
    title = f"fact set {found['set']}" if found["set"] else "facts as accepted"
    title += f"; this code takes facts of version {found['version']}"
    if found["other_fingerprints"]:
        title += ", under which other code logged events too: `mailwarden reparse`"
    columns = ("tenant", "facts version", "through seq", "events", "kept with old facts", "events beyond")
    table = Table(*columns, title=title, title_justify="left")
    for name, facts in found["tenants"].items():
        keys = ("facts_version", "through", "events", "kept", "events_beyond")
        table.add_row(name, *(f"{facts[key]:,}" for key in keys))
    return table
