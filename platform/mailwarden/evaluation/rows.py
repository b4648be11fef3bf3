"""From what detectors said of rows, a row a recipient, to one row a message: the worst decides."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import Fusion, away_name
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.scored import MISSING, Said
from mailwarden.stores.bundle import Bundle

Floats = NDArray[np.float64]
SPOKE, ABSTAINED, NOT_ASKED, FAILED, AWAY = range(len(MISSING))


@dataclass(frozen=True, slots=True)
class RowScores:
    """What a bundle's detectors said of n rows of some messages.

    starts: (messages + 1,) where each message's rows begin. raw, calibrated: by detector (n,); calibrated as log-odds.
    missing: by detector (n,) uint8 of `SPOKE`, `ABSTAINED`, `NOT_ASKED`, `FAILED` and `AWAY`; where it is not `SPOKE`
    the others are not looked at.
    """

    starts: NDArray[np.intp]
    raw: Mapping[str, Floats]
    calibrated: Mapping[str, Floats]
    missing: Mapping[str, NDArray[np.uint8]]

    @property
    def n(self) -> int:
        """How many rows."""
        return int(self.starts[-1])

    def fused(self, bundle: Bundle, tenant: Coded) -> Floats:
        """(n,) fused log-odds, rows with detectors away by the fusion that the bundle has for that.

        tenant: (messages,). What is away for any row of a message is away for all of them, as in serving.
        """
        names = sorted(self.missing.keys() - bundle.costly)
        lost = [self._lost(name) for name in names]
        asked = self._answered(bundle.costly & self.missing.keys())
        bits = asked.astype(np.int64) << len(names)
        bits |= tenant.among(bundle.whole.known).astype(np.int64) << len(names) + 1
        for at, where in enumerate(lost):
            bits |= where.astype(np.int64) << at
        logit = np.empty(self.n)
        patterns, of_message = np.unique(bits, return_inverse=True)
        of_row = np.repeat(of_message, np.diff(self.starts))
        for number, pattern in enumerate(patterns.tolist()):
            here = np.flatnonzero(of_row == number)
            away = [name for at, name in enumerate(names) if pattern >> at & 1]
            consulted, own = bool(pattern >> len(names) & 1), bool(pattern >> len(names) + 1)
            logit[here] = self._sum(_fusion(bundle, away, consulted=consulted, own=own), here)
        return logit

    def without(self, bundle: Bundle, whole: NDArray[np.bool_], tenant: Coded) -> dict[str, Floats]:
        """By detector (messages,) the worst row's log-odds by the fusion that was fitted without it.

        whole: (messages,) where nothing was away; NaN elsewhere. tenant: (messages,). Detectors that the bundle has
        none for are left out.
        """
        found = {}
        everywhere = np.arange(self.n)
        known = np.repeat(tenant.among(bundle.whole.known), np.diff(self.starts))
        for name in self.missing:
            combination = bundle.without_one(name)
            if combination is not None:
                logit = self._sum(combination.fusion, everywhere)
                if combination.own is not None:
                    logit = np.where(known, self._sum(combination.own.fusion, everywhere), logit)
                found[name] = np.where(whole, self._worst(logit), np.nan)
        return found

    def decided(self, logit: Floats) -> NDArray[np.intp]:
        """(messages,) position of each message's row of the highest log-odds, the first of several."""
        lengths = np.diff(self.starts)
        if not len(lengths):
            return np.empty(0, dtype=np.intp)
        at = np.flatnonzero(logit == np.repeat(self._worst(logit), lengths))
        _, first = np.unique(np.repeat(np.arange(len(lengths)), lengths)[at], return_index=True)
        return np.asarray(at[first], dtype=np.intp)

    def _answered(self, costly: Collection[str]) -> NDArray[np.bool_]:
        """(messages,) whether all costly detectors were asked, and none was lost."""
        if not costly or len(self.starts) < 2:
            return np.zeros(len(self.starts) - 1, dtype=np.bool_)
        silent = [np.logical_or.reduceat(self.missing[name] >= NOT_ASKED, self.starts[:-1]) for name in sorted(costly)]
        return np.asarray(~np.logical_or.reduce(silent))

    def whole(self) -> NDArray[np.bool_]:
        """(messages,) whether every detector of the bundle was there, asked or not."""
        lost = [self._lost(name) for name in self.missing]
        return ~np.logical_or.reduce(lost) if lost else np.ones(len(self.starts) - 1, dtype=np.bool_)

    def said(self, rows: NDArray[np.intp], milliseconds: Mapping[str, Floats]) -> dict[str, Said]:
        """By detector what it said in these rows, one a message. milliseconds: by detector (messages,)."""
        found = {}
        for name, missing in self.missing.items():
            why = missing[rows]
            calibrated = np.where(why == SPOKE, self.calibrated[name][rows], np.nan)
            found[name] = Said(calibrated, why, milliseconds[name])
        return found

    def _lost(self, name: str) -> NDArray[np.bool_]:
        if len(self.starts) < 2:
            return np.empty(0, dtype=np.bool_)
        return np.logical_or.reduceat(self.missing[name] >= FAILED, self.starts[:-1])

    def _worst(self, logit: Floats) -> Floats:
        return np.maximum.reduceat(logit, self.starts[:-1]) if len(self.starts) > 1 else np.empty(0)

    def _sum(self, fusion: Fusion, rows: NDArray[np.intp]) -> Floats:
        scores, silent = {}, {}
        for name in fusion.weights:
            silent[name] = self.missing[name][rows] != SPOKE
            # What was not said may be no number, and would stay one where it counts for nothing.
            scores[name] = np.where(silent[name], 0.0, self.raw[name][rows])
        total = fusion.logit(scores, silent)
        return np.broadcast_to(total, (len(rows),)).astype(np.float64)


def _fusion(bundle: Bundle, away: list[str], *, consulted: bool, own: bool) -> Fusion:
    found = bundle.without.get(away_name(away)) if away else bundle.whole
    if found is None:
        return bundle.whole.serving(own=own).fusion.leaving_out(away)
    found = found.serving(own=own)
    return found.consult.combination.fusion if consulted and found.consult is not None else found.fusion
