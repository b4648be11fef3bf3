"""What a new detector's module is made of."""

from __future__ import annotations

DETECTOR = '''"""{name}: weighs for each feature whether it is above what is usual in good mail."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Detector, RawScores, Signal{stage_import}, TrainingSet
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.status import CODES, Status
from mailwarden.errors import DataError

_WORDS = {{
{words}}}
"""What is read, and what reasons call it."""

_VIEWS = [name.partition(":")[0] for name in _WORDS]
_UNKNOWN, _USUAL, _MORE = _KINDS = range(3)
"""What a value is: null, at most what three of four good messages have, or more."""


class {class_name}(Detector):
    """Adds up, feature by feature, how much oftener bad mail has such a value; abstains where nothing is known."""

    name: ClassVar[str] = "{name}"
    version: ClassVar[int] = 1
    owner: ClassVar[str] = {owner}
    description: ClassVar[str] = "Weighs what is above what is usual in good mail."
    features: ClassVar[tuple[str, ...]] = tuple(_WORDS)
{stage}    cpu_budget_us: ClassVar[int] = {budget}

    def __init__(self) -> None:
        self._usual = np.zeros(len(_WORDS))
        self._weights = np.zeros((len(_WORDS), len(_KINDS)))

    def fit(self, training: TrainingSet, *, seed: int) -> None:
        """Count kinds of values in bad and in good mail; nothing is drawn by chance."""
        bad, weight = training.bad, training.weight[:, None]
        if bad.all() or not bad.any():
            raise DataError(f"{{self.name}} needs bad and good messages to learn from. Label more mail.")
        values = _values(training.features)
        self._usual = np.array([_most(column) for column in values[~bad].T])
        kinds = self._kinds(values)
        there = ~_unavailable(training.features)
        for kind in _KINDS:
            held = (kinds == kind) & there
            in_bad = _share(held[bad] * weight[bad], there[bad] * weight[bad])
            in_good = _share(held[~bad] * weight[~bad], there[~bad] * weight[~bad])
            self._weights[:, kind] = np.log(in_bad / in_good)

    def score(self, features: FeatureTable) -> RawScores:
        """Log-odds before calibration; abstains from rows of nulls."""
        values = _values(features)
        # One feature behind the other: a row then scores the same to the last bit alone and in any batch.
        raw = np.cumsum(self._parts(features, values), axis=1)[:, -1]
        return RawScores(raw, np.asarray(np.isnan(values).all(axis=1)))

    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        """The values that add most; what is not known is no reason."""
        one = features.take(np.array([row]))
        values = _values(one)
        parts = np.where(np.isnan(values), 0.0, self._parts(one, values))[0]
        strongest = sorted(np.flatnonzero(parts > 0.0).tolist(), key=lambda at: (-parts[at], at))
        named, signals = list(_WORDS.items()), []
        for at in strongest[:limit]:
            name, what = named[at]
            words = f"{{what}}: {{values[0, at]:g}}, where good mail mostly has {{self._usual[at]:g}} or less."
            signals.append(Signal(name, words, float(parts[at]), (name,)))
        return signals

    def parameters(self) -> dict[str, Any]:
        """What good mail mostly does not exceed."""
        return {{"usual": dict(zip(_WORDS, self._usual.tolist(), strict=True))}}

    def to_bytes(self) -> bytes:
        """JSON."""
        learned = {{"usual": self._usual.tolist(), "weights": self._weights.tolist()}}
        return json.dumps({{"detector": self.name, "features": list(_WORDS), **learned}}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote; raises DataError where it is something else."""
        detector = cls()
        try:
            found = json.loads(data)
            usual, weights = np.array(found["usual"], dtype=np.float64), np.array(found["weights"], dtype=np.float64)
            if found["detector"] != cls.name or found["features"] != list(_WORDS):
                raise ValueError("another detector, or other features")
            if usual.shape != detector._usual.shape or weights.shape != detector._weights.shape:
                raise ValueError("weights of another shape")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"These bytes are no {{cls.name}} detector ({{error}}). Train it again.") from error
        detector._usual, detector._weights = usual, weights
        return detector

    def _kinds(self, values: NDArray[np.float64]) -> NDArray[np.intp]:
        return np.where(np.isnan(values), _UNKNOWN, np.where(values > self._usual, _MORE, _USUAL))

    def _parts(self, features: FeatureTable, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, features) log-odds that each adds; none where its view could not be read, which says nothing of mail."""
        parts = self._weights[np.arange(len(_WORDS)), self._kinds(values)]
        return np.where(_unavailable(features), 0.0, parts)


{values}

def _unavailable(features: FeatureTable) -> NDArray[np.bool_]:
    """(n, features) whether the view of each could not be read."""
    statuses = np.column_stack([features.status(view) for view in _VIEWS])
    return np.asarray(statuses == CODES[Status.UNAVAILABLE])


def _most(column: NDArray[np.float64]) -> float:
    """What three of four known values do not exceed, 0 where none is known."""
    known = column[~np.isnan(column)]
    return float(np.quantile(known, 0.75, method="higher")) if len(known) else 0.0


def _share(held: NDArray[np.float64], there: NDArray[np.float64]) -> NDArray[np.float64]:
    """(features,) the share of a kind, as if each kind had been seen once more."""
    return np.asarray((held.sum(axis=0) + 1.0) / (there.sum(axis=0) + len(_KINDS)))
'''

NUMBERS = '''def _values(features: FeatureTable) -> NDArray[np.float64]:
    """(n, features), NaN for null."""
    return features.numeric(tuple(_WORDS))
'''

TEXTS = '''_TEXTS = {texts}


def _values(features: FeatureTable) -> NDArray[np.float64]:
    """(n, features), NaN for null; of a text its length in characters."""
    out = np.full((features.n, len(_WORDS)), np.nan)
    for at, name in enumerate(_WORDS):
        if name in _TEXTS:
            out[:, at] = [len(text) or np.nan for text in features.text(name)]
        else:
            out[:, at] = features.columns[name]
    return out
'''
