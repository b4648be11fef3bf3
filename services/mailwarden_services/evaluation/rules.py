"""Rules held against the labelled mail of a home, on the values of the moment that each message was accepted."""

from __future__ import annotations

from collections.abc import Sequence

from mailwarden.domain.detection.rules.rule import Rule
from mailwarden.domain.detection.rules.ruleset import RuleSet
from mailwarden.evaluation.rule_hits import RuleCounts, RuleFigures
from mailwarden_services.evaluation.home import Wanted, check_content, labelled_messages
from mailwarden_services.loop import Loop, Progress, quiet
from mailwarden_services.reports.grids import Grid

_HEADING = ("rule", "adds", "category", "bad", "good", "precision, 95%", "alone bad", "alone good", "of")


def count_hits(loop: Loop, rules: Sequence[Rule], wanted: Wanted, progress: Progress = quiet) -> RuleCounts:
    """What each rule holds on; raises DataError where nothing is labelled, or offline values are of other code."""
    platform = loop.platform
    ready = RuleSet(rules)
    content = {view.name for view in platform.content.views}
    check_content(platform, content & {name.partition(":")[0] for name in ready.features})
    counts = RuleCounts(ready.rules)
    with labelled_messages(loop, ready.features, wanted, progress) as found:
        progress("counting")
        for messages in found:
            counts.add(ready.held(messages.rows), messages.starts, messages.label)
    return counts


def hits_grid(figures: Sequence[RuleFigures], messages: tuple[int, int]) -> Grid:
    """Rules that hold on anything, those first that hold on most bad mail. messages: good ones, and bad ones."""
    good, bad = messages
    held = [one for one in figures if one.precision.n]
    held.sort(key=lambda one: (-one.bad_hits, one.good_hits, one.rule.name))
    silent = len(figures) - len(held)
    note = f"{silent} of {len(figures)} rules hold on none of it. alone: where no other rule speaks against the mail."
    return Grid(f"Rules over {bad:,} bad and {good:,} good messages", _HEADING, tuple(map(_row, held)), note)


def _row(one: RuleFigures) -> tuple[str, ...]:
    share = one.precision
    kinds = sorted(((n, label) for label, n in one.by_label.items() if label != "ham"), reverse=True)
    return (
        one.rule.name,
        one.rule.action or f"{one.rule.weight:+g}",
        one.rule.category,
        f"{one.bad_hits:,}",
        f"{one.good_hits:,}",
        f"{share.rate:.1%} [{share.low:.1%}, {share.high:.1%}]",
        f"{one.unique_bad:,}",
        f"{one.unique_good:,}",
        ", ".join(f"{label} {n:,}" for n, label in kinds[:3]),
    )
