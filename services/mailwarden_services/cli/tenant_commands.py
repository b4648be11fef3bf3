"""`mailwarden tenant`: tenants, their policies and their API keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mailwarden.errors import ConfigError, NotFound
from mailwarden.settings import Settings
from mailwarden_services.cli.acts import note
from mailwarden_services.cli.directory_command import directory
from mailwarden_services.cli.options import DomainsOption, TenantName, TrustOption, now_us
from mailwarden_services.cli.progress import out
from mailwarden_services.cli.tenant_policy_commands import mode, policy, trust

if TYPE_CHECKING:
    from mailwarden.stores.sql import ApiKey


def register(app: typer.Typer) -> None:
    """Add `tenant` and its commands to the application."""
    tenants = typer.Typer(
        help=(
            "Tenants, their policies and their API keys.\n\n"
            "A tenant is whose mail it is: no tenant sees another's. `ingest --tenant` makes one too.\n\n"
            "Example:\n\n    KEY=$(mailwarden tenant key acme --label gateway)"
        ),
        no_args_is_help=True,
    )
    commands: dict[str, Callable[..., None]] = {
        "list": listing,
        "create": create,
        "update": update,
        "remove": remove,
        "policy": policy,
        "mode": mode,
        "trust": trust,
        "directory": directory,
        "key": key,
        "keys": keys,
        "revoke": revoke,
    }
    for name, command in commands.items():
        tenants.command(name)(command)
    app.add_typer(tenants, name="tenant")


def listing() -> None:
    """List tenants with their domains and modes.

    Example:

        mailwarden tenant list
    """
    from mailwarden_services.bootstrap import Platform

    table = Table("tenant", "domains", "trusted authserv-ids", "mode")
    for tenant in Platform(Settings()).tenants.list():
        table.add_row(
            tenant.name, ", ".join(tenant.domains), ", ".join(tenant.trusted_authserv_ids), tenant.actions.mode
        )
    out.print(table)


def create(name: TenantName, domain: DomainsOption = [], trust: TrustOption = []) -> None:  # noqa: B006
    """Make a tenant.

    Example:

        mailwarden tenant create acme --domain acme.example --domain acme.test --trust mx.acme.example
    """
    from mailwarden_services.bootstrap import Platform

    platform = Platform(Settings())
    platform.tenants.create(name, domains=domain, trusted_authserv_ids=trust, created_us=now_us())
    note(platform, name, "tenant.create", name, {"domains": domain})
    out.print(f"tenant {name} made; `mailwarden tenant key {name}` gives it an API key")


def update(
    name: TenantName,
    domain: DomainsOption = [],  # noqa: B006
    remove_domain: Annotated[
        list[str], typer.Option("--remove-domain", help="A domain that is the tenant's no more; repeatable.")
    ] = [],  # noqa: B006
) -> None:
    """Change a tenant's domains. `policy`, `mode` and `trust` change the rest, `key` and `revoke` its keys.

    Mail that came before keeps the direction that it had; `reparse` derives facts anew.

    Examples:

        mailwarden tenant update acme --domain acme.example --domain .acme.example
        mailwarden tenant update acme --remove-domain acme.test
    """
    from mailwarden.domain.mail.own_domains import own_domain
    from mailwarden_services.bootstrap import Platform

    tenants = Platform(Settings()).tenants
    found = tenants.get(name)
    gone = {*remove_domain, *(own_domain(one) for one in remove_domain)}
    unknown = sorted({own_domain(one) for one in remove_domain} - set(found.domains) - {own_domain(d) for d in domain})
    if unknown:
        raise NotFound(f"{unknown[0]} is no domain of tenant {name}; it has {', '.join(found.domains) or 'none'}")
    wanted = dict.fromkeys([*found.domains, *map(own_domain, domain)])
    kept = [one for one in wanted if one not in gone]
    if kept != list(found.domains):
        found = tenants.update(name, domains=kept)
    out.print(f"tenant {name}: {', '.join(found.domains) or 'no domain'}", markup=False, highlight=False)


def remove(
    name: TenantName,
    yes: Annotated[bool, typer.Option("--yes", help="Also where its mail may be flowing.")] = False,
) -> None:
    """End a tenant: its keys are revoked, and its domains, trust, policy and directory are gone. There is no way back.

    What was logged stays, and bears its name, which no other tenant can have: events, raw mail, vectors and texts in
    the lake, decisions and labels, and states in Redis. Raw mail and texts go with their retention; nothing else is
    erased by this. While `serve` runs over this home and the tenant has a working key, --yes is asked for: what is on
    its way is answered and logged still, and a running API knows the key for some seconds more.

    Examples:

        mailwarden tenant remove acme
        mailwarden tenant remove acme --yes
    """
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.cli.running import api_runs

    settings = Settings()
    tenants = Platform(settings).tenants
    works = [key.label for key in tenants.keys(name) if key.revoked_us is None]
    if works and not yes and api_runs(settings):
        raise ConfigError(
            f"mail of tenant {name} may be flowing: the API runs, and {', '.join(works)} may call. Stop it or revoke "
            "the keys first, or say --yes"
        )
    ended = tenants.remove(name, now_us())
    out.print(
        f"tenant {name} removed: {ended} keys revoked; domains, trust, policy and directory gone. Its events, mail, "
        "decisions and labels stay until their retention is over, and its name stays taken.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def key(
    name: TenantName,
    label: Annotated[str, typer.Option(help="What the key is for.")] = "default",
    roles: Annotated[
        list[str],
        typer.Option("--role", help="score, label, read, content or admin; repeatable. The first three by default."),
    ] = [],  # noqa: B006
) -> None:
    """Issue an API key and print it: the only time that it is shown.

    What its roles open: score hands mail over; label says what it was; read lists decisions; content shows mail itself;
    admin sees the audit log and what is down.

    Examples:

        KEY=$(mailwarden tenant key acme)
        mailwarden tenant key acme --label gateway --role score
        mailwarden tenant key acme --label analysts --role read --role label --role content
    """
    from mailwarden.stores.sql.keys import DEFAULT_ROLES
    from mailwarden_services.bootstrap import Platform

    platform = Platform(Settings())
    made = platform.tenants.issue_key(name, label, now_us(), roles or DEFAULT_ROLES)
    note(platform, name, "key.issue", label, {"roles": sorted(set(roles or DEFAULT_ROLES))})
    out.print(made, highlight=False, soft_wrap=True)


def keys(name: TenantName) -> None:
    """List a tenant's keys by label with their roles, revoked ones too; never the keys themselves.

    Example:

        mailwarden tenant keys acme
    """
    from mailwarden_services.bootstrap import Platform

    out.print(key_table(Platform(Settings()).tenants.keys(name)))


def key_table(keys: Iterable[ApiKey]) -> Table:
    """Keys as they are listed."""
    table = Table("label", "roles", "issued", "revoked")
    for found in keys:
        revoked = "" if found.revoked_us is None else _day(found.revoked_us)
        table.add_row(found.label, ", ".join(found.roles), _day(found.created_us), revoked)
    return table


def revoke(name: TenantName, label: Annotated[str, typer.Option(help="Which key, as `tenant keys` lists it.")]) -> None:
    """End a key for good; a running API may know it for some seconds more.

    Example:

        mailwarden tenant revoke acme --label gateway
    """
    from mailwarden_services.bootstrap import Platform

    platform = Platform(Settings())
    platform.tenants.revoke_key(name, label, now_us())
    note(platform, name, "key.revoke", label)
    out.print(f"key {label} of tenant {name} works no more", markup=False, highlight=False)


def _day(time_us: int) -> str:
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
    return time.isoformat(" ", "seconds").replace("+00:00", " UTC")
