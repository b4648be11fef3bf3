"""What a decision came of, and what would have changed it; for engineers, when they ask.

1. Each detector: what it said, what the fusion made of it, and what had come of the message without it.
2. Each view of features, and each feature that a reason rests on, is put back to what good mail mostly has, alone; the
   message is scored again, all of these at once.
3. The views are put back together, those that lower the log-odds most first, until the verdict is a milder one.

Verdicts here are of the scores alone: a tenant's lists, its rules, and mail that was not read may decide over them.
A detector that is set aside for its tenant (`bands`) counts here as if it were not.
What nobody knows the usual of is put back to null.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import VERDICTS, Thresholds, Verdict
from mailwarden.domain.detection.detector import Signal
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.status import CODES, Status
from mailwarden.scoring.batch import BatchScores, Scores
from mailwarden.scoring.categorising import Bar, called_where_asked, said_alone, words
from mailwarden.scoring.champion import Champion
from mailwarden.scoring.consulting import consult

_PRESENT = CODES[Status.PRESENT]


@dataclass(frozen=True, slots=True)
class Said:
    """One detector's part. raw: its score; log_odds: calibrated; adds: to the fused log-odds; all None where it is
    silent. why: "abstained", "not asked", "away", or "" where it spoke. without: see `Change`, None where no fusion was
    fitted."""

    raw: float | None
    log_odds: float | None
    adds: float | None
    why: str
    without: Change | None


@dataclass(frozen=True, slots=True)
class Change:
    """What had come of the message with these put back or left out: full names of features, or names of views."""

    changed: tuple[str, ...]
    log_odds: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Explanation:
    """See the module. verdict: by the scores. intercept: of the fusion. enough: the views whose values together made
    the verdict what it is, None where all of them put back leave it, or where it delivers. category: by code, what each
    detector's word for it adds (`naming`); empty where one detector alone names categories. called: the category whose
    thresholds these are, None where they are the same for all."""

    verdict: Verdict
    log_odds: float
    thresholds: Thresholds
    intercept: float
    detectors: Mapping[str, Said]
    views: tuple[Change, ...]
    features: tuple[Change, ...]
    enough: Change | None
    category: Mapping[str, Mapping[str, float]]
    called: str | None = None


def explain(
    champion: Champion,
    features: FeatureTable,
    batch: BatchScores,
    signals: Sequence[Signal],
    *,
    bar: Bar,
    silenced: Collection[str] = frozenset(),
) -> Explanation:
    """Of one message that was scored: `features` as given to `Champion.score`, and what came of it.

    bar: what the message is held against. silenced: rules that add nothing.
    """
    scores = batch.of()
    row = champion.deciding(features, scores)
    read = {feature for detector in champion.detectors.values() for feature in detector.features}
    names = [name for name in row.columns if name in read]
    views = list(dict.fromkeys(name.partition(":")[0] for name in names))
    backing = dict.fromkeys(name for signal in signals for name in signal.features if name in read)
    of_view = {view: [name for name in names if name.startswith(f"{view}:")] for view in views}

    def tried(sets: Sequence[Collection[str]], told: Sequence[tuple[str, ...]]) -> list[Change]:
        if not sets:
            return []
        rows = _put_back(row, sets, champion)
        starts = np.arange(len(sets) + 1, dtype=np.intp)
        tenants = [bar.tenant] * len(sets)
        again = champion.score(rows, starts, tenants, silenced=silenced)
        if batch.patterns[0].asked:
            again = consult(champion, rows, again, np.ones(len(sets), dtype=np.bool_))
        codes = called_where_asked(champion, rows, again, tenants, {bar.tenant: bar.budget})
        found = [again.of(at) for at in range(len(sets))]
        return [
            Change(changed, one.logit, one.verdict(bar.tenant, bar.budget, code))
            for changed, one, code in zip(told, found, codes, strict=True)
        ]

    alone = tried([of_view[view] for view in views], [(view,) for view in views])
    singly = tried([{name} for name in backing], [(name,) for name in backing])
    verdict = bar.verdict(scores)
    falling = sorted(alone, key=lambda change: (change.log_odds, change.changed))
    falling = [change for change in falling if change.log_odds < scores.logit]
    enough = None
    if verdict != "deliver" and falling:
        chosen = [change.changed[0] for change in falling]
        heads = [tuple(chosen[: n + 1]) for n in range(len(chosen))]
        together = tried([[name for view in head for name in of_view[view]] for head in heads], heads)
        milder = (change for change in together if VERDICTS.index(change.verdict) < VERDICTS.index(verdict))
        enough = next(milder, None)
    return Explanation(
        verdict,
        scores.logit,
        bar.thresholds(scores),
        scores.combination.fusion.intercept,
        _detectors(champion, batch, scores, bar),
        tuple(falling),
        tuple(sorted(singly, key=lambda change: (change.log_odds, change.changed))),
        enough,
        _category(champion, row, scores),
        bar.called(scores),
    )


def _category(champion: Champion, row: FeatureTable, scores: Scores) -> dict[str, dict[str, float]]:
    if champion.naming is None:
        return {}
    found: dict[str, dict[str, float]] = {}
    for name, word in words(champion, row, said_alone(scores)).items():
        if name in champion.naming.voices:
            found.setdefault(word.codes[0], {})[name] = float(champion.naming.voices[name].adds(word.log_odds)[0])
    return dict(sorted(found.items(), key=lambda one: (-sum(one[1].values()), one[0])))


def _detectors(champion: Champion, batch: BatchScores, scores: Scores, bar: Bar) -> dict[str, Said]:
    fusion = scores.combination.fusion
    without = champion.without_each(batch)
    found = {name: Said(None, None, None, "away", None) for name in champion.away}
    found |= {name: Said(None, None, None, "not asked", None) for name in sorted(scores.unasked)}
    for name, one in batch.detectors.items():
        one_less = without.get(name)
        change = None if one_less is None else Change((name,), one_less.logit, bar.verdict(one_less))
        if name in scores.unasked:
            continue
        if name in scores.away:
            found[name] = Said(None, None, None, "away", None)
        elif one.abstains is not None and one.abstains[scores.worst]:
            found[name] = Said(None, None, None, "abstained", change)
        else:
            raw = one.raw[scores.worst : scores.worst + 1]
            logit = float(fusion.calibrations[name].logit(raw)[0])
            adds = fusion.weights.get(name, 0.0) * logit + fusion.offsets.get(name, 0.0)
            found[name] = Said(float(raw[0]), logit, adds, "", change)
    return found


def _put_back(row: FeatureTable, sets: Sequence[Collection[str]], champion: Champion) -> FeatureTable:
    """A row for each of these sets of features: the one row with them as good mail mostly has them."""
    n = len(sets)
    where: dict[str, NDArray[np.bool_]] = {}
    for at, names in enumerate(sets):
        for name in names:
            where.setdefault(name, np.zeros(n, dtype=np.bool_))[at] = True
    columns: dict[str, NDArray[Any]] = {}
    for name, column in row.columns.items():
        whole = np.repeat(column, n)
        if name in where:
            usual = champion.usual.get(name)
            whole[where[name]] = None if column.dtype == object else usual.value if usual else math.nan
        columns[name] = whole
    statuses, nowhere = {}, np.zeros(n, dtype=np.bool_)
    for view, codes in row.statuses.items():
        # A view that is put back as a whole says of itself what good mail's does.
        own = [where.get(name, nowhere) for name in columns if name.startswith(f"{view}:")]
        back = np.logical_and.reduce(own) if own else nowhere
        statuses[view] = np.where(back, _PRESENT, np.repeat(codes, n)).astype(np.uint8)
    return FeatureTable(columns, n, statuses)


def as_json(explanation: Explanation) -> dict[str, Any]:
    """Plain JSON values; a verdict that is never given has no threshold, null."""
    thresholds = explanation.thresholds
    return {
        "verdict": explanation.verdict,
        "log_odds": explanation.log_odds,
        "thresholds": {
            name: value if math.isfinite(value) else None
            for name, value in (
                ("banner", thresholds.banner),
                ("junk", thresholds.junk),
                ("quarantine", thresholds.quarantine),
            )
        },
        "intercept": explanation.intercept,
        "detectors": {
            name: {
                "raw": said.raw,
                "log_odds": said.log_odds,
                "adds": said.adds,
                "why_silent": said.why or None,
                "without": None if said.without is None else _change_json(said.without),
            }
            for name, said in explanation.detectors.items()
        },
        "views": [_change_json(change) for change in explanation.views],
        "features": [_change_json(change) for change in explanation.features],
        "enough": None if explanation.enough is None else _change_json(explanation.enough),
        "category": {code: dict(adds) for code, adds in explanation.category.items()},
        "called": explanation.called,
    }


def _change_json(change: Change) -> dict[str, Any]:
    return {"changed": list(change.changed), "log_odds": change.log_odds, "verdict": change.verdict}
