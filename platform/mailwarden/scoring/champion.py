"""The detectors and the fusion that serve now, ready to score messages, one or many at once.

A detector may be away: it did not load, or it raises. Histories may be: the online store did not answer. Scores of the
rest mean less together than all of them, and thresholds of the whole are not theirs. So with one away the fusion counts
that was fitted without it, with thresholds of its own (`Bundle.without`). With more away likewise, but nothing stronger
than a banner is given. With none that fits (none left) the whole's counts with the absent ones silent, and no more than
a banner either.

1. Views that the detectors were trained without are hidden. Where a view of history is unavailable in a row of a
   message, all of them are hidden in all its rows: what the rest alone would mean nobody has measured.
2. Each cheap detector is asked once for all rows; one that reads the message alone, once a message. Where it fails, it
   is asked again by halves, so that it is away for the messages that it fails on and for no others.
3. Messages are taken together by what is away for them, and by whether the bundle knows their tenants' own mail, and
   fused by what counts then (`Combination.own`).
4. Costly detectors are asked about some messages after that, by `consulting`.

Invariant: what is said of a message is the same, to the last bit, whatever is scored in the same call.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import HISTORY, Combination, Consult, Verdict, away_name
from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.detection.naming import Naming
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.tenant_budget import TRAINED, TenantBudget
from mailwarden.domain.detection.usual import Usual
from mailwarden.domain.status import CODES, Status
from mailwarden.logs import FailureLog
from mailwarden.scoring.asking import ask
from mailwarden.scoring.batch import BatchScores, DetectorScores, Pattern, Scores, fused
from mailwarden.scoring.sums import Sums
from mailwarden.stores.bundle import Bundle, Fetch

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Champion:
    """A fitted set of detectors with how their scores combine.

    version: of the bundle in the registry. detector_versions: of each detector's model there.
    content_views: names of the views of the message alone. categoriser: the detector that names the category where
    `naming` is None, "" for none. withheld: views that the detectors were trained without, and so must not see.
    trained_on: by content view that its detectors read, the version and fingerprint that gave its training set.
    without: what counts where a detector is away, by its name. away: detectors of the bundle that did not load, by
    name, with why. usual: what good mail has, by full name of a numeric feature. naming: how much each detector's word
    on the category counts. costly: detectors that are asked about doubtful messages alone.
    """

    version: int
    detectors: Mapping[str, Detector]
    detector_versions: Mapping[str, int]
    whole: Combination
    content_views: frozenset[str]
    categoriser: str
    withheld: frozenset[str] = frozenset()
    trained_on: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    without: Mapping[str, Combination] = field(default_factory=dict)
    away: Mapping[str, str] = field(default_factory=dict)
    usual: Mapping[str, Usual] = field(default_factory=dict)
    naming: Naming | None = None
    costly: frozenset[str] = frozenset()
    _sums: dict[Any, tuple[list[str], list[Combination], Sums]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _patterns_told: dict[tuple[frozenset[str], tuple[str, ...], bool, bool], Pattern] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _failures: FailureLog = field(
        default_factory=lambda: FailureLog(log, "a detector failed", "detector"), init=False, repr=False, compare=False
    )

    @cached_property
    def of_content(self) -> frozenset[str]:
        """Detectors that read nothing but the message, and so give all its recipients the same score."""
        return frozenset(
            name
            for name, detector in self.detectors.items()
            if all(feature.partition(":")[0] in self.content_views for feature in detector.features)
        )

    @cached_property
    def to_consult(self) -> tuple[str, ...]:
        """The costly detectors that are there."""
        return tuple(name for name in self.detectors if name in self.costly)

    @cached_property
    def history_views(self) -> frozenset[str]:
        """The views of history that the detectors read."""
        read = {feature.partition(":")[0] for detector in self.detectors.values() for feature in detector.features}
        return frozenset(read - self.content_views - self.withheld)

    @cached_property
    def _histories(self) -> tuple[str, ...]:
        return tuple(sorted(self.history_views))

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        classes: Mapping[str, type[Detector]],
        fetch: Fetch,
        *,
        version: int,
        content_views: frozenset[str],
        unread: Mapping[str, str] | None = None,
    ) -> Champion:
        """A bundle with those of its detectors that load; the others are `away`, and logged.

        fetch: gives a detector's bytes. unread: why a folder of detectors holds no class, by its name.
        """
        detectors, away = bundle.load_each(classes, fetch, unread)
        for name, why in away.items():
            log.error("a detector is away; the others serve without it", detector=name, why=why, bundle=version)
        return cls(
            version=version,
            detectors=detectors,
            detector_versions={name: bundle.members[name].model for name in detectors},
            whole=bundle.whole,
            content_views=content_views,
            categoriser=bundle.categoriser,
            naming=bundle.naming,
            withheld=frozenset(bundle.record["options"]["ablate"]),
            trained_on={name: (int(v), int(f)) for name, (v, f) in bundle.record.get("content", {}).items()},
            without=bundle.without,
            away=away,
            usual=bundle.usual,
            costly=bundle.costly,
        )

    def combination(self, away: Collection[str], *, own: bool = False) -> tuple[Combination, bool]:
        """How scores become a verdict with some detectors, or `HISTORY`, away, and whether more than a banner may be
        given. Costly ones take nothing with them. own: of a tenant for which `Combination.own` counts."""
        away = frozenset(away) - self.costly
        if not away:
            return self.whole.serving(own=own), True
        found = self.without.get(away_name(away))
        if found is not None:
            few = len(away) > 1
            found = found.serving(own=own)
            return (found.banner_at_most() if few else found), not few
        left = self.whole.serving(own=own)
        left = replace(left, fusion=left.fusion.leaving_out(away), consult=None, own=None)
        return left.banner_at_most(), False

    def _known(self, tenants: Sequence[str] | None) -> NDArray[np.bool_] | None:
        """(messages,) whether `Combination.own` counts for each message's tenant, None for nowhere."""
        known = self.whole.known
        if tenants is None or not known:
            return None
        if len(tenants) == 1:
            return _YES if tenants[0] in known else None
        return np.fromiter((name in known for name in tenants), dtype=np.bool_, count=len(tenants))

    def score(
        self,
        rows: FeatureTable,
        starts: NDArray[np.intp] | None = None,
        tenants: Sequence[str] | None = None,
        *,
        silenced: Collection[str] = frozenset(),
    ) -> BatchScores:
        """Scores of rows of one message, or of many, by the cheap detectors; see `consulting` for the costly ones.

        starts: (messages + 1,) where each message's rows begin, and where the last ones end; None for one message.
        tenants: (messages,) whose each message is; None for tenants that nobody knows.
        silenced: rules that add nothing to the log-odds; what each detector says of a row stays its own. A detector
        that raises, or gives a score that is no number where it does not abstain, is `broken` and away.
        """
        if starts is None:
            starts = np.array([0, rows.n], dtype=np.intp)
        lengths = starts[1:] - starts[:-1]
        rows = rows.lacking(self.withheld, Status.UNAVAILABLE)
        rows, lost = self.hiding_history(rows, starts, lengths)
        alone = rows if len(lengths) == rows.n else rows.take(starts[:-1])
        found: dict[str, DetectorScores] = {}
        broken: dict[str, NDArray[np.bool_]] = {}
        for name in self.detectors:
            if name in self.costly:
                continue
            found[name], failed = self.ask(name, rows, alone, starts)
            if failed is not None:
                broken[name] = failed
        patterns, pattern_of = self._patterns(broken, lost, self._known(tenants), len(lengths))
        amounts = self._amounts(rows, silenced) if silenced else {}
        logit = np.empty(rows.n)
        batch = BatchScores(starts, logit, found, tuple(patterns), pattern_of, amounts)
        if len(patterns) == 1 and not amounts:
            logit[:] = self._sum_of(patterns[0], tuple(found)).logits(*batch.matrix)[0]
            return batch
        of_row = None if len(patterns) == 1 else np.repeat(pattern_of, lengths)
        for number, pattern in enumerate(patterns):
            at = slice(None) if of_row is None else np.flatnonzero(of_row == number)
            logit[at] = fused(pattern, found, amounts, at)
        return batch

    def without_each(self, batch: BatchScores) -> dict[str, Scores]:
        """Of one message that was scored, by each detector that gave a score: what would have come of it without that
        one, where a fusion was fitted for that."""
        (pattern,) = batch.patterns
        found = {}
        for name in batch.detectors:
            away = frozenset({*pattern.away, name}) - self.costly
            if name not in pattern.silent and (name in self.costly or away_name(away) in self.without):
                found[name] = self.setting_aside(batch, (name,))
        return found

    def held_without_each(self, batch: BatchScores, tenant: str, budget: TenantBudget = TRAINED) -> dict[str, Verdict]:
        """As `without_each`, the verdict alone, which is asked for of every message; whatever that would be called."""
        (pattern,) = batch.patterns
        if batch.amounts:
            return {name: one.verdict(tenant, budget) for name, one in self.without_each(batch).items()}
        names, combinations, sums = self._sums_without(pattern.away, tuple(batch.detectors), pattern.own)
        if not names:
            return {}
        worst = sums.logits(*batch.matrix).max(axis=1).tolist()
        return {
            name: combination.thresholds_within(tenant, budget).verdict(logit)
            for name, combination, logit in zip(names, combinations, worst, strict=True)
        }

    def logits_without_each(self, batch: BatchScores) -> dict[str, tuple[Combination, NDArray[np.float64]]]:
        """Of messages for all of which the same is away, as `without_each`: what counts, and (n,) log-odds of rows."""
        (pattern,) = batch.patterns
        names, combinations, sums = self._sums_without(pattern.away, tuple(batch.detectors), pattern.own)
        logits = sums.logits(*batch.matrix) if names else ()
        return dict(zip(names, zip(combinations, logits, strict=True), strict=True))

    def pattern(
        self, away: Collection[str], *, broken: tuple[str, ...] = (), own: bool = False, asked: bool = False
    ) -> Pattern:
        """What counts with these away. broken: those of them that failed. own: for a tenant for which
        `Combination.own` does. asked: costly detectors were asked."""
        away = frozenset(away)
        key = away, broken, own, asked
        told = self._patterns_told.get(key)
        if told is None:
            combination, enough = self.combination(away, own=own)
            told = Pattern(away, broken, combination, enough, frozenset(self.to_consult) - away, own=own)
            if asked and (consult := self.consult_of(told)) is not None:
                told = replace(told, combination=consult.combination, unasked=frozenset(), asked=True)
            if len(self._patterns_told) >= _MOST_KEPT:
                self._patterns_told.clear()
            self._patterns_told[key] = told
        return told

    def _sum_of(self, pattern: Pattern, detectors: tuple[str, ...]) -> Sums:
        """What counts in a pattern, as a sum."""
        key = (pattern.away, detectors, pattern.own, pattern.asked, "alone")
        found = self._sums.get(key)
        if found is None:
            if len(self._sums) >= _MOST_KEPT:
                self._sums.clear()
            combination = pattern.combination
            found = self._sums[key] = [], [combination], Sums([combination.fusion], detectors)
        return found[2]

    def _sums_without(
        self, away: frozenset[str], detectors: tuple[str, ...], own: bool
    ) -> tuple[list[str], list[Combination], Sums]:
        """With these away: each other detector that there is a fusion without, what counts then, and its sums."""
        # Costly ones take nothing with them.
        away -= self.costly
        found = self._sums.get((away, detectors, own))
        if found is None:
            names = [name for name in detectors if name not in away and away_name({*away, name}) in self.without]
            combinations = [self.combination({*away, name}, own=own)[0] for name in names]
            fusions = [combination.fusion for combination in combinations]
            found = self._sums[away, detectors, own] = names, combinations, Sums(fusions, detectors)
        return found

    def setting_aside(self, batch: BatchScores, names: Collection[str]) -> Scores:
        """Of one message that was scored: what comes of it with these detectors away too."""
        (pattern,) = batch.patterns
        away = frozenset({*pattern.away, *names})
        told = self.pattern(away, broken=pattern.broken, own=pattern.own, asked=pattern.asked)
        if batch.amounts:
            return batch.under(told).of()
        logit = self._sum_of(told, tuple(batch.detectors)).logits(*batch.matrix)[0]
        return batch.with_logit(told, logit).of()

    def consult_of(self, pattern: Pattern) -> Consult | None:
        """When and how the costly detectors count beside what is there; None where one that was weighed is away."""
        consult = pattern.combination.consult
        if consult is None:
            return None
        wanted = consult.combination.fusion.weights.keys() & self.costly
        return consult if wanted <= set(self.to_consult) - pattern.away else None

    def held(self, features: FeatureTable, rules: Collection[str]) -> dict[str, NDArray[np.bool_]]:
        """By name of those of these rules that hold in some row of one message: (n,) in which."""
        if not rules:
            return {}
        rows = features.lacking(self.withheld, Status.UNAVAILABLE)
        rows, _ = self.hiding_history(rows, np.array([0, rows.n]), np.array([rows.n]))
        found = {name: amount != 0.0 for name in sorted(rules) for amount in self._amounts(rows, {name}).values()}
        return {name: rows for name, rows in found.items() if rows.any()}

    def _amounts(self, rows: FeatureTable, silenced: Collection[str]) -> dict[str, NDArray[np.float64]]:
        """By detector (n,), what silenced rules add to its score."""
        found = {}
        for name, detector in self.detectors.items():
            try:
                amount = detector.amount(rows, silenced)
            except Exception as exc:
                self.failed(name, "amount", exc)
                continue
            if amount is not None:
                found[name] = amount
        return found

    def deciding(self, rows: FeatureTable, scores: Scores) -> FeatureTable:
        """The row that decided, of one message's, as the detectors saw it."""
        row = rows if rows.n == 1 else rows.take(np.array([scores.worst], dtype=np.intp))
        hidden = self.withheld | self.history_views if HISTORY in scores.away else self.withheld
        return row.lacking(hidden, Status.UNAVAILABLE)

    def hiding_history(
        self, rows: FeatureTable, starts: NDArray[np.intp], lengths: NDArray[np.intp]
    ) -> tuple[FeatureTable, NDArray[np.bool_] | None]:
        """The rows with all history hidden where some of it is unavailable, and (messages,) where, None for nowhere."""
        codes = rows.codes(self._histories)
        if _UNAVAILABLE not in codes.tobytes():
            return rows, None
        known = [view in rows.statuses for view in self._histories]
        gone = (codes == _UNAVAILABLE)[:, known]
        lost = np.logical_or.reduceat(gone.any(axis=1), starts[:-1])
        of_row = np.repeat(lost, lengths)
        if not gone[of_row].all():
            rows = rows.lacking(self.history_views, Status.UNAVAILABLE, of_row)
        return rows, lost

    def _patterns(
        self,
        broken: Mapping[str, NDArray[np.bool_]],
        lost: NDArray[np.bool_] | None,
        known: NDArray[np.bool_] | None,
        messages: int,
    ) -> tuple[list[Pattern], NDArray[np.intp]]:
        """What counts, in each way that occurs, and (messages,) which of these is each message's."""
        marks = dict(broken)
        marks |= {name: where for name, where in ((HISTORY, lost), (_OWN, known)) if where is not None}
        names = list(marks)
        if not names:
            numbers, pattern_of = [0], np.zeros(messages, dtype=np.intp)
        else:
            bits = sum(marks[name].astype(np.int64) << at for at, name in enumerate(names))
            found, inverse = np.unique(bits, return_inverse=True)
            numbers, pattern_of = found.tolist(), inverse.astype(np.intp)
        patterns = []
        for number in numbers:
            here = [name for at, name in enumerate(names) if number >> at & 1]
            own = _OWN in here
            away = frozenset({*self.away, *here}) - {_OWN}
            failed = tuple(name for name in here if name not in (HISTORY, _OWN))
            patterns.append(self.pattern(away, broken=failed, own=own))
        return patterns, pattern_of

    def ask(
        self, name: str, rows: FeatureTable, alone: FeatureTable, starts: NDArray[np.intp]
    ) -> tuple[DetectorScores, NDArray[np.bool_] | None]:
        """What a detector says of rows, and (messages,) where it failed, None for nowhere; alone: the first row of each
        message. See `asking`."""
        once = name in self.of_content
        return ask(self.detectors[name], rows, alone, starts, once=once, failed=partial(self.failed, name, "score"))

    def failed(self, name: str, what: str, exc: Exception | None) -> None:
        """Logs that a detector failed at something, None for a score that is no number."""
        self._failures.add(name, exc, without="no finite score a row", doing=what)


_UNAVAILABLE = CODES[Status.UNAVAILABLE]
_OWN = "@own"
_YES = np.ones(1, dtype=np.bool_)
_MOST_KEPT = 1_000
"""Ways in which detectors are away of which it is kept what counts then."""
