"""A replay's report: report.json for machines, report.md with its pictures for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mailwarden.domain.detection.decision import VERDICTS
from mailwarden_services.replay.figures import ScoreTable
from mailwarden_services.replay.live import rfc3339
from mailwarden_services.replay.pictures import draw_pictures
from mailwarden_services.replay.summary import (
    budget_note,
    category_grid,
    example_words,
    mail_words,
    ranking_grid,
    ranking_row,
    scores_of,
    skew_rows,
    speed_rows,
    summary_table,
)
from mailwarden_services.reports.files import plain, write_json, write_text
from mailwarden_services.reports.grids import Grid, markdown
from mailwarden_services.reports.words import SHARED, category_words, without_addresses

__all__ = ["summary_table", "write_report"]

_PICTURES = {
    "scores": "How many good and bad messages got each fused score",
    "recall": "Recall against the false-positive rate near zero",
    "latency": "Latency of one message through HTTP",
}


_SPLIT_FACTS = {
    "label_delay_days": "A label became known {} days after its message, where the index says no time.",
    "retrain_days": "Models were trained again every {} days.",
    "labels_given": "{} labels were given on the way.",
}


def write_report(out: Path, report: Mapping[str, Any], table: ScoreTable) -> Path:
    """Write report.json, report.md and its pictures into `out`; the path of report.md.

    report: title, mail ("simulated" is said wherever figures stand), run, split, source, refused, what
    `figures` returns (n, fused, detectors, verdicts, latency), and, each where there is one, subsets (figures by
    name), throughput, skew,
    retrainings, example, ingest, training, seconds. What is absent is left out. No whole address is written,
    whatever the report holds. table: what the pictures are drawn from.
    """
    out.mkdir(parents=True, exist_ok=True)
    shown: dict[str, Any] = plain(without_addresses(report))
    pictures = draw_pictures(out, table, mail_words(shown))
    write_json(out / "report.json", shown)
    path = out / "report.md"
    write_text(path, "\n\n".join(_sections(shown, pictures)) + "\n")
    return path


def _sections(report: dict[str, Any], pictures: Mapping[str, Path]) -> list[str]:
    mail = mail_words(report)
    parts = [f"# {report.get('title') or 'Replay'}", _mail(report, mail)]
    if report.get("fused"):
        parts += markdown(ranking_grid(report, f"Good from bad, {mail}"))
        parts += markdown(category_grid(report, f"By category, {mail}"))
    parts += [f"![{_PICTURES[name]} ({mail})]({path.name})" for name, path in pictures.items()]
    parts += markdown(_verdicts(report, mail))
    parts += markdown(_subsets(report, mail))
    parts += _facts(f"Speed, {mail}", speed_rows(report), str((report.get("throughput") or {}).get("note") or ""))
    parts += _facts("Skew: served values against those recomputed from the event log", skew_rows(report))
    parts += _retrainings(report)
    parts += _example(report, mail)
    parts += _nested("Ingest", report.get("ingest"))
    parts += _training(report)
    parts += _nested("Seconds that each step took", report.get("seconds"))
    parts += _run(report)
    return parts


def _mail(report: Mapping[str, Any], mail: str) -> str:
    lines = [f"**{mail[:1].upper()}{mail[1:]}.**"]
    if "simulated" in mail.lower():
        lines.append(
            "The mail is made up by a simulator. The figures show that the loop works; they say nothing about "
            "how well it would do on real mail."
        )
    split = report.get("split") or {}
    if split.get("test_messages") is not None:
        words = f"{split['test_messages']:,} messages were scored over HTTP in order of arrival"
        if split.get("train_messages") is not None:
            words += f", {split['train_messages']:,} before them were history and training set"
        if split.get("split_at"):
            words += f"; the split is at {split['split_at']}"
        lines.append(words + ".")
    for name, words in _SPLIT_FACTS.items():
        if split.get(name) is not None:
            lines.append(words.format(_scalar_words(name, split[name])))
    lines += _left_out(report)
    return "\n".join(lines)


def _left_out(report: Mapping[str, Any]) -> list[str]:
    """What the figures are not of, in sentences; none where they are of all mail."""
    source, refused = report.get("source") or {}, report.get("refused") or {}
    lines: list[str] = []
    if source.get("unlabelled"):
        lines.append(
            f"{source['unlabelled']:,} of {source['messages']:,} messages bear no label: they count as history and "
            "are scored, but are in no figure of right and wrong."
        )
    if source.get("times_set_back"):
        lines.append(
            f"{source['times_set_back']:,} messages bear a time that lies ahead of all others; they came at the newest "
            "of those, and are flagged."
        )
    if source.get("labelled_but_missing"):
        lines.append(f"{source['labelled_but_missing']:,} lines of the label index name a message that is not there.")
    if refused.get("count"):
        statuses = ", ".join(f"{n:,} with {status}" for status, n in refused["by_status"].items())
        lines.append(
            f"{refused['count']:,} messages were refused by the API ({statuses}) and are in no figure; report.json "
            "names them."
        )
    return lines


def _facts(title: str, rows: Sequence[tuple[str, str]], note: str = "") -> list[str]:
    return markdown(Grid(title, ("what", "measured"), tuple(rows), note)) if rows else []


def _verdicts(report: Mapping[str, Any], mail: str) -> Grid | None:
    verdicts: Mapping[str, Mapping[str, int]] = report.get("verdicts") or {}
    if not verdicts:
        return None
    rows = tuple(
        (category_words(label), f"{sum(counts.values()):,}", *(f"{counts.get(verdict, 0):,}" for verdict in VERDICTS))
        for label, counts in verdicts.items()
    )
    return Grid(f"What was decided, {mail}", ("label", "n", *VERDICTS), rows)


def _subsets(report: Mapping[str, Any], mail: str) -> Grid | None:
    subsets: Mapping[str, Mapping[str, Any]] = report.get("subsets") or {}
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    recalls: Sequence[Mapping[str, Any]] = ()
    for name, figures in subsets.items():
        fused = figures["fused"]
        recalls = fused["recall"]
        rows += [(name, f"{fused['bad']:,} / {fused['good']:,}", *ranking_row(*each)) for each in scores_of(figures)]
        notes.append(f"{name}: {budget_note(fused)}")
    if not rows:
        return None
    budgets = [f"recall at {100 * recall['budget']:g}% FPR" for recall in recalls]
    heading = ("subset", "bad / good", "score", "1-ROCA%", "LAM%", *budgets)
    return Grid(f"Subsets, {mail}", heading, tuple(rows), "\n".join(notes))


def _retrainings(report: Mapping[str, Any]) -> list[str]:
    trainings: Sequence[Mapping[str, Any]] = report.get("retrainings") or ()
    if not trainings:
        return []
    names = list(dict.fromkeys(name for each in trainings for name, value in each.items() if _is_scalar(value)))
    rows = tuple(tuple(_scalar_words(name, each.get(name)) for name in names) for each in trainings)
    return markdown(Grid("Trainings", tuple(name.removesuffix("_us") for name in names), rows)) if names else []


def _training(report: Mapping[str, Any]) -> list[str]:
    """The first training: what stood held out as a table, the rest as a list."""
    facts = dict(report.get("training") or {})
    held_out = {name: found for name, found in (facts.pop("held_out", None) or {}).items() if "recall" in found}
    parts = _nested("Training", facts)
    if held_out:
        first = next(iter(held_out.values()))
        budgets = [f"recall at {100 * recall['budget']:g}% FPR" for recall in first["recall"]]
        rows = tuple(ranking_row(name, found) for name, found in held_out.items())
        title = f"Held out in training: {first['bad']:,} bad, {first['good']:,} good"
        title += f" ({SHARED})" if first.get("shared") else ""
        parts += markdown(Grid(title, ("score", "1-ROCA%", "LAM%", *budgets), rows, budget_note(first)))
    return parts


def _example(report: Mapping[str, Any], mail: str) -> list[str]:
    explained = example_words(report)
    if explained is None:
        return []
    verdict, reasons = explained
    return [f"## One message explained, {mail}", "\n".join([verdict, "", *(f"- {words}" for words in reasons)])]


def _run(report: Mapping[str, Any]) -> list[str]:
    run = dict(report.get("run") or {})
    if not run:
        return []
    command = run.pop("command_line", None) or run.pop("command", None)
    parts = ["## To run it again"]
    if command:
        words = command if isinstance(command, str) else " ".join(str(word) for word in command)
        parts.append(f"```\n{words}\n```")
    return [*parts, *_nested("", run)]


def _nested(title: str, values: Mapping[str, Any] | None) -> list[str]:
    if not values:
        return []
    lines = _list(values, "")
    return [f"## {title}", "\n".join(lines)] if title else ["\n".join(lines)]


def _list(values: Mapping[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for name, value in values.items():
        if isinstance(value, Mapping) and any(not _is_scalar(item) for item in value.values()):
            lines += [f"{indent}- {name}", *_list(value, indent + "  ")]
        elif isinstance(value, Mapping):
            words = ", ".join(f"{key} {_scalar_words(key, item)}" for key, item in value.items())
            lines.append(f"{indent}- {name}: {words}")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            lines += [f"{indent}- {name}", *(line for item in value for line in _list(item, indent + "  "))]
        elif isinstance(value, list):
            lines.append(f"{indent}- {name}: {', '.join(map(str, value))}")
        else:
            lines.append(f"{indent}- {name}: {_scalar_words(name, value)}")
    return lines


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _scalar_words(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if name.endswith("_us") and isinstance(value, int):
        return rfc3339(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
