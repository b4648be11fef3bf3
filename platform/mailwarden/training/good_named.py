"""What good mail in the tail is called: the ground of budgets that a tenant spends by category.

1. Of each site's held-out good mail the tenth with the highest log-odds is taken (`tail.LEVEL`), by each combination.
2. Detectors that did not learn from it call each of these messages something, and together name it (`Naming`), by the
   calibrations of that combination: as serving would name it.
3. A share of each category is that of the messages, a site counting as `SITE_MOST` of them at most, with `_PRIOR` of
   each category added: what nobody saw yet may come.

Where costly detectors were asked, good mail in the tail is that of the cheap ones, who alone name categories.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import HISTORY, Combination
from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.detection.naming import Naming, Word
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.tail import LEAST, LEVEL
from mailwarden.domain.detection.tenant_budget import GoodNamed
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.domain.status import Status
from mailwarden.training.dataset import LabelledRows
from mailwarden.training.said import Said

SITE_MOST = 200.0
"""Messages as which a site counts at most."""

_PRIOR = 0.5
"""Messages that are added to each category; a choice, by Jeffreys' rule for shares."""

_Rows = NDArray[np.intp]
Parts = Sequence[tuple[_Rows, Mapping[str, Detector]]]
"""Positions of rows, and fitted detectors that did not learn from them."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Mail that detectors did not learn from, and what they say of it, with histories and without.

    said, blind: of all rows, NaN where nobody was asked. parts: who was asked about which rows.
    """

    said: Said
    blind: Said
    parts: Parts

    @property
    def index(self) -> _Rows:
        """(n,) positions of the rows."""
        return np.sort(np.concatenate([index for index, _ in self.parts]))

    def of(self, away: Collection[str]) -> Said:
        """What is said with these away, `HISTORY` among them."""
        return (self.blind if HISTORY in away else self.said).without(away)


@dataclass(frozen=True, slots=True)
class GoodMail:
    """Counts what good mail is called. hidden: by detector, the views of history that it reads.

    budget: share of good mail that the models are trained to hold back.
    """

    rows: LabelledRows
    tables: Mapping[str, FeatureTable]
    hidden: Mapping[str, Collection[str]]
    naming: Naming
    budget: float

    def named(
        self, whole: Combination, without: Mapping[str, Combination], late: Heard, unseen: Heard | None
    ) -> tuple[Combination, dict[str, Combination]]:
        """The combinations with what good mail is called: of tenants that were learned from by their later mail, of all
        others by sites left out where there are any."""
        every = {"": whole, **without}
        own = {away: one.own for away, one in every.items() if one.own is not None}
        known = whole.known
        shares = self._shares(every, unseen or late, None)
        own_shares = self._shares(own, late, known)
        found = {}
        for away, one in every.items():
            own_named = one.own and _with(one.own, own_shares.get(away))
            found[away] = replace(_with(one, shares.get(away)), own=own_named)
        return found.pop(""), found

    def _shares(
        self, combinations: Mapping[str, Combination], heard: Heard, only: Collection[str] | None
    ) -> dict[str, GoodNamed]:
        """By what is away, where good mail is enough. only: tenants, None for all."""
        tops = {}
        for away, one in combinations.items():
            top = self._top(one, heard.of(_away(away)), heard.index, only)
            if len(top[0]):
                tops[away] = top
        codes = {blind: self._codes(heard, blind, tops) for blind in {HISTORY in _away(away) for away in tops}}
        found = {}
        for away, (at, weight) in tops.items():
            asked, by_name = codes[HISTORY in _away(away)]
            place = np.searchsorted(asked, at)
            said = heard.of(_away(away)).at(at)
            calibrations = combinations[away].fusion.calibrations
            words = {
                name: Word([by_name[name][row] for row in place], calibrations[name].logit(raw), said.silent[name])
                for name, raw in said.raw.items()
                if name in by_name
            }
            found[away] = self._counted(self.naming.named(words, len(at)), weight)
        return found

    def _top(
        self, combination: Combination, said: Said, index: _Rows, only: Collection[str] | None
    ) -> tuple[_Rows, NDArray[np.float64]]:
        """The rows that decide the highest tenth of each site's good messages, and how much each counts."""
        rows = self.rows
        here = index[~rows.bad[index]]
        part = said.at(here)
        logit = np.asarray(combination.fusion.logit(part.raw, part.silent))
        # Each message's worst row comes first of its rows.
        order = np.lexsort((here, -logit, rows.message[here]))
        _, first = np.unique(rows.message[here][order], return_index=True)
        worst = order[first]
        tenant = rows.tenant[here[worst]].astype(str)
        tops, weights = [here[:0]], [np.empty(0)]
        for name in np.unique(tenant).tolist():
            own = worst[tenant == name]
            if len(own) < LEAST or (only is not None and name not in only):
                continue
            size = int(LEVEL * len(own)) + 1
            highest = own[np.argsort(-logit[own], kind="stable")[:size]]
            tops.append(here[highest])
            weights.append(np.full(size, min(1.0, SITE_MOST / size)))
        return np.concatenate(tops), np.concatenate(weights)

    def _codes(
        self, heard: Heard, blind: bool, tops: Mapping[str, tuple[_Rows, NDArray[np.float64]]]
    ) -> tuple[_Rows, dict[str, list[str]]]:
        """The rows that somebody asks about, rising, and what each detector calls them. blind: without histories."""
        wanted = [at for away, (at, _) in tops.items() if (HISTORY in _away(away)) == blind]
        asked = np.unique(np.concatenate(wanted))
        found: dict[str, list[str]] = {}
        for index, fitted in heard.parts:
            at = np.flatnonzero(np.isin(asked, index))
            for name, detector in fitted.items():
                table = self.tables[name].take(asked[at])
                if blind and self.hidden[name]:
                    table = table.lacking(self.hidden[name], Status.UNAVAILABLE)
                codes = detector.categorise(table) if len(at) else None
                if codes is None:
                    continue
                into = found.setdefault(name, [CATEGORIES[-1]] * len(asked))
                for place, code in zip(at.tolist(), codes, strict=True):
                    into[place] = code
        return asked, found

    def _counted(self, codes: Iterable[str], weight: NDArray[np.float64]) -> GoodNamed:
        places = [CATEGORIES.index(code) for code in codes]
        counts = np.bincount(places, weight, minlength=len(CATEGORIES)) + _PRIOR
        shares = (counts / counts.sum()).tolist()
        return GoodNamed(dict(zip(CATEGORIES, shares, strict=True)), self.budget)


def _with(combination: Combination, named: GoodNamed | None) -> Combination:
    consult = combination.consult
    if consult is not None:
        consult = replace(consult, combination=replace(consult.combination, named=named))
    return replace(combination, named=named, consult=consult)


def _away(name: str) -> list[str]:
    """What `decision.away_name` put together."""
    return name.split("+") if name else []
