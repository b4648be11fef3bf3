"""The costly detectors, asked about messages of which the cheap ones are unsure.

1. `doubts` says how unsure they are of each message, from the tenant's own thresholds (`domain.detection.doubt`).
2. Whoever calls decides what is asked about: all that is doubtful, or what a quota allows of it (`quota`).
3. `consult` asks. For these messages the fusion counts that was fitted to cheap and costly ones on doubtful mail, with
   thresholds of its own; what nobody asked about stays as the cheap ones said, by their own fusion and thresholds.
4. A costly one that is away or fails costs nothing: what the cheap ones said stands.

Invariant: given what is asked about, what is said of a message is the same, to the last bit, whatever is beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.doubt import SURE, bare_first_contact, doubt_of, turning_point
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.tenant_budget import TRAINED, TenantBudget
from mailwarden.domain.status import Status
from mailwarden.scoring.batch import BatchScores, Pattern, fused
from mailwarden.scoring.categorising import called_where_asked
from mailwarden.scoring.champion import Champion


def doubts(
    champion: Champion,
    rows: FeatureTable,
    batch: BatchScores,
    tenants: Sequence[str],
    budgets: Mapping[str, TenantBudget] = MappingProxyType({}),
) -> NDArray[np.float64]:
    """(messages,) how doubtful each message is after the cheap detectors, `SURE` where none is to be asked.

    rows, batch: as given to `Champion.score`, and what came of it. tenants: of each message, its tenant. budgets: by
    tenant, what it has for its own.
    """
    found = np.full(len(tenants), SURE)
    if not champion.to_consult or not len(tenants):
        return found
    logit = batch.logit[batch.worst]
    bare = bare_first_contact(rows.take(batch.worst).lacking(champion.withheld, Status.UNAVAILABLE))
    categories = called_where_asked(champion, rows, batch, tenants, budgets)
    known: dict[tuple[int, str, str | None], float] = {}
    for number, pattern in enumerate(batch.patterns):
        consult = champion.consult_of(pattern)
        if consult is None:
            continue
        here = np.flatnonzero(batch.pattern_of == number)
        turning = np.empty(len(here))
        for place, at in enumerate(here.tolist()):
            key = number, tenants[at], categories[at]
            if key not in known:
                budget = budgets.get(key[1], TRAINED)
                known[key] = turning_point(pattern.combination.thresholds_within(key[1], budget, key[2]))
            turning[place] = known[key]
        found[here] = doubt_of(logit[here], turning, consult, None if bare is None else bare[here])
    return found


def consulted(
    champion: Champion,
    rows: FeatureTable,
    batch: BatchScores,
    tenants: Sequence[str],
    budgets: Mapping[str, TenantBudget] = MappingProxyType({}),
) -> BatchScores:
    """The same batch with the costly detectors asked about all that is doubtful, without a quota."""
    return consult(champion, rows, batch, doubts(champion, rows, batch, tenants, budgets) < SURE)


def consult(champion: Champion, rows: FeatureTable, batch: BatchScores, allowed: NDArray[np.bool_]) -> BatchScores:
    """The same batch with the costly detectors asked about some messages.

    rows: as given to `Champion.score`. allowed: (messages,) which; those for which no fusion was fitted stay as they
    are. A costly detector that fails on a message is `broken`, and what the cheap ones said of it stands.
    """
    known = np.array([champion.consult_of(pattern) is not None for pattern in batch.patterns])[batch.pattern_of]
    chosen = np.flatnonzero(allowed & known)
    if not len(chosen):
        return batch
    lengths = np.diff(batch.starts)[chosen]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.intp)
    at = np.arange(starts[-1]) + np.repeat(batch.starts[chosen] - starts[:-1], lengths)
    part = rows if len(at) == rows.n else rows.take(at)
    part, _ = champion.hiding_history(part.lacking(champion.withheld, Status.UNAVAILABLE), starts, lengths)
    alone = part if len(chosen) == part.n else part.take(starts[:-1])
    found = dict(batch.detectors)
    failed: dict[str, NDArray[np.bool_]] = {}
    for name in champion.to_consult:
        said, where = champion.ask(name, part, alone, starts)
        if where is not None:
            failed[name] = where
        found[name] = said.among(at, rows.n)
    patterns, pattern_of = _patterns(champion, batch, chosen, failed)
    logit = batch.logit.copy()
    of_row = np.repeat(pattern_of[chosen], lengths)
    for number in np.unique(of_row).tolist():
        own = at[of_row == number]
        logit[own] = fused(patterns[number], found, batch.amounts, own)
    return BatchScores(batch.starts, logit, found, tuple(patterns), pattern_of, batch.amounts)


def _patterns(
    champion: Champion, batch: BatchScores, chosen: NDArray[np.intp], failed: Mapping[str, NDArray[np.bool_]]
) -> tuple[list[Pattern], NDArray[np.intp]]:
    """The patterns with those of messages that were asked about, and (messages,) which is each message's."""
    pattern_of, patterns = batch.pattern_of.copy(), list(batch.patterns)
    numbers: dict[tuple[int, tuple[str, ...]], int] = {}
    for place, message in enumerate(chosen.tolist()):
        key = int(pattern_of[message]), tuple(name for name, where in failed.items() if where[place])
        if key not in numbers:
            numbers[key] = len(patterns)
            patterns.append(_told(champion, batch.patterns[key[0]], key[1]))
        pattern_of[message] = numbers[key]
    used, pattern_of = np.unique(pattern_of, return_inverse=True)
    return [patterns[number] for number in used.tolist()], pattern_of.astype(np.intp)


def _told(champion: Champion, pattern: Pattern, broken: tuple[str, ...]) -> Pattern:
    consult = champion.consult_of(pattern)
    assert consult is not None
    told = replace(pattern, unasked=frozenset(), asked=True)
    if not broken:
        return replace(told, combination=consult.combination)
    # Nothing was fitted to some of them.
    return replace(told, away=pattern.away.union(champion.to_consult), broken=(*pattern.broken, *broken))
