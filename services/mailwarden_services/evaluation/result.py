"""Every figure of what was judged as plain JSON values, each with how many messages it is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa

from mailwarden.evaluation.ablation import without_groups
from mailwarden.evaluation.compare import compare
from mailwarden.evaluation.detectors import detector_figures
from mailwarden.evaluation.drift import FUSED, drift
from mailwarden.evaluation.figures import BUDGETS
from mailwarden.evaluation.reliability import reliability, reliability_of
from mailwarden.evaluation.resampling import Groups, areas
from mailwarden.evaluation.scored import Scored, check_both_classes
from mailwarden.evaluation.slices import by_category, by_slice, named_rightly, whole
from mailwarden.evaluation.spending import spending
from mailwarden_services.evaluation.gaps import GapsFound, gaps_result

FEW = 20
"""Fewer bad or good messages than these make a figure that says little, which is said."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be found out. source: in words what was judged. budgets: false-positive rates, rising. by: what is
    drawn again for differences, campaign or message. record: how it came about, for who wants it again."""

    source: str
    budgets: tuple[float, ...] = BUDGETS
    by: str = "campaign"
    record: Mapping[str, Any] = field(default_factory=dict)


def result_of(
    scored: Scored,
    asked: Asked,
    *,
    against: Scored | None = None,
    gaps: GapsFound | None = None,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """All figures; raises DataError where labels are absent or of one class.

    against: the same messages as another bundle judges them. gaps: of their errors; None of what was served. warnings:
    sentences that stand above all figures.
    """
    check_both_classes(scored, asked.source)
    known = scored.labelled
    number, n_groups = scored.groups()
    groups = Groups(number, n_groups, "campaign")
    detectors, overlap = detector_figures(scored, asked.budgets)
    named, categories = named_rightly(scored)
    names = ["tenant", *sorted(scored.slices)]
    return {
        "source": asked.source,
        "served": scored.served,
        "bundle": scored.version,
        "against": None if against is None else against.version,
        "messages": len(scored),
        "unlabelled": int((~known).sum()),
        "bad": int(scored.bad.sum()),
        "good": int(scored.good.sum()),
        "from": _time(int(scored.at_us.min())),
        "until": _time(int(scored.at_us.max())),
        "budgets": list(asked.budgets),
        "fingerprint": fingerprint(scored),
        "warnings": [*warnings, *_few(scored)],
        "area": asdict(areas({FUSED: scored.log_odds}, scored.bad, scored.good, groups)[FUSED]),
        "whole": asdict(whole(scored, asked.budgets)),
        "by_category": [asdict(part) for part in by_category(scored, asked.budgets)],
        "spending": [asdict(one) for one in spending(scored)],
        "slices": {name: [asdict(part) for part in by_slice(scored, name, asked.budgets)] for name in names},
        "categories": {"right": asdict(named), "named": categories},
        "detectors": [asdict(one) for one in detectors],
        "overlap": asdict(overlap),
        "groups": [_with_budgets(asdict(one)) for one in without_groups(scored, asked.budgets, by=asked.by)],
        "reliability": {
            FUSED: asdict(reliability(scored)),
            **{name: asdict(reliability_of(scored, name)) for name in sorted(scored.detectors)},
        },
        "drift": asdict(drift(scored)),
        "gaps": None if gaps is None else gaps_result(gaps),
        "comparison": None
        if against is None
        else _with_budgets(asdict(compare(against, scored, asked.budgets, by=asked.by))),
        "record": dict(asked.record),
    }


def fingerprint(scored: Scored) -> str:
    """SHA-256 in hex over tenant, message_id and label of every message, in order."""
    digest = sha256()
    table = scored.to_arrow().select(["tenant", "message_id", "label"]).combine_chunks()
    plain = table.cast(pa.schema([("tenant", pa.string()), ("message_id", pa.string()), ("label", pa.string())]))
    with pa.ipc.new_stream(_Into(digest.update), plain.schema) as out:
        out.write_table(plain)
    return digest.hexdigest()


class _Into:
    """A file that hands on what is written to it."""

    closed = False

    def __init__(self, take: Any) -> None:
        self._take = take

    def write(self, data: Any) -> int:
        """Hand on some bytes."""
        view = memoryview(data)
        self._take(view)
        return view.nbytes

    def flush(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


def _time(time_us: int) -> str:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).isoformat()


def _few(scored: Scored) -> list[str]:
    found = []
    for name, n in (("bad", int(scored.bad.sum())), ("good", int(scored.good.sum()))):
        if n < FEW:
            found.append(f"there are {n} {name} messages: the figures say little")
    return found


def _with_budgets(values: dict[str, Any]) -> dict[str, Any]:
    recall = values.pop("recall")
    return {**values, "recall": [{"budget": budget, **difference} for budget, difference in recall.items()]}


def learned_words(scored: Scored) -> list[str]:
    """What is to be said of messages that the bundle may have learned from."""
    column = scored.slices.get("learned")
    if column is None:
        return [f"it is not recorded which messages bundle {scored.version} learned from: figures may flatter"]
    n = int((column.has("learned from") & scored.labelled).sum())
    if not n:
        return []
    total = int(np.sum(scored.labelled))
    told = "all" if n == total else f"{n:,}"
    others = "" if n == total else "; --slice learned=new judges the others alone"
    return [
        f"{told} of {total:,} labelled messages are ones that bundle {scored.version} may have learned from: figures "
        f"of them flatter{others}"
    ]
