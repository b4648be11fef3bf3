"""`mailwarden lists`: the lists that features look things up in, and a check of a site's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from mailwarden.settings import Settings
from mailwarden_services.cli.progress import out

if TYPE_CHECKING:
    from mailwarden.stores.lists import LoadedLists


def register(app: typer.Typer) -> None:
    """Add `lists` and its command to the application."""
    lists = typer.Typer(
        help=(
            "Lists that features look things up in: free mail, disposable addresses, shorteners, free hosts, brands, "
            "popularity.\n\n"
            "Alone, it shows those in use: version, entries, and whether they ship or MAILWARDEN_LISTS has others.\n\n"
            "A file NAME.txt in the folder that MAILWARDEN_LISTS names takes the place of the list NAME:\n\n"
            "    # name: free_mail\n"
            "    # version: 2026.11\n"
            "    # mode: extend\n\n"
            "    posta.example\n"
            "    -hey.com\n\n"
            "With `mode: extend` it adds entries and takes out those with a minus; without, it replaces the list.\n\n"
            "Examples:\n\n    mailwarden lists\n\n    MAILWARDEN_LISTS=/etc/mailwarden/lists mailwarden lists"
        ),
    )
    lists.callback(invoke_without_command=True)(listing)
    lists.command()(check)
    app.add_typer(lists, name="lists")


def listing(context: typer.Context) -> None:
    """Show the lists in use."""
    from mailwarden.stores.lists import load_lists

    if context.invoked_subcommand is None:
        _show(load_lists(Settings().lists_path))


def check(
    folder: Annotated[Path, typer.Argument(help="A folder of lists, as MAILWARDEN_LISTS would name it.")],
) -> None:
    """Read a folder of lists as MAILWARDEN_LISTS would name it, and say what would change.

    Exits with 78, and names file, line and mend, where a file is not what it should be. A change of lists changes
    features: views that look something up are computed anew, and detectors that read them want training.

    Example:

        mailwarden lists check /etc/mailwarden/lists
    """
    from mailwarden.stores.lists import load_lists

    lists, shipped = load_lists(folder.expanduser().resolve()), load_lists()
    _show(lists)
    for name, origin in lists.origins.items():
        if origin.how not in ("replaced", "extended"):
            continue
        before, after = shipped.entries_of(name), lists.entries_of(name)
        out.print(
            f"{name}: {len(after - before)} entries that do not ship, {len(before - after)} left out", highlight=False
        )
        for entry in origin.without_effect:
            out.print(f"{name}: -{entry} takes nothing out; it is not in the list", highlight=False, markup=False)


def _show(lists: LoadedLists) -> None:
    table = Table("list", "version", "date", "entries", "how")
    for origin in lists.origins.values():
        table.add_row(origin.name, escape(origin.version), origin.date, f"{origin.entries:,}", origin.how)
    out.print(table)
    for origin in lists.origins.values():
        licence = f" ({origin.licence})" if origin.licence else ""
        text = f"{origin.name}: {origin.file}: {origin.source or 'source not said'}{licence}"
        out.print(text, highlight=False, markup=False, soft_wrap=True)
    out.print(f"fingerprint {lists.fingerprint}", highlight=False)
