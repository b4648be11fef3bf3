"""What each rule is worth on labelled mail: hits on good and bad, precision, and what it alone says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mailwarden.domain.detection.rules.rule import Rule
from mailwarden.domain.mail.events import LABELS
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.figures import Share
from mailwarden.evaluation.scored import GOOD


@dataclass(frozen=True, slots=True)
class RuleFigures:
    """One rule over messages; it holds on a message where it does for any recipient.

    good, bad: of how many messages. good_hits, bad_hits: on how many of them it holds. precision: of its hits those
    that are bad. unique_good, unique_bad: hits where no other rule holds that speaks against the mail. by_label: hits.
    """

    rule: Rule
    good: int
    bad: int
    good_hits: int
    bad_hits: int
    precision: Share
    unique_good: int
    unique_bad: int
    by_label: Mapping[str, int]


class RuleCounts:
    """Counts over messages that are handed in a part at a time."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._against = np.array([rule.weight > 0.0 or rule.action not in (None, "deliver") for rule in rules])
        self._n = np.zeros(len(LABELS), dtype=np.int64)
        self._hits = np.zeros((len(LABELS), len(self._rules)), dtype=np.int64)
        self._unique = np.zeros((len(LABELS), len(self._rules)), dtype=np.int64)

    def add(self, held: NDArray[np.bool_], starts: NDArray[np.intp], label: Coded) -> None:
        """held: (n, rules), rows of messages that begin at starts (messages + 1,). label: (messages,), of `LABELS`."""
        if len(starts) < 2:
            return
        whole = np.logical_or.reduceat(held, starts[:-1], axis=0)
        others = (whole & self._against).sum(axis=1, keepdims=True) - (whole & self._against)
        alone = whole & (others == 0)
        for code in range(len(LABELS)):
            rows = label.codes == code
            self._n[code] += int(rows.sum())
            self._hits[code] += whole[rows].sum(axis=0)
            self._unique[code] += alone[rows].sum(axis=0)

    @property
    def messages(self) -> tuple[int, int]:
        """Good ones, and bad ones."""
        return self._parted(self._n)

    def figures(self) -> list[RuleFigures]:
        """One a rule, in the order that they were given."""
        good, bad = self.messages
        found = []
        for at, rule in enumerate(self._rules):
            good_hits, bad_hits = self._parted(self._hits[:, at])
            unique_good, unique_bad = self._parted(self._unique[:, at])
            found.append(
                RuleFigures(
                    rule=rule,
                    good=good,
                    bad=bad,
                    good_hits=good_hits,
                    bad_hits=bad_hits,
                    precision=Share.of(bad_hits, bad_hits + good_hits),
                    unique_good=unique_good,
                    unique_bad=unique_bad,
                    by_label={name: int(n) for name, n in zip(LABELS, self._hits[:, at], strict=True) if n},
                )
            )
        return found

    @staticmethod
    def _parted(counts: NDArray[np.int64]) -> tuple[int, int]:
        good = int(counts[LABELS.index(GOOD)])
        return good, int(counts.sum()) - good


def write_rule_hits(path: Path, figures: Sequence[RuleFigures]) -> None:
    """Parquet, a row a rule: name, weight, action, category, counts, precision with its interval, hits by label."""
    columns: dict[str, list[object]] = {
        "rule": [one.rule.name for one in figures],
        "weight": [one.rule.weight for one in figures],
        "action": [one.rule.action for one in figures],
        "category": [one.rule.category or None for one in figures],
        **{name: [getattr(one, name) for one in figures]
           for name in ("good", "bad", "good_hits", "bad_hits", "unique_good", "unique_bad")},
        "precision": [one.precision.rate if one.precision.n else None for one in figures],
        "precision_low": [one.precision.low for one in figures],
        "precision_high": [one.precision.high for one in figures],
        **{f"hits_{label}": [one.by_label.get(label, 0) for one in figures] for label in LABELS},
    }  # fmt: skip
    schema = pa.table(columns).schema.set(2, pa.field("action", pa.string())).set(3, pa.field("category", pa.string()))
    pq.write_table(pa.table(columns, schema=schema), path)
