"""Gaps as tables of words, and the rules that are proposed for them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mailwarden_services.evaluation.tables import share_words
from mailwarden_services.reports.grids import Grid
from mailwarden_services.reports.words import NOTHING, percent

_KINDS = {"missed": "missed bad mail", "wrongly held": "good mail wrongly held back"}


def gap_grids(result: Mapping[str, Any]) -> list[Grid]:
    """What errors have in common, and what the rules that are proposed hold on; nothing of what was served."""
    found = result["gaps"]
    if found is None:
        return []
    return [_errors(found), *([_gaps(found), _hits(found)] if found["gaps"] else [])]


def proposed_rules(result: Mapping[str, Any]) -> list[str]:
    """Each rule that is proposed as its file has it, as sections of Markdown."""
    found = result["gaps"]
    if found is None or not found["gaps"]:
        return []
    told = (
        "Each lies in `rules/`. `mailwarden rules add rules/NAME.yaml --tenant T --shadow` logs where it holds, of no "
        "consequence; it was found by what errors have in common, and wants a reader before it is turned on."
    )
    return ["## Proposed rules", told, *(f"```yaml\n{gap['rule'].rstrip()}\n```" for gap in found["gaps"])]


def _errors(found: Mapping[str, Any]) -> Grid:
    rows = []
    for one in found["kinds"]:
        gaps = [gap for gap in found["gaps"] if gap["kind"] == one["kind"]]
        why = " (too few in the earlier half to find one)" if one["too_few"] and one["errors"] else ""
        rows.append((
            _KINDS[one["kind"]], f"{one['errors']:,}", f"{one['sampled']:,}", f"{len(gaps):,}{why}",
            f"{sum(gap['errors'] for gap in gaps):,}", f"{one['of_no_gap']:,}",
        ))  # fmt: skip
    looked = ", ".join(f"{n:,} {word}" for word, n in found["looked_at"].items())
    most = ", ".join(f"{n:,} {word}" for word, n in found["most"].items())
    note = (
        "At the deployed thresholds. A gap is errors that one short rule tells from mail of the other class that was "
        f"judged rightly. Looked at, drawn by seed: {looked} (at most {most}); counted over all."
    )
    heading = ("errors", "in all", "looked at", "gaps", "of a gap", "of none")
    return Grid("Errors and their gaps", heading, tuple(rows), note)


def _gaps(found: Mapping[str, Any]) -> Grid:
    rows = tuple(
        (
            gap["name"], _KINDS[gap["kind"]], f"{gap['errors']:,}",
            ", ".join(f"{label} {n:,}" for label, n in sorted(gap["labels"].items(), key=lambda item: -item[1])),
            share_words(gap["nearer_to_the_other_class"]),
            "; ".join(
                f"{one['condition']} ({percent(one['of_errors']['rate'])} beside "
                f"{percent(one['of_neighbours']['rate'])}, lift {one['lift']:.1f})"
                for one in gap["told_by"]
            ) or NOTHING,
            " / ".join(one["message_id"] for one in (gap["example"], *gap["example"]["other_class"][:1])),
        )
        for gap in found["gaps"]
    )  # fmt: skip
    heading = (
        "gap", "of", "errors", "labels", "nearest to the other class", "told from its neighbours by",
        "example / what it is like",
    )  # fmt: skip
    note = (
        "Labels and neighbours are of the errors that were looked at. Neighbours: the three nearest of the other class "
        "that were judged rightly, in ranks of all that detectors read and said. Nearest to the other class: errors "
        "that are nearer to one of those than to any of their own class that was judged rightly. `mailwarden show` "
        "lays an example out, and its nearest neighbour of the other class."
    )
    return Grid("Gaps", heading, rows, note)


def _hits(found: Mapping[str, Any]) -> Grid:
    middle = datetime.fromtimestamp(found["middle_us"] // 1_000_000, UTC).isoformat()
    rows = []
    for gap in found["gaps"]:
        before, after = gap["found_on"], gap["later"]
        rows.append((
            gap["name"], "; ".join(gap["conditions"]), share_words(before["precision"]),
            f"{after['errors']:,} of {after['of_errors']:,}", f"{after['bad_hits']:,} of {after['bad']:,}",
            f"{after['good_hits']:,} of {after['good']:,}", share_words(after["precision"]),
        ))  # fmt: skip
    heading = (
        "rule", "holds where all of", "precision where it was found", "errors later", "bad later", "good later",
        "precision later",
    )  # fmt: skip
    note = (
        f"Found on the earlier half of the time; what it holds on later, from {middle} on, was not looked at. "
        "Precision: of its hits the bad ones, and of a rule for what was wrongly held the good ones."
    )
    return Grid("Rules that are proposed for gaps", heading, tuple(rows), note)
