"""The pictures of an evaluation: scores, recall near zero false positives, reliability, drift."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mailwarden.evaluation.scored import Scored
from mailwarden_services.reports.drawing import INK, LINES, draw_recall, draw_scores, save

TITLES = {
    "scores": "How many good and bad messages got each fused score",
    "recall": "Recall against the false-positive rate near zero",
    "reliability": "What was found where the fused score says so much",
    "drift": "How far scores are from the first week's spread",
}


def draw_pictures(out: Path, scored: Scored, result: Mapping[str, Any]) -> dict[str, Path]:
    """Write the PNGs that there is data for; by name of `TITLES`. scored: as labelled, of both classes."""
    known = scored.where(scored.labelled)
    drawings: dict[str, Callable[[Axes], None]] = {
        "scores": lambda axes: draw_scores(axes, known.log_odds, known.bad),
        "recall": lambda axes: draw_recall(
            axes, known.log_odds, {name: said.calibrated for name, said in known.detectors.items()}, known.bad
        ),
        "reliability": lambda axes: _draw_reliability(axes, result["reliability"]["fused"]),
    }
    if any(week["scores"] for week in result["drift"]["weeks"]):
        drawings["drift"] = lambda axes: _draw_drift(axes, result["drift"]["weeks"])
    title = f"bundle {result['bundle']}, {result['source']}"
    return {name: save(out / f"{name}.png", f"{TITLES[name]}\n({title})", draw) for name, draw in drawings.items()}


def _draw_reliability(axes: Axes, found: Mapping[str, Any]) -> None:
    bins = found["bins"]
    predicted = np.array([one["predicted"] for one in bins])
    rate, low, high = (np.array([one["found"][name] for one in bins]) for name in ("rate", "low", "high"))
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1.0, linestyle=":")
    axes.errorbar(predicted, rate, yerr=np.clip([rate - low, high - rate], 0.0, None), fmt="o", color=INK, capsize=2)
    axes.set(
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        xlabel="probability that the fused score gives, mean of a bin",
        ylabel=f"share that was bad, 95% interval (n={found['n']:,})",
    )


def _draw_drift(axes: Axes, weeks: list[Mapping[str, Any]]) -> None:
    shown = [week for week in weeks if week["scores"]]
    days = np.array([week["begin_us"] for week in shown]).astype("datetime64[us]")
    for number, name in enumerate(shown[0]["scores"]):
        colour, dashes = ("#000000", "-") if name == "fused" else LINES[number % len(LINES)]
        values = [week["scores"][name]["psi"] for week in shown]
        axes.plot(days, values, color=colour, linestyle=dashes, marker=".", label=name)
    chance = [week["scores"]["fused"]["by_chance"] for week in shown]
    axes.plot(days, chance, color="#999999", linewidth=1.0, linestyle=":", label="fused, by chance (95%)")
    axes.set(xlabel="week of", ylabel="population stability index")
    axes.tick_params(axis="x", labelrotation=30)
    axes.legend(frameon=False)
