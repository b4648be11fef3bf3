"""`mailwarden features`: feature views as teams make, check, price, version and retire them."""

from __future__ import annotations

import getpass
import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mailwarden.errors import ConfigError, ContractError, NotFound
from mailwarden.settings import Settings
from mailwarden_services.cli.progress import out, stages

if TYPE_CHECKING:
    from mailwarden.domain.aggregates.definitions import ActivityView
    from mailwarden.domain.mail.content import ContentView
    from mailwarden.domain.mail.message import Message
    from mailwarden.testing.problem import Problem
    from mailwarden_services.teams.cost import Cost

SAMPLED_MESSAGES = 30
"""Simulated messages that a content view is checked on."""

Name = Annotated[str, typer.Argument(help="The view, as its folder is named.")]
Names = Annotated[list[str] | None, typer.Argument(help="Views, as their folders are named; all by default.")]


def register(app: typer.Typer) -> None:
    """Add `features` and its commands to the application."""
    features = typer.Typer(
        help=(
            "Feature views, as teams make them: one folder each, nothing else edited.\n\n"
            "They need neither mail nor Java. `new` or `version` lays a folder out, `check` judges it, `plan` says "
            "what it would cost, `feast apply` and `mailwarden materialize` make it serve.\n\n"
            "Example:\n\n    mailwarden features new sender_bulk --keys sender --owner bulk-mail"
        ),
        no_args_is_help=True,
    )
    commands: dict[str, Callable[..., None]] = {
        "list": listing,
        "show": show,
        "new": new,
        "version": version,
        "check": check,
        "plan": plan,
        "usage": usage,
        "retire": retire,
    }
    for name, command in commands.items():
        features.command(name)(command)
    app.add_typer(features, name="features")


def listing() -> None:
    """List views with their keys, owners, and what a busy key may take in Redis.

    Example:

        mailwarden features list
    """
    from mailwarden.domain.aggregates.definitions import ActivityView
    from mailwarden.domain.aggregates.layout import layout_of
    from mailwarden.domain.mail.content import ContentView
    from mailwarden.testing.state_size import largest_state
    from mailwarden_detectors import discover as discover_detectors
    from mailwarden_features import discover
    from mailwarden_services.teams.readers import readers_of, readers_of_view

    readers = readers_of(discover_detectors())
    table = Table("view", "version", "owner", "keys", "features", "hops", "bytes a key, at most", "read by")
    for view in discover().views:
        keys, hops, size = "message", "", ""
        if isinstance(view, ContentView):
            size = f"not online; {view.cost_us:g} us a message"
        if isinstance(view, ActivityView):
            keys, hops = ", ".join(("tenant", *view.keys)), str(len(layout_of(view).levels))
            most = largest_state(layout_of(view))
            size = f"{most.state:,}" + (f" + {most.sketches:,} of sketches" if most.sketches else "")
        row = (view.name, str(view.version), view.owner, keys, str(len(view.features)), hops, size)
        table.add_row(*row, ", ".join(readers_of_view(view.name, readers)))
    out.print(table)


def show(name: Name) -> None:
    """Show a view's features: type, unit, windows with their hops, what a null means, and who reads them.

    Example:

        mailwarden features show sender_activity
    """
    from mailwarden.domain.aggregates.definitions import ActivityView, Feature
    from mailwarden.domain.mail.content import ContentView
    from mailwarden_detectors import discover as discover_detectors
    from mailwarden_features import discover
    from mailwarden_services.teams.readers import readers_of

    view = discover().by_name(name)
    readers = readers_of(discover_detectors())
    keys = ", ".join(("tenant", *view.keys)) if isinstance(view, ActivityView) else "tenant, message"
    out.print(f"{view.name} version {view.version}, of {view.owner}: {view.description}", highlight=False)
    out.print(f"keys {keys}", highlight=False)
    if isinstance(view, ContentView):
        lists = f"; lists: {', '.join(view.lists)}" if view.lists else ""
        out.print(f"reads {', '.join(view.reads)}{lists}; {view.cost_us:g} us a message, as declared", highlight=False)
    table = Table("feature", "type", "unit", "windows (hop)", "null", "what it tells", "read by")
    for feature in view.features:
        windows = feature.windows if isinstance(feature, Feature) else ()
        spans = ", ".join(f"{window.name} ({_hop(window.hop_us)})" for window in windows)
        names = ", ".join(readers.get(f"{view.name}:{feature.name}", ()))
        table.add_row(feature.name, feature.dtype, feature.unit, spans, feature.null, feature.description, names)
    out.print(table)


