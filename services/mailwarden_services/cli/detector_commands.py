"""`mailwarden detectors`: detectors as teams make and check them, and which of them serve."""

from __future__ import annotations

import getpass
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mailwarden.domain.detection import assets
from mailwarden.errors import ConfigError, DataError, NotFound, did_you_mean
from mailwarden.settings import Settings
from mailwarden_services.cli.progress import out, print_lines

if TYPE_CHECKING:
    from mailwarden.domain.detection.detector import Detector

Names = Annotated[list[str] | None, typer.Argument(help="Detectors, as their folders are named; all by default.")]


def register(app: typer.Typer) -> None:
    """Add `detectors` and its commands to the application."""
    detectors = typer.Typer(
        help=(
            "Detectors, as teams make them: one folder each, nothing else edited.\n\n"
            "`new` lays a folder out, `check` judges it by every rule of the contract, `mailwarden train` makes it "
            "serve. `new` and `check` need neither mail nor Java.\n\n"
            "Example:\n\n    mailwarden detectors new tax_fraud --owner payments"
        ),
        no_args_is_help=True,
    )
    commands: dict[str, Callable[..., None]] = {"list": listing, "new": new, "check": check}
    for name, command in commands.items():
        detectors.command(name)(command)
    app.add_typer(detectors, name="detectors")


def new(
    name: Annotated[str, typer.Argument(help="The detector's name, in small letters: what it finds, as tax_fraud.")],
    stage: Annotated[str, typer.Option(help="cheap: of all mail; costly: where those are unsure.")] = "cheap",
    features: Annotated[str | None, typer.Option(help="What it reads, as view:feature,view:feature.")] = None,
    owner: Annotated[str | None, typer.Option(help="The team that answers for it; by default your login name.")] = None,
) -> None:
    """Lay out the folder of a new detector, which keeps its contract and can be trained as it stands.

    It weighs whether the features are above what is usual in good mail. Put your own `fit`, `score` and `explain` in
    place, and cases of your own.

    Examples:

        mailwarden detectors new tax_fraud --owner payments
        mailwarden detectors new late_night --features sender_activity:messages_1d,content_links:url_count
        mailwarden detectors new deep_text --stage costly --features content_text:subject,content_text:new_text
    """
    from mailwarden.domain.detection.detector import STAGES
    from mailwarden_detectors.discovery import FOLDER
    from mailwarden_features import discover
    from mailwarden_services.teams.detector_folders import DEFAULT_FEATURES, new_detector

    chosen = next((known for known in STAGES if known == stage), None)
    if chosen is None:
        raise ConfigError(f"there is no stage {stage!r}; choose one of {', '.join(STAGES)}")
    named = DEFAULT_FEATURES if features is None else [word.strip() for word in features.split(",") if word.strip()]
    repository = discover()
    folder = new_detector(
        FOLDER,
        name,
        owner=getpass.getuser() if owner is None else owner,
        features={full_name: repository.feature(full_name) for full_name in named},
        stage=chosen,
        taken=[view.name for view in repository.views],
    )
    print_lines([f"{folder} laid out"])
    importlib.invalidate_caches()
    found, _ = _judge([folder.name])
    print_lines(found)
    print_lines([f"next: put your own rules and cases in place; mailwarden detectors check {folder.name}; mailwarden "
                 f"train {folder.name}"])  # fmt: skip


def check(names: Names = None) -> None:
    """Say in words which rules of the contract detectors break, and the mend. Exit code 1 where any is broken.

    Each is fitted to its cases, several times over. Cost is CPU, so that a loaded machine changes little.

    Examples:

        mailwarden detectors check
        mailwarden detectors check tax_fraud
    """
    found, judged = _judge(names)
    print_lines(found)
    if found:
        raise typer.Exit(1)
    out.print(f"{judged} detectors keep their contract")


def listing() -> None:
    """List detectors with their owners, stages, CPU budgets and categories, and whether each serves.

    Example:

        mailwarden detectors list
    """
    from mailwarden_detectors import discover

    unread: dict[str, str] = {}
    assets.look_in(Settings().models_path)
    kinds = discover(unread=unread, every=True)
    serves, told = _serving(kinds, unread)
    absent = {name: words for name, kind in kinds.items() if (words := kind.absent())}
    table = Table("detector", "owner", "version", "stage", "CPU budget, us", "categories", "features", "serves")
    for name in sorted({*kinds, *unread, *serves}):
        kind = kinds.get(name)
        said = ("",) * 6 if kind is None else (
            *(str(getattr(kind, word, "")) for word in ("owner", "version", "stage", "cpu_budget_us")),
            ", ".join(getattr(kind, "categories", ())),
            str(len(getattr(kind, "features", ()))),
        )  # fmt: skip
        table.add_row(name, *said, serves.get(name, "no"))
    out.print(table)
    print_lines([*unread.values(), *absent.values(), *told])


def _serving(kinds: Mapping[str, type[Detector]], unread: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """What each detector of the bundle that serves is, by name, and what is wrong with it, in lines."""
    from mailwarden_services.bootstrap import Platform

    settings = Settings()
    # Asking makes no home where there is none.
    if not settings.database_url.get_secret_value() and not settings.root.exists():
        return {}, []
    platform = Platform(settings)
    try:
        found = platform.serving_bundle()
    except DataError as error:
        return dict.fromkeys(platform.serving_detectors(), "no"), [f"What was promoted cannot serve: {error}"]
    if found is None:
        return {}, []
    version, bundle = found
    _, away = bundle.load_each(kinds, platform.fetch, unread)
    serves = {
        name: "away" if name in away else f"model {member.model}, of bundle {version}"
        for name, member in bundle.members.items()
    }
    return serves, [f"{name} is away: {why}" for name, why in away.items() if name not in unread]


def _judge(names: Sequence[str] | None) -> tuple[list[str], int]:
    """What is wrong with detectors, in lines, and how many were judged; raises NotFound where one is not there."""
    from mailwarden.testing.check_detector import CHECKS, Conformance
    from mailwarden_detectors import discover
    from mailwarden_features import discover as discover_features

    unread: dict[str, str] = {}
    assets.look_in(Settings().models_path)
    kinds = discover(unread=unread, every=True)
    there = sorted({*kinds, *unread})
    for name in names or ():
        if name not in there:
            raise NotFound(f"there is no detector {name!r}.{did_you_mean(name, there)}")
    known = discover_features().feature_names()
    lines: list[str] = []
    for name in names or there:
        if name in unread:
            lines.append(unread[name])
            continue
        if words := kinds[name].absent():
            # It breaks no rule; whoever names it wants it tried.
            lines += [words] if names else []
            continue
        conformance = Conformance(kinds[name], known)
        lines += [str(finding) for rule in CHECKS for finding in conformance.findings(rule)]
        untried = [rule for rule in CHECKS if conformance.barred(rule)]
        if untried:
            lines.append(f"{name}: not tried before that is mended: {', '.join(untried)}")
    return lines, len(names or there)
