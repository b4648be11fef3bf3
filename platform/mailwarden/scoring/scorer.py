"""One message and its history in, one decision with reasons out; the clock is handed in with the message."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.detection.decision import (
    HELD_BACK,
    Decision,
    TenantPolicy,
    apply_policy,
    at_least,
    not_read_in_full,
)
from mailwarden.domain.detection.rows import CodeColumns, FeatureTable, MatrixColumns, Places
from mailwarden.domain.detection.rules.tenant import NO_RULES, KeptRule, TenantRules, tenant_rules
from mailwarden.domain.mail.content import ContentSet, ContentValues, ContentView, full_names
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.times import TIME_CLAMPED
from mailwarden.domain.status import CODES, Status
from mailwarden.errors import StoreError
from mailwarden.scoring.bands import Bands, sure_alone
from mailwarden.scoring.batch import BatchScores, Scores
from mailwarden.scoring.categorising import Bar, Caller
from mailwarden.scoring.champion import Champion
from mailwarden.scoring.consulting import consult, doubts
from mailwarden.scoring.explanation import Explanation, explain
from mailwarden.scoring.own_rules import own_rules
from mailwarden.scoring.quota import Quota
from mailwarden.scoring.reasons import backed, reasons
from mailwarden.stores.accepted import LoggedContent, LoggedRow, LoggedScores
from mailwarden.stores.online.reader import ReadRequest, VectorSet
from mailwarden.stores.online.watermark import Watermark

NOT_BY_CATEGORY = "budgets by category do not count: the models do not know what good mail is called; train again"
"""Why a tenant's budgets by category do not count."""

Lap = Callable[[Literal["features", "store", "score"]], None]
"""Is called at the end of each of these stages."""


class Champions(Protocol):
    """Whatever knows the champion that serves now."""

    @property
    def current(self) -> Champion:
        """The champion; raises NotFound where none was promoted."""
        ...


class ReadsHistory(Protocol):
    """Whatever knows the history of a message's keys."""

    def read(self, requests: Sequence[ReadRequest]) -> list[VectorSet]:
        """The vectors of messages, in their order; raises StoreError where they cannot be read."""
        ...

    def unavailable(self, requests: Sequence[ReadRequest]) -> list[VectorSet]:
        """The vectors of messages whose read failed."""
        ...


@dataclass(frozen=True, slots=True)
class Scored:
    """A decision with the vectors behind it.

    rows: one a recipient, as logged for skew. content: what is logged once for all of them. watermark: how far the
    tenant's features had folded, None where nothing was, or the store could not be read. scores: one a detector, none
    where nobody was asked. explanation: where it was asked for.
    """

    decision: Decision
    rows: tuple[LoggedRow, ...]
    content: LoggedContent
    watermark: Watermark | None
    scores: tuple[LoggedScores, ...] = ()
    explanation: Explanation | None = None


