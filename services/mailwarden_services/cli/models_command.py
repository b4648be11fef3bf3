"""`mailwarden models`: the bundles that there are, which of them serves, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from mailwarden.errors import ContractError, NotFound
from mailwarden.settings import Settings
from mailwarden_services.cli.acts import note, who
from mailwarden_services.cli.options import now_us
from mailwarden_services.cli.progress import out, print_lines
from mailwarden_services.reports.words import percent

if TYPE_CHECKING:
    from mailwarden.stores.sql import ModelRecord
    from mailwarden_services.bootstrap import Platform

Version = Annotated[int, typer.Argument(help="The bundle's version, as `models list` shows it.", metavar="VERSION")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the history.")]
Force = Annotated[bool, typer.Option("--force", help="Also where some of its detectors do not load.")]


def register(app: typer.Typer) -> None:
    """Add `models` and its commands to the application."""
    models = typer.Typer(
        help=(
            "Bundles: what was trained, which one serves, and the way back.\n\n"
            "A change is a flip: `serve` goes over within seconds, with thresholds, fusions and calibrations of that "
            "bundle.\n\nExample:\n\n    mailwarden models list\n\n    mailwarden models rollback"
        ),
        no_args_is_help=True,
    )
    commands: dict[str, Callable[..., None]] = {
        "list": listing,
        "show": show,
        "history": history,
        "promote": promote,
        "rollback": rollback,
    }
    for name, command in commands.items():
        models.command(name)(command)
    app.add_typer(models, name="models")


def listing() -> None:
    """List bundles, the newest first: when each was trained, what its held-out mail said, and which one serves.

    Example:

        mailwarden models list
    """
    from mailwarden.training.register import BUNDLE

    platform = _platform()
    serving = platform.serving_version()
    table = Table("version", "created", "1-ROCA%", "recall at 0.1% FPR", "detectors", "")
    for record in reversed(platform.registry.versions(BUNDLE)):
        ranking, recall = _held_out(record)
        names = record.record.feature_service.split(",")
        table.add_row(
            str(record.version), _time(record.created_us), ranking, recall, str(len(names)),
            "serves" if record.version == serving else "",
        )  # fmt: skip
    out.print(table)


def show(version: Version) -> None:
    """Say what a bundle is: its detectors with their versions in the registry, its tenants, what it was trained from.

    Example:

        mailwarden models show 4
    """
    platform = _platform()
    record, bundle = platform.bundle(version)
    members = Table("detector", "model", "code", "loads")
    _, away = _loads(platform, version)
    for name, member in sorted(bundle.members.items()):
        members.add_row(name, str(member.model), str(member.code), escape(away.get(name, "yes")))
    out.print(members)
    made, whole = record.record, bundle.whole
    lines = [
        f"created {_time(record.created_us)} by {made.code_revision}, seed {made.seed}",
        f"event log version {made.event_log_version}, rows {made.data_fingerprint[:12]}",
        f"learned from {_named(whole.learned, 'tenants that nobody recorded')}",
        f"with a fusion of their own: {_named(whole.known, 'none')}",
        f"thresholds by `calibrate`: {_named(whole.tenants.keys() - whole.learned, 'none')}",
        *(str(words) for words in bundle.record.get("thresholds", ())),
    ]
    print_lines(lines)


def history() -> None:
    """Say which bundle served when and why, the newest first.

    Example:

        mailwarden models history
    """
    from mailwarden.training.register import BUNDLE

    table = Table("from", "version", "", "why")
    for change in reversed(_platform().registry.history(BUNDLE)):
        table.add_row(_time(change.at_us), str(change.version), change.action, escape(change.reason))
    out.print(table)


def promote(version: Version, reason: Reason = "by hand", force: Force = False) -> None:
    """Have a bundle serve. It is loaded first: one whose detectors do not all load is refused.

    Examples:

        mailwarden models promote 4 --reason "fewer false positives on newsletters"
    """
    from mailwarden.training.register import BUNDLE

    platform = _platform()
    before = platform.serving_version()
    if before == version:
        print_lines([f"bundle {version} serves already"])
        return
    _check_loads(platform, version, force)
    platform.registry.promote(BUNDLE, version, at_us=now_us(), reason=f"{reason} ({who()})")
    note(platform, "", "model.promote", str(version), {"before": before, "reason": reason})
    print_lines([f"bundle {version} serves{'' if before is None else f' in place of {before}'}"])


def rollback(reason: Reason = "by hand", force: Force = False) -> None:
    """Have the bundle serve again that served before the present one; twice goes back two.

    Example:

        mailwarden models rollback --reason "holds back invoices"
    """
    from mailwarden.training.register import BUNDLE

    platform = _platform()
    before, earlier = platform.serving_version(), platform.registry.earlier(BUNDLE)
    _check_loads(platform, earlier, force)
    found = platform.registry.rollback(BUNDLE, at_us=now_us(), reason=f"{reason} ({who()})")
    note(platform, "", "model.rollback", str(found.version), {"before": before, "reason": reason})
    print_lines([f"bundle {found.version} serves again in place of {before}"])
    if before is not None and platform.bundle(before)[1].members == platform.bundle(found.version)[1].members:
        print_lines(["it has the same models, and differs in thresholds alone; for others: mailwarden models promote"])


def _platform() -> Platform:
    from mailwarden_services.bootstrap import Platform

    return Platform(Settings())


def _loads(platform: Platform, version: int) -> tuple[int, dict[str, str]]:
    """How many of a bundle's detectors load, and why each other one does not."""
    champion = platform.champion(version)
    return len(champion.detectors), dict(champion.away)


def _check_loads(platform: Platform, version: int, force: bool) -> None:
    there, away = _loads(platform, version)
    if not there:
        raise NotFound(f"no detector of bundle {version} loads, so that it cannot serve: {_words(away)}")
    if away and not force:
        raise ContractError(
            f"{len(away)} detectors of bundle {version} do not load, and would be away: {_words(away)}; mend them, or "
            "use --force"
        )


def _words(away: dict[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in sorted(away.items()))


def _named(tenants: Collection[str], none: str) -> str:
    return ", ".join(sorted(tenants)) or none


def _held_out(record: ModelRecord) -> tuple[str, str]:
    """1-ROCA% and recall within 0.1% of good mail, on held-out mail; "" where nobody measured."""
    metrics: Mapping[str, Any] = record.record.metrics
    roca = metrics.get("roca")
    recall = next((one for one in metrics.get("recall", ()) if one["budget"] == 0.001), None)
    return (
        "" if roca is None else f"{roca:.4f}",
        "" if recall is None else f"{percent(recall['rate'])} of {recall['bad']:,}",
    )


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(sep=" ", timespec="seconds")
