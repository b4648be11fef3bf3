"""An evaluation of a tenant left out as a folder: left_out.json, report.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mailwarden.domain.detection.decision import HISTORY
from mailwarden_services.reports.files import whole_folder, write_json, write_text
from mailwarden_services.reports.grids import Grid, markdown
from mailwarden_services.reports.words import NOTHING, budget_words, category_words, percent

JSON, REPORT = "left_out.json", "report.md"

_NOTE = (
    "Held: junk or quarantine; marked: at least a banner. Thresholds are of the tenant left out; bad mail of other "
    "sources is judged as if it had come there. Messages of a warm-up are in no figure. Intervals are 95% (Wilson)."
)
_RANKED = "At thresholds that nobody could know beforehand, above all but that share of the tenant's good mail."


def write_left_out(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write an evaluation to a new folder; the path of its report. Raises DataError where the folder exists."""
    with whole_folder(folder) as out:
        write_json(out / JSON, result)
        sections = [f"# {result['host']} left out", _learned(result), _record(result)]
        for grid in grids_of(result):
            sections += markdown(grid)
        write_text(out / REPORT, "\n\n".join(section for section in sections if section) + "\n")
    return folder / REPORT


def grids_of(result: Mapping[str, Any]) -> list[Grid]:
    """The tables: what is held, and how the ranking alone does."""
    rows = []
    for one in result["setups"]:
        rows.append(_row(_setup_words(one), one["good_held"], one["good_marked"], one["junk_from"]))
        rows += [_row(_source_words(bad), bad["held"], bad["marked"], None) for bad in one["bad"]]
    ranked = [
        (f"{one['source']}, {budget_words(one['budget'])} of good mail", percent(one["rate"]),
         f"{percent(one['low'])} to {percent(one['high'])}", f"{one['bad']:,}")
        for one in result["ranking"]
    ]  # fmt: skip
    last = result["setups"][-1]
    away = [
        (name.replace(HISTORY, "all history"), share_words(one["good_held"]), share_words(one["bad_held"]))
        for name, one in last["away"].items()
    ]
    return [
        Grid(f"Mail of {result['host']}, left out", ("", "held", "marked", "junk from"), tuple(rows), _NOTE),
        Grid(f"With one away, thresholds {last['thresholds']}", ("away", "good held", "bad held"), tuple(away)),
        Grid("Ranking alone", ("bad mail", "recall", "95%", "n"), tuple(ranked), _RANKED),
    ]


def _row(words: str, held: Mapping[str, Any], marked: Mapping[str, Any], junk: float | None) -> tuple[str, ...]:
    return words, share_words(held), share_words(marked), "" if junk is None else f"{junk:.2f}"


def share_words(share: Mapping[str, Any]) -> str:
    """A share with its interval, fine enough for false positives."""
    if not share["n"]:
        return NOTHING
    rate, low, high = (f"{100 * share[name]:.2f}%" for name in ("rate", "low", "high"))
    return f"{share['hits']:,} of {share['n']:,}: {rate} [{low}, {high}]"


def _setup_words(one: Mapping[str, Any]) -> str:
    mix = "" if "bad_share" not in one else f", {percent(one['bad_share'])} of them bad"
    return f"good mail, thresholds {one['thresholds']}{mix}"


def _source_words(bad: Mapping[str, Any]) -> str:
    label = f", {category_words(bad['label'])}" if bad["label"] else ""
    return f"  bad mail of {bad['source']}{label}"


def _learned(result: Mapping[str, Any]) -> str:
    of = "; ".join(f"{name}: {good:,} good, {bad:,} bad" for name, (good, bad) in result["learned_from"].items())
    aside = f" {result['set_aside']:,} messages were set aside." if result["set_aside"] else ""
    return f"Learned from {of}.{aside}"


def _record(result: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {words}" for name, words in result["record"].items())