class Scorer:
    """Joins content features of the message with online history and asks the champion."""

    def __init__(
        self,
        champions: Champions,
        reader: ReadsHistory,
        views: Sequence[ActivityView],
        content: ContentSet,
        *,
        costly_share: float = 0.1,
    ) -> None:
        """costly_share: of each tenant's mail that costly detectors may be asked about, see `quota`."""
        self._champions = champions
        self._reader = reader
        self._views = tuple(views)
        self._content = content
        self._row = RowPlan(views, content)
        self._bands, self._banded = Bands(), 0
        self._quota = Quota(costly_share)

    def score(
        self,
        content: ContentValues,
        event: Event,
        policy: TenantPolicy,
        *,
        rules: TenantRules = NO_RULES,
        failed: Sequence[str] = (),
        due_seq: int = 0,
        explained: bool = False,
        lap: Lap = lambda _: None,
    ) -> Scored:
        """Score a message for all of its recipients; the worst of them decides.

        content: what the content views say of it; failed: those whose functions raised. rules: the tenant's own, which
        act beside the champion, and those of the platform that it has silenced. event: what will be accepted;
        its seq does not matter here. due_seq: the highest seq that the online store should have folded by now, 0
        for none. explained: say what would have changed the scores' verdict, too. lap: told of each stage's end. Where
        the online store cannot be read the
        decision rests on the message alone, where a content view fails on the others, and says so. A view that changed
        since the champion learned from it is flagged and degrades nothing: all was read, and training again is for
        whoever runs the platform.
        """
        champion = self._champions.current
        flags: list[str] = []
        request = ReadRequest(event, due_seq)
        try:
            (vectors,) = self._reader.read([request])
        except StoreError as exc:
            (vectors,) = self._reader.unavailable([request])
            flags.append(f"history unavailable: {type(exc).__name__}")
        lap("store")
        flags += [f"{name} could not be computed" for name in failed]
        features = self._row.table(content, vectors)
        lap("features")
        caller = Caller(champion, features)
        bar = Bar(event.tenant, policy.budget, caller)
        batch = self._asked(champion, features, event.tenant, policy, rules)
        scores, odd = self._in_band(champion, batch, event, bar)
        flags += [f"detector {name} is out of its band, and set aside" for name in odd]
        flags += [f"detector {name} is away" for name in champion.away]
        flags += [f"detector {name} gave no score" for name in scores.broken]
        if not scores.enough:
            flags.append("too much is away: nothing stronger than a banner")
        suspected = bar.verdict(scores)
        # A view that fails is ours to mend, and no fault of the message.
        statuses = [status for name, status in content.status.items() if name not in failed]
        least, unread = not_read_in_full(statuses, policy)
        authenticated = event.authenticated is True
        own, hits, failure = own_rules(rules, champion, features)
        flags += [failure] if failure else []
        judged = "deliver" if own.deliver and authenticated else suspected
        verdict, override = apply_policy(
            at_least(at_least(judged, least), own.least),
            policy,
            sender=event.sender,
            sender_domain=event.sender_domain,
            authenticated=authenticated,
        )
        # Whoever looks for what was missed asks what spoke against mail that was delivered.
        signals = reasons(champion, features, scores, silenced=rules.silenced)
        category = None
        if verdict != "deliver":
            if own.category:
                category = own.category
            elif suspected != "deliver" or override is not None or own.least != "deliver":
                category = caller.category(scores)
            if unread is not None:
                signals.append(unread)
        if authenticated or not own.deliver:
            deciding = champion.deciding(features, scores)
            signals = [*(backed(champion, signal, deciding) for signal in own.signals), *signals]
        if override is not None:
            signals.insert(0, override)
        if any(Status.STALE in status for status in vectors.status.values()):
            flags.append("history is stale: the feature writer lags")
        decision = Decision(
            score=scores.probability,
            logit=scores.logit,
            decision=verdict,
            category=category,
            signals=signals,
            detectors=scores.detectors,
            not_asked=sorted(scores.unasked),
            models={"bundle": champion.version, **champion.detector_versions},
            degraded=bool(flags),
            flags=[
                *flags,
                *([NOT_BY_CATEGORY] if policy.budget.by_category and scores.combination.named is None else []),
                *(f"{name} changed since training" for name in self._content.changed_since(champion.trained_on)),
                *(f"rule {name} cannot be read here" for name in rules.unreadable),
                *([TIME_CLAMPED] if event.time_clamped else []),
            ],
        )
        explanation = None
        if explained:
            explanation = explain(champion, features, batch, signals, bar=bar, silenced=rules.silenced)
        lap("score")
        return Scored(
            decision,
            logged_rows(vectors, self._views),
            LoggedContent.of(self._content, content),
            vectors.watermark,
            (*batch.logged(champion.detector_versions), *hits),
            explanation,
        )

    def _asked(
        self, champion: Champion, features: FeatureTable, tenant: str, policy: TenantPolicy, rules: TenantRules
    ) -> BatchScores:
        """What the cheap detectors say, and the costly ones where the message is doubtful and the quota has room."""
        batch = champion.score(features, None, [tenant], silenced=rules.silenced)
        if not champion.to_consult:
            return batch
        (doubt,) = doubts(champion, features, batch, [tenant], {tenant: policy.budget}).tolist()
        if not self._quota.grants(tenant, doubt):
            return batch
        return consult(champion, features, batch, np.ones(1, dtype=np.bool_))

    def _in_band(self, champion: Champion, batch: BatchScores, event: Event, bar: Bar) -> tuple[Scores, Sequence[str]]:
        """A message's scores, without detectors that are out of their band for its tenant, and these. See `bands`."""
        scores = batch.of()
        if champion.version != self._banded:
            # Another bundle has other detectors, whose past is none of theirs.
            self._bands, self._banded = Bands(), champion.version

        held = bar.verdict(scores) in HELD_BACK
        without = bar.held_without_each(champion, batch)
        others = {name: verdict in HELD_BACK for name, verdict in without.items()}
        odd = self._bands.see(event.tenant, event.sender, held, others, sure_alone(scores.detectors))
        return (champion.setting_aside(batch, odd), sorted(odd)) if odd else (scores, ())

    def readable(self, kept: Sequence[KeptRule]) -> TenantRules:
        """A tenant's rules, of which those that name what is not read here are left out."""
        return tenant_rules(kept, self._row.features)


