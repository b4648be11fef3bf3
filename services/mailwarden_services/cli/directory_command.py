"""`mailwarden tenant directory`: who works at a tenant, who its VIPs and partners are."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from mailwarden.settings import Settings
from mailwarden_services.cli.acts import note
from mailwarden_services.cli.options import TenantName, now_us
from mailwarden_services.cli.progress import out


def directory(
    name: TenantName,
    file: Annotated[
        Path | None,
        typer.Argument(help="CSV with a header line, or LDIF; it replaces what is there.", show_default=False),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="List the entries.")] = False,
    clear: Annotated[
        bool, typer.Option("--clear", help="Have no directory: staff is learnt from history alone.")
    ] = False,
) -> None:
    """Show or replace a tenant's directory: its people, VIPs and partners, whose names impostors borrow.

    A CSV file begins with a line that names its columns: address and name, and any of aliases (more addresses, private
    ones too, and more names, parted by `;`), role, department, manager (an address) and vip (yes or no; without a word
    whoever heads the house is one). A partner has the role vendor, partner or customer, and an address or a domain. Of
    LDIF mail, displayName or cn, proxyAddresses, title, department, manager and vip are read.

    The file counts whole or not at all. A running API follows within seconds; mail that came before keeps what was said
    of it then.

    Examples:

        mailwarden tenant directory acme people.csv
        mailwarden tenant directory acme export.ldif
        mailwarden tenant directory acme --show
        mailwarden tenant directory acme --clear
    """
    from mailwarden.ingest.directory_files import read_directory
    from mailwarden_services.bootstrap import Platform

    if clear and file is not None:
        raise typer.BadParameter("give a file or --clear, not both")
    platform = Platform(Settings())
    platform.tenants.get(name)
    if file is not None or clear:
        entries = () if file is None else read_directory(file)
        replaced = platform.directories.replace(name, entries, now_us())
        note(platform, name, "policy.directory", name, {"entries": len(entries), "fingerprint": replaced.fingerprint})
    record = platform.directories.record(name)
    if record is None:
        out.print(
            f"tenant {name} has no directory: its staff is learnt from its own mail", markup=False, highlight=False
        )
        return
    found = platform.directories.get(name)
    if show:
        listed = Table("address", "name", "aliases", "role", "department", "manager", "vip")
        for entry in found.entries:
            cells = (entry.address, entry.name, "; ".join(entry.aliases), entry.role, entry.department, entry.manager)
            listed.add_row(*map(escape, cells), "yes" if entry.is_vip else "")
        out.print(listed, highlight=False)
    counts = Table("directory", "value")
    counts.add_row("entries", str(record.entries))
    counts.add_row("VIPs", str(sum(entry.is_vip for entry in found.entries)))
    for duty, count in sorted(Counter(entry.duty or "without role" for entry in found.entries).items()):
        counts.add_row(duty, str(count))
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=record.set_us)
    counts.add_row("given", at.isoformat(" ", "seconds").replace("+00:00", " UTC"))
    counts.add_row("version", record.fingerprint)
    out.print(counts, highlight=False)
