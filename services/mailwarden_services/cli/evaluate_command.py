"""`mailwarden evaluate`: what a bundle is worth on labelled mail, or on what it served."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.markup import escape

from mailwarden.errors import ConfigError, DataError, did_you_mean
from mailwarden.settings import Settings
from mailwarden_services.cli.options import now_us
from mailwarden_services.cli.progress import console, out, stages

if TYPE_CHECKING:
    from mailwarden.evaluation.scored import Scored
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.evaluation.home import Judged, Wanted


def register(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command()(evaluate)


def evaluate(
    bundle: Annotated[
        int | None, typer.Option("--bundle", help="Version of the bundle; by default the one that serves.")
    ] = None,
    against: Annotated[
        int | None, typer.Option("--against", help="Version of another bundle that judges the same mail, to compare.")
    ] = None,
    served: Annotated[
        bool, typer.Option("--served", help="Judge what was decided when the mail came, by the score log.")
    ] = False,
    slices: Annotated[
        list[str],
        typer.Option("--slice", help="NAME: show its table. NAME=WORD: judge only such messages. Repeatable."),
    ] = [],  # noqa: B006 - typer's way to say "none given"
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for report, pictures, JSON and Parquet; it must not exist.")
    ] = None,
    tenant: Annotated[str, typer.Option("--tenant", help="Of this tenant alone; of all by default.")] = "",
    begin: Annotated[str, typer.Option("--from", help="Messages received from then on: 2026-01-31[T08:30:00Z].")] = "",
    end: Annotated[str, typer.Option("--until", help="Messages received before then.")] = "",
    known_by: Annotated[
        str, typer.Option("--labels-known-by", help="Labels as they were known then; now by default.")
    ] = "",
    budget: Annotated[
        list[float] | None,
        typer.Option("--budget", help="A false-positive rate; repeatable. 0.001 and 0.01 by default."),
    ] = None,
    by: Annotated[
        str, typer.Option("--by", help="What intervals of --against are drawn over: campaign or message.")
    ] = "campaign",
    evasions: Annotated[
        bool,
        typer.Option("--evasions", help="Show attacks that are caught in other ways, and see what becomes of each."),
    ] = False,
    attacks: Annotated[
        int, typer.Option("--attacks", min=1, help="With --evasions: how many attacks are tried.")
    ] = 200,
    pairs: Annotated[
        int, typer.Option("--pairs", min=0, help="With --evasions: on how many of them each pair of evasions is tried.")
    ] = 40,
    seed: Annotated[int, typer.Option("--seed", help="With --evasions: of what is drawn and made up.")] = 7,
    faults: Annotated[
        bool,
        typer.Option(
            "--faults", help="See what is held back while a detector is away, fires on everything, or is stuck."
        ),
    ] = False,
    leave_out: Annotated[
        list[str],
        typer.Option("--leave-out", help="Train without this tenant and meet its mail as a new one's. Repeatable."),
    ] = [],  # noqa: B006 - typer's way to say "none given"
    good_alone: Annotated[
        list[str],
        typer.Option("--good-alone", help="With --leave-out: of this tenant only good mail is learned from."),
    ] = [],  # noqa: B006 - typer's way to say "none given"
    warm_up: Annotated[
        int, typer.Option("--warm-up", min=1, help="With --leave-out: messages that thresholds are found by.")
    ] = 500,
    set_aside: Annotated[
        Path | None,
        typer.Option("--set-aside", help="With --leave-out: file of message ids whose labels are known to be wrong."),
    ] = None,
) -> None:
    """Measure a bundle on labelled mail: recall at budgets by category and slice, detectors, groups of features, gaps.

    Each labelled message is scored anew on the values of the moment that it was accepted, as training reads them
    (`ingest` with labels and `materialize` come first). With --served nothing is scored: decisions and the score log
    tell what was said when the mail came, and what each detector cost. Every figure stands with how many messages it
    is of and a 95% interval. Mail that the bundle learned from flatters it, and is counted: --slice learned=new leaves
    it out. Slices: authentication, direction, first_contact, free_mail, label, language, learned, site, tenant.

    The same mail is scored once more with each group of features hidden (message, sender, recipient, relationship,
    contents seen before, tenant, all history), to say what the bundle would lose without it. Errors at the deployed
    thresholds are grouped into gaps, each with what tells it from its neighbours and a rule: found on the earlier half
    of the time, counted on the later one. Both are left out with --served, where features are not at hand.

    With --evasions nothing of that is measured: attacks that are held back are shown otherwise (hidden and quoted text,
    lookalike letters, forged partners, threads, lists and results, five benign mails before, and pairs of these), each
    scored as the API would have scored it at its moment, and what becomes of them is reported.

    With --faults the same mail, with 5%, 1% and 0.2% of it bad, is decided once more while each detector is away
    (broken, absent), fires on everything, or holds everything down, and while histories are away: what good mail is
    held back then, what bad mail still is, and after how many messages the detector is set aside.

    With --leave-out no registered bundle is measured: one is trained without the mail of the tenants that are named,
    meets the first one's as a new customer's, and tells what would be held back there, by the thresholds of a site
    never seen and by those that its first messages give, whose labels nobody sees. Others that are named are sources of
    bad mail, judged as if it had come there.

    Examples:

        mailwarden evaluate
        mailwarden evaluate --bundle 4 --against 3 --out artifacts/four-beside-three
        mailwarden evaluate --slice learned=new --slice language --budget 0.001
        mailwarden evaluate --served --tenant acme --from 2026-03-01 --slice first_contact
        mailwarden evaluate --evasions --out artifacts/evasions
        mailwarden evaluate --faults --tenant acme --out artifacts/faults
        mailwarden evaluate --leave-out globex --leave-out phishing-pot --out artifacts/globex-left-out
    """
    from mailwarden.evaluation.figures import BUDGETS
    from mailwarden.training.splits import moment_us
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.evaluation.home import Wanted
    from mailwarden_services.evaluation.report import write_evaluation
    from mailwarden_services.evaluation.result import Asked, learned_words, result_of
    from mailwarden_services.reports.files import check_new

    budgets = tuple(sorted(set(budget or BUDGETS)))
    _check(slices, budgets, by, served=served, against=against)
    if evasions and (served or against is not None or slices or budget):
        raise ConfigError("--evasions goes with --bundle, --tenant, --from, --until and --out; leave the others out")
    if faults and (evasions or served or against is not None or slices or budget or leave_out):
        raise ConfigError("--faults goes with --bundle, --tenant, --from, --until and --out; leave the others out")
    if leave_out and (evasions or served or against is not None or slices or budget or bundle is not None or tenant):
        raise ConfigError("--leave-out goes with --good-alone, --warm-up, --set-aside and --out; leave the others out")
    if folder is not None:
        check_new(folder)
    wanted = Wanted(
        known_by_us=moment_us(known_by) if known_by else now_us(),
        tenant=tenant or None,
        from_us=moment_us(begin) if begin else None,
        until_us=moment_us(end) if end else None,
    )
    platform = Platform(Settings())
    if leave_out:
        from mailwarden_services.cli.evaluate_left_out import evaluate_left_out
        from mailwarden_services.evaluation.left_out.asked import LeftOutAsked, read_set_aside

        evaluate_left_out(
            platform,
            LeftOutAsked(
                leave_out[0], tuple(leave_out[1:]), tuple(good_alone), warm_up,
                set_aside=read_set_aside(set_aside), record=_record(wanted),
            ),
            wanted.known_by_us,
            folder,
        )  # fmt: skip
        return
    if tenant:
        platform.tenants.get(tenant)
    if evasions:
        from mailwarden_services.cli.evaluate_evasions import evaluate_evasions
        from mailwarden_services.evaluation.evasions.asked import EvasionsAsked

        how = EvasionsAsked(wanted, attacks=attacks, pairs=pairs, seed=seed)
        evaluate_evasions(platform, bundle, how, folder, _record(wanted))
        return
    if faults:
        from mailwarden_services.cli.evaluate_faults import evaluate_faults
        from mailwarden_services.evaluation.faults.asked import FaultsAsked

        evaluate_faults(platform, bundle, FaultsAsked(wanted), folder, _record(wanted))
        return
    gaps = None
    if served:
        tables, warnings = _served(platform, bundle, wanted)
        kept = _chosen(tables, slices)
    else:
        found, warnings = _home(platform, bundle, against, wanted, slices)
        tables, kept, gaps = found.tables, found.kept, found.gaps
    scored, other = tables[0].where(kept), tables[1].where(kept) if len(tables) > 1 else None
    asked = Asked(_source(served, tenant, slices), budgets, by, _record(wanted))
    with stages("measuring"):
        for table in (scored, other):
            warnings += [] if table is None else learned_words(table)
        result = result_of(scored, asked, against=other, gaps=gaps, warnings=warnings)
    _show(result, [text for text in slices if "=" not in text])
    if folder is not None:
        with stages("writing"):
            path = write_evaluation(folder, result, scored, other, gaps)
        out.print(f"report: {path}", highlight=False, soft_wrap=True)


def _source(served: bool, tenant: str, slices: Sequence[str]) -> str:
    """In words what is judged."""
    kept = [text for text in slices if "=" in text]
    of = f" of {tenant}" if tenant else ""
    return ("what was served" if served else "labelled mail") + of + (f" with {' and '.join(kept)}" if kept else "")


def _record(wanted: Wanted) -> dict[str, str]:
    """How an evaluation came about."""
    from mailwarden_services.loop import code_revision

    return {
        "command": shlex.join(["mailwarden", *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_revision": code_revision(),
        "labels_known_by": datetime.fromtimestamp(wanted.known_by_us // 1_000_000, UTC).isoformat(),
    }


def _check(slices: Sequence[str], budgets: Sequence[float], by: str, *, served: bool, against: int | None) -> None:
    from mailwarden_services.evaluation.facts import SLICES

    for text in slices:
        name = text.partition("=")[0]
        if name not in SLICES:
            hint = did_you_mean(name, SLICES) or f" There are {', '.join(SLICES)}."
            raise DataError(f"there is no slice {name!r}.{hint}")
    for one in budgets:
        if not 0.0 < one < 1.0:
            raise ConfigError(f"--budget {one:g} is no share of good mail; give one between 0 and 1, as 0.001")
    if by not in ("campaign", "message"):
        raise ConfigError(f"--by {by!r} is neither campaign nor message.{did_you_mean(by, ('campaign', 'message'))}")
    if served and against is not None:
        raise ConfigError(
            "what was served was judged by one bundle alone; leave --served out to have both judge the same labelled "
            "mail, or --against"
        )


def _home(
    platform: Platform, version: int | None, against: int | None, wanted: Wanted, slices: Sequence[str]
) -> tuple[Judged, list[str]]:
    from mailwarden_services.evaluation.home import judge_home, judge_of
    from mailwarden_services.loop import Loop
    from mailwarden_services.teams.content_changes import changed_since_training

    judges = [judge_of(platform, version, groups=True)]
    if against is not None:
        judges.append(judge_of(platform, against))
    warnings = []
    for judge, record in judges:
        warnings += [f"detector {name} of bundle {record.version} is away, and judged nothing: {why}"
                     for name, why in judge.champion.away.items()]  # fmt: skip
        warnings += [f"{name} changed since bundle {record.version} learned from it; `mailwarden train` brings it up"
                     for name in changed_since_training(judge.bundle, platform.content)]  # fmt: skip
    with stages(f"judging by {' and '.join(f'bundle {record.version}' for _, record in judges)}") as begins:
        return judge_home(Loop(platform), judges, wanted, lambda tables: _chosen(tables, slices), begins), warnings


def _served(platform: Platform, version: int | None, wanted: Wanted) -> tuple[tuple[Scored, ...], list[str]]:
    from mailwarden_services.evaluation.served import judge_served

    record, bundle = platform.bundle(version)
    with stages(f"reading what bundle {record.version} served") as begins:
        scored, left = judge_served(platform, record, bundle, wanted, begins)
    warnings = []
    if left.others:
        there = ", ".join(f"{n:,} of bundle {model}" for model, n in left.others.items())
        warnings.append(f"decisions of other bundles are in no figure: {there}")
    if left.unlogged:
        warnings.append(f"{left.unlogged:,} decisions have no scores in the log, and are in no figure")
    if left.forgotten:
        warnings.append(f"{left.forgotten:,} decisions are of messages that were forgotten, and are in no figure")
    return (scored,), warnings


def _chosen(tables: Sequence[Scored], slices: Sequence[str]) -> NDArray[np.bool_]:
    """(n,) which messages are of every slice that is named with a word, by every table."""
    kept = np.ones(len(tables[0]), dtype=np.bool_)
    for table in tables:
        for text in slices:
            kept &= table.slice_named(text)[1]
    if not kept.any():
        raise DataError(f"no message that was judged is of all of {', '.join(slices)}; ask for fewer")
    return kept


def _show(result: dict[str, Any], names: Sequence[str]) -> None:
    from mailwarden_services.evaluation import tables
    from mailwarden_services.evaluation.gap_tables import gap_grids
    from mailwarden_services.evaluation.report import slice_grids
    from mailwarden_services.reports.grids import rich_table

    grids = [
        tables.whole_grid(result),
        tables.category_grid(result),
        tables.spending_grid(result),
        tables.comparison_grid(result),
        tables.flip_grid(result),
        tables.detector_grid(result),
        tables.group_grid(result),
        *gap_grids(result),
        *(grid for name in names if name in result["slices"] for grid in slice_grids(result, [name])),
    ]
    for grid in grids:
        if grid is not None:
            out.print(rich_table(grid))
    for words in result["warnings"]:
        console.print(f"[yellow]{escape(words)}[/]", highlight=False, soft_wrap=True)