def new(
    name: Annotated[str, typer.Argument(help="The view's name, in small letters: what it tells, like sender_bulk.")],
    keys: Annotated[
        str | None, typer.Option(help="What it is keyed by, besides the tenant: as sender,recipient; tenant alone.")
    ] = None,
    like: Annotated[str | None, typer.Option(help="A view whose aggregates and features it begins with.")] = None,
    owner: Annotated[str | None, typer.Option(help="The team that answers for it; by default your login name.")] = None,
    content: Annotated[bool, typer.Option("--content", help="A view of the message alone, without history.")] = False,
) -> None:
    """Lay out the folder of a new view, which keeps its contract as it stands.

    Keys: sender, sender_domain, recipient, `sender,recipient`, or any of display_name, thread, campaign, link_domain
    and attachment, also together; `tenant` for the tenant as a whole.

    Examples:

        mailwarden features new sender_bulk --keys sender --owner bulk-mail
        mailwarden features new campaign_pace --like sender_activity --keys campaign
        mailwarden features new content_lines --content --owner bulk-mail
    """
    from mailwarden_features.discovery import FOLDER
    from mailwarden_services.teams.folders import new_content_view, new_view

    if content and (keys is not None or like is not None):
        raise ConfigError("a content view has the message as its key: leave --keys and --like out")
    if content:
        folder = new_content_view(FOLDER, name, owner=owner or getpass.getuser())
        _tell_and_check(folder.name, f"{folder} laid out")
        return

    chosen = (
        None if keys is None else tuple(key.strip() for key in keys.split(",") if key.strip() not in ("", "tenant"))
    )
    folder = new_view(FOLDER, name, keys=chosen, owner=owner or getpass.getuser(), like=like)
    _tell_and_check(folder.name, f"{folder} laid out")


def version(name: Name) -> None:
    """Copy a view to its next version, `NAME_v2` and on, which is served beside it until detectors have moved.

    Change the copy, have detectors read it by its name, and remove the former folder once `usage` shows no reader.

    Example:

        mailwarden features version sender_activity
    """
    from mailwarden_features.discovery import FOLDER
    from mailwarden_services.teams.folders import next_version

    folder = next_version(FOLDER, name)
    _tell_and_check(folder.name, f"{folder} laid out; change it there, and leave {name} as it is")


