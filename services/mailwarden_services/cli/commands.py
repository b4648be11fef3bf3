"""The commands of everyday: mail in, features, models, serving, scoring, and what state all is in.

Engines are imported by the commands that need them: Feast and Spark take seconds, and `--help` should not.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from mailwarden.errors import StoreError
from mailwarden.settings import Settings
from mailwarden_services.allocator import have_libraries_give_back
from mailwarden_services.cli.acts import note
from mailwarden_services.cli.explained import explanation_lines
from mailwarden_services.cli.ingest_command import ingest
from mailwarden_services.cli.options import DEFAULT_TENANT, now_us
from mailwarden_services.cli.progress import console, out, stages, ticker
from mailwarden_services.cli.reparse_command import fact_status, fact_table, reparse
from mailwarden_services.cli.skew_command import skew
from mailwarden_services.reports.words import SHARED
from mailwarden_services.starter.kinds import WORDS

if TYPE_CHECKING:
    pass


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    for command in (ingest, reparse, materialize, train, serve, score, skew, status):
        app.command()(command)


def materialize(
    view: Annotated[
        list[str], typer.Option(help="Only this view, computed anew, beside what serves until it takes over.")
    ] = [],  # noqa: B006 - typer's way to say "none given"
    afresh: Annotated[
        bool, typer.Option("--afresh", help="Compute and load every state anew, whatever was computed before.")
    ] = False,
) -> None:
    """Compute features from the event log with Spark: offline Parquet, and states into Redis.

    Run it after `ingest`. To run it again is safe, after a crash too: only what new mail touches is computed, and what
    Redis already knows better is left alone. Mail may flow meanwhile: a view that is made anew takes over once the
    feature writers have brought it up to date.

    Examples:

        mailwarden materialize
        mailwarden materialize --view sender_activity
        MAILWARDEN_REDIS_URL=redis://cache:6379/2 mailwarden materialize
    """
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.embedded import with_redis
    from mailwarden_services.loop import Loop

    with with_redis(Settings()) as settings, stages("materialising") as begins:
        report = Loop(Platform(settings)).materialize(begins, only=view, afresh=afresh)
    headings = ("view", "keys", "computed", "a second", "online", "written", "unchanged", "MB", "a second")
    table = Table(*headings, "bytes a key", "seconds")
    for found in report.views:
        online = found.online
        table.add_row(
            found.view,
            f"{found.rows:,}",
            f"{found.computed:,} ({found.how})",
            f"{found.computed_a_second:,.0f}",
            "" if online is None else f"{online.how} {online.generation}",
            "" if online is None else f"{found.loaded:,}",
            "" if online is None else f"{found.unchanged:,}",
            "" if online is None else f"{online.report.bytes / 1e6:,.1f}",
            "" if online is None else f"{found.loaded_a_second:,.0f}",
            "" if found.memory is None else f"{found.memory.total:,.0f}",
            f"{found.seconds:.1f}",
        )
    out.print(table)
    for words in report.changed:
        out.print(f"[yellow]{words}[/]", highlight=False, soft_wrap=True)
    if report.waits:
        raise StoreError("not everything serves yet: " + "; ".join(report.waits))


def train(
    detector: Annotated[list[str] | None, typer.Argument(help="Detectors to train; all by default.")] = None,
    seed: Annotated[int, typer.Option(help="The same data and seed give the same models.")] = 7,
    without: Annotated[
        list[str], typer.Option(help="A view whose features are withheld; repeatable, for experiments.")
    ] = [],  # noqa: B006
) -> None:
    """Train detectors on point-in-time-correct history, fuse them, and have the result serve.

    Needs labelled mail that was ingested and materialised. A running `serve` takes the new models up by itself. Tenants
    that `mailwarden calibrate` found thresholds for have them found anew, since other models score otherwise.

    Examples:

        mailwarden train
        mailwarden train behaviour --seed 11
        mailwarden train --without recipient_activity
    """
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.calibrating import calibrate_again, calibrated
    from mailwarden_services.embedded import with_redis
    from mailwarden_services.loop import Loop

    with with_redis(Settings()) as settings, stages("training") as begins:
        platform = Platform(settings)
        loop, others = Loop(platform), calibrated(platform)
        trained = loop.train(
            now_us=now_us(),
            known_by_us=None,
            seed=seed,
            detectors=tuple(detector or ()),
            without=tuple(without),
            reason="mailwarden train",
            progress=begins,
        )
        if trained["serves"]:
            note(platform, "", "model.promote", str(trained["version"]), {"detectors": list(detector or ())})
            again = calibrate_again(loop, others, now_us=now_us(), progress=begins)
            if again is not None:
                note(platform, "", "model.promote", str(again["version"]), {"calibrated": sorted(again["tenants"])})
                trained = {**trained, "calibrated": again}
    out.print_json(data=trained)
    for words in platform.absent_detectors.values():
        console.print(f"[yellow]{words}[/]", highlight=False, soft_wrap=True)
    if not trained["serves"]:
        console.print(
            f"[yellow]bundle {trained['version']} would never act, since too little good mail is labelled; the starter "
            "goes on serving[/]",
            highlight=False,
            soft_wrap=True,
        )
    if trained["shared"]:
        console.print(f"[yellow]few messages: the held-out figures are {SHARED}[/]", highlight=False, soft_wrap=True)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    socket: Annotated[Path | None, typer.Option(help="A unix socket to listen on instead.")] = None,
    rspamd: Annotated[
        str | None,
        typer.Option(help="HOST:PORT to speak rspamd's protocol on, beside the API's own port.", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Scoring processes a shard, in place of MAILWARDEN_WORKERS."),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Processes that number mail, each some tenants', for MAILWARDEN_SHARDS."),
    ] = None,
) -> None:
    """Run the scoring API and its feature writer, and a Redis of our own where MAILWARDEN_REDIS_URL is empty.

    Stop it with Ctrl-C or SIGTERM: what was accepted is on disk and is taken up at the next start. The API describes
    itself at /docs; `mailwarden tenant key NAME` gives a caller its key.

    Examples:

        mailwarden serve
        mailwarden serve --host 0.0.0.0 --port 9000
        mailwarden serve --socket /run/mailwarden/api.sock
        mailwarden serve --rspamd 127.0.0.1:11333
    """
    have_libraries_give_back()
    from mailwarden_services.serving import serve as run_service

    settings = Settings()
    given = {name: value for name, value in (("workers", workers), ("shards", shards)) if value is not None}
    settings = settings.model_copy(update=given)
    run_service(settings, host=host, port=port, socket=socket, rspamd=rspamd, say=lambda line: out.print(line))


def score(
    files: Annotated[list[Path], typer.Argument(help="Raw messages (.eml).")],
    tenant: Annotated[
        str, typer.Option("--tenant", help="Whose mail it is: its history, domains and policy count. Must exist.")
    ] = DEFAULT_TENANT,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a message, as the API answers.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="What would have changed the verdict, too.")] = False,
) -> None:
    """Decide on messages here and now, without leaving a trace. Exit code 0 whatever the verdicts are.

    The answer is that of the API with observe=false: score, verdict, and the signals that drove it in words.

    Examples:

        mailwarden score suspicious.eml
        mailwarden score suspicious.eml --explain
        mailwarden score inbox/*.eml --tenant acme --json | jq -r '[.path, .verdict] | @tsv'
    """
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.embedded import with_redis
    from mailwarden_services.local_scoring import local_campaigns, local_scorer, score_file
    from mailwarden_services.starter.rules import have_rules_serve

    with with_redis(Settings()) as settings:
        platform = Platform(settings)
        owner = platform.tenants.get(tenant)
        have_rules_serve(platform, at_us=now_us())
        scorer, campaigns = local_scorer(platform), local_campaigns(platform, owner)
        with ticker("scoring", len(files)) if len(files) > 1 else contextlib.nullcontext(lambda done: None) as tick:
            for number, file in enumerate(files, 1):
                _print_answer(file, score_file(platform, owner, file, scorer, campaigns, explained=explain), as_json)
                tick(number)


def _print_answer(file: Path, answer: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        line = json.dumps({"path": str(file), **answer})
        out.print(line, soft_wrap=True, highlight=False, markup=False)
        return
    category = answer["category"] or ""
    out.print(f"[bold]{escape(str(file))}[/]: {answer['verdict']}  score {answer['score']:.6f}  {category}")
    for signal in answer["signals"]:
        out.print(f"  - {signal['words']}", highlight=False, markup=False)
    if "explanation" in answer:
        for line in explanation_lines(answer["explanation"]):
            out.print(f"  {line}", highlight=False, markup=False)


def status(
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    redis_url: Annotated[
        bool, typer.Option("--redis-url", help="Only the online store's address, for MAILWARDEN_REDIS_URL.")
    ] = False,
) -> None:
    """What is in the stores, how fresh it is, and which models serve.

    A Redis of our own lives as long as the command that started it, `serve` above all: while that runs, other programs
    reach it at the address that --redis-url prints.

    Examples:

        mailwarden status
        export MAILWARDEN_REDIS_URL=$(mailwarden status --redis-url)
        mailwarden status --json | jq .tenants.default
    """
    from mailwarden.training.register import BUNDLE
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.embedded import own_server, with_redis

    settings = Settings()
    if redis_url:
        typer.echo(settings.redis_url.get_secret_value() or own_server(settings).url)
        return
    platform = Platform(settings)
    champion = platform.registry.champion(BUNDLE)
    found: dict[str, Any] = {
        "home": str(settings.root),
        "events": platform.events.count(),
        "spool_bytes_not_logged": _spool_lag(settings),
        "model": None
        if champion is None
        else {"version": champion.version, "starter": platform.starter(), "metrics": champion.record.metrics},
        "facts": fact_status(platform),
        "tenants": {},
    }
    with with_redis(settings) as named:
        reader = Platform(named).online_reader
        for tenant in platform.tenants.list():
            mark = reader.watermark(tenant.name)
            found["tenants"][tenant.name] = {
                "last_seq": platform.events.last_seq(tenant.name),
                "online_seq": None if mark is None else mark.seq,
                "decisions": platform.decisions.count(tenant.name),
                "labels": platform.labels.count(tenant.name),
            }
    found["content_changed_since_training"] = list(platform.content_changed())
    if as_json:
        out.print_json(data=found)
        return
    out.print(f"home {found['home']}: {found['events']:,} events; {found['spool_bytes_not_logged']} bytes in the spool")
    out.print(_model_words(found["model"]), highlight=False, soft_wrap=True)
    if found["content_changed_since_training"]:
        out.print(
            f"[yellow]{', '.join(found['content_changed_since_training'])} changed since the bundle was trained; run "
            "`mailwarden materialize`, then `mailwarden train`[/]",
            soft_wrap=True,
        )
    out.print(fact_table(found["facts"]))
    table = Table("tenant", "last seq", "online seq", "decisions", "labels")
    for name, row in found["tenants"].items():
        table.add_row(name, *(str(row[key]) for key in ("last_seq", "online_seq", "decisions", "labels")))
    out.print(table)


def _model_words(model: Mapping[str, Any] | None) -> str:
    if model is None:
        return "no model serves; run `mailwarden starter`, which needs no labels, or `mailwarden train`"
    words = f"bundle {model['version']} serves"
    if model["starter"] is not None:
        return f"{words}: {WORDS[model['starter']]}"
    return f"{words}; its held-out figures are {SHARED}" if model["metrics"].get("shared") else words


def _spool_lag(settings: Settings) -> int:
    from mailwarden.stores.shards import shards_of
    from mailwarden.stores.spool_reader import SpoolReader
    from mailwarden_services.feature_writer.writer import READER_NAME

    lag = 0
    for shard in range(shards_of(settings.root)):
        spool = settings.of_shard(shard).spool_path
        if spool.exists():
            with contextlib.closing(SpoolReader(spool, READER_NAME)) as reader:
                lag += reader.lag_bytes()
    return lag
