"""`mailwarden bench`: every benchmark in one run, its figures and its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import RenderableType

from mailwarden.errors import NotFound
from mailwarden.settings import Settings
from mailwarden_services.bench import historical_join, online_read, through_http
from mailwarden_services.replay.summary import Grid, figure, rich_table

PARTS = ("online", "join", "http")

Say = Callable[[str], None]


def run_bench(
    settings: Settings, *, parts: Sequence[str] = PARTS, full: bool = False, say: Say = lambda _: None
) -> dict[str, Any]:
    """Figures by part; see each part's `measure`.

    full: the larger historical join. Everything that is started is stopped, and nothing of `settings.home` is read
    or written. Raises NotFound on an unknown part.
    """
    for part in parts:
        if part not in PARTS:
            raise NotFound(f"there is no benchmark {part!r}; there are {', '.join(PARTS)}")
    figures: dict[str, Any] = {}
    for part in dict.fromkeys(parts):
        say(f"benchmark: {part}")
        if part == "online":
            figures[part] = online_read.measure()
        elif part == "join":
            size = historical_join.FULL if full else historical_join.DEFAULT
            figures[part] = historical_join.measure(settings, size=size, say=say)
        else:
            figures[part] = through_http.measure(settings, say=say)
    return figures


def bench_tables(figures: Mapping[str, Any]) -> list[RenderableType]:
    """The figures of `run_bench` for a terminal, each beside what it is a ratio of."""
    grids = {"online": _online, "join": _join, "http": _http}
    return [rich_table(grids[part](found)) for part, found in figures.items()]


def _online(found: Mapping[str, Any]) -> Grid:
    names = {
        "bare": "bare Redis pipeline, plain fields",
        "ours": "all views, finalised",
        "ours_several": f"the same, {online_read.SEVERAL} recipients",
        "feast_store": "Feast's Redis store alone",
        "feast_sdk": "Feast's get_online_features",
    }
    bare = found["bare"]["p50_ms"]
    rows = tuple(
        (words, _ms(found[name]["p50_ms"]), _ms(found[name]["p99_ms"]), f"{found[name]['p50_ms'] / bare:.2f}x")
        for name, words in names.items()
    )
    title = f"Online read of one message: {found['features']} features of {found['views']} views"
    return Grid(title, ("read", "p50 ms", "p99 ms", "to bare"), rows, f"{found['reads']:,} reads each, in turns.")


def _join(found: Mapping[str, Any]) -> Grid:
    ours, theirs = found["ours"], found["feast_spark"]
    rows = tuple(
        (words, f"{each['rows']:,}", figure(each["seconds"], 1), f"{each['seconds'] / ours['seconds']:.2f}x")
        for words, each in (("as-of windowed values (ours)", ours), ("last values (Feast's Spark store)", theirs))
    )
    title = f"Historical join: {found['requests']:,} requests, {found['events']:,} events, {found['features']} features"
    return Grid(title, ("join", "rows out", "seconds", "to ours"), rows, found["note"])


def _http(found: Mapping[str, Any]) -> Grid:
    rows = tuple(
        (
            words,
            figure(load["messages_per_second"], 1),
            figure(load["p50_ms"], 1),
            figure(load["p99_ms"], 1),
            figure(load["cpu_ms"]["api"], 2),
            figure(load["cpu_ms"]["writer"], 2),
        )
        for words, load in (("flat out", found["flat_out"]), ("half of that", found["half_load"]))
    )
    heading = ("load", "messages/s", "p50 ms", "p99 ms", "API CPU ms/message", "writer CPU ms/message")
    return Grid("Through HTTP, simulated mail", heading, rows, found["note"])


def _ms(value: float) -> str:
    return figure(value, 3)
