"""`replay`, the honest experiment on one's own mail, and `demo`, the same on simulated mail."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailwarden.errors import ConfigError
from mailwarden.settings import Settings
from mailwarden_services.cli.progress import out, say, ticker
from mailwarden_services.cli.simulate_command import counted

if TYPE_CHECKING:
    from mailwarden_services.replay.experiment import ReplayPlan


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command()(replay)
    app.command()(demo)


def _train_until(text: str) -> float | datetime:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ConfigError(f"--train-until {text!r} is neither a share (0.6) nor a time (2007-06-01)") from exc
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def replay(
    source: Annotated[Path, typer.Argument(help="An .eml, a folder of them, an mbox, a Maildir, or a tar (zst, gz).")],
    labels: Annotated[str, typer.Option(help="Label index: a path, or a member of the archive.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the results; made where it is missing.")],
    train_until: Annotated[
        str, typer.Option(help="Share of the mail, or time, before which mail is history and training set.")
    ] = "0.6",
    retrain: Annotated[float | None, typer.Option(help="Retrain every so many days of the mail's time.")] = None,
    reparse: Annotated[
        bool, typer.Option("--reparse", help="With --retrain: derive the facts of all mail anew before each.")
    ] = False,
    label_delay: Annotated[float, typer.Option(help="Days from a message to when its label becomes known.")] = 1.0,
    pretrain: Annotated[Path | None, typer.Option(help="Another site's mail, from which the models come.")] = None,
    pretrain_labels: Annotated[str | None, typer.Option(help="Label index of --pretrain.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many messages of the source.")] = None,
    only: Annotated[
        str | None, typer.Option(help="Only messages that this index lists in lower case; the rest is left out.")
    ] = None,
    subset: Annotated[
        list[str], typer.Option(help="Report figures on this index's lower-case lines beside the whole; repeatable.")
    ] = [],  # noqa: B006 - typer's way to say "none given"
    without: Annotated[
        list[str], typer.Option(help="A view whose features are withheld from the models; repeatable.")
    ] = [],  # noqa: B006
    domain: Annotated[list[str], typer.Option(help="A domain of the site's own; repeatable.")] = [],  # noqa: B006
    trust: Annotated[list[str], typer.Option(help="An authserv-id that is believed; repeatable.")] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(help="Of the training.")] = 7,
) -> None:
    """Replay mail through the whole platform as it arrived, and report how well it was told apart.

    Mail before the split becomes history and training set. The rest goes through HTTP in order of arrival, its
    features updated as it goes; its labels become known only after the delay. Writes scores.csv, report.json and
    report.md with pictures into --out. With --pretrain use --train-until 0: the first message is scored cold.

    Mail without a label counts as history and is scored, but stands in no figure. A message that the API refuses (too
    large, not a message) is named in the report, and the replay goes on.

    Examples:

        mailwarden replay inbox.mbox --labels INDEX --out artifacts/mine --domain your-domain.example
        mailwarden replay mail.tar.zst --labels mail/INDEX --out artifacts/half --train-until 0.5 --retrain 7
        mailwarden replay new-site --labels new-site/INDEX --out artifacts/cold --train-until 0 \\
            --pretrain old-site --pretrain-labels old-site/INDEX
    """
    from mailwarden_services.replay.experiment import ReplayPlan

    if (pretrain is None) != (pretrain_labels is None):
        raise ConfigError("--pretrain and --pretrain-labels go together; give both or none")
    if reparse and retrain is None:
        raise ConfigError("--reparse goes with --retrain, before which facts are derived anew; give both")
    plan = ReplayPlan(
        source=source,
        labels=labels,
        out=out_dir,
        train_until=_train_until(train_until),
        retrain_days=retrain,
        reparse=reparse,
        label_delay_days=label_delay,
        pretrain=None if pretrain is None or pretrain_labels is None else (pretrain, pretrain_labels),
        limit=limit,
        only=only,
        subsets=tuple(subset),
        without=tuple(without),
        domains=tuple(domain),
        trusted_authserv_ids=tuple(trust),
        seed=seed,
    )
    report = run_and_report(plan, mail=f"mail of {source.name}", title=f"Replay of {source.name}")
    out.print(f"report: {report}", highlight=False, soft_wrap=True)


def run_and_report(plan: ReplayPlan, *, mail: str, title: str, settings: Settings | None = None) -> Path:
    """Run a replay, write its results, print its table, and return the path of the report.

    settings: those of the environment by default.
    """
    from mailwarden_services.replay.experiment import Experiment
    from mailwarden_services.replay.figures import write_scores
    from mailwarden_services.replay.report import summary_table, write_report
    from mailwarden_services.replay.result import command_line, report_of, score_table

    plan.out.mkdir(parents=True, exist_ok=True)
    experiment = Experiment(plan, settings or Settings(), say=say, ticker=ticker)
    outcome = experiment.run()
    table = score_table(outcome)
    report = report_of(plan, outcome, table, mail=mail, command=command_line(), title=title)
    write_scores(plan.out / "scores.csv", table)
    path = write_report(plan.out, report, table)
    for renderable in summary_table(report):
        out.print(renderable)
    return path


DEMO_DAYS = 60
DEMO_TRAIN = 0.75


def demo(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path("artifacts/demo"),
    seed: Annotated[int, typer.Option(help="Of the simulated mail and of the training.")] = 7,
    days: Annotated[int, typer.Option(help="Days of mail.")] = DEMO_DAYS,
    messages_per_day: Annotated[int, typer.Option(help="Messages on an ordinary day.")] = 110,
) -> None:
    """Simulate a small company's mail and take it through the whole loop; under five minutes on two cores.

    Nothing is downloaded, and everything that is started is stopped. All figures are of simulated mail: they show
    that the loop works, not how well it would do on yours.

    Examples:

        mailwarden demo
        mailwarden demo --seed 11 --days 90 --out artifacts/demo-11
    """
    from mailwarden.simulation.company import company
    from mailwarden.simulation.corpus import write_corpus
    from mailwarden.simulation.simulate import simulate
    from mailwarden.simulation.site_lists import write_lists
    from mailwarden_services.replay.experiment import ReplayPlan

    firm = company(seed)
    with tempfile.TemporaryDirectory(prefix="mailwarden-demo-") as folder:
        mail = simulate(seed, days=days, messages_per_day=messages_per_day)
        with ticker(f"simulating {days} days of a company's mail (seed {seed})", None) as tick:
            index = write_corpus(Path(folder) / "mail", counted(mail, tick))
        plan = ReplayPlan(
            source=index.parent,
            labels=str(index),
            out=Path(folder) / "replay",
            train_until=DEMO_TRAIN,
            tenant=firm.tenant,
            domains=firm.domains,
            trusted_authserv_ids=(firm.authserv_id,),
            seed=seed,
        )
        # The world's free mail and brands are invented: without its own lists no feature would know them.
        settings = Settings().model_copy(update={"lists": str(write_lists(Path(folder) / "lists"))})
        report = run_and_report(plan, mail="simulated", title="Demonstration on simulated mail", settings=settings)
        out_dir.mkdir(parents=True, exist_ok=True)
        for made in plan.out.iterdir():
            if made.is_file():
                (out_dir / made.name).write_bytes(made.read_bytes())
    out.print(f"\nreport: {out_dir / report.name}", highlight=False, soft_wrap=True)
    out.print(
        "on your own mail (an mbox, a Maildir, a folder of .eml, with an index of `label path` lines):\n"
        "  .venv/bin/mailwarden replay MAIL --labels INDEX --out artifacts/mine --domain your-domain.example",
        highlight=False,
    )
