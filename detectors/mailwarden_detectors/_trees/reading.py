"""The rows that trees read: features, why views are null, and how a message proves its sender."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.proof import FEATURES as PROOF
from mailwarden.domain.detection.proof import NONE, proven
from mailwarden.domain.detection.rows import FEW, FeatureTable, MatrixColumns, Places
from mailwarden_detectors._trees.borrowed_names import NAMED
from mailwarden_detectors._trees.claims import CLAIMED, DERIVED, KNOWN
from mailwarden_detectors._trees.column import Column
from mailwarden_detectors._trees.columns import COLUMNS, OTHERS
from mailwarden_detectors._trees.reasons import FIRST

_BY_NAME = {column.name: column for column in (*COLUMNS, *OTHERS)}
_HISTORIES = {name for name in _BY_NAME if name.endswith(":history")}


class Reading:
    """Which columns some trees read, in order: `columns`, then the status of each of `views`, then `claims.DERIVED`.

    statuses: whether why nulls are null is read too, else `views` is empty.
    features: full names of all that it takes to read them and to give reasons, for `Detector.features`.
    """

    def __init__(self, columns: Sequence[Column], *, statuses: bool) -> None:
        self.columns = tuple(columns)
        self.names = tuple(column.name for column in self.columns)
        views = tuple(dict.fromkeys(name.partition(":")[0] for name in self.names))
        self.views = views if statuses else ()
        self.width = len(self.columns) + len(self.views) + len(DERIVED)
        self._claimed = np.array([at for at, name in enumerate(self.names) if name in CLAIMED], dtype=np.intp)
        histories = [f"{view}:history" for view in (*views, *FIRST) if f"{view}:history" in _HISTORIES]
        self.features = tuple(dict.fromkeys([*self.names, *histories, *PROOF, *NAMED]))

    @classmethod
    def of(cls, *names: str) -> Reading:
        """Of columns by full name, `view:feature`, nulls as they come; raises KeyError naming one that has no words."""
        return cls([_BY_NAME[name] for name in dict.fromkeys(names)], statuses=False)

    def matrix(self, features: FeatureTable) -> NDArray[np.float64]:
        """(n, width): what the history of a name says of a message that does not prove the name is null.

        Of a sender that nobody has seen there is nothing to claim: its zeros stay. Of few rows it is made once, from
        what all readings share of them.
        """
        if features.n <= FEW and isinstance(features.columns, MatrixColumns):
            return features.once(self, self._chosen)
        out = np.empty((features.n, self.width))
        own = out[:, : len(self.columns)]
        own[:] = features.numeric(self.names)
        out[:, len(self.columns) : -len(DERIVED)] = features.codes(self.views)
        proof, broken, unproven = _proven(features)
        if len(unproven) and len(self._claimed):
            own[np.ix_(unproven, self._claimed)] = np.nan
        out[:, -2], out[:, -1] = proof, broken
        return out

    def _chosen(self, features: FeatureTable) -> NDArray[np.float64]:
        whole = features.once(_whole, _whole)
        columns = features.columns
        assert isinstance(columns, MatrixColumns)
        chosen = whole.take(columns.places.once(self, self._places), axis=1)
        if not self.views:
            return chosen
        cut = len(self.columns)
        return np.concatenate([chosen[:, :cut], features.codes(self.views), chosen[:, cut:]], axis=1)

    def _places(self, places: Places) -> list[int]:
        behind = len(places.numeric)
        return [*(places.numeric[name] for name in self.names), *range(behind, behind + len(DERIVED))]


def _whole(features: FeatureTable) -> NDArray[np.float64]:
    """(n, numeric + 2) all numeric features as a reading has them, and `claims.DERIVED` behind."""
    columns = features.columns
    assert isinstance(columns, MatrixColumns)
    proof, broken, unproven = _proven(features)
    out = np.empty((features.n, columns.matrix.shape[1] + len(DERIVED)))
    out[:, : -len(DERIVED)] = columns.matrix
    if len(unproven):
        out[np.ix_(unproven, columns.places.once(CLAIMED, _claimed))] = np.nan
    out[:, -2], out[:, -1] = proof, broken
    return out


def _claimed(places: Places) -> list[int]:
    return [places.numeric[name] for name in CLAIMED if name in places.numeric]


def _proven(features: FeatureTable) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """(n,) each of `claims.DERIVED`, and the rows that claim a known name and do not prove it."""
    proof, broken = proven(features)
    known = (features.numeric(KNOWN) > 0.0).any(axis=1)
    return proof, broken, np.flatnonzero(known & (proof == NONE))
