"""The pictures of a report: score distribution, recall near zero false positives, latency."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from mailwarden.evaluation.figures import PERCENTILES
from mailwarden_services.replay.figures import ScoreTable
from mailwarden_services.reports.drawing import INK, draw_recall, draw_scores, save

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
        drawings["scores"] = lambda axes: draw_scores(axes, known.log_odds, known.bad)
    if known.bad.any() and not known.bad.all():
        drawings["recall"] = lambda axes: draw_recall(axes, known.log_odds, known.detectors, known.bad)
    measured = table.latency_seconds[~np.isnan(table.latency_seconds)]
    if len(measured):
        drawings["latency"] = lambda axes: _draw_latency(axes, measured * 1_000.0)
    return {name: save(out / f"{name}.png", f"{_TITLES[name]} ({mail})", draw) for name, draw in drawings.items()}


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
