"""`mailwarden rules`: rules as data, what they are worth, and a tenant's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mailwarden.errors import DataError, NotFound, did_you_mean
from mailwarden.settings import Settings
from mailwarden_services.cli.acts import note
from mailwarden_services.cli.options import DEFAULT_TENANT, now_us
from mailwarden_services.cli.progress import out, print_lines, stages

if TYPE_CHECKING:
    from mailwarden.domain.detection.rules.rule import Rule, RuleMode
    from mailwarden.domain.detection.rules.tenant import KeptRule
    from mailwarden_services.bootstrap import Platform

Tenant = Annotated[str, typer.Option("--tenant", help="Whose rules.")]
Name = Annotated[str, typer.Argument(help="The rule: the tenant's own, or one of the platform's.")]
Source = Annotated[Path, typer.Argument(help="A rule's file, or a folder of them.")]


def register(app: typer.Typer) -> None:
    """Add `rules` and its commands to the application."""
    rules = typer.Typer(
        help=(
            "Rules, a YAML file each: the platform's, and those that a tenant adds.\n\n"
            "The platform's add their weight to a score. A tenant's own give a verdict by themselves: banner, junk or "
            "quarantine, or deliver where the sender is authenticated. detectors/README.md says how a rule is written."
            "\n\nExample:\n\n    mailwarden rules check my_rule.yaml\n\n    mailwarden rules add my_rule.yaml "
            "--tenant acme --shadow"
        ),
        no_args_is_help=True,
    )
    commands: dict[str, Callable[..., None]] = {
        "list": listing, "check": check, "hits": hits, "add": add, "remove": remove, "on": on, "shadow": shadow,
        "off": off,
    }  # fmt: skip
    for name, command in commands.items():
        rules.command(name)(command)
    app.add_typer(rules, name="rules")


def listing(
    tenant: Annotated[str, typer.Option("--tenant", help="With this tenant's own, and its modes.")] = "",
) -> None:
    """List rules with their category, severity, what they add or do, and their words.

    Examples:

        mailwarden rules list
        mailwarden rules list --tenant acme
    """
    from mailwarden.domain.detection.rules.reading import rule_of

    kept: Sequence[KeptRule] = _platform().tenants.get(tenant).rules if tenant else ()
    modes = {one["name"]: one["mode"] for one in kept}
    own = [rule_of(one["rule"], of_tenant=True) for one in kept if one["rule"] is not None]
    table = Table("rule", "of", "mode", "category", "severity", "adds", "tactics", "words")
    for of, rules in ((tenant, own), ("platform", _ours())):
        for rule in rules:
            table.add_row(
                rule.name, of, modes.get(rule.name, "on"), rule.category, rule.severity,
                rule.action or f"{rule.weight:+g}", ", ".join(rule.tactics), rule.words,
            )  # fmt: skip
    out.print(table, highlight=False, markup=False)


def check(
    source: Source,
    ours: Annotated[bool, typer.Option("--ours", help="As rules of the platform, which have a weight.")] = False,
) -> None:
    """Say what is wrong with rules, by file and field, and whether their cases hold. Exit code 65 where anything is.

    Needs neither mail nor Java.

    Examples:

        mailwarden rules check my_rule.yaml
        mailwarden rules check detectors/mailwarden_detectors/header_rules/rules --ours
    """
    found = _read(source, of_tenant=not ours)
    print_lines([f"{len(found)} rules can be added" if not ours else f"{len(found)} rules are as they must be"])


def add(
    source: Source,
    tenant: Tenant = DEFAULT_TENANT,
    shadow: Annotated[bool, typer.Option("--shadow", help="Log where they hold, and do nothing.")] = False,
) -> None:
    """Add rules to a tenant, or replace those of the same name. A running API follows within seconds.

    Examples:

        mailwarden rules add my_rule.yaml --tenant acme --shadow
        mailwarden rules on my_rule --tenant acme
    """
    rules = _read(source, of_tenant=True)
    taken = sorted({rule.name for rule in rules} & {rule.name for rule in _ours()})
    if taken:
        raise DataError(f"{taken[0]!r} is a rule of the platform; choose another name")
    mode: RuleMode = "shadow" if shadow else "on"
    documents = {rule.name: _document(source, rule.name) for rule in rules}
    platform = _platform()
    kept = {one["name"]: one for one in platform.tenants.get(tenant).rules}
    kept |= {name: {"name": name, "mode": mode, "rule": given} for name, given in documents.items()}
    platform.tenants.update(tenant, rules=list(kept.values()))
    for name, given in documents.items():
        note(platform, tenant, "rule.add", name, {"mode": mode, "action": given["action"]})
    print_lines(f"rule {name} of {tenant} is {mode}" for name in documents)


def remove(name: Name, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Remove a rule of the tenant's own. One of the platform's is turned `off`.

    Example:

        mailwarden rules remove my_rule --tenant acme
    """
    platform = _platform()
    kept = {one["name"]: one for one in platform.tenants.get(tenant).rules}
    if name not in kept or kept[name]["rule"] is None:
        own = [one["name"] for one in kept.values() if one["rule"] is not None]
        raise NotFound(f"{tenant} has no rule {name!r} of its own.{did_you_mean(name, own)} `mailwarden rules list "
                       f"--tenant {tenant}` has them; rules of the platform are turned `off`.")  # fmt: skip
    del kept[name]
    platform.tenants.update(tenant, rules=list(kept.values()))
    note(platform, tenant, "rule.remove", name)
    print_lines([f"rule {name} of {tenant} is removed"])


