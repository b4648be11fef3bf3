"""An evaluation of evasions as a folder: trials.parquet, evasions.json, report.md with its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from mailwarden.evaluation.evasions import Trials
from mailwarden_services.evaluation.tables import share_words
from mailwarden_services.reports.drawing import BAD_COLOUR, save
from mailwarden_services.reports.files import plain, whole_folder, write_json, write_text
from mailwarden_services.reports.grids import Grid, markdown
from mailwarden_services.reports.words import NOTHING, category_words, percent, without_addresses

TRIALS, JSON, REPORT = "trials.parquet", "evasions.json", "report.md"

SHOWN = 20
"""Rows of the table of pairs in a terminal; the report has all."""

_COLOURS = {"quarantine": "#0072B2", "junk": "#56B4E9", "banner": "#E69F00", "delivered": BAD_COLOUR}

_NOTE = (
    "Held: junk or quarantine. Delivered: without any mark. Intervals are 95% and take attacks of one campaign for the "
    "copies that they are (Wilson over the design effect). Moved: mean change of the fused log-odds."
)


_PROOF_NOTE = (
    "Authenticated: believed results vouch for it. Path: its network handed over this sender's mail before. Structure: "
    "it is put together as that sender's mail, who is never authenticated. None: no history of the name may help it."
)


def write_evasions(folder: Path, result: Mapping[str, Any], trials: Trials) -> Path:
    """Write an evaluation to a new folder; the path of its report. Raises DataError where the folder exists."""
    with whole_folder(folder) as out:
        pq.write_table(trials.to_arrow(), out / TRIALS)
        write_json(out / JSON, result)
        shown: dict[str, Any] = plain(without_addresses(result))
        pictures = _draw(out, shown)
        write_text(out / REPORT, "\n\n".join(_sections(shown, pictures)) + "\n")
    return folder / REPORT


def grids_of(result: Mapping[str, Any], most: int | None = SHOWN) -> list[Grid]:
    """The tables. most: rows of the table of pairs, None for all."""
    pairs = sorted(result["pairs"], key=lambda one: (-one["delivered"]["rate"], one["held"]["rate"], one["name"]))
    cut = pairs[:most]
    more = "" if len(cut) == len(pairs) else f"The {len(cut)} of {len(pairs)} that deliver most. "
    return [
        _grid("What becomes of attacks that are caught", [result["as_it_was"], *result["whole"]], _NOTE),
        _grid("By kind of evasion", result["by_kind"]),
        _grid("Forged From, alone and in pairs, by what it proves", result["forged_by_proof"], _PROOF_NOTE),
        _grid("By category, over every single evasion", result["by_category"]),
        _grid("By evasion", result["by_evasion"]),
        _grid("Pairs by kind", result["pairs_by_kind"]),
        _grid("Pairs", cut, more),
    ]


def _grid(title: str, found: Sequence[Mapping[str, Any]], note: str = "") -> Grid:
    heading = ("", "guises", "attacks", "quarantine", "junk", "banner", "held", "delivered", "moved")
    rows = tuple(
        (
            category_words(one["name"]), f"{one['guises']:,}", f"{one['attacks']:,}",
            *(_part(one[name], one["trials"]) for name in ("quarantine", "junk", "banner")),
            share_words(one["held"]), share_words(one["delivered"]),
            NOTHING if one["moved"] is None else f"{one['moved']:+.2f}",
        )
        for one in found
    )  # fmt: skip
    return Grid(title, heading, rows, note)


def _part(hits: int, n: int) -> str:
    return percent(hits / n) if n else NOTHING


def _sections(result: Mapping[str, Any], pictures: Mapping[str, Path]) -> list[str]:
    parts = [f"# Evasions tried on bundle {result['bundle']}", _told(result)]
    if result["warnings"]:
        parts.append("\n".join(f"- **{words[:1].upper()}{words[1:]}.**" for words in result["warnings"]))
    for grid in grids_of(result, None):
        parts += markdown(grid)
        if grid.title in pictures:
            parts.append(f"![{grid.title}]({pictures[grid.title].name})")
    if result["reasons_of_forged"]:
        said = "\n".join(f"- {name}: {percent(share)}" for name, share in result["reasons_of_forged"].items())
        parts += ["## What is said of a forged From", said]
    if result["impossible"]:
        parts += ["## What could not be tried", _impossible(result["impossible"])]
    parts += ["## To run it again", f"```\n{result['record'].get('command', '')}\n```"]
    facts = {name: value for name, value in result["record"].items() if name != "command"}
    return [*parts, "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in sorted(facts.items()))]


def _told(result: Mapping[str, Any]) -> str:
    return (
        f"{result['attacks']:,} attacks of {result['campaigns']:,} campaigns, of {result['source']}; bundle "
        f"{result['bundle']} held back {result['caught']:,} of {result['candidates']:,} that were looked at. "
        f"{result['new_to_the_bundle']:,} of those that were tried it cannot have learned from. Each was shown in "
        f"other guises, {result['trials']:,} messages in all, and scored as the API would have scored it when the "
        "attack came: read anew, with the history of then, by the tenant's own lists. Nothing of it is in any store."
    )


def _impossible(found: Mapping[str, int]) -> str:
    single = {name: n for name, n in found.items() if " + " not in name}
    lines = "\n".join(f"- {name}: {n:,} attacks" for name, n in single.items())
    return (
        "An evasion takes somebody whom a recipient writes to, or a colleague, and an attack from outside. Where there "
        f"is none it was not tried:\n\n{lines}"
    )


def _draw(out: Path, result: Mapping[str, Any]) -> dict[str, Path]:
    title = f"bundle {result['bundle']}, {result['source']}"
    drawn = {
        "By kind of evasion": ("kinds.png", result["by_kind"]),
        "By category, over every single evasion": ("categories.png", result["by_category"]),
        "Pairs by kind": ("pairs.png", _worst(result["pairs_by_kind"])),
    }
    return {
        name: save(out / file, f"{name}\n({title})", lambda axes, found=found: _bars(axes, found))  # type: ignore[misc]
        for name, (file, found) in drawn.items()
        if found
    }


def _worst(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(found, key=lambda one: (-one["delivered"]["rate"], one["held"]["rate"]))[:SHOWN]


def _bars(axes: Axes, found: Sequence[Mapping[str, Any]]) -> None:
    """A bar a row: what share got each verdict, with the interval of what was delivered."""
    places = np.arange(len(found))[::-1]
    left = np.zeros(len(found))
    for name, colour in _COLOURS.items():
        counts = [one["delivered"]["hits"] if name == "delivered" else one[name] for one in found]
        share = np.array([n / one["trials"] for n, one in zip(counts, found, strict=True)])
        axes.barh(places, share, left=left, color=colour, label=name, height=0.75)
        left += share
    low = np.array([1 - one["delivered"]["high"] for one in found])
    high = np.array([1 - one["delivered"]["low"] for one in found])
    middle = np.array([1 - one["delivered"]["rate"] for one in found])
    error = np.clip([middle - low, high - middle], 0.0, None)
    axes.errorbar(middle, places, xerr=error, fmt="none", ecolor="#000000", elinewidth=1.0, capsize=2)
    axes.set_yticks(places, [one["name"] for one in found], fontsize=7)
    axes.set_xlim(0.0, 1.0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("share of attacks that were caught as they came; the line is delivered's 95% interval")
    axes.legend(frameon=False, ncols=4, fontsize=7, loc="lower left", bbox_to_anchor=(0.0, -0.32))
