"""`mailwarden bench`: every benchmark in one run, its figures and its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType

from mailwarden.errors import NotFound
from mailwarden.settings import Settings
from mailwarden_services.bench import (
    abuse,
    content_cost,
    evasions,
    freshness,
    growth,
    historical_join,
    hostile_load,
    http_price,
    online_read,
    reading,
    redis_load,
    scale,
)
from mailwarden_services.bench.abuse import AbuseOptions
from mailwarden_services.bench.growth_report import growth_grid
from mailwarden_services.bench.http_price import HttpOptions
from mailwarden_services.bench.http_report import cost_grid, latency_grid
from mailwarden_services.bench.scale import ScaleOptions
from mailwarden_services.bench.scale_report import ceiling_grid, scale_grid
from mailwarden_services.reports.grids import Grid, rich_table
from mailwarden_services.reports.words import figure

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Part:
    """One benchmark. measure: takes settings and what tells of progress, gives figures. grids: of these figures.

    by_default: it runs where no part is named.
    """

    measure: Callable[[Settings, Say], dict[str, Any]]
    grids: tuple[Callable[[Mapping[str, Any]], Grid], ...]
    by_default: bool = True


def run_bench(
    settings: Settings,
    *,
    parts: Sequence[str] = (),
    sizes: Sequence[int] = growth.SIZES,
    http: HttpOptions | None = None,
    abused: AbuseOptions | None = None,
    scaled: ScaleOptions | None = None,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Figures by part; see each part's `measure`.

    parts: names in `PARTS`; by default all but growth and evasions, which take long. sizes: of its histories. http,
    abused, scaled: what these parts measure. Everything that is started is stopped, and nothing of `settings.home` is
    read or written. Raises NotFound on an unknown part.
    """
    for name in parts:
        if name not in PARTS:
            raise NotFound(f"there is no benchmark {name!r}; there are {', '.join(PARTS)}")
    figures: dict[str, Any] = {}
    chosen = parts or tuple(name for name, part in PARTS.items() if part.by_default)
    for name in dict.fromkeys(chosen):
        say(f"benchmark: {name}")
        part = PARTS[name]
        if name == "growth":
            part = growth_of(sizes)
        elif name == "http" and http is not None:
            part = http_of(http)
        elif name == "abuse" and abused is not None:
            part = abuse_of(abused)
        elif name == "scale" and scaled is not None:
            part = scale_of(scaled)
        figures[name] = part.measure(settings, say)
    return figures


def bench_tables(figures: Mapping[str, Any]) -> list[RenderableType]:
    """The figures of `run_bench` for a terminal, each beside what it is a ratio of."""
    return [rich_table(grid(found)) for name, found in figures.items() for grid in PARTS[name].grids]


def _online(found: Mapping[str, Any]) -> Grid:
    names = {
        "bare": ("bare Redis pipeline, plain fields", "bare"),
        "ours": ("all views, finalised", "bare"),
        "ours_several": (f"the same, {online_read.SEVERAL} recipients", "bare"),
        "ours_cluster": ("the same on a cluster of three masters", "bare"),
        "bare_plain": (f"bare pipeline, {found['plain_features']} fields", "bare_plain"),
        "plain": ("all views without distinct counts, finalised", "bare_plain"),
        "feast_store": ("Feast's Redis store alone", "bare"),
        "feast_sdk": ("Feast's get_online_features", "bare"),
    }
    rows = tuple(
        (
            words,
            _ms(found[name]["p50_ms"]),
            _ms(found[name]["p99_ms"]),
            *(f"{found[name][each] / found[to][each]:.2f}x" for each in ("p50_ms", "p99_ms")),
        )
        for name, (words, to) in names.items()
    )
    title = f"Online read of one message: {found['features']} features of {found['views']} views"
    sizes = ", ".join(f"{name} {size['with_redis']:,}" for name, size in found["bytes_a_key"].items())
    note = f"{found['reads']:,} reads each, in turns. Bytes a key in Redis: {sizes}."
    return Grid(title, ("read", "p50 ms", "p99 ms", "to bare", "at p99"), rows, note)


