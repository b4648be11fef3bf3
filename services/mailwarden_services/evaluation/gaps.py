"""Errors of what was judged, grouped into gaps: a bounded sample is gone through, then rules are held against all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mailwarden.domain.detection.rows import FeatureTable, joined
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.gaps import KINDS, Found, Gap, GapCounts, find_gaps, too_few
from mailwarden.evaluation.proposals import held
from mailwarden.evaluation.samples import MOST, Sample, drawn, outcomes
from mailwarden.evaluation.scored import Scored
from mailwarden_services.evaluation.judge import Messages

RULES, ERRORS, GAPS = "rules", "errors.parquet", "gaps.parquet"

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class GapsFound:
    """sample: what was looked at. found: in it. counts: of the gaps' rules over all mail. middle_us: where the later
    half of the time begins. errors: by kind, how many there are in all."""

    sample: Sample
    found: Found
    counts: GapCounts
    middle_us: int
    errors: Mapping[str, int]


def gaps_of(mail: Iterable[Messages], scored: Scored, chosen: Flags, features: Sequence[str]) -> GapsFound:
    """The gaps of the chosen messages.

    mail: all messages, gone through twice. scored, chosen: of the same messages in the same order. features: numeric
    ones, which gaps may be told by.
    """
    outcome = outcomes(scored)
    chosen = chosen & (outcome.codes >= 0)
    middle_us = int(np.median(scored.at_us[chosen])) if chosen.any() else 0
    early = scored.at_us < middle_us
    place, weight = drawn(outcome, chosen)
    rows = _deciding(mail, scored, place, features)
    sample = Sample.of(scored, place, weight, early[place], rows, features)
    found = find_gaps(sample)
    counts = GapCounts(found.gaps)
    kept = Coded(np.where(chosen, outcome.codes, -1).astype(np.int32), outcome.words)
    for at, messages in _placed(mail):
        hit = _held(found.gaps, messages)
        counts.add(hit, kept.take(at), early[at])
    errors = {kind: int((outcome.has(kind) & chosen).sum()) for kind in KINDS}
    return GapsFound(sample, found, counts, middle_us, errors)


def _deciding(
    mail: Iterable[Messages], scored: Scored, place: NDArray[np.intp], features: Sequence[str]
) -> FeatureTable:
    """Of the messages at these places the rows that decided, with these features alone."""
    assert scored.row is not None
    parts = []
    for at, messages in _placed(mail):
        wanted = place[np.searchsorted(place, at[0]) : np.searchsorted(place, at[-1], side="right")]
        own = wanted - at[0]
        rows = messages.starts[own] + scored.row[wanted]
        columns = {name: messages.rows.columns[name][rows] for name in features}
        parts.append(FeatureTable(columns, len(rows)))
    return joined(parts)


def _placed(mail: Iterable[Messages]) -> Iterator[tuple[NDArray[np.intp], Messages]]:
    """Messages with their places among all."""
    begin = 0
    for messages in mail:
        n = len(messages.at_us)
        yield np.arange(begin, begin + n), messages
        begin += n


def _held(gaps: Sequence[Gap], messages: Messages) -> Flags:
    """(messages, gaps) where each rule holds for some recipient."""
    if not gaps:
        return np.zeros((len(messages.at_us), 0), dtype=np.bool_)
    hit = held([gap.proposal for gap in gaps], messages.rows)
    return np.asarray(np.logical_or.reduceat(hit, messages.starts[:-1], axis=0))


def gaps_result(gaps: GapsFound) -> dict[str, Any]:
    """As plain values, each figure with how many messages it is of."""
    sample, found, counts = gaps.sample, gaps.found, gaps.counts
    return {
        "middle_us": gaps.middle_us,
        "looked_at": {word: int(n) for word, n in zip(sample.outcome.words, sample.outcome.counts(), strict=True)},
        "most": dict(MOST),
        "kinds": [
            {
                "kind": kind,
                "errors": gaps.errors[kind],
                "sampled": int(sample.outcome.has(kind).sum()),
                "of_no_gap": counts.left(kind),
                "too_few": too_few(sample, kind),
            }
            for kind in KINDS
        ],
        "gaps": [
            {
                "name": gap.name,
                "kind": gap.kind,
                "errors": counts.errors(at),
                "sampled": gap.sampled,
                "labels": dict(gap.labels),
                "nearer_to_the_other_class": asdict(gap.nearer),
                "told_by": [asdict(one) for one in gap.told_by],
                "conditions": [one.words() for one in gap.proposal.conditions],
                "rule": gap.proposal.text,
                "found_on": asdict(counts.hits(at, early=True)),
                "later": asdict(counts.hits(at, early=False)),
                "example": _like(sample, found, gap.example),
            }
            for at, gap in enumerate(found.gaps)
        ],
    }


def _like(sample: Sample, found: Found, at: int) -> dict[str, Any]:
    """A message, and what is nearest to it of what was judged rightly."""
    error = int(np.flatnonzero(found.place == at)[0])
    told: dict[str, Any] = {"message_id": sample.message_id[at].as_py(), "label": sample.label.word(at)}
    for name, near in (("other_class", found.other), ("own_class", found.own)):
        told[name] = [
            {"message_id": sample.message_id[place].as_py(), "label": sample.label.word(place), "distance": distance}
            for place, distance in zip(near.place[error].tolist(), near.distance[error].tolist(), strict=True)
            if place >= 0
        ]
    return told


def write_gaps(out: Path, gaps: GapsFound) -> None:
    """Errors with their nearest neighbours, gaps, and a folder of the rules that are proposed, where there are any."""
    pq.write_table(errors_table(gaps), out / ERRORS)
    pq.write_table(gaps_table(gaps), out / GAPS)
    if gaps.found.gaps:
        (out / RULES).mkdir()
        for gap in gaps.found.gaps:
            (out / RULES / f"{gap.name}.yaml").write_text(gap.proposal.text, encoding="utf-8")


def errors_table(gaps: GapsFound) -> pa.Table:
    """A row an error that was looked at: its keys, what it is, its gap, and what is nearest of either class."""
    sample, found = gaps.sample, gaps.found
    part = sample.message_id.take(pa.array(found.place))
    names = pa.array([gaps.found.gaps[at].name if at >= 0 else None for at in found.gap.tolist()], pa.string())
    columns: dict[str, Any] = {
        "tenant": sample.tenant.take(found.place).to_arrow(),
        "message_id": part,
        "received_at": pa.array(sample.at_us[found.place]).cast(pa.timestamp("us", tz="UTC")),
        "label": sample.label.take(found.place).to_arrow(),
        "kind": sample.outcome.take(found.place).to_arrow(),
        "gap": names.dictionary_encode(),
        "stands_for": pa.array(sample.weight[found.place]),
    }
    for name, near in (("other_class", found.other), ("own_class", found.own)):
        ids = [[sample.message_id[at].as_py() for at in row if at >= 0] for row in near.place.tolist()]
        distances = [[value for value in row if value == value] for row in near.distance.tolist()]
        columns[f"nearest_of_{name}"] = pa.array(ids, pa.list_(pa.string()))
        columns[f"distance_of_{name}"] = pa.array(distances, pa.list_(pa.float64()))
    return pa.table(columns)


def gaps_table(gaps: GapsFound) -> pa.Table:
    """A row a gap: how many errors, its rule, and what that holds on in either half."""
    counts, found = gaps.counts, gaps.found.gaps
    columns: dict[str, Any] = {
        "gap": pa.array([gap.name for gap in found], pa.string()),
        "kind": pa.array([gap.kind for gap in found], pa.string()),
        "errors": pa.array([counts.errors(at) for at in range(len(found))], pa.int64()),
        "conditions": pa.array([[one.words() for one in gap.proposal.conditions] for gap in found],
                               pa.list_(pa.string())),
        "told_by": pa.array([[one.condition for one in gap.told_by] for gap in found], pa.list_(pa.string())),
        "rule": pa.array([gap.proposal.text for gap in found], pa.string()),
    }  # fmt: skip
    for half, early in (("found_on", True), ("later", False)):
        hits = [counts.hits(at, early=early) for at in range(len(found))]
        for name in ("bad_hits", "bad", "good_hits", "good", "errors", "of_errors"):
            columns[f"{half}_{name}"] = pa.array([getattr(one, name) for one in hits], pa.int64())
        for name in ("rate", "low", "high"):
            shares = [getattr(one.precision, name) if one.precision.n else None for one in hits]
            columns[f"{half}_precision_{name}"] = pa.array(shares, pa.float64())
    return pa.table(columns)
