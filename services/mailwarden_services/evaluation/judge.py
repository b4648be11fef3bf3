"""Rows of messages to what a bundle makes of them now, as a scored table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import VERDICTS
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.tenant_budget import TenantBudget
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.evaluation.coded import NONE, Coded
from mailwarden.evaluation.rows import ABSTAINED, AWAY, FAILED, NOT_ASKED, RowScores
from mailwarden.evaluation.scored import BANNER, Hidden, Scored, verdicts_at
from mailwarden.scoring.batch import BatchScores
from mailwarden.scoring.categorising import asking_category, called, categories, deciding_rows, words
from mailwarden.scoring.champion import Champion
from mailwarden.scoring.consulting import consulted
from mailwarden.stores.bundle import Bundle
from mailwarden_services.evaluation.groups import Group, Hiding


@dataclass(frozen=True, slots=True)
class Judge:
    """A bundle, as it is and loaded to score. budgets: by tenant, its own false-positive budget where it has one.
    hiding: the same with groups of features hidden, None to leave that."""

    bundle: Bundle
    champion: Champion
    budgets: Mapping[str, TenantBudget]
    hiding: Hiding | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """Full names of what its detectors read, of views that are withheld from them too."""
        return tuple(dict.fromkeys(name for one in self.champion.detectors.values() for name in one.features))

    def sees(self, feature: str) -> bool:
        """Whether the view of a feature is not withheld from the detectors."""
        return feature.partition(":")[0] not in self.champion.withheld


@dataclass(frozen=True, slots=True)
class Messages:
    """Rows of some messages, a row a recipient, those of one message side by side.

    starts: (messages + 1,) where each message's rows begin. tenant, message_id, at_us, label: (messages,).
    """

    rows: FeatureTable
    starts: NDArray[np.intp]
    tenant: Coded
    message_id: pa.Array
    at_us: NDArray[np.int64]
    label: Coded


def judged(judge: Judge, messages: Messages) -> Scored:
    """What a bundle says of messages now, at the thresholds of each tenant.

    Its lists, and what is done with mail that was not read in full, are a tenant's own word and count for nothing here.
    """
    champion, bundle = judge.champion, judge.bundle
    hiding = judge.hiding
    rows = messages.rows if hiding is None else hiding.begin(messages.rows)
    batch = _scored(judge, champion if hiding is None else hiding.whole, rows, messages)
    said = row_scores(champion, batch)
    whole = np.array([not pattern.away - champion.costly for pattern in batch.patterns])[batch.pattern_of]
    n = len(messages.at_us)
    spent = _Called.of(judge, champion, messages.rows, batch, messages.tenant)
    log_odds, verdict = _decided(judge, batch, messages.tenant, spent.whole)
    took = {name: np.full(n, 1_000.0 * one.seconds / max(1, n)) for name, one in batch.detectors.items()}
    took |= {name: np.full(n, np.nan) for name in (*champion.away, *champion.to_consult) if name not in took}
    return Scored(
        version=champion.version,
        bundle=bundle,
        served=False,
        tenant=messages.tenant,
        message_id=messages.message_id,
        at_us=messages.at_us,
        label=messages.label,
        category=_categories(champion, messages, batch, verdict),
        verdict=Coded(verdict, VERDICTS),
        log_odds=log_odds,
        detectors=said.said(batch.worst, took),
        without=said.without(bundle, whole, messages.tenant),
        campaign=np.full(n, -1, dtype=np.int64),
        budgets=judge.budgets,
        row=batch.worst - messages.starts[:-1],
        called=spent.whole,
        called_without=spent.without,
        hidden={}
        if hiding is None
        else {group.name: _without(judge, group, hiding.without(group, rows), messages) for group in hiding.groups},
    )


def _scored(judge: Judge, champion: Champion, rows: FeatureTable, messages: Messages) -> BatchScores:
    names = [messages.tenant.word(at) for at in range(len(messages.at_us))]
    batch = champion.score(rows, messages.starts, names)
    if not champion.to_consult:
        return batch
    # Of all that is doubtful, without serving's quota.
    return consulted(champion, rows, batch, names, judge.budgets)


def _decided(
    judge: Judge, batch: BatchScores, tenant: Coded, spent: Coded | None
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """(messages,) log-odds of the row that decides, and verdicts at what counts for each message. spent: see
    `Scored.called`."""
    log_odds = batch.logit[batch.worst]
    verdict = np.zeros(len(log_odds), dtype=np.int32)
    for number, pattern in enumerate(batch.patterns):
        here = batch.pattern_of == number
        at = np.flatnonzero(here)
        tenants, codes = tenant.take(at), None if spent is None else spent.take(at)
        verdict[here] = verdicts_at(log_odds[here], tenants, pattern.combination, judge.budgets, codes).codes
    return log_odds, verdict


def _without(judge: Judge, group: Group, asked: tuple[Champion, FeatureTable], messages: Messages) -> Hidden:
    batch = _scored(judge, *asked, messages)
    spent = _Called.of(judge, *asked, batch, messages.tenant)
    log_odds, verdict = _decided(judge, batch, messages.tenant, spent.whole)
    return Hidden(group.outage, log_odds, Coded(verdict, VERDICTS))


def row_scores(champion: Champion, batch: BatchScores) -> RowScores:
    """A batch's scores by row, with why there is none."""
    n = len(batch.logit)
    pattern_of_row = np.repeat(batch.pattern_of, np.diff(batch.starts))
    raw, calibrated, missing = {}, {}, {}
    for name, one in batch.detectors.items():
        why = np.zeros(n, dtype=np.uint8) if one.abstains is None else np.where(one.abstains, ABSTAINED, 0)
        odds = np.full(n, np.nan)
        for number, pattern in enumerate(batch.patterns):
            here = pattern_of_row == number
            if name in pattern.silent:
                why = np.where(here, FAILED if name in pattern.away else NOT_ASKED, why)
            else:
                odds[here] = pattern.combination.fusion.calibrations[name].logit(one.raw[here])
        raw[name], calibrated[name], missing[name] = one.raw, odds, why.astype(np.uint8)
    for name in champion.to_consult:
        if name not in batch.detectors:
            raw[name], calibrated[name] = np.full(n, np.nan), np.full(n, np.nan)
            missing[name] = np.full(n, NOT_ASKED, dtype=np.uint8)
    for name in champion.away:
        raw[name], calibrated[name] = np.full(n, np.nan), np.full(n, np.nan)
        missing[name] = np.full(n, AWAY, dtype=np.uint8)
    return RowScores(batch.starts, raw, calibrated, missing)


