"""`mailwarden tenant policy`, `mode` and `trust`: what is done with a tenant's mail, and whose word it takes."""

from __future__ import annotations

import contextlib
from typing import Annotated, Literal

import typer
from rich.table import Table

from mailwarden.domain.detection.action import Mode
from mailwarden.domain.detection.decision import Verdict
from mailwarden.errors import DataError
from mailwarden.settings import Settings
from mailwarden_services.cli.acts import note
from mailwarden_services.cli.options import TenantName
from mailwarden_services.cli.progress import out

RejectChoice = Literal["never", "banner", "junk", "quarantine"]


def policy(
    name: TenantName,
    allow: Annotated[
        list[str], typer.Option(help="Deliver authenticated mail from this address or domain; repeatable.")
    ] = [],  # noqa: B006 - typer's way to say "none given"
    block: Annotated[list[str], typer.Option(help="Quarantine all mail from this address or domain; repeatable.")] = [],  # noqa: B006
    remove: Annotated[list[str], typer.Option(help="Take it off both lists; repeatable.")] = [],  # noqa: B006
    budget: Annotated[
        float | None, typer.Option(help="Share of good mail that may be held back, as 0.001.", show_default=False)
    ] = None,
    category_budget: Annotated[
        list[str],
        typer.Option(
            metavar="CODE=SHARE",
            help="Of all good mail, the share that may be held back as this category, as BE=0.0004; CODE=none to take "
            "it back; repeatable.",
        ),
    ] = [],  # noqa: B006
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
    authenticated. Categories whose budgets are given are held back within these; what is left of the budget goes to all
    others.

    Examples:

        mailwarden tenant policy acme
        mailwarden tenant policy acme --allow partner.example --block mallory@bad.example
        mailwarden tenant policy acme --remove partner.example
        mailwarden tenant policy acme --unread quarantine
        mailwarden tenant policy acme --budget 0.001 --category-budget BE=0.0004 --category-budget SP=0.0001
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
    by_category = dict(map(_category_budget, category_budget))
    said = (budget, unread, reject, headers_in_monitor, act_on_outbound)
    if allowed or blocked or dropped or by_category or any(value is not None for value in said):
        found = found.copy()
        found["allow_senders"] = sorted(({*found.get("allow_senders", ())} - blocked - dropped) | allowed)
        found["block_senders"] = sorted(({*found.get("block_senders", ())} - allowed - dropped) | blocked)
        if budget is not None:
            found["false_positive_budget"] = budget
        if by_category:
            kept = {**found.get("category_budgets", {}), **by_category}
            found["category_budgets"] = {code: own for code, own in kept.items() if own is not None}
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
    spent = found.get("category_budgets", {})
    table.add_row("of it by category", ", ".join(f"{code} {own:g}" for code, own in spent.items()) or "as it comes")
    table.add_row("not read in full", f"at least {found.get('unread', 'banner')}")
    table.add_row("mode", found.get("mode", "monitor"))
    table.add_row("rejected", "never" if found.get("reject") is None else f"from {found['reject']}")
    table.add_row("headers in monitor mode", "yes" if found.get("headers_in_monitor") else "no")
    table.add_row("outbound mail", "acted on" if found.get("act_on_outbound") else "learnt from, accepted")
    out.print(table, highlight=False)


def mode(
    name: TenantName,
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


def _category_budget(text: str) -> tuple[str, float | None]:
    """What `CODE=SHARE` says, None for `none`; raises BadParameter where it is something else."""
    code, equals, share = (part.strip() for part in text.partition("="))
    try:
        found = None if share.lower() == "none" else float(share)
    except ValueError:
        equals = ""
    if not equals:
        raise typer.BadParameter(f"--category-budget {text!r} cannot be read; write CODE=SHARE, as BE=0.0004")
    return code.upper(), found


def _forms(entries: list[str]) -> set[str]:
    """The entries as written, and in their one form where they have one: what was stored before may have none."""
    from mailwarden.domain.mail.addresses import checked_sender

    forms = {entry.strip().lower() for entry in entries}
    for entry in entries:
        with contextlib.suppress(DataError):
            forms.add(checked_sender(entry))
    return forms


def trust(
    name: TenantName,
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