def check(names: Names = None) -> None:
    """Say in words what is wrong with views, and the mend. Exit code 1 where anything is.

    A feature that a detector names and no view has is wrong too.

    Examples:

        mailwarden features check
        mailwarden features check sender_bulk
    """
    from mailwarden.testing.check_detector import check_readers
    from mailwarden.testing.check_view import check_names
    from mailwarden_detectors import discover as discover_detectors
    from mailwarden_features import discover

    try:
        repository = discover()
    except ContractError as error:
        out.print(str(error), highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    chosen = [repository.by_name(name) for name in names] if names else list(repository.views)
    wanted = {view.name for view in chosen}
    problems = [problem for view in chosen for problem in _problems(view)]
    detectors = discover_detectors()
    problems += [found for found in check_names(repository.views, detectors) if found.view in wanted]
    unread = check_readers(repository.feature_names(), detectors.values())
    problems += [found for found in unread if not names or found.feature.partition(":")[0] in wanted]
    _print_problems(problems)
    if problems:
        raise typer.Exit(1)
    out.print(f"{len(chosen)} views keep their contract")


def plan(names: Names = None) -> None:
    """Say what `feast apply` and `materialize` would change, and what it costs: rows, bytes in Redis, Spark's minutes.

    Nothing is changed. A view that is named is priced even where nothing changes for it. Exit code 1 where a
    definition changed under the version that it had: raise the version, or see `mailwarden features version`.

    Examples:

        mailwarden features plan
        mailwarden features plan sender_activity
    """
    from mailwarden_features import discover
    from mailwarden_services.teams.plan import plan as make_plan

    repository = discover()
    for name in names or ():
        repository.by_name(name)
    with stages("planning") as begins:
        found = make_plan(Settings(), repository, also=tuple(names or ()), begins=begins)
    out.print(found.registry, highlight=False, markup=False, soft_wrap=True)
    for change in found.changes:
        if change.kind != "none":
            out.print(f"{change.name}: {change.words}", highlight=False, markup=False, soft_wrap=True)
    priced = [cost for cost in found.costs.values() if cost.sample.rows]
    if found.costs and not priced:
        out.print("the event log is empty or has no such mail: nothing to fold yet")
    if priced:
        table = Table("to be filled", "rows to fold", "keys", "bytes a key", "in Redis", "offline", "Spark")
        for cost in priced:
            table.add_row(cost.view, *_price(cost))
        out.print(table)
        rate = "as the latest materialisation ran" if found.rates.measured else "by a default, as none was measured"
        out.print(
            f"{_minutes(found.seconds)} of Spark in all ({found.rates.rows_a_second:,.0f} rows and "
            f"{found.rates.keys_a_second:,.0f} keys a second, {rate}). A view that is filled anew takes its bytes "
            "twice until the former states retire.",
            highlight=False,
            soft_wrap=True,
        )
    if found.refused:
        raise typer.Exit(1)


def usage(names: Names = None) -> None:
    """Say which detectors read which view, and feature: what nobody reads can go.

    Examples:

        mailwarden features usage
        mailwarden features usage sender_activity sender_activity_v2
    """
    from mailwarden_detectors import discover as discover_detectors
    from mailwarden_features import discover
    from mailwarden_services.teams.readers import readers_of, readers_of_view

    repository = discover()
    readers = readers_of(discover_detectors())
    if not names:
        table = Table("view", "version", "features", "read", "by")
        for view in repository.views:
            read = sum(f"{view.name}:{feature.name}" in readers for feature in view.features)
            by = ", ".join(readers_of_view(view.name, readers)) or "nobody"
            table.add_row(view.name, str(view.version), str(len(view.features)), str(read), by)
        out.print(table)
        return
    table = Table("feature", "read by")
    for name in names:
        for feature in repository.by_name(name).features:
            full_name = f"{name}:{feature.name}"
            table.add_row(full_name, ", ".join(readers.get(full_name, ())) or "nobody")
    out.print(table)


def retire(
    names: Annotated[list[str] | None, typer.Argument(help="What to drop, as `retire` alone lists it.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Drop it though detectors, services or models read it.")
    ] = False,
) -> None:
    """Drop from Redis what is left of views, and versions, whose folders are gone. Alone, list them with their readers.

    First let no process run whose code still has the view. Where a detector, a FeatureService that was applied, or the
    bundle that serves still reads it, nothing is dropped and the exit code is 70; --force drops it all the same. Its
    offline files stay, for training sets of the past.

    Examples:

        mailwarden features retire
        mailwarden features retire sender_activity@1
    """
    from mailwarden.stores.online.client import open_client
    from mailwarden.stores.online.generations import Generations
    from mailwarden.stores.online.retired import drop_left_behind, left_behind
    from mailwarden.training.register import BUNDLE
    from mailwarden_detectors import discover as discover_detectors
    from mailwarden_features import discover
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.embedded import with_redis
    from mailwarden_services.teams.retiring import readers_left

    views = discover().activity
    with with_redis(Settings()) as settings:
        champion = Platform(settings).registry.champion(BUNDLE)

        def read_by(field: str) -> str:
            name, _, number = field.partition("@")
            version = int(number) if number.isdigit() else None
            detectors = discover_detectors()
            return "; ".join(
                readers_left(name, version, settings=settings, views=views, detectors=detectors, champion=champion)
            )

        url, project = settings.redis_url.get_secret_value(), settings.project
        with open_client(url, timeout_seconds=30.0) as client:
            catalog = Generations(client, project, views, settings.streams).catalog()
            found = left_behind(catalog, views)
            for name in names or ():
                readers = read_by(name)
                if name in catalog.entries and name not in found:
                    raise ConfigError(
                        f"{name} is a view of this code"
                        + (f", and read by {readers}" if readers else "")
                        + "; remove its folder first"
                    )
                if name not in found and "@" not in name:
                    raise NotFound(f"nothing is left of {name!r}; name it with its version, as in sender_activity@1")
                if readers and not force:
                    raise ContractError(f"{name} is still read by {readers}. Move them first, or drop it with --force")
                keys = drop_left_behind(client, project, name)
                out.print(f"{name}: dropped from {keys:,} keys", highlight=False)
            if not names:
                for name, entry in sorted(found.items()):
                    words = read_by(name)
                    words = f"it is read by {words}" if words else "no view reads it"
                    out.print(
                        f"{name}: generation {entry.serving} serves, and {words}", highlight=False, soft_wrap=True
                    )
                if not found:
                    out.print("nothing is left of views that are gone")


def _tell_and_check(name: str, words: str) -> None:
    """What was laid out, what is wrong with it, and what comes next."""
    out.print(words, highlight=False, markup=False, soft_wrap=True)
    importlib.invalidate_caches()
    _print_problems(_problems(importlib.import_module(f"mailwarden_features.{name}.view").VIEW))
    out.print(f"next: mailwarden features check {name}; mailwarden features plan; feast -c feature_repo apply; "
              f"mailwarden materialize --view {name}", highlight=False, soft_wrap=True)  # fmt: skip


def _problems(view: ActivityView | ContentView) -> list[Problem]:
    from mailwarden.domain.mail.content import ContentView
    from mailwarden.stores.lists import load_lists
    from mailwarden.testing.check_leaks import check_folder
    from mailwarden.testing.check_view import check_view
    from mailwarden.testing.content_cost import check_cost
    from mailwarden_features.discovery import FOLDER

    if not isinstance(view, ContentView):
        return [*check_view(view), *check_folder(FOLDER / view.name)]
    messages, lists = _messages(), load_lists()
    found = check_view(view, messages, lists)
    # One that breaks its contract may not run at all.
    return [*found, *check_folder(FOLDER / view.name), *(() if found else check_cost(view, messages, lists))]


def _messages() -> Sequence[Message]:
    from itertools import islice

    from mailwarden.ingest.parse import parse_message
    from mailwarden.simulation.simulate import simulate

    return [parse_message(made.raw, made.envelope) for made in islice(simulate(1, days=2), SAMPLED_MESSAGES)]


def _print_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        out.print(str(problem), highlight=False, markup=False, soft_wrap=True)


def _price(cost: Cost) -> tuple[str, ...]:
    found = cost.sample
    a_key = cost.redis_bytes / found.keys if found.keys else 0.0
    sizes: list[Any] = [f"{found.rows:,}", f"{found.keys:,}", f"{a_key:,.0f}"]
    return (*sizes, _bytes(cost.redis_bytes), _bytes(cost.offline_bytes), _minutes(cost.seconds))


def _bytes(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:,.0f} {unit}" if unit == "B" else f"{n:,.1f} {unit}"
        n /= 1000
    return f"{n:,.1f} TB"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"


def _hop(hop_us: int) -> str:
    seconds = hop_us // 1_000_000
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