def _categories(champion: Champion, messages: Messages, batch: BatchScores, verdict: NDArray[np.int32]) -> Coded:
    """What each message that is not delivered is named, as serving names it."""
    marked = np.flatnonzero(verdict >= BANNER)
    codes = np.full(len(verdict), NONE, dtype=np.int32)
    if len(marked):
        codes[marked] = Coded.of(called(champion, messages.rows, batch, marked), CATEGORIES).codes
    return Coded(codes, CATEGORIES)


@dataclass(frozen=True, slots=True)
class _Called:
    """See `Scored.called`, `Scored.called_without`."""

    whole: Coded | None = None
    without: Mapping[str, Coded] = field(default_factory=dict)

    @classmethod
    def of(cls, judge: Judge, champion: Champion, rows: FeatureTable, batch: BatchScores, tenant: Coded) -> _Called:
        """What messages of tenants that spend their budgets by category would be called."""
        n = len(tenant)
        which = asking_category(champion, [tenant.word(at) for at in range(n)], judge.budgets)
        if not len(which):
            return cls()
        seen, said = deciding_rows(champion, rows, batch, which)

        def column(codes: Sequence[str]) -> Coded:
            found = np.full(n, NONE, dtype=np.int32)
            found[which] = Coded.of(codes, CATEGORIES).codes
            return Coded(found, CATEGORIES)

        naming = champion.naming
        if naming is None:
            return cls(column(categories(champion, seen, said)))
        told = words(champion, seen, said)
        others = {name: {other: word for other, word in told.items() if other != name} for name in told}
        without = {name: column(naming.named(one, len(which))) for name, one in others.items()}
        return cls(column(naming.named(told, len(which))), without)
