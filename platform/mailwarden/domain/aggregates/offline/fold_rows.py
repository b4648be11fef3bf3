"""Rows that a view folds: events and reads of many keys side by side, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

from mailwarden.domain.aggregates.offline.dominance import BoolArray, IntArray
from mailwarden.domain.aggregates.offline.names import Names


@dataclass(frozen=True)
class FoldRows:
    """Events and requests of many keys, sorted by (key, seq, requests first).

    key: (n,) int64, dense and ascending from 0. seq, time_us: (n,) int64; of a request the read's own.
    request: (n,) bool. deltas: (n, n_measures) int64, 0 for requests. peaks: (n, n_peaks) int64, `NOTHING` where the
    row does not count, negated for the smallest. extremes: (n, n_extremes) bool, whether the row counts for the
    extreme. held: (n, n_held) int64, the quantities that extremes keep. distincts, recents: for each aggregate the
    names of the rows that count; of a request, in `recents`, the message's own.
    """

    key: IntArray
    seq: IntArray
    time_us: IntArray
    request: BoolArray
    deltas: IntArray
    peaks: IntArray
    extremes: BoolArray
    held: IntArray
    distincts: tuple[Names, ...]
    recents: tuple[Names, ...]

    def slice(self, start: int, stop: int) -> FoldRows:
        """Rows from start to stop, their keys numbered from 0."""
        key = self.key[start:stop]
        return FoldRows(
            key - (key[0] if len(key) else 0),
            self.seq[start:stop],
            self.time_us[start:stop],
            self.request[start:stop],
            self.deltas[start:stop],
            self.peaks[start:stop],
            self.extremes[start:stop],
            self.held[start:stop],
            tuple(names.slice(start, stop) for names in self.distincts),
            tuple(names.slice(start, stop) for names in self.recents),
        )