def _join(found: Mapping[str, Any]) -> Grid:
    ours, windowed = found["ours"], found["windowed"]
    joins = (
        ("last values, ours", ours),
        ("last values, Feast's Spark store", found["feast_spark"]),
        (f"{windowed['features']} windowed features, ours", windowed),
    )
    rows = tuple(
        (words, f"{each['rows']:,}", figure(each["seconds"], 1), f"{each['seconds'] / ours['seconds']:.2f}x")
        for words, each in joins
    )
    title = f"Historical join: {found['requests']:,} requests over {found['events']:,} events"
    note = f"{found['rows_that_differ']:,} rows of last values differ between the two."
    return Grid(title, ("join", "rows out", "seconds", "to ours"), rows, note)


def _content(found: Mapping[str, Any]) -> Grid:
    views = found["views"]
    rows = [
        (
            name,
            f"{each['declared_us']:g}",
            figure(each["measured_us"], 1),
            f"{each['measured_us'] / each['declared_us']:.2f}x",
        )
        for name, each in views.items()
    ]
    declared, measured = (sum(each[of] for each in views.values()) for of in ("declared_us", "measured_us"))
    rows.append(("all content views", f"{declared:g}", figure(measured, 1), f"{measured / declared:.2f}x"))
    rows.append(("the parser", "", figure(found["reading_us"], 1), ""))
    title = f"Content: CPU microseconds a message, {found['messages']:,} simulated messages"
    return Grid(title, ("what", "declared", "measured", "to declared"), tuple(rows), "The quickest of the rounds.")


def _load(found: Mapping[str, Any]) -> Grid:
    ours = found["ours"]["rows_per_second"]
    rows = tuple(
        (
            words,
            figure(each["seconds"], 2),
            f"{each['rows_per_second']:,}",
            f"{each['rows_per_second'] / ours:.2f}x",
        )
        for words, each in (("states, ours", found["ours"]), ("values, Feast's spark.engine", found["feast_engine"]))
    )
    title = f"Loading Redis from Spark: {found['keys']:,} keys of {found['values']} values"
    return Grid(title, ("load", "seconds", "rows/s", "to ours"), rows, "The best of the rounds, which took turns.")


def _hostile(found: Mapping[str, Any]) -> Grid:
    rows = tuple(
        (f"{path}, {words}", f"{one['requests']:,}", _ms(one["p50_ms"]), _ms(one["p99_ms"]))
        for path, name in (("/healthz", "healthz"), ("/v1/score", "score"))
        for words, one in (("alone", found["alone"][name]), ("beside hostile mail", found["beside"][name]))
    )
    answers = ", ".join(f"{times:,} by {status}" for status, times in sorted(found["hostile"].items()))
    note = (
        f"{found['senders']} connections of another tenant send messages of up to 10 MB, answered {answers}; all "
        f"processes of the service, Redis apart, then hold {found['peak_bytes'] / 2**20:,.0f} MiB at most (PSS)."
    )
    heading = ("request", "requests", "p50 ms", "p99 ms")
    return Grid("Another tenant's requests beside hostile mail", heading, rows, note)


def _abuse(found: Mapping[str, Any]) -> Grid:
    rows = []
    for way, one in found["ways"].items():
        answers = "; ".join(
            f"{name}: " + ", ".join(f"{times:,} {status or 'closed'}" for status, times in sorted(counts.items()))
            for name, counts in one["answers"].items()
        )
        counts = (f"{one['requests']:,}", str(one["failed"]))
        peak = f"{one['memory']['peak_bytes'] / 2**20:,.0f}"
        rows.append((way, *counts, _ms(one["p50_ms"]), _ms(one["p99_ms"]), peak, answers))
    note = (
        f"{found['rate']:.0f} messages/s of {found['mail']} in an open loop, {found['seconds']:.0f} s each. MiB: "
        "the most that all processes but Redis held (PSS: a page that several share counts once)."
    )
    heading = ("another tenant's", "answered", "failed", "p50 ms", "p99 ms", "MiB", "its answers")
    return Grid("One tenant's mail beside another's abuse", heading, tuple(rows), note)


