"""The words and cells of a report's tables, and the same tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from mailwarden_services.reports.grids import Grid, rich_table
from mailwarden_services.reports.words import (
    NOTHING,
    budget_words,
    category_words,
    figure,
    percent,
    without_addresses,
)


def recall_words(recall: Mapping[str, Any] | None) -> str:
    """A recall with its 95% interval."""
    if recall is None or not recall["bad"]:
        return NOTHING
    return f"{percent(recall['rate'])} [{percent(recall['low'])}, {percent(recall['high'])}]"


def budget_note(evaluation: Mapping[str, Any]) -> str:
    """How many false positives each budget allowed."""
    allowed = ", ".join(
        f"{budget_words(recall['budget'])} allows {int(recall['budget'] * recall['good'] + 1e-9):,}"
        for recall in evaluation["recall"]
    )
    return f"Intervals are 95% (Wilson). Of {evaluation['good']:,} good messages {allowed} false positives."


def scores_of(figures: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The evaluations of some figures by name, fused first."""
    return [("fused", figures["fused"]), *figures.get("detectors", {}).items()]


def ranking_grid(figures: Mapping[str, Any], title: str) -> Grid:
    """1-ROCA%, LAM% and recall at each budget, a row a score."""
    fused = figures["fused"]
    heading = (
        "score",
        "1-ROCA%",
        "LAM%",
        *(f"recall at {budget_words(recall['budget'])} FPR" for recall in fused["recall"]),
    )
    rows = tuple(ranking_row(name, evaluation) for name, evaluation in scores_of(figures))
    return Grid(f"{title}: {fused['bad']:,} bad, {fused['good']:,} good", heading, rows, budget_note(fused))


def ranking_row(name: str, evaluation: Mapping[str, Any]) -> tuple[str, ...]:
    """One score's figures as cells."""
    recalls = [recall_words(recall) for recall in evaluation["recall"]]
    return (name, figure(evaluation["roca"], 4), figure(evaluation["lam"], 3), *recalls)


def category_grid(figures: Mapping[str, Any], title: str) -> Grid | None:
    """Recall by label: fused at each budget, each detector at the first; None where no bad message is known."""
    fused = figures["fused"]
    if not fused["by_category"]:
        return None
    first = budget_words(fused["recall"][0]["budget"])
    detectors = [name for name, _ in scores_of(figures)[1:]]
    rows: list[tuple[str, ...]] = []
    for code in (None, *fused["by_category"]):
        recalls = _recalls(fused, code)
        others = [recall_words(_recalls(figures["detectors"][name], code)[0]) for name in detectors]
        words = "all" if code is None else category_words(code)
        rows.append((words, f"{recalls[0]['bad']:,}", *(recall_words(recall) for recall in recalls), *others))
    heading = ("category", "n", *(f"fused at {budget_words(recall['budget'])}" for recall in fused["recall"]))
    return Grid(title, (*heading, *(f"{name} at {first}" for name in detectors)), tuple(rows), budget_note(fused))


def _recalls(evaluation: Mapping[str, Any], code: str | None) -> Sequence[Mapping[str, Any]]:
    recalls: Sequence[Mapping[str, Any]] = evaluation["recall"] if code is None else evaluation["by_category"][code]
    return recalls


def speed_rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Latency and throughput as (what, words)."""
    rows: list[tuple[str, str]] = []
    latency, throughput = report.get("latency") or {}, report.get("throughput") or {}
    if latency.get("n"):
        words = " / ".join(figure(latency[f"p{p}_ms"], 1) for p in (50, 95, 99))
        rows.append(("latency p50 / p95 / p99", f"{words} ms over {latency['n']:,} messages"))
    if throughput.get("messages_per_second") is not None:
        rows.append(("throughput", f"{throughput['messages_per_second']:,.1f} messages/s"))
    for process, milliseconds in (throughput.get("cpu_ms_per_message") or {}).items():
        rows.append((f"CPU of the {process}", f"{figure(milliseconds, 2)} ms a message"))
    return rows


def left_out_rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the figures are not of, as (what, words); none where they are of all mail."""
    source, refused = report.get("source") or {}, report.get("refused") or {}
    counts = {
        "messages without a label": source.get("unlabelled"),
        "labelled but missing": source.get("labelled_but_missing"),
        "refused by the API": refused.get("count"),
    }
    return [(words, f"{count:,}") for words, count in counts.items() if count]


def skew_rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Skew as (what, words)."""
    skew = report.get("skew") or {}
    names = {
        "compared_values": "values compared",
        "values_with_history": "of these with history",
        "mismatches": "mismatches",
        "stale_values": "stale (freshness loss)",
        "scores_compared": "scores asked for again",
        "scores_different": "of these different",
    }
    return [(words, f"{skew[name]:,}") for name, words in names.items() if skew.get(name) is not None]


def example_words(report: Mapping[str, Any]) -> tuple[str, list[str]] | None:
    """What was decided of the report's example and why, in words without the mail's own; None without one."""
    example = report.get("example") or {}
    if not example:
        return None
    label = f" labelled {category_words(example['label'])}" if example.get("label") else ""
    score = f" with score {example['score']:.4f}" if example.get("score") is not None else ""
    category = f" as {category_words(example['category'])}" if example.get("category") else ""
    signals = [each["words"] if isinstance(each, Mapping) else str(each) for each in example.get("signals") or ()]
    heading = f"One message{label} got {example.get('verdict', 'no verdict')}{category}{score}, because:"
    return heading, [" ".join(words.split()) for words in signals]


def mail_words(report: Mapping[str, Any]) -> str:
    """What mail it was, to stand in a heading: "simulated mail", "mail of site.mbox"."""
    mail = str(report.get("mail") or "unnamed")
    return mail if "mail" in mail.split() else f"{mail} mail"


def summary_table(report: Mapping[str, Any]) -> list[RenderableType]:
    """A report for a terminal: recall by category and detector, ranking, latency, skew, one message explained.

    report: as `write_report` takes it; what is absent is left out.
    """
    shown = without_addresses(report)
    mail = mail_words(shown)
    grids: list[Grid | None] = []
    if shown.get("fused"):
        grids += [
            category_grid(shown, f"Recall at the false-positive budget, {mail}"),
            ranking_grid(shown, f"Ranking, {mail}"),
        ]
    facts = speed_rows(shown) + skew_rows(shown) + left_out_rows(shown)
    if facts:
        grids.append(Grid("Speed and skew", ("what", "measured"), tuple(facts)))
    parts = [rich_table(grid) for grid in grids if grid is not None]
    explained = example_words(shown)
    if explained is not None:
        verdict, reasons = explained
        parts.append(Text("\n".join([verdict, *(f"  - {words}" for words in reasons)])))
    return parts
