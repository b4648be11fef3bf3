"""`mailwarden quarantine`: what is held, and its way out."""

from __future__ import annotations

import getpass
import sys
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer
from rich.markup import escape
from rich.table import Column, Table

from mailwarden.errors import ConfigError
from mailwarden.settings import Settings
from mailwarden_services.cli.progress import out

if TYPE_CHECKING:
    from mailwarden.stores.quarantine import State
    from mailwarden_services.mail_gateway.release import Releases

HeldId = Annotated[str, typer.Argument(help="Id of the held message, as `quarantine list` shows it.", metavar="ID")]
TenantOption = Annotated[str | None, typer.Option("--tenant", help="Of this tenant alone.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add `quarantine` and its commands to the application."""
    quarantine = typer.Typer(
        help=(
            "Mail that is held: by us, or in Postfix's hold queue.\n\n"
            "Example:\n\n    mailwarden quarantine list\n\n    mailwarden quarantine release ID"
        ),
        no_args_is_help=True,
    )
    commands: dict[str, Callable[..., None]] = {
        "list": listing,
        "show": show,
        "release": release,
        "delete": delete,
        "expire": expire,
    }
    for name, command in commands.items():
        quarantine.command(name)(command)
    app.add_typer(quarantine, name="quarantine")


def listing(
    tenant: TenantOption = None,
    state: Annotated[str, typer.Option(help="held, releasing, released, deleted, expired or all.")] = "held",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the newest first.")] = 100,
) -> None:
    """List held mail, the newest first.

    Examples:

        mailwarden quarantine list
        mailwarden quarantine list --tenant acme --state released
    """
    from mailwarden.stores.quarantine import State
    from mailwarden_services.bootstrap import Platform

    if state != "all" and state not in get_args(State):
        raise ConfigError(f"--state {state!r}: write one of {', '.join(get_args(State))} or all")
    wanted = None if state == "all" else cast("State", state)
    # An id that is cut off cannot be released: it is whole however narrow the terminal is.
    table = Table(Column("id", no_wrap=True, min_width=33), "held", "tenant", "from", "to", "subject", "why", "state")
    for held in Platform(Settings()).quarantine.page(tenant, state=wanted, limit=limit):
        why = textwrap.shorten(held.reason, 60, placeholder="...")
        cells = (held.mail_from or "<>", ", ".join(held.recipients), held.subject, why)
        table.add_row(held.held_id, _time(held.held_us), held.tenant, *map(escape, cells), held.state)
    out.print(table)


def show(
    held_id: HeldId,
    raw: Annotated[bool, typer.Option("--raw", help="The original bytes, to standard output.")] = False,
) -> None:
    """Show what is known of a held message, or its bytes.

    Examples:

        mailwarden quarantine show ID
        mailwarden quarantine show ID --raw > message.eml
    """
    from mailwarden_services.bootstrap import Platform

    quarantine = Platform(Settings()).quarantine
    held = quarantine.get(held_id)
    if raw:
        sys.stdout.buffer.write(quarantine.content(held))
        return
    table = Table("held message", held.held_id)
    for name, value in (
        ("state", held.state + (", may have been delivered" if held.sending else "")),
        ("tenant", held.tenant),
        ("message id", held.message_id),
        ("decision", held.decision_id),
        ("envelope sender", held.mail_from or "<>"),
        ("recipients", ", ".join(held.recipients)),
        ("who do not have it", ", ".join(held.left)),
        ("from", held.header_from),
        ("subject", held.subject),
        ("why", f"{held.reason} {held.category}".strip()),
        ("came from", held.client_ip),
        ("held", f"{_time(held.held_us)} until {_time(held.expires_us)}"),
        ("where", "our store" if held.place == "store" else f"Postfix's hold queue, {held.queue_id}"),
        ("goes on to", held.next_hop),
        ("bytes", f"{held.size}, sha256 {held.sha256}"),
        ("last release", held.error),
    ):
        if value:
            table.add_row(name, escape(value))
    out.print(table)


def release(
    held_id: HeldId,
    next: Annotated[
        str, typer.Option("--next", help="Hand it on here, not where it was going: HOST:PORT or lmtp:unix:PATH.")
    ] = "",
    again: Annotated[bool, typer.Option("--again", help="Even if an earlier release may have delivered it.")] = False,
    settle: Annotated[
        bool, typer.Option("--settle", help="Deliver nothing: an earlier release did, the next hop's log says.")
    ] = False,
) -> None:
    """Deliver a held message as it came, once.

    What the mail system holds is released where that runs, by `postsuper` (MAILWARDEN_POSTSUPER), as its owner.

    Examples:

        mailwarden quarantine release ID
        mailwarden quarantine release ID --next 127.0.0.1:10026
    """
    if again and settle:
        raise ConfigError("--again delivers it, --settle says that it was delivered; give one of them")
    releases = _releases(next)
    held = releases.settle(held_id, who=_who()) if settle else releases.release(held_id, who=_who(), again=again)
    out.print(f"{held.held_id} {held.state}", highlight=False, markup=False)
    if held.message_id:
        words = f"if it was good mail, say so: label `ham` for message {held.message_id} (POST /v1/labels)"
        out.print(words, highlight=False, markup=False, soft_wrap=True)


def delete(held_id: HeldId) -> None:
    """Delete a held message for good; nobody gets it.

    Example:

        mailwarden quarantine delete ID
    """
    held = _releases().delete(held_id, who=_who())
    out.print(f"{held.held_id} deleted", highlight=False, markup=False)


def expire() -> None:
    """Let go of mail that was held for MAILWARDEN_QUARANTINE_DAYS; run it daily. A second run does nothing more.

    Example:

        mailwarden quarantine expire
    """
    out.print(f"{_releases().expire()} expired", highlight=False)


def _releases(next_hop: str = "") -> Releases:
    from mailwarden_services.bootstrap import Platform

    settings = Settings()
    return Platform(settings.model_copy(update={"release_next": next_hop}) if next_hop else settings).releases


def _who() -> str:
    return f"cli:{getpass.getuser()}"


def _time(time_us: int) -> str:
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
    return time.isoformat(" ", "seconds").replace("+00:00", " UTC")
