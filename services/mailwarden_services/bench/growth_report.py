"""The growth of a history told: a table, and the curve with what it means for a cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from mailwarden_services.reports.grids import Grid
from mailwarden_services.reports.words import figure

_JOBS = {"states": "states of all keys", "as_of": "point-in-time read"}
_COLOURS = {"states": "#0072B2", "as_of": "#D55E00", "driver": "#009E73"}
_INK = "#333333"


def growth_grid(found: Mapping[str, Any]) -> Grid:
    """The figures of `growth.measure` as a table, a line a size and job."""
    rows = tuple(
        (
            f"{size['events']:,}",
            words,
            figure(size[job]["wall_s"], 1),
            figure(size[job]["cpu_s_a_million"], 2),
            figure(size[job]["wall_s_a_million"], 2),
            f"{size['driver_mb']:,}",
            figure(size["heap_mb"], 0),
        )
        for size in found["sizes"]
        for job, words in _JOBS.items()
    )
    heading = ("events", "job", "seconds", "CPU s/million", "s/million", "driver MB", "its heap MB")
    return Grid(f"Growth of a history, view {found['view']}", heading, rows, " ".join(growth_words(found)))


def growth_words(found: Mapping[str, Any]) -> list[str]:
    """What the figures say, in sentences."""
    ratios, cluster, sizes = found["ratios"], found["cluster"], found["sizes"]
    words = [
        f"A row at {sizes[-1]['events']:,} events costs, beside one at {sizes[0]['events']:,}: "
        + "; ".join(
            f"{name} {ratios[f'{job}_cpu']:.2f}x CPU, {ratios[f'{job}_wall']:.2f}x time" for job, name in _JOBS.items()
        )
        + ".",
        f"The driver held {ratios['driver_mb']:.2f}x the memory, its heap {ratios['heap_mb']:.2f}x.",
    ]
    if "states_marginal" in ratios:
        words.append(
            "What a further row costs between the two largest sizes, beside between the two smallest, so without what "
            f"every job costs at least: {ratios['states_marginal']:.2f}x and {ratios['as_of_marginal']:.2f}x CPU."
        )
    hours = cluster["core_hours"]
    words.append(
        f"{cluster['messages_a_day']:,} messages a day at that cost: {hours['states']} core hours a day to fold them "
        f"into this view, {hours['as_of']} to read training values for one in {cluster['events_a_request']} over that "
        "day's history; "
        f"a year of them folded anew, {cluster['year_core_hours']:,.0f} core hours, "
        f"{cluster['year_hours_on_cores']:.1f} hours on {cluster['cores']} cores like these. {found['note']}."
    )
    return words


def draw_growth(found: Mapping[str, Any], out: Path) -> tuple[Path, ...]:
    """Write growth.png, growth.svg and growth.json into a folder; returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    picture = Figure(figsize=(10.0, 5.2), layout="constrained")
    FigureCanvasAgg(picture)
    cost, memory = picture.subplots(1, 2)
    millions = [size["events"] / 1e6 for size in found["sizes"]]
    for job, words in _JOBS.items():
        cost.plot(
            millions,
            [size[job]["cpu_s_a_million"] for size in found["sizes"]],
            "o-",
            color=_COLOURS[job],
            label=f"{words}, CPU",
        )
        cost.plot(
            millions,
            [size[job]["wall_s_a_million"] for size in found["sizes"]],
            "s--",
            color=_COLOURS[job],
            label=f"{words}, clock",
            alpha=0.7,
        )
    _finish(cost, "Cost of a million events", "seconds", millions)
    memory.plot(
        millions,
        [size["driver_mb"] for size in found["sizes"]],
        "o-",
        color=_COLOURS["driver"],
        label="driver and its JVM, most held",
    )
    memory.plot(
        millions,
        [size["heap_mb"] for size in found["sizes"]],
        "s--",
        color=_COLOURS["driver"],
        label="its heap after a collection",
    )
    _finish(memory, "Memory of the driver", "MB", millions)
    picture.supxlabel("\n".join(growth_words(found)[-1:]), fontsize=8, color=_INK, wrap=True)
    files = tuple(out / f"growth.{kind}" for kind in ("png", "svg", "json"))
    picture.savefig(files[0], dpi=130)
    picture.savefig(files[1])
    files[2].write_text(json.dumps(found, indent=1) + "\n")
    return files


def _finish(axes: Axes, title: str, unit: str, millions: Sequence[float]) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=_INK)
    axes.set_xscale("log")
    axes.set_xticks(millions, labels=[f"{number:g}" for number in millions])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=0)
    axes.set_xlabel("events in the history, millions")
    axes.set_ylabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8)
