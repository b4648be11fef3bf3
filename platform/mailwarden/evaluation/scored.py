"""What was judged, as one table: a row a message, columns of numbers, so that millions of messages fit.

Everything else of this package works on it. It is built of rows that a bundle scored (a row a recipient), or of the
score log and the decisions; both by way of `RowScores`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import VERDICTS, Combination
from mailwarden.domain.detection.tenant_budget import TRAINED, TenantBudget
from mailwarden.domain.mail.events import CATEGORIES, LABELS
from mailwarden.errors import DataError, did_you_mean
from mailwarden.evaluation import coded
from mailwarden.evaluation.coded import NONE, Coded
from mailwarden.stores.bundle import Bundle

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

GOOD = "ham"
BANNER, JUNK = VERDICTS.index("banner"), VERDICTS.index("junk")


@dataclass(frozen=True, slots=True)
class Said:
    """What a detector said of each message, in the row that decided.

    calibrated: (n,) log-odds, NaN where it said nothing. missing: (n,) uint8 places in `MISSING`. milliseconds:
    (n,) that it took for all rows of the message, NaN where nobody measured.
    """

    calibrated: Floats
    missing: NDArray[np.uint8]
    milliseconds: Floats

    def take(self, rows: NDArray[np.intp]) -> Said:
        """The rows at these positions, in their order."""
        return Said(self.calibrated[rows], self.missing[rows], self.milliseconds[rows])


@dataclass(frozen=True, slots=True)
class Hidden:
    """What the same bundle says of each message with the views of one group of features hidden.

    outage: by the fusion that the bundle has for that, as when the store does not answer; else by the fusion of the
    whole. log_odds: (n,) fused. verdict: of `decision.VERDICTS`, at the thresholds that are deployed.
    """

    outage: bool
    log_odds: Floats
    verdict: Coded

    def take(self, rows: NDArray[np.intp]) -> Hidden:
        """The rows at these positions, in their order."""
        return Hidden(self.outage, self.log_odds[rows], self.verdict.take(rows))


@dataclass(frozen=True, slots=True)
class Scored:
    """Messages as one bundle judged them, a row each, ordered by (time, tenant, message_id) where `in_order` made it.

    version, bundle: what judged, as the registry has it. served: as it was decided when the mail came; else as the
    bundle decides now. message_id: (n,) Arrow strings. at_us: (n,) int64 event time. label: of `events.LABELS`.
    category: of `events.CATEGORIES`, none where it was delivered. verdict: of `decision.VERDICTS`, at the thresholds
    that are deployed. log_odds: (n,) fused. campaign: (n,) int64, the same number for near copies of one tenant, -1 for
    none. detectors: by name. without: by name of a detector (n,), the log-odds of the fusion that was fitted without
    it, NaN where more than it was away. slices: by name what else tells messages apart. budgets: by tenant, its own
    where it has one. hidden: by group of features, what is said without it; none of what was served. row: (n,) which of
    a message's rows decided, counted from 0; None of what was served. called: (n,) of `events.CATEGORIES`, what a
    message would be called, delivered or not, where its tenant spends its budget by category; None where nobody asked.
    called_without: by name of a detector, the same without it.
    """

    version: int
    bundle: Bundle
    served: bool
    tenant: Coded
    message_id: pa.Array
    at_us: NDArray[np.int64]
    label: Coded
    category: Coded
    verdict: Coded
    log_odds: Floats
    detectors: Mapping[str, Said]
    without: Mapping[str, Floats]
    campaign: NDArray[np.int64]
    slices: Mapping[str, Coded] = field(default_factory=dict)
    budgets: Mapping[str, TenantBudget] = field(default_factory=dict)
    hidden: Mapping[str, Hidden] = field(default_factory=dict)
    row: NDArray[np.intp] | None = None
    called: Coded | None = None
    called_without: Mapping[str, Coded] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = {"tenant": self.tenant, "message_id": self.message_id, "at_us": self.at_us, "label": self.label}
        columns |= {"category": self.category, "verdict": self.verdict, "log_odds": self.log_odds}
        columns |= {"campaign": self.campaign, **self.without, **self.slices}
        columns |= {name: said.calibrated for name, said in self.detectors.items()}
        columns |= {f"without {name}": one.log_odds for name, one in self.hidden.items()}
        for name, column in columns.items():
            if len(column) != len(self):
                raise DataError(f"column {name} of a scored table has {len(column)} rows, the others {len(self)}")

    def __len__(self) -> int:
        return len(self.at_us)

    @property
    def labelled(self) -> Flags:
        """(n,) whether a label is known."""
        return np.asarray(self.label.codes >= 0)

    @property
    def good(self) -> Flags:
        """(n,) whether the label is ham."""
        return self.label.has(GOOD)

    @property
    def bad(self) -> Flags:
        """(n,) whether a label is known that is not ham."""
        return self.labelled & ~self.good

    @property
    def held_back(self) -> Flags:
        """(n,) whether the verdict is junk or quarantine."""
        return np.asarray(self.verdict.codes >= JUNK)

    @property
    def marked(self) -> Flags:
        """(n,) whether the verdict is a banner or stronger."""
        return np.asarray(self.verdict.codes >= BANNER)

    def held_back_without(self, name: str) -> Flags:
        """(n,) whether a message would be junk or quarantine without that detector, where `without` has log-odds."""
        others = self.bundle.without_one(name)
        assert others is not None
        called = self.called_without.get(name, self.called)
        return held_back_at(self.without[name], self.tenant, others, self.budgets, called)

    def take(self, rows: NDArray[np.intp]) -> Scored:
        """The messages at these positions, in their order."""
        return replace(
            self,
            tenant=self.tenant.take(rows),
            message_id=self.message_id.take(pa.array(rows)),
            at_us=self.at_us[rows],
            label=self.label.take(rows),
            category=self.category.take(rows),
            verdict=self.verdict.take(rows),
            log_odds=self.log_odds[rows],
            detectors={name: said.take(rows) for name, said in self.detectors.items()},
            without={name: values[rows] for name, values in self.without.items()},
            campaign=self.campaign[rows],
            slices={name: column.take(rows) for name, column in self.slices.items()},
            hidden={name: one.take(rows) for name, one in self.hidden.items()},
            row=None if self.row is None else self.row[rows],
            called=None if self.called is None else self.called.take(rows),
            called_without={name: column.take(rows) for name, column in self.called_without.items()},
        )

    def where(self, chosen: Flags) -> Scored:
        """The messages where (n,) `chosen` is true."""
        return self if chosen.all() else self.take(np.flatnonzero(chosen))

    def order(self) -> NDArray[np.intp]:
        """(n,) positions by time, tenant and message_id, so that the order in which rows came says nothing."""
        keys = pa.table(
            {"at": pa.array(self.at_us), "tenant": self.tenant.to_arrow().dictionary_decode(), "id": self.message_id}
        )
        order = pc.sort_indices(keys, sort_keys=[("at", "ascending"), ("tenant", "ascending"), ("id", "ascending")])
        return np.asarray(order.to_numpy(), dtype=np.intp)

    def in_order(self) -> Scored:
        """The same by time, tenant and message_id."""
        return self.take(self.order())

    def slice_named(self, text: str) -> tuple[str, Flags]:
        """The name of a slice and (n,) which messages are meant by `NAME=WORD`, all of them by `NAME`.

        Raises DataError where there is no such slice, or no message of that word.
        """
        name, equals, word = text.partition("=")
        known = {"tenant": self.tenant, "label": self.label, **self.slices}
        if name not in known:
            hint = did_you_mean(name, known) or f" There are {', '.join(sorted(known))}."
            raise DataError(f"there is no slice {name!r} in what was judged.{hint}")
        if not equals:
            return name, np.ones(len(self), dtype=np.bool_)
        chosen = known[name].has(word)
        if not chosen.any():
            there = [one for one, n in zip(known[name].words, known[name].counts().tolist(), strict=True) if n]
            hint = did_you_mean(word, there) or f" There are {', '.join(there[:20]) or 'none'}."
            raise DataError(f"no message that was judged has {name} {word!r}.{hint}")
        return name, chosen

    def groups(self, by: str = "campaign") -> tuple[NDArray[np.int64], int]:
        """(n,) numbers of what is drawn as one when messages are drawn again, counted from 0, and how many there are.

        by: campaign, each message that is of none by itself; or message.
        """
        if by == "message":
            return np.arange(len(self)), len(self)
        alone = self.campaign < 0
        key = np.where(alone, np.arange(len(self)), len(self) + self.campaign)
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        number = np.empty(len(first), dtype=np.int64)
        number[np.argsort(first)] = np.arange(len(first))
        return number[inverse], len(first)

    def to_arrow(self) -> pa.Table:
        """The table as Arrow has it, words as dictionaries; `<detector>__...` a detector, `slice__<name>` a slice,
        `hidden__<group>__...` what is said with a group of features hidden."""
        columns: dict[str, pa.Array] = {
            "tenant": self.tenant.to_arrow(),
            "message_id": self.message_id,
            "received_at": pa.array(self.at_us).cast(pa.timestamp("us", tz="UTC")),
            "label": self.label.to_arrow(),
            "category": self.category.to_arrow(),
            "verdict": self.verdict.to_arrow(),
            "log_odds": pa.array(self.log_odds),
            "campaign": pa.array(self.campaign, mask=self.campaign < 0),
            "bundle": pa.array(np.full(len(self), self.version)),
        }
        for name, said in self.detectors.items():
            columns[f"{name}__log_odds"] = pa.array(said.calibrated, from_pandas=True)
            columns[f"{name}__missing"] = Coded(said.missing.astype(np.int32) - 1, MISSING[1:]).to_arrow()
            columns[f"{name}__milliseconds"] = pa.array(said.milliseconds, from_pandas=True)
        columns |= {f"without__{name}": pa.array(values, from_pandas=True) for name, values in self.without.items()}
        columns |= {f"slice__{name}": column.to_arrow() for name, column in self.slices.items()}
        for name, one in self.hidden.items():
            columns[f"hidden__{name.replace(' ', '_')}__log_odds"] = pa.array(one.log_odds)
            columns[f"hidden__{name.replace(' ', '_')}__verdict"] = one.verdict.to_arrow()
        return pa.table(columns)


MISSING = ("", "abstained", "not asked", "failed", "away")
"""Why a detector said nothing, by its code; "" where it spoke. The words are those of `accepted.Missing`."""


def joined(parts: Sequence[Scored]) -> Scored:
    """The messages of several tables of one bundle, one behind the other; campaigns are those of the parts alone."""
    first = parts[0]
    if len(parts) == 1:
        return first

    def stacked(columns: Iterator[NDArray[np.float64]]) -> Floats:
        return np.concatenate(list(columns))

    offsets = np.cumsum([0, *(int(part.campaign.max(initial=-1)) + 1 for part in parts[:-1])])
    return replace(
        first,
        tenant=coded.joined([part.tenant for part in parts]),
        message_id=pa.concat_arrays([part.message_id for part in parts]),
        at_us=np.concatenate([part.at_us for part in parts]),
        label=coded.joined([part.label for part in parts]),
        category=coded.joined([part.category for part in parts]),
        verdict=coded.joined([part.verdict for part in parts]),
        log_odds=stacked(part.log_odds for part in parts),
        detectors={
            name: Said(
                stacked(part.detectors[name].calibrated for part in parts),
                np.concatenate([part.detectors[name].missing for part in parts]),
                stacked(part.detectors[name].milliseconds for part in parts),
            )
            for name in first.detectors
        },
        without={name: stacked(part.without[name] for part in parts) for name in first.without},
        campaign=np.concatenate(
            [np.where(part.campaign < 0, -1, part.campaign + at) for part, at in zip(parts, offsets, strict=True)]
        ),
        slices={name: coded.joined([part.slices[name] for part in parts]) for name in first.slices},
        hidden={
            name: Hidden(
                one.outage,
                stacked(part.hidden[name].log_odds for part in parts),
                coded.joined([part.hidden[name].verdict for part in parts]),
            )
            for name, one in first.hidden.items()
        },
        row=None if first.row is None else np.concatenate([part.row for part in parts if part.row is not None]),
        called=None if all(part.called is None for part in parts) else coded.joined([_called(part) for part in parts]),
        called_without={
            name: coded.joined([part.called_without.get(name, _called(part)) for part in parts])
            for name in dict.fromkeys(name for part in parts for name in part.called_without)
        },
    )


def _called(part: Scored) -> Coded:
    """What each message would be called; nothing where that was not asked of any of the part."""
    return Coded(np.full(len(part), NONE, dtype=np.int32), CATEGORIES) if part.called is None else part.called


def verdicts_at(
    log_odds: Floats,
    tenant: Coded,
    combination: Combination,
    budgets: Mapping[str, TenantBudget],
    called: Coded | None = None,
) -> Coded:
    """The verdict of each message's fused log-odds (n,) at its tenant's thresholds, within its own budget where it has
    one. called: what each message would be called, None for nobody knows."""
    words = () if called is None else called.words
    steps = np.full((len(tenant.words) + 1, len(words) + 1, len(VERDICTS) - 1), np.nan)
    for number, name in enumerate(tenant.words):
        budget = budgets.get(name, TRAINED)
        plain = combination.thresholds_within(name, budget)
        steps[number] = plain.banner, plain.junk, plain.quarantine
        for place, category in enumerate(words if combination.asks_category(budget) else ()):
            own = combination.thresholds_within(name, budget, category)
            steps[number, place] = own.banner, own.junk, own.quarantine
    reached = log_odds[:, None] >= steps[tenant.codes, NONE if called is None else called.codes]
    return Coded(reached.sum(axis=1).astype(np.int32), VERDICTS)


def held_back_at(
    log_odds: Floats,
    tenant: Coded,
    combination: Combination,
    budgets: Mapping[str, TenantBudget],
    called: Coded | None = None,
) -> Flags:
    """(n,) whether the verdict is junk or quarantine; see `verdicts_at`."""
    return np.asarray(verdicts_at(log_odds, tenant, combination, budgets, called).codes >= JUNK)


def check_both_classes(scored: Scored, what: str) -> None:
    """Raise DataError, with the mend, where labels are absent or all of one class. what: of what they are."""
    check_classes(int(scored.bad.sum()), int(scored.good.sum()), len(scored), what)


def check_classes(n_bad: int, n_good: int, n: int, what: str) -> None:
    """The same of so many bad and good messages of n."""
    if not n_bad and not n_good:
        raise DataError(
            f"none of {n:,} messages of {what} has a label; give labels (`mailwarden ingest --labels INDEX`, "
            "POST /v1/labels), then evaluate"
        )
    if not n_bad or not n_good:
        alone, lacking = ("bad", "good") if n_bad else ("good", "bad")
        raise DataError(
            f"{what} has {n_bad + n_good:,} labels, and all say {alone}: recall within a false-positive budget "
            f"needs {lacking} mail too; label some ({'ham' if n_bad else ', '.join(LABELS[1:4]) + ' ...'}), or "
            "widen what is judged"
        )


def contributions(scored: Scored) -> dict[str, Floats]:
    """By detector (n,) what it adds to the fused log-odds where everything is there: 0 where it says nothing."""
    whole = scored.bundle.whole
    found = _contributions(scored, whole)
    if whole.own is None:
        return found
    known, own = scored.tenant.among(whole.known), _contributions(scored, whole.own)
    nothing = np.zeros(len(scored))
    return {name: np.where(known, own.get(name, nothing), found.get(name, nothing)) for name in {**found, **own}}


def _contributions(scored: Scored, whole: Combination) -> dict[str, Floats]:
    alone, consult = whole.fusion, whole.consult
    both = alone if consult is None else consult.combination.fusion
    asked = np.zeros(len(scored), dtype=np.bool_)
    for name in both.weights.keys() - alone.weights.keys():
        asked |= ~np.isnan(scored.detectors[name].calibrated)
    found = {}
    for name in both.weights:
        calibrated = scored.detectors[name].calibrated
        weight, offset = (
            np.where(asked, there.get(name, 0.0), here.get(name, 0.0))
            for there, here in ((both.weights, alone.weights), (both.offsets, alone.offsets))
        )
        found[name] = np.where(np.isnan(calibrated), 0.0, weight * calibrated + offset)
    return found
