"""`mailwarden features new|version|check`: the folders of views, laid out and judged."""

from __future__ import annotations

import getpass
import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mailwarden.errors import ConfigError, ContractError
from mailwarden.settings import Settings
from mailwarden_services.cli.feature_tables import Name, Names
from mailwarden_services.cli.progress import out, print_lines

if TYPE_CHECKING:
    from mailwarden.domain.aggregates.definitions import ActivityView
    from mailwarden.domain.mail.content import ContentView
    from mailwarden.domain.mail.message import Message
    from mailwarden.testing.problem import Problem

SAMPLED_MESSAGES = 30
"""Simulated messages that a content view is checked on."""


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
    from mailwarden.testing.check_view import check_names
    from mailwarden.testing.detector_checks.definition import check_readers
    from mailwarden_detectors import discover as discover_detectors
    from mailwarden_features import discover

    try:
        repository = discover()
    except ContractError as error:
        print_lines([error])
        raise typer.Exit(1) from None
    chosen = [repository.by_name(name) for name in names] if names else list(repository.views)
    wanted = {view.name for view in chosen}
    problems = [problem for view in chosen for problem in _problems(view)]
    detectors = discover_detectors()
    problems += [found for found in check_names(repository.views, detectors) if found.view in wanted]
    unread = check_readers(repository.feature_names(), detectors.values())
    problems += [found for found in unread if not names or found.feature.partition(":")[0] in wanted]
    print_lines(problems)
    if problems:
        raise typer.Exit(1)
    out.print(f"{len(chosen)} views keep their contract")


def _tell_and_check(name: str, words: str) -> None:
    """What was laid out, what is wrong with it, and what comes next."""
    print_lines([words])
    importlib.invalidate_caches()
    print_lines(_problems(importlib.import_module(f"mailwarden_features.{name}.view").VIEW))
    print_lines([f"next: mailwarden features check {name}; mailwarden features plan; feast -c feature_repo apply; "
                 f"mailwarden materialize --view {name}"])  # fmt: skip


def _problems(view: ActivityView | ContentView) -> list[Problem]:
    from mailwarden.domain.mail.content import ContentView
    from mailwarden.stores.lists import load_lists
    from mailwarden.testing.check_leaks import check_folder
    from mailwarden.testing.check_view import check_view
    from mailwarden.testing.content_cost import check_cost
    from mailwarden_features.discovery import FOLDER

    if not isinstance(view, ContentView):
        return [*check_view(view), *check_folder(FOLDER / view.name)]
    messages, lists = _messages(), load_lists(Settings().lists_path)
    found = check_view(view, messages, lists)
    # One that breaks its contract may not run at all.
    return [*found, *check_folder(FOLDER / view.name), *(() if found else check_cost(view, messages, lists))]


def _messages() -> Sequence[Message]:
    from itertools import islice

    from mailwarden.ingest.parse import parse_message
    from mailwarden.simulation.simulate import simulate

    return [parse_message(made.raw, made.envelope) for made in islice(simulate(1, days=2), SAMPLED_MESSAGES)]