class RowPlan:
    """Where each value of content views and activity views goes in the matrix that detectors read."""

    def __init__(self, views: Sequence[ActivityView], content: ContentSet) -> None:
        self._views = [view.name for view in views]
        self._content = [view.name for view in content.views]
        kinds = [feature.dtype == "string" for view in content.views for feature in view.features]
        self._numbers = [at for at, text in enumerate(kinds) if not text]
        self._texts = [at for at, text in enumerate(kinds) if text]
        self._places = places_of(views, content.views)
        self._coded = Places([*self._content, *self._views], ())

    @property
    def features(self) -> frozenset[str]:
        """Full names of all that a row holds."""
        return frozenset((*self._places.numeric, *self._places.texts))

    def table(self, content: ContentValues, vectors: VectorSet) -> FeatureTable:
        """A row a recipient: what the message says, the same in each, and what is known of its keys."""
        n = len(vectors.recipients)
        said = list(chain.from_iterable([content.values[name] for name in self._content]))
        texts = np.empty((n, len(self._texts)), dtype=object)
        texts[:] = [said[at] for at in self._texts]
        numbers = np.array([said[at] for at in self._numbers], dtype=np.float64)
        matrix = np.empty((n, len(self._places.numeric)))
        matrix[:, : len(numbers)] = numbers
        start = len(numbers)
        for name in self._views:
            values = vectors.values[name]
            stop = start + values.shape[1]
            matrix[:, start:stop] = values
            start = stop
        own = [CODES[content.status[name]] for name in self._content]
        known = zip(*(vectors.status[name] for name in self._views), strict=True) if self._views else [()] * n
        codes = np.array([[*own, *(CODES[status] for status in of_row)] for of_row in known], dtype=np.uint8)
        return FeatureTable(MatrixColumns(self._places, matrix, texts), n, CodeColumns(self._coded, codes))


def places_of(
    views: Sequence[ActivityView], content: Sequence[ContentView], only: Collection[str] | None = None
) -> Places:
    """Where detectors find each feature of these views: numbers of content, then of history, and strings beside them.

    only: full names, all by default.
    """
    said = [(name, f.dtype) for view in content for name, f in zip(full_names(view), view.features, strict=True)]
    numbers = [name for name, dtype in said if dtype != "string"]
    numbers += [f"{view.name}:{feature.name}" for view in views for feature in view.features]
    texts = [name for name, dtype in said if dtype == "string"]
    if only is not None:
        numbers, texts = [name for name in numbers if name in only], [name for name in texts if name in only]
    return Places(numbers, texts)


def logged_rows(vectors: VectorSet, views: Sequence[ActivityView]) -> tuple[LoggedRow, ...]:
    """The vectors as the spool keeps them, one row a recipient, NaN as None."""
    values = {view.name: nulls_as_none(vectors.values[view.name]) for view in views}
    return tuple(
        LoggedRow(
            recipient,
            {name: rows[i] for name, rows in values.items()},
            {view.name: int(vectors.as_of_seq[view.name][i]) for view in views},
            {view.name: vectors.status[view.name][i] for view in views},
            {view.name: view.version for view in views},
            {name: number for name, number in vectors.facts.items() if number},
        )
        for i, recipient in enumerate(vectors.recipients)
    )


def nulls_as_none(values: NDArray[np.float64]) -> list[list[float | None]]:
    """Rows of plain floats with None for NaN, which JSON cannot hold."""
    return [[None if value != value else value for value in row] for row in values.tolist()]
