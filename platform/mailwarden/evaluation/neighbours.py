"""Messages that are like a message: near in all that detectors read of them and said of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from mailwarden.evaluation.samples import Sample

NEAREST = 3
_NULL = -0.5


@dataclass(frozen=True, slots=True)
class Nearest:
    """For each of some messages those of others that are nearest, the nearest first.

    place: (n, k) positions in the sample. distance: (n, k); 0 for messages of which all is alike, 1 or so for two that
    have little in common.
    """

    place: NDArray[np.intp]
    distance: NDArray[np.float64]


def space(sample: Sample) -> NDArray[np.float32]:
    """(n, columns) the sample where distances mean something: each value by its rank in the sample, 0..1, and null as
    far from the lowest as the lowest from the middle. What detectors said weighs as much as all features together."""
    blocks = [_ranked(sample.values), _ranked(sample.said)]
    return np.concatenate([block / np.sqrt(max(1, block.shape[1])) for block in blocks], axis=1).astype(np.float32)


def nearest(points: NDArray[np.float32], of: NDArray[np.intp], among: NDArray[np.intp], k: int = NEAREST) -> Nearest:
    """The k nearest to each of some messages among others, fewer where there are fewer. points: as `space` has them."""
    k = min(k, len(among))
    if not k or not len(of):
        return Nearest(np.empty((len(of), k), np.intp), np.empty((len(of), k)))
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points[among])
    distance, place = search.kneighbors(points[of])
    return Nearest(among[place], distance.astype(np.float64))


def _ranked(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The columns that are not alike throughout, by rank."""
    columns = []
    for column in values.T:
        known = np.sort(column[~np.isnan(column)])
        if not len(known) or (len(known) == len(column) and known[0] == known[-1]):
            continue
        ranks = (np.searchsorted(known, column, "left") + np.searchsorted(known, column, "right")) / (2.0 * len(known))
        columns.append(np.where(np.isnan(column), _NULL, ranks))
    return np.stack(columns, axis=1) if columns else np.empty((len(values), 0))
