"""The rows that trees read: features, why views are null, and how a message proves its sender."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.proof import FEATURES as PROOF
from mailwarden.domain.detection.proof import NONE, breaks_habit, proof_of
from mailwarden.domain.detection.rows import FeatureTable
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

        Of a sender that nobody has seen there is nothing to claim: its zeros stay.
        """
        out = np.empty((features.n, self.width))
        own = out[:, : len(self.columns)]
        own[:] = features.numeric(self.names)
        for at, view in enumerate(self.views, start=len(self.columns)):
            out[:, at] = features.status(view)
        proof, broken, unproven = _proven(features)
        if len(unproven) and len(self._claimed):
            own[np.ix_(unproven, self._claimed)] = np.nan
        out[:, -2], out[:, -1] = proof, broken
        return out


_Proven = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]
_last: tuple[FeatureTable, _Proven] | None = None


def _proven(features: FeatureTable) -> _Proven:
    """(n,) each of `claims.DERIVED`, and the rows that claim a known name and do not prove it.

    Detectors that read one message one after the other ask once.
    """
    global _last
    last = _last
    if features.n == 1 and last is not None and last[0] is features:
        return last[1]
    proof = proof_of(features)
    known = (features.numeric(KNOWN) > 0.0).any(axis=1)
    found = proof, breaks_habit(features), np.flatnonzero(known & (proof == NONE))
    if features.n == 1:
        _last = features, found
    return found
