"""Pictures that several reports have: how scores are spread, recall near zero false positives, and how one is saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from mailwarden.evaluation.figures import BUDGETS, ranked, roc_steps

GOOD_COLOUR, BAD_COLOUR, INK = "#0072B2", "#D55E00", "#333333"
LINES = (("#E69F00", "--"), ("#56B4E9", "-."), ("#009E73", ":"), ("#CC79A7", (0, (5, 1))), ("#F0E442", (0, (1, 1))))
"""Okabe and Ito's palette, told apart by dashes too."""

_GREATEST_RATE = 0.1


def save(path: Path, title: str, draw: Callable[[Axes], None]) -> Path:
    """Draw into a PNG, and return its path."""
    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw(axes)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    figure.savefig(path, dpi=130)
    return path


def draw_scores(axes: Axes, log_odds: NDArray[np.float64], bad: NDArray[np.bool_]) -> None:
    """How many good and bad messages got each fused score; at least one message."""
    low, high = float(log_odds.min()), float(log_odds.max())
    edges = np.linspace(low, high if high > low else low + 1.0, 61).tolist()
    for chosen, name, colour in ((~bad, "good", GOOD_COLOUR), (bad, "bad", BAD_COLOUR)):
        axes.hist(
            log_odds[chosen],
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


def draw_recall(
    axes: Axes,
    fused: NDArray[np.float64],
    detectors: Mapping[str, NDArray[np.float64]],
    bad: NDArray[np.bool_],
) -> None:
    """Recall against the false-positive rate near zero, of the fused score and of each detector's; both classes."""
    n_good = int((~bad).sum())
    left = min(0.5 / n_good, _GREATEST_RATE / 10)
    curves = [("fused", fused, "#000000", "-", 2.2)]
    for i, (name, values) in enumerate(detectors.items()):
        colour, dashes = LINES[i % len(LINES)]
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
