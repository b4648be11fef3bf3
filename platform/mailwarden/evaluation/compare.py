"""Two bundles on the same messages: how far they differ, with paired intervals, and which messages change sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mailwarden.errors import DataError
from mailwarden.evaluation.figures import BUDGETS
from mailwarden.evaluation.resampling import RESAMPLES, SEED, Groups, RecallDrawn, interval
from mailwarden.evaluation.scored import Scored, contributions

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FUSION, THRESHOLDS = "(fusion)", "(thresholds)"
"""What a flip is put down to where no detector moved it: the fusion's intercept, or thresholds alone."""


@dataclass(frozen=True, slots=True)
class Difference:
    """second - first, of two shares 0..1. low, high: 95% interval, paired bootstrap over groups; NaN where none can
    be given. n: messages that the shares are of."""

    first: float
    second: float
    difference: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Flip:
    """messages of one label whose verdict changed alike. detector: what moved them most; category: as the second named
    it, as the first where the second delivers; label, category: "" for none."""

    label: str
    category: str
    detector: str
    before: str
    after: str
    messages: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """first, second: versions of the bundles. recall: by budget. by_category: by label, at the first budget.
    bad_held_back, good_held_back, good_marked: at each bundle's deployed thresholds. groups, grouped_by: what was
    drawn, resamples times. flips: the most frequent first; flipped: messages in all.
    """

    first: int
    second: int
    recall: Mapping[float, Difference]
    by_category: Mapping[str, Difference]
    bad_held_back: Difference
    good_held_back: Difference
    good_marked: Difference
    groups: int
    grouped_by: str
    resamples: int
    flips: tuple[Flip, ...]
    flipped: int


