"""Short conditions that hold on many errors and on little other mail, one after the other.

1. Errors of the earlier half of the time are set against what was judged rightly of the other class in that half.
2. A shallow decision tree is grown, once with both classes weighing the same and once as often as they come. Each of
   its nodes is a candidate: the conditions on the way to it, less those that it does without.
3. The candidate of the highest F (beta 1/2, so that precision counts more) is taken that holds on more errors than the
   best of so many bounds on so many columns would by chance. What it holds on is taken away from the errors, and the
   rest is looked at again.

Source: separate and conquer, Fürnkranz, Artificial Intelligence Review 13, 1999; the likelihood ratio as a test of a
rule, Clark and Niblett, Machine Learning 3, 1989 (CN2), here with Bonferroni's correction; trees are scikit-learn's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from mailwarden.evaluation.proposals import Condition, above, below

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

DEPTH = 3
"""Conditions that a rule is made of at most."""

LEAST = 5
"""Errors that conditions must hold on, to be of worth."""

LIFT = 3.0
"""So many times the share of errors, of that of other mail, they must hold on."""

CHANCE = 0.05
"""How likely it may be at most that conditions are found where nothing tells errors from other mail."""

_BOUNDS = 20
"""As how many bounds that are tried on a column its values count: neighbouring ones are not independent."""

_BETA_SQUARED = 0.25


@dataclass(frozen=True, slots=True)
class Telling:
    """Errors and other mail that are to be told apart.

    names: of the columns. values: (n, names), NaN for null. error: (n,). weight: (n,) how many each stands for.
    """

    names: tuple[str, ...]
    values: Floats
    error: Flags
    weight: Floats

    def where(self, kept: Flags) -> Telling:
        """Some of the rows."""
        return Telling(self.names, self.values[kept], self.error[kept], self.weight[kept])

    def holds(self, conditions: Sequence[Condition]) -> Flags:
        """(n,) where all hold."""
        found = np.ones(len(self.error), dtype=np.bool_)
        for one in conditions:
            found &= one.holds(self.values[:, self.names.index(one.name)])
        return found

    def worth(self, conditions: Sequence[Condition]) -> float:
        """F of taking what they hold on for errors, 0..1; one other message more is counted than they hold on."""
        held = self.holds(conditions)
        errors = float(self.weight[held & self.error].sum())
        others = float(self.weight[held & ~self.error].sum()) + 1.0
        total = float(self.weight[self.error].sum())
        return (1.0 + _BETA_SQUARED) * errors / (errors + others + _BETA_SQUARED * total) if total else 0.0


def covering(telling: Telling, most: int, *, seed: int) -> Iterator[tuple[Condition, ...]]:
    """Conditions, at most so many times, each found on the errors that those before do not hold on."""
    for _ in range(most):
        found = _best(telling, seed)
        if found is None:
            return
        yield found
        telling = telling.where(~(telling.error & telling.holds(found)))


def _best(telling: Telling, seed: int) -> tuple[Condition, ...] | None:
    error = telling.error
    if error.sum() < LEAST or not (~error).any():
        return None
    candidates = {path for balanced in (True, False) for path in _paths(telling, balanced=balanced, seed=seed)}
    shorter = {_pruned(telling, path) for path in candidates}
    ranked = sorted(shorter, key=lambda path: (-telling.worth(path), len(path), repr(path)))
    return next((path for path in ranked if _tells(telling, path)), None)


def _tells(telling: Telling, conditions: Sequence[Condition]) -> bool:
    held, error, weight = telling.holds(conditions), telling.error, telling.weight
    n, n_errors, hits, errors = (int(one.sum()) for one in (error | ~error, error, held, held & error))
    of_errors = weight[held & error].sum() / weight[error].sum()
    of_others = weight[held & ~error].sum() / weight[~error].sum()
    if errors < LEAST or of_errors < LIFT * of_others:
        return False
    expected = hits * n_errors / n
    likelier = _part(errors, expected) + _part(hits - errors, hits - expected)
    choices = sum(one.bounds for one in conditions)
    return likelier >= choices * math.log(_BOUNDS * len(telling.names)) - math.log(CHANCE)


def _part(found: int, expected: float) -> float:
    return found * math.log(found / expected) if found else 0.0


def _pruned(telling: Telling, path: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """The conditions less those, and less those nulls, that they are worth no less without."""
    worth = telling.worth(path)
    for one in path:
        others = tuple(other for other in path if other is not one)
        known = tuple(replace(one, null=False) if other is one and one.low <= one.high else other for other in path)
        if others and telling.worth(others) >= worth:
            return _pruned(telling, others)
        if known != path and telling.worth(known) >= worth:
            return _pruned(telling, known)
    return path


def _paths(telling: Telling, *, balanced: bool, seed: int) -> Iterator[tuple[Condition, ...]]:
    """The conditions on the way to each node of a tree where errors are no rarer than among all."""
    weight = telling.weight.copy()
    if balanced:
        for kind in (telling.error, ~telling.error):
            weight[kind] /= weight[kind].sum()
    tree = DecisionTreeClassifier(max_depth=DEPTH, min_samples_leaf=LEAST, random_state=seed)
    tree.fit(telling.values.astype(np.float32), telling.error, sample_weight=weight)
    nodes = tree.tree_
    base = float(nodes.value[0][0][1])
    waiting: list[tuple[int, dict[int, Condition]]] = [(0, {})]
    while waiting:
        node, path = waiting.pop()
        if path and float(nodes.value[node][0][1]) > base:
            yield tuple(path[at] for at in sorted(path))
        if nodes.children_left[node] < 0:
            continue
        at, limit = int(nodes.feature[node]), float(nodes.threshold[node])
        null_left = bool(nodes.missing_go_to_left[node])
        before = path.get(at, Condition(telling.names[at], null=bool(np.isnan(telling.values[:, at]).any())))
        left, right = _split(telling.values[:, at], before, limit, null_left=null_left)
        waiting.append((int(nodes.children_left[node]), {**path, at: left}))
        waiting.append((int(nodes.children_right[node]), {**path, at: right}))


def _split(values: Floats, before: Condition, limit: float, *, null_left: bool) -> tuple[Condition, Condition]:
    """A condition on a column narrowed to both sides of a limit, in numbers that are short to write."""
    if limit == math.inf:
        # What is null is told from what is not.
        return replace(before, null=False), replace(before, low=math.inf, high=-math.inf, null=True)
    known = values[~np.isnan(values)]
    lower = known.astype(np.float32) <= np.float32(limit)
    a = float(known[lower].max()) if lower.any() else -math.inf
    b = float(known[~lower].min()) if not lower.all() else math.inf
    left = replace(before, high=min(before.high, below(a, b)), null=before.null and null_left)
    right = replace(before, low=max(before.low, above(a, b)), null=before.null and not null_left)
    return _exactly(left, known), _exactly(right, known)


def _exactly(condition: Condition, known: Floats) -> Condition:
    """Of a flag, the value itself: 0 or 1, and no bound."""
    if not np.isin(known, (0.0, 1.0)).all():
        return condition
    if condition.high == 0.0:
        return replace(condition, low=0.0)
    return replace(condition, high=1.0) if condition.low == 1.0 else condition
