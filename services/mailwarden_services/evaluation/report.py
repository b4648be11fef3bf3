"""An evaluation as a folder: the scored tables, evaluation.json, report.md with its pictures; whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mailwarden.evaluation.compare import flipped_messages
from mailwarden.evaluation.scored import Scored
from mailwarden_services.evaluation import tables
from mailwarden_services.evaluation.gap_tables import gap_grids, proposed_rules
from mailwarden_services.evaluation.gaps import GapsFound, write_gaps
from mailwarden_services.evaluation.pictures import TITLES, draw_pictures
from mailwarden_services.reports.files import plain, whole_folder, write_json, write_text
from mailwarden_services.reports.grids import Grid, markdown
from mailwarden_services.reports.words import without_addresses

SCORED, AGAINST, FLIPS = "scored.parquet", "against.parquet", "flips.parquet"
JSON, REPORT, VIEWS = "evaluation.json", "report.md", "views.sql"

SLICE_WORDS = {
    "authentication": "whether a trusted host, or we, vouched for the sender",
    "direction": "which way the mail went",
    "first_contact": "whether the sender wrote to some recipient for the first time",
    "free_mail": "whether anyone may open a mailbox at the sender's domain",
    "language": "guessed by the commonest words and the script",
    "learned": "whether the bundle may have learned from the message",
    "site": "domain that the mail is of; small ones together",
    "tenant": "whose mail it is",
}


def write_evaluation(
    folder: Path,
    result: Mapping[str, Any],
    scored: Scored,
    against: Scored | None = None,
    gaps: GapsFound | None = None,
) -> Path:
    """Write an evaluation to a new folder; the path of its report.

    result: as `result_of` gives it. Raises DataError where the folder exists.
    """
    with whole_folder(folder) as out:
        pq.write_table(scored.to_arrow(), out / SCORED)
        if against is not None:
            pq.write_table(against.to_arrow(), out / AGAINST)
            pq.write_table(flipped_messages(against, scored), out / FLIPS)
        if gaps is not None:
            write_gaps(out, gaps)
        write_views(out)
        write_json(out / JSON, result)
        shown: dict[str, Any] = plain(without_addresses(result))
        pictures = draw_pictures(out, scored, shown)
        write_text(out / REPORT, "\n\n".join(_sections(shown, pictures)) + "\n")
    return folder / REPORT


def write_views(out: Path) -> None:
    """Statements that open the tables of a folder as views of DuckDB, started in that folder."""
    statements = [
        f"CREATE OR REPLACE VIEW {path.stem} AS SELECT * FROM read_parquet('{path.name}');"
        for path in sorted(out.glob("*.parquet"))
    ]
    write_text(out / VIEWS, "\n".join(statements) + "\n")


def _sections(result: Mapping[str, Any], pictures: Mapping[str, Path]) -> list[str]:
    parts = [f"# Evaluation of bundle {result['bundle']}", _told(result)]
    if result["warnings"]:
        parts.append("\n".join(f"- **{words[:1].upper()}{words[1:]}.**" for words in result["warnings"]))
    parts += markdown(tables.whole_grid(result))
    parts += _pictures(pictures, "scores", "recall")
    parts += markdown(tables.category_grid(result))
    parts += markdown(tables.spending_grid(result))
    parts += markdown(tables.comparison_grid(result))
    parts += markdown(tables.flip_grid(result))
    parts += markdown(tables.detector_grid(result))
    parts += markdown(tables.overlap_grid(result))
    parts += markdown(tables.group_grid(result))
    for grid in gap_grids(result):
        parts += markdown(grid)
    parts += proposed_rules(result)
    for grid in slice_grids(result, list(result["slices"])):
        parts += markdown(grid)
    parts += markdown(tables.reliability_grid(result))
    parts += _pictures(pictures, "reliability")
    parts += markdown(tables.drift_grid(result))
    parts += _pictures(pictures, "drift")
    parts += ["## To run it again", f"```\n{result['record'].get('command', '')}\n```"]
    facts = {name: value for name, value in result["record"].items() if name != "command"}
    facts["fingerprint of messages and labels"] = result["fingerprint"]
    return [*parts, "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in sorted(facts.items()))]


def slice_grids(result: Mapping[str, Any], names: Sequence[str]) -> list[Grid]:
    """A table a slice; one that has a single word is passed over, unless it is asked for alone."""
    return [
        tables.part_grid(result, parts, f"By {name.replace('_', ' ')}: {SLICE_WORDS.get(name, '')}")
        for name in names
        if len(parts := result["slices"][name]) > 1 or len(names) == 1
    ]


def _told(result: Mapping[str, Any]) -> str:
    unlabelled = f", {result['unlabelled']:,} of them without a label" if result["unlabelled"] else ""
    how = (
        "as they were decided when they came"
        if result["served"]
        else "as the bundle decides now, on the values of the moment that each was accepted; tenants' lists count for "
        "nothing"
    )
    return (
        f"{result['messages']:,} messages of {result['source']}{unlabelled}, from {result['from']} to "
        f"{result['until']}, {how}."
    )


def _pictures(pictures: Mapping[str, Path], *names: str) -> list[str]:
    return [f"![{TITLES[name]}]({pictures[name].name})" for name in names if name in pictures]
