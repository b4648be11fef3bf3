"""`mailwarden tenant`: tenants, their policies and their API keys."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from mailwarden.domain.detection.action import Mode
from mailwarden.domain.detection.decision import Verdict
from mailwarden.errors import ConfigError, DataError, NotFound
from mailwarden.settings import Settings
from mailwarden_services.cli.acts import note
from mailwarden_services.cli.options import DomainsOption, TrustOption, now_us
from mailwarden_services.cli.progress import out

if TYPE_CHECKING:
    from mailwarden.stores.sql import ApiKey

Name = Annotated[str, typer.Argument(help="The tenant.")]
RejectChoice = Literal["never", "banner", "junk", "quarantine"]


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


def create(name: Name, domain: DomainsOption = [], trust: TrustOption = []) -> None:  # noqa: B006
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
    name: Name,
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
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Also where its mail may be flowing.")] = False,
) -> None:
    """End a tenant: its keys are revoked, and its domains, trust and policy are gone. There is no way back.

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
        f"tenant {name} removed: {ended} keys revoked; domains, trust and policy gone. Its events, mail, decisions and "
        "labels stay until their retention is over, and its name stays taken.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def policy(
    name: Name,
    allow: Annotated[
        list[str], typer.Option(help="Deliver authenticated mail from this address or domain; repeatable.")
    ] = [],  # noqa: B006 - typer's way to say "none given"
    block: Annotated[list[str], typer.Option(help="Quarantine all mail from this address or domain; repeatable.")] = [],  # noqa: B006
    remove: Annotated[list[str], typer.Option(help="Take it off both lists; repeatable.")] = [],  # noqa: B006
    budget: Annotated[
        float | None, typer.Option(help="Share of good mail that may be held back, as 0.001.", show_default=False)
    ] = None,
    unread: Annotated[
        Verdict | None,
        typer.Option(help="The least to do with a message that could not be read in full.", show_default=False),
    ] = None,
    reject: Annotated[
        RejectChoice | None,
        typer.Option(help="From this verdict on refuse mail at SMTP time, in enforce mode.", show_default=False),
    ] = None,
    headers_in_monitor: Annotated[
        bool | None, typer.Option(help="Add X-Mailwarden headers in monitor mode too.", show_default=False)
    ] = None,
    act_on_outbound: Annotated[
        bool | None, typer.Option(help="Act on mail that leaves as on mail that comes in.", show_default=False)
    ] = None,
) -> None:
    """Show a tenant's policy, after changing what the options say.

    Addresses and domains are added to what is there; one that is allowed is no longer blocked, and the other way round.
    A domain stands for all addresses at it and below it: example.com for mail.example.com too, .example.com for those
    below it alone. Who is on both lists is blocked; an allowed sender is delivered only where the message is
    authenticated.

    Examples:

        mailwarden tenant policy acme
        mailwarden tenant policy acme --allow partner.example --block mallory@bad.example
        mailwarden tenant policy acme --remove partner.example
        mailwarden tenant policy acme --unread quarantine
        mailwarden tenant policy acme --reject quarantine --headers-in-monitor
    """
    from mailwarden.stores.sql.tenants import checked_policy
    from mailwarden_services.bootstrap import Platform

    platform = Platform(Settings())
    tenants = platform.tenants
    found = tenants.get(name).policy
    given = checked_policy({"allow_senders": allow, "block_senders": block})
    allowed, blocked = set(given["allow_senders"]), set(given["block_senders"])
    dropped = _forms(remove)
    if allowed & blocked:
        raise typer.BadParameter(f"{sorted(allowed & blocked)[0]} cannot be both allowed and blocked")
    said = (budget, unread, reject, headers_in_monitor, act_on_outbound)
    if allowed or blocked or dropped or any(value is not None for value in said):
        found = found.copy()
        found["allow_senders"] = sorted(({*found.get("allow_senders", ())} - blocked - dropped) | allowed)
        found["block_senders"] = sorted(({*found.get("block_senders", ())} - allowed - dropped) | blocked)
        if budget is not None:
            found["false_positive_budget"] = budget
        if unread is not None:
            found["unread"] = unread
        if reject is not None:
            found["reject"] = None if reject == "never" else reject
        if headers_in_monitor is not None:
            found["headers_in_monitor"] = headers_in_monitor
        if act_on_outbound is not None:
            found["act_on_outbound"] = act_on_outbound
        found = tenants.update(name, policy=found).policy
        note(platform, name, "policy.change", name, dict(found))
    table = Table("policy", "value")
    table.add_row("allowed senders", ", ".join(found.get("allow_senders", ())))
    table.add_row("blocked senders", ", ".join(found.get("block_senders", ())))
    share = found.get("false_positive_budget")
    table.add_row("false-positive budget", "the platform's" if share is None else f"{share:g}")
    table.add_row("not read in full", f"at least {found.get('unread', 'banner')}")
    table.add_row("mode", found.get("mode", "monitor"))
    table.add_row("rejected", "never" if found.get("reject") is None else f"from {found['reject']}")
    table.add_row("headers in monitor mode", "yes" if found.get("headers_in_monitor") else "no")
    table.add_row("outbound mail", "acted on" if found.get("act_on_outbound") else "learnt from, accepted")
    out.print(table, highlight=False)


