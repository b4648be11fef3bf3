"""The pictures of a report: score distribution, recall near zero false positives, latency."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from mailwarden.evaluation.figures import BUDGETS, PERCENTILES, ranked, roc_steps
from mailwarden_services.replay.figures import ScoreTable

GOOD_COLOUR, BAD_COLOUR, INK = "#0072B2", "#D55E00", "#333333"
_LINES = (("#E69F00", "--"), ("#56B4E9", "-."), ("#009E73", ":"), ("#CC79A7", (0, (5, 1))), ("#F0E442", (0, (1, 1))))
"""Okabe and Ito's palette, told apart by dashes too."""

_GREATEST_RATE = 0.1

_TITLES = {
    "scores": "Score distribution",
    "recall": "Recall against false-positive rate near zero",
    "latency": "Latency of one message through HTTP",
}


def draw_pictures(out: Path, table: ScoreTable, mail: str) -> dict[str, Path]:
    """Write the PNGs that the table has data for into `out`; by name `scores`, `recall`, `latency`.

    mail: what mail it was, for the titles ("simulated mail").
    """
    known = table.rows(table.labelled)
    drawings: dict[str, Callable[[Axes], None]] = {}
    if len(known):
        drawings["scores"] = lambda axes: _draw_scores(axes, known)
    if known.bad.any() and not known.bad.all():
        drawings["recall"] = lambda axes: _draw_recall(axes, known)
    measured = table.latency_seconds[~np.isnan(table.latency_seconds)]
    if len(measured):
        drawings["latency"] = lambda axes: _draw_latency(axes, measured * 1_000.0)
    return {name: _save(out / f"{name}.png", draw, mail) for name, draw in drawings.items()}


def _save(path: Path, draw: Callable[[Axes], None], mail: str) -> Path:
    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw(axes)
    axes.set_title(f"{_TITLES[path.stem]} ({mail})", loc="left", fontsize=11, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    figure.savefig(path, dpi=130)
    return path


def _draw_scores(axes: Axes, table: ScoreTable) -> None:
    bad = table.bad
    low, high = float(table.log_odds.min()), float(table.log_odds.max())
    edges = np.linspace(low, high if high > low else low + 1.0, 61).tolist()
    for chosen, name, colour in ((~bad, "good", GOOD_COLOUR), (bad, "bad", BAD_COLOUR)):
        axes.hist(
            table.log_odds[chosen],
            edges,
            histtype="stepfilled",
            color=colour,
            alpha=0.45,
            edgecolor=colour,
            linewidth=1.2,
            label=f"{name} ({int(chosen.sum()):,})",
        )
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.set(xlabel="fused score, log-odds (higher is worse)", ylabel="messages a bin")
    axes.legend(frameon=False)


def _draw_recall(axes: Axes, table: ScoreTable) -> None:
    bad = table.bad
    n_good = int((~bad).sum())
    left = min(0.5 / n_good, _GREATEST_RATE / 10)
    curves = [("fused", table.log_odds, "#000000", "-", 2.2)]
    for i, (name, values) in enumerate(table.detectors.items()):
        colour, dashes = _LINES[i % len(_LINES)]
        curves.append((name, ranked(values), colour, dashes, 1.6))  # type: ignore[arg-type]
    for name, values, colour, dashes, width in curves:
        rate, recall = roc_steps(values, bad)
        # A logarithmic axis has no zero: recall without any false positive is drawn from half a message to one.
        shown = np.maximum(rate, left)
        axes.step(shown, recall, where="post", color=colour, linestyle=dashes, linewidth=width, label=name)
    for budget in BUDGETS:
        axes.axvline(budget, color="#999999", linewidth=1.0, linestyle=":", zorder=0)
    axes.set_xscale("log")
    axes.set_xlim(left, _GREATEST_RATE)
    axes.set_ylim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(_share)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set(
        xlabel=f"false-positive rate, log scale; left of {_share(1 / n_good, 0)}: none of {n_good:,} good messages",
        ylabel=f"recall of {int(bad.sum()):,} bad messages",
    )
    axes.legend(frameon=False, loc="lower right")


def _share(value: float, _: float) -> str:
    return f"{100 * value:.2g}%"


def _draw_latency(axes: Axes, milliseconds: NDArray[np.float64]) -> None:
    low, high = max(float(milliseconds.min()), 1e-3), float(milliseconds.max())
    edges = np.geomspace(low, max(high, low * 1.01), 61).tolist()
    axes.hist(np.clip(milliseconds, low, high), edges, color="#56B4E9", edgecolor="white", linewidth=0.3)
    for percentile, dashes in zip(PERCENTILES, ("-", "--", ":"), strict=True):
        at = float(np.percentile(milliseconds, percentile))
        axes.axvline(at, color=INK, linewidth=1.4, linestyle=dashes, label=f"p{percentile} {at:.1f} ms")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(
        xlabel="milliseconds, log scale",
        ylabel=f"messages a bin (n={len(milliseconds):,})",
    )
    axes.legend(frameon=False)