def compare(
    first: Scored,
    second: Scored,
    budgets: Sequence[float] = BUDGETS,
    *,
    by: str = "campaign",
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """How the second judges beside the first.

    by: what is drawn again, campaigns or messages. Raises DataError where they did not judge the same messages in the
    same order; `Scored.in_order` gives that.
    """
    _check_same(first, second)
    number, n = first.groups(by)
    groups = Groups(number, n, by)
    shown = tuple(budgets)
    bad, good = first.bad, first.good
    codes = np.flatnonzero(first.label.counts(bad)).tolist()
    parts = {"": bad, **{first.label.words[code]: bad & (first.label.codes == code) for code in codes}}
    one, two = (RecallDrawn(scored.log_odds, good, parts, groups, shown) for scored in (first, second))
    shares = {
        "bad_held_back": SharesDrawn(bad, (first.held_back, second.held_back), groups),
        "good_held_back": SharesDrawn(good, (first.held_back, second.held_back), groups),
        "good_marked": SharesDrawn(good, (first.marked, second.marked), groups),
    }
    drawn_recalls: dict[str, list[tuple[float, ...]]] = {word: [] for word in parts}
    drawn_shares: dict[str, list[float]] = {name: [] for name in shares}
    for drawn in groups.draws(resamples, seed):
        before, after = one.of(drawn), two.of(drawn)
        for word in parts:
            steps = zip(before[word], after[word], strict=True)
            drawn_recalls[word].append(tuple(b - a for a, b in steps))
        for name, share in shares.items():
            drawn_shares[name].append(share.of(drawn))

    def recall(word: str, at: int) -> Difference:
        found = [each[at] for each in drawn_recalls[word]]
        return difference_of(one.once[word][at], two.once[word][at], found, int(parts[word].sum()))

    found = {name: share.difference(drawn_shares[name]) for name, share in shares.items()}
    flips, flipped = _flips(first, second)
    return Comparison(
        first=first.version,
        second=second.version,
        recall={budget: recall("", at) for at, budget in enumerate(shown)},
        by_category={word: recall(word, 0) for word in parts if word},
        bad_held_back=found["bad_held_back"],
        good_held_back=found["good_held_back"],
        good_marked=found["good_marked"],
        groups=n,
        grouped_by=by,
        resamples=resamples,
        flips=flips,
        flipped=flipped,
    )


class SharesDrawn:
    """A share of some messages by each of two judgements, when groups are drawn. of: (n,) which messages. reached: by
    judgement (n,)."""

    def __init__(self, of: Flags, reached: tuple[Flags, Flags], groups: Groups) -> None:
        self._n = int(of.sum())
        self._of = groups.sums(of)
        self._hits = [groups.sums(of & one) for one in reached]

    def of(self, drawn: NDArray[np.int64]) -> float:
        """second - first, NaN where none of the messages was drawn."""
        n = int(drawn @ self._of)
        return int(drawn @ (self._hits[1] - self._hits[0])) / n if n else float("nan")

    def difference(self, drawn: list[float]) -> Difference:
        """With its interval, by the draws' differences."""
        n = self._n or float("nan")
        return difference_of(int(self._hits[0].sum()) / n, int(self._hits[1].sum()) / n, drawn, self._n)


def difference_of(first: float, second: float, drawn: list[float], n: int) -> Difference:
    """Of two shares of n messages, its interval by the draws' differences."""
    return Difference(first, second, second - first, *interval(drawn), n)


def _check_same(first: Scored, second: Scored) -> None:
    same = (
        len(first) == len(second)
        and first.message_id.equals(second.message_id)
        and first.tenant.to_arrow().dictionary_decode().equals(second.tenant.to_arrow().dictionary_decode())
    )
    if not same:
        raise DataError(
            f"bundles {first.version} and {second.version} did not judge the same messages; judge both in one run"
        )


def moved_by(first: Scored, second: Scored, rows: NDArray[np.intp]) -> list[str]:
    """What moved each of these messages' verdicts most: a detector, `FUSION` or `THRESHOLDS`."""
    stronger = second.verdict.codes[rows] > first.verdict.codes[rows]
    moved = second.log_odds[rows] - first.log_odds[rows]
    toward = np.where(stronger, 1.0, -1.0)
    before, after = first.take(rows), second.take(rows)
    parts = [contributions(before), contributions(after)]
    names = sorted({*parts[0], *parts[1]})
    nothing = np.zeros(len(rows))
    steps = [toward * (parts[1].get(name, nothing) - parts[0].get(name, nothing)) for name in names]
    intercept = _intercepts(after) - _intercepts(before)
    most = np.argmax([*steps, toward * intercept], axis=0) if len(rows) else nothing.astype(np.intp)
    words = [*names, FUSION]
    return [
        words[at] if right else THRESHOLDS
        for at, right in zip(most.tolist(), (moved * toward > 0).tolist(), strict=True)
    ]


def _intercepts(scored: Scored) -> NDArray[np.float64]:
    whole = scored.bundle.whole
    own = whole.serving(own=True).fusion.intercept
    return np.where(scored.tenant.among(whole.known), own, whole.fusion.intercept)


def flipped_messages(first: Scored, second: Scored) -> pa.Table:
    """Messages whose verdict changed: their keys, label, categories, verdicts and log-odds of both, and what moved
    them."""
    rows = np.flatnonzero(first.verdict.codes != second.verdict.codes)
    before, after = first.take(rows), second.take(rows)
    return pa.table(
        {
            "tenant": before.tenant.to_arrow(),
            "message_id": before.message_id,
            "received_at": pa.array(before.at_us).cast(pa.timestamp("us", tz="UTC")),
            "label": before.label.to_arrow(),
            "before": before.verdict.to_arrow(),
            "after": after.verdict.to_arrow(),
            "category_before": before.category.to_arrow(),
            "category_after": after.category.to_arrow(),
            "log_odds_before": pa.array(before.log_odds),
            "log_odds_after": pa.array(after.log_odds),
            "moved_by": pa.array(moved_by(first, second, rows), pa.string()).dictionary_encode(),
        }
    )


def _flips(first: Scored, second: Scored) -> tuple[tuple[Flip, ...], int]:
    found = flipped_messages(first, second)

    def words(name: str) -> pa.Array:
        return found[name].combine_chunks().cast(pa.string()).fill_null("")

    after = words("category_after")
    category = pc.if_else(pc.equal(after, ""), words("category_before"), after)
    columns = {"category": category, **{name: words(name) for name in ("label", "moved_by", "before", "after")}}
    keys = ["label", "category", "moved_by", "before", "after"]
    counted = pa.table(columns).group_by(keys).aggregate([([], "count_all")]).to_pylist()
    flips = [
        Flip(row["label"], row["category"], row["moved_by"], row["before"], row["after"], row["count_all"])
        for row in counted
    ]
    return tuple(sorted(flips, key=_order)), found.num_rows


def _order(flip: Flip) -> tuple[object, ...]:
    return -flip.messages, flip.label, flip.before, flip.after, flip.category, flip.detector