def mode(
    name: Name,
    mode: Annotated[Mode | None, typer.Argument(help="Switch to this one.", show_default=False)] = None,
) -> None:
    """Show or switch a tenant's mode: monitor asks nothing of the mail system, enforce has it act on verdicts.

    A running API follows within seconds. Verdicts are given, logged and counted alike in both.

    Examples:

        mailwarden tenant mode acme
        mailwarden tenant mode acme enforce
    """
    from mailwarden_services.bootstrap import Platform

    platform = Platform(Settings())
    found = platform.tenants.get(name)
    if mode is not None and mode != found.actions.mode:
        policy = found.policy.copy()
        policy["mode"] = mode
        platform.tenants.update(name, policy=policy)
        note(platform, name, "policy.mode", name, {"mode": mode})
        out.print(f"tenant {name} is now in {mode} mode", markup=False, highlight=False)
    else:
        out.print(f"tenant {name} is in {found.actions.mode} mode", markup=False, highlight=False)


def _forms(entries: list[str]) -> set[str]:
    """The entries as written, and in their one form where they have one: what was stored before may have none."""
    from mailwarden.domain.mail.addresses import checked_sender

    forms = {entry.strip().lower() for entry in entries}
    for entry in entries:
        with contextlib.suppress(DataError):
            forms.add(checked_sender(entry))
    return forms


def trust(
    name: Name,
    id: Annotated[list[str], typer.Option("--id", help="Believe results that bear this authserv-id; repeatable.")] = [],  # noqa: B006
    hop: Annotated[
        list[str],
        typer.Option(
            help="Believe nothing below the topmost Received by this host, .example.com for all below it; repeatable."
        ),
    ] = [],  # noqa: B006
    topmost: Annotated[
        int | None, typer.Option(help="Believe so many results from the top, whatever their id.", show_default=False)
    ] = None,
    behind: Annotated[
        int | None,
        typer.Option(help="Received fields of your own that stand above those.", show_default=False),
    ] = None,
    sealer: Annotated[
        list[str], typer.Option(help="Believe this domain's ARC seal where the chain passes; repeatable.")
    ] = [],  # noqa: B006
    remove: Annotated[list[str], typer.Option(help="Take it off all these lists; repeatable.")] = [],  # noqa: B006
) -> None:
    """Show whose word on authentication a tenant takes, after changing what the options say.

    Names are added to what is there. Mail that came before keeps what was trusted then; `reparse` derives its facts
    anew. What a mail system must strip for this to hold is in docs/authentication.md.

    Examples:

        mailwarden tenant trust acme --id mx.acme.example
        mailwarden tenant trust acme --hop .mail.protection.outlook.com --topmost 1
        mailwarden tenant trust acme --sealer lists.partner.example
        mailwarden tenant trust acme --topmost 0 --remove mx.acme.example
    """
    from dataclasses import replace

    from mailwarden.domain.mail.trust import Trust, checked_trust
    from mailwarden_services.bootstrap import Platform

    platform = Platform(Settings())
    tenants = platform.tenants
    found = tenants.get(name)
    now = found.trusts
    given = checked_trust(Trust(frozenset(id), frozenset(hop), 0, 0, frozenset(sealer)))
    dropped = checked_trust(Trust(hops=frozenset(remove))).hops
    wanted = replace(
        now,
        authserv_ids=(now.authserv_ids | given.authserv_ids) - dropped,
        hops=(now.hops | given.hops) - dropped,
        sealers=(now.sealers | given.sealers) - dropped,
        topmost=now.topmost if topmost is None else topmost,
        behind=(0 if topmost == 0 else now.behind) if behind is None else behind,
    )
    if wanted != now:
        rest = replace(wanted, authserv_ids=frozenset())
        found = tenants.update(name, trusted_authserv_ids=sorted(wanted.authserv_ids), trust=rest)
        now = found.trusts
        note(platform, name, "policy.trust", name, {"ids": list(found.trusted_authserv_ids), **rest.to_json()})
    table = Table("trust", "value")
    table.add_row("authserv-ids", ", ".join(sorted(now.authserv_ids)))
    table.add_row("nothing below the Received of", ", ".join(sorted(now.hops)))
    table.add_row("results from the top", str(now.topmost))
    table.add_row("behind own Received fields", str(now.behind))
    table.add_row("ARC sealers", ", ".join(sorted(now.sealers)))
    out.print(table, highlight=False)


def key(
    name: Name,
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


def keys(name: Name) -> None:
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


def revoke(name: Name, label: Annotated[str, typer.Option(help="Which key, as `tenant keys` lists it.")]) -> None:
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