def _freshness(found: Mapping[str, Any]) -> Grid:
    rows = tuple(
        (words, _ms(found[name]["p50_ms"]), _ms(found[name]["p99_ms"]))
        for words, name in (("a request's answer", "answer"), ("from the answer to Redis", "to_folded"))
    )
    title = f"Freshness at {found['offered_per_second']:.0f} messages/s, {found['streams']} streams"
    note = f"{found['messages']:,} messages; the longest took {_ms(found['longest_ms'])} ms to Redis."
    return Grid(title, ("time", "p50 ms", "p99 ms"), rows, note)


def _reading(found: Mapping[str, Any]) -> Grid:
    costs = found["cpu_ms"]
    rows = tuple(
        (words, _ms(value), f"{value / costs['stdlib']:.2f}x")
        for words, value in (
            ("the standard library's parser, parts decoded", costs["stdlib"]),
            ("parse", costs["parse"]),
            ("content features", costs["content"]),
            ("parse and content features", found["sum_cpu_ms"]),
        )
    )
    title = f"Reading {found['messages']:,} messages of {found['mail']}"
    note = f"The best of the rounds, which took turns. p99 of both together {_ms(found['p99_cpu_ms'])} ms."
    return Grid(title, ("step", "CPU ms a message", "to stdlib"), rows, note)


def _evasions(found: Mapping[str, Any]) -> Grid:
    rows = tuple(
        (name, str(one["held"]), str(one["kept"]), figure(one["reasons"], 2)) for name, one in found["evasions"].items()
    )
    heading = ("evasion", "held back", "all reasons kept", "share of reasons kept")
    title = f"Evasions of {found['attacks']} caught attacks (simulated mail, no history)"
    return Grid(title, heading, rows, "Each attack counts once an evasion; reasons are its five strongest.")


def _ms(value: float | None) -> str:
    return figure(value, 3)


def growth_of(sizes: Sequence[int]) -> Part:
    """The growth of histories of these many events."""
    return Part(lambda settings, say: growth.measure(settings, sizes=sizes, say=say), (growth_grid,), by_default=False)


def http_of(options: HttpOptions) -> Part:
    """Messages through HTTP, as chosen."""
    return Part(lambda settings, say: http_price.measure(settings, options, say=say), (cost_grid, latency_grid))


def abuse_of(options: AbuseOptions) -> Part:
    """Abuse, as chosen."""
    return Part(lambda settings, say: abuse.measure(settings, options, say=say), (_abuse,))


def scale_of(options: ScaleOptions) -> Part:
    """Shards and workers, as chosen."""
    return Part(lambda settings, say: scale.measure(settings, options, say=say), (scale_grid, ceiling_grid))


PARTS: Mapping[str, Part] = {
    "reading": Part(lambda settings, say: reading.measure(say=say), (_reading,)),
    "online": Part(lambda settings, say: online_read.measure(), (_online,)),
    "join": Part(lambda settings, say: historical_join.measure(settings, say=say), (_join,)),
    "content": Part(lambda settings, say: content_cost.measure(), (_content,)),
    "load": Part(lambda settings, say: redis_load.measure(settings, say=say), (_load,)),
    "http": http_of(HttpOptions()),
    "hostile": Part(lambda settings, say: hostile_load.measure(settings, say=say), (_hostile,)),
    "abuse": abuse_of(AbuseOptions()),
    "scale": scale_of(ScaleOptions()),
    "freshness": Part(lambda settings, say: freshness.measure(settings, say=say), (_freshness,)),
    "growth": growth_of(growth.SIZES),
    "evasions": Part(lambda settings, say: evasions.measure(say=say), (_evasions,), by_default=False),
}
"""Benchmarks by name, in the order in which they run."""
