"""`mailwarden operator`, `audit` and `show`: keys above tenants, who did what, and mail as people may look at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.table import Table

from mailwarden.domain.mail.identity_text import message_id_of
from mailwarden.settings import Settings
from mailwarden_services.cli.acts import note
from mailwarden_services.cli.options import DEFAULT_TENANT, now_us
from mailwarden_services.cli.progress import out

Roles = Annotated[list[str], typer.Option("--role", help="operator, gateway or content; repeatable.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    operators = typer.Typer(
        help=(
            "Keys above tenants: of operators and of mail gateways.\n\n"
            "An operator names the tenant in `X-Mailwarden-Tenant` and may do all there but read mail, which takes the "
            "role `content` beside it. A gateway hands mail over for all tenants.\n\n"
            "Example:\n\n    KEY=$(mailwarden operator key --role gateway --label mx1)"
        ),
        no_args_is_help=True,
    )
    commands: dict[str, Callable[..., None]] = {"key": key, "keys": keys, "revoke": revoke}
    for name, command in commands.items():
        operators.command(name)(command)
    app.add_typer(operators, name="operator")
    audits = typer.Typer(
        help="Who did what.\n\nExample:\n\n    mailwarden audit list --tenant acme", no_args_is_help=True
    )
    audits.command("list")(listing)
    app.add_typer(audits, name="audit")
    app.command()(show)


def key(roles: Roles, label: Annotated[str, typer.Option(help="What the key is for.")] = "default") -> None:
    """Issue a key above tenants and print it: the only time that it is shown.

    Examples:

        KEY=$(mailwarden operator key --role operator)
        KEY=$(mailwarden operator key --role gateway --label mx1)
        KEY=$(mailwarden operator key --role operator --role content --label soc)
    """
    from mailwarden_services.bootstrap import Platform

    platform = Platform(Settings())
    made = platform.platform_keys.issue(label, now_us(), roles)
    note(platform, "", "key.issue", label, {"roles": sorted(set(roles))})
    out.print(made, highlight=False, soft_wrap=True)


def keys() -> None:
    """List keys above tenants by label, revoked ones too; never the keys themselves.

    Example:

        mailwarden operator keys
    """
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.cli.tenant_commands import key_table

    out.print(key_table(Platform(Settings()).platform_keys.list()))


def revoke(label: Annotated[str, typer.Option(help="Which key, as `operator keys` lists it.")]) -> None:
    """End a key above tenants for good; a running API may know it for some seconds more.

    Example:

        mailwarden operator revoke --label mx1
    """
    from mailwarden_services.bootstrap import Platform

    platform = Platform(Settings())
    platform.platform_keys.revoke(label, now_us())
    note(platform, "", "key.revoke", label)
    out.print(f"key {label} works no more", markup=False, highlight=False)


def listing(
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Of one tenant; all, and the platform's own, by default.")
    ] = None,
    what: Annotated[str | None, typer.Option(help="Of one kind, as label, or label.give.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
) -> None:
    """List who did what, the newest first: policies, keys, labels, releases, models, and mail that was read.

    Nothing is ever taken out of it, not by Mailwarden and, short of changing its schema, not by who has the database.

    Examples:

        mailwarden audit list
        mailwarden audit list --tenant acme --what content
    """
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.scoring_api.times import rfc3339

    table = Table("number", "at", "tenant", "who", "what", "target", "details")
    for entry in Platform(Settings()).audit.page(tenant, what=what, limit=limit):
        details = ", ".join(f"{name}={value}" for name, value in entry.details.items())
        table.add_row(
            str(entry.number), rfc3339(entry.at_us), entry.tenant, entry.who, entry.what, entry.target, details
        )
    out.print(table, highlight=False, markup=False)


def show(
    message: Annotated[str, typer.Argument(help="The message_id or decision_id that scoring answered.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose mail it is.")] = DEFAULT_TENANT,
    received_at: Annotated[
        str | None, typer.Option(help="When it came, RFC 3339; of mail that was ingested and never scored.")
    ] = None,
    api: Annotated[
        str | None,
        typer.Option(help="Ask the API at this address, by the key in MAILWARDEN_API_KEY, and not this home's stores."),
    ] = None,
) -> None:
    """Show a message as it may be looked at: its text, hidden text apart, headers, links that nothing opens, parts.

    Each reading is in the audit log. Nothing live is printed: links are spoilt (hxxp, [.]), characters that steer a
    terminal are told by their number.

    Examples:

        mailwarden show fbd181f038c3364114496ff3b5474c59
        MAILWARDEN_API_KEY=$KEY mailwarden show fbd181f038c3364114496ff3b5474c59 --api http://127.0.0.1:8080
    """
    from mailwarden_services.cli.shown_mail import by_api, by_stores, lines_of

    found: dict[str, Any]
    if api is None:
        found = by_stores(Settings(), tenant, message_id_of(message), received_at)
    else:
        found = by_api(Settings(), api, message_id_of(message), received_at)
    for line in lines_of(found):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
