"""`bench`: speed beside its peers."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import orjson
import typer

from mailwarden.settings import Settings
from mailwarden_services.cli.progress import out, stages


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(bench)


def bench(
    part: Annotated[
        list[str] | None, typer.Argument(help="Parts to measure, by name; by default all but growth and evasions.")
    ] = None,
    sizes: Annotated[str, typer.Option(help="Of growth: events in each history, in millions.")] = "1,10,50",
    out_dir: Annotated[
        Path, typer.Option("--out", help="Of growth: folder for the curve (PNG, SVG) and its figures (JSON).")
    ] = Path("artifacts/growth"),
    mail: Annotated[
        str,
        typer.Option(
            help="Of http, scale: a message, mbox, folder, archive, pattern or index. Default: TREC, if there."
        ),
    ] = "",
    home: Annotated[
        Path | None,
        typer.Option(help="Of http, scale, abuse: a home, copied; made and kept where it is not there."),
    ] = None,
    tenant: Annotated[str, typer.Option(help="Of http, abuse: whose mail, in that home. Default: its first.")] = "",
    in_place: Annotated[bool, typer.Option(help="Of http: use the home itself. No `serve` may run on it.")] = False,
    serve_args: Annotated[str, typer.Option(help="Of http, abuse: further words for `serve`, as one argument.")] = "",
    messages: Annotated[int, typer.Option(min=50, help="Of http, scale: messages of each load.")] = 2_000,
    times: Annotated[str, typer.Option(help="Of http: how messages arrive: strict, ties, late.")] = "strict,ties,late",
    ahead: Annotated[
        bool | None, typer.Option(help="Of http: once more after a message that bears the year 2030.")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Of http: 400 messages, `late` alone, no latencies. Of abuse: short."),
    ] = False,
    as_json: Annotated[Path | None, typer.Option("--json", help="File for all figures, as JSON.")] = None,
) -> None:
    """Measure speed beside its peers in the same run, and print the ratios. On an idle machine, please.

    Nothing of MAILWARDEN_HOME is read or written: the mail is simulated, and Redis and the API are its own.

    Examples:

        mailwarden bench
        mailwarden bench online http
        mailwarden bench http --quick --home bench-home
        mailwarden bench growth --sizes 1,5
    """
    from mailwarden_services.bench.abuse import QUICK_SECONDS, SECONDS, AbuseOptions
    from mailwarden_services.bench.growth_report import draw_growth
    from mailwarden_services.bench.http_price import QUICK, HttpOptions
    from mailwarden_services.bench.scale import ScaleOptions
    from mailwarden_services.bench.suite import bench_tables, run_bench

    http = HttpOptions(messages=messages, times=_arrivals(times)) if not quick else QUICK
    http = replace(http, mail=mail, home=home, tenant=tenant, in_place=in_place, serve=tuple(shlex.split(serve_args)))
    if ahead is not None:
        http = replace(http, ahead=ahead)
    scaled = ScaleOptions(mail=mail, home=home, messages=http.messages)
    abused = AbuseOptions(home, tenant, http.serve, QUICK_SECONDS if quick else SECONDS)
    with stages("benchmarks") as begins:
        figures = run_bench(
            Settings(),
            parts=tuple(part or ()),
            sizes=_millions(sizes),
            http=http,
            abused=abused,
            scaled=scaled,
            say=begins,
        )
    for table in bench_tables(figures):
        out.print(table)
    if as_json is not None:
        as_json.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))
    if "growth" in figures:
        for path in draw_growth(figures["growth"], out_dir):
            out.print(str(path), highlight=False, soft_wrap=True)


def _arrivals(text: str) -> tuple[str, ...]:
    from mailwarden_services.bench.arrivals import ARRIVALS

    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or not set(names) <= set(ARRIVALS):
        raise typer.BadParameter(f"{text}: write names of {', '.join(ARRIVALS)}, with commas")
    return names


def _millions(text: str) -> tuple[int, ...]:
    try:
        return tuple(round(float(number) * 1_000_000) for number in text.split(","))
    except ValueError as exc:
        raise typer.BadParameter(f"{text}: write numbers of millions, as in 1,10,50") from exc