def on(name: Name, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Have a rule act, for one tenant.

    Example:

        mailwarden rules on my_rule --tenant acme
    """
    _switch(name, tenant, "on")


def shadow(name: Name, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Have a rule do nothing but be logged where it holds, for one tenant: `scores` of `mailwarden sql`, as rule:NAME.

    Example:

        mailwarden rules shadow list_mail --tenant acme
    """
    _switch(name, tenant, "shadow")


def off(name: Name, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Have a rule do nothing, for one tenant.

    Example:

        mailwarden rules off shouting --tenant acme
    """
    _switch(name, tenant, "off")


def hits(
    tenant: Annotated[str, typer.Option("--tenant", help="Of this tenant's mail, with its own rules.")] = "",
    rules: Annotated[
        Path | None, typer.Option("--rules", help="Rules that are tried: a file, or a folder; only these.")
    ] = None,
    begin: Annotated[str, typer.Option("--from", help="Messages received from then on: 2026-01-31[T08:30:00Z].")] = "",
    end: Annotated[str, typer.Option("--until", help="Messages received before then.")] = "",
    path: Annotated[Path | None, typer.Option("--out", help="Parquet file to write; it must not exist.")] = None,
) -> None:
    """Count what each rule holds on in labelled mail: hits on good and bad, precision with its 95% interval, and hits
    where no other rule speaks against the mail.

    Values are those of the moment that each message was accepted (`ingest` with labels and `materialize` come first).
    Near copies count as often as they came, so that intervals are too narrow where campaigns are many copies.

    Examples:

        mailwarden rules hits --out hits.parquet
        mailwarden rules hits --rules my_rule.yaml --tenant acme --from 2026-01-01
    """
    from mailwarden.domain.detection.rules.reading import rule_of
    from mailwarden.evaluation.rule_hits import write_rule_hits
    from mailwarden.training.splits import moment_us
    from mailwarden_services.evaluation.home import Wanted
    from mailwarden_services.evaluation.rules import count_hits, hits_grid
    from mailwarden_services.loop import Loop
    from mailwarden_services.reports.grids import rich_table

    if path is not None and path.exists():
        raise DataError(f"{path} is there already; give a new file")
    platform = _platform()
    kept = platform.tenants.get(tenant).rules if tenant else ()
    if rules is not None:
        tried = _read(rules, of_tenant=_of_tenant(rules))
    else:
        own = [rule_of(one["rule"], of_tenant=True) for one in kept if one["rule"] is not None]
        tried = (*own, *_ours())
    wanted = Wanted(
        known_by_us=now_us(),
        tenant=tenant or None,
        from_us=moment_us(begin) if begin else None,
        until_us=moment_us(end) if end else None,
    )
    with stages("counting hits") as begins:
        counts = count_hits(Loop(platform), tried, wanted, begins)
    figures = counts.figures()
    out.print(rich_table(hits_grid(figures, counts.messages)))
    if path is not None:
        write_rule_hits(path, figures)
        print_lines([f"written: {path}"])


def _switch(name: str, tenant: str, mode: RuleMode) -> None:
    platform = _platform()
    kept = {one["name"]: one for one in platform.tenants.get(tenant).rules}
    ours = {rule.name for rule in _ours()}
    if name not in kept and name not in ours:
        raise NotFound(f"there is no rule {name!r}.{did_you_mean(name, [*kept, *ours])} `mailwarden rules list "
                       f"--tenant {tenant}` has them all.")  # fmt: skip
    own = kept[name]["rule"] if name in kept else None
    kept[name] = {"name": name, "mode": mode, "rule": own}
    if own is None and mode == "on":
        del kept[name]
    platform.tenants.update(tenant, rules=list(kept.values()))
    note(platform, tenant, "rule.mode", name, {"mode": mode})
    print_lines([f"rule {name} is {mode} for {tenant}"])


def _read(source: Path, *, of_tenant: bool) -> tuple[Rule, ...]:
    """Rules whose features there are and whose cases hold; raises DataError naming every one whose do not."""
    from mailwarden.domain.detection.rules.cases import failing_cases
    from mailwarden.domain.detection.rules.reading import read_rules

    rules = read_rules(source, of_tenant=of_tenant, kinds=_kinds())
    wrong = [f"{rule.name}: {words}" for rule in rules for words in failing_cases(rule)]
    if wrong:
        raise DataError("; ".join(wrong) + ". Mend the condition, or the case.")
    return rules


def _document(source: Path, name: str) -> dict[str, object]:
    from mailwarden.domain.detection.rules.reading import parsed

    file = source if source.is_file() else next(source.rglob(f"{name}.yaml"))
    given: dict[str, object] = parsed(file.read_text(encoding="utf-8"))
    return given


def _of_tenant(source: Path) -> bool:
    from mailwarden.domain.detection.rules.reading import parsed

    file = source if source.is_file() else next(iter(sorted(source.rglob("*.yaml"))), None)
    return file is not None and file.is_file() and "action" in parsed(file.read_text(encoding="utf-8"))


def _kinds() -> Mapping[str, str]:
    from mailwarden_features import discover

    found = discover()
    return {name: found.dtype(name) for name in found.feature_names()}


def _ours() -> tuple[Rule, ...]:
    from mailwarden_detectors.header_rules.detector import RULES

    return RULES.rules


def _platform() -> Platform:
    from mailwarden_services.bootstrap import Platform

    return Platform(Settings())
