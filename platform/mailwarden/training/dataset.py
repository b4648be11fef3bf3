"""Labelled rows: what a detector learns from and is measured on, apart from its features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.events import LABELS
from mailwarden.errors import DataError


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """One row a recipient of a labelled message, in order of arrival: by (at_us, tenant, seq, recipient).

    tenant, message_id, recipient: (n,) object arrays of str. seq, at_us: (n,) int64. labels: n codes of
    `events.LABELS`. weight: (n,) float64, 1/recipients times what the label weighs. message: (n,) int64, number of the
    row's message, counted from 0 in order of arrival.
    """

    tenant: NDArray[Any]
    message_id: NDArray[Any]
    recipient: NDArray[Any]
    seq: NDArray[np.int64]
    at_us: NDArray[np.int64]
    labels: Sequence[str]
    weight: NDArray[np.float64]
    message: NDArray[np.int64]

    @property
    def n(self) -> int:
        """How many rows."""
        return len(self.labels)

    @property
    def n_messages(self) -> int:
        """How many messages."""
        return int(self.message[-1]) + 1 if self.n else 0

    @property
    def bad(self) -> NDArray[np.bool_]:
        """(n,) whether the message is unwanted or an attack."""
        return np.array([label != "ham" for label in self.labels], dtype=np.bool_)

    def of_messages(self) -> NDArray[np.intp]:
        """(n_messages,) position of the first row of each message."""
        return np.unique(self.message, return_index=True)[1].astype(np.intp)

    def take(self, index: NDArray[np.intp]) -> LabelledRows:
        """The rows at these rising positions, their messages numbered anew."""
        return LabelledRows(
            tenant=self.tenant[index],
            message_id=self.message_id[index],
            recipient=self.recipient[index],
            seq=self.seq[index],
            at_us=self.at_us[index],
            labels=[self.labels[row] for row in index.tolist()],
            weight=self.weight[index],
            message=np.unique(self.message[index], return_inverse=True)[1].astype(np.int64),
        )

    def through(self) -> dict[str, int]:
        """By tenant, the greatest seq of a message among the rows."""
        found: dict[str, int] = {}
        for tenant, seq in zip(self.tenant, self.seq.tolist(), strict=True):
            found[tenant] = max(seq, found.get(tenant, 0))
        return found

    def fingerprint(self, tables: Sequence[FeatureTable] = ()) -> str:
        """SHA-256 in hex over every row's tenant, message, seq, recipient and label, and over the features' values."""
        digest = sha256()
        for tenant, message_id, seq, recipient, label in zip(
            self.tenant, self.message_id, self.seq.tolist(), self.recipient, self.labels, strict=True
        ):
            for part in (tenant, message_id, str(seq), recipient, label):
                data = part.encode("utf-8", "surrogatepass")
                digest.update(len(data).to_bytes(4, "little"))
                digest.update(data)
        for table in tables:
            for name in sorted(table.columns):
                digest.update(name.encode())
                digest.update(_digest(table.columns[name]))
            for view in sorted(table.statuses):
                digest.update(view.encode())
                digest.update(table.statuses[view].tobytes())
        return digest.hexdigest()


def labelled_rows(
    *,
    tenant: Sequence[str],
    message_id: Sequence[str],
    recipient: Sequence[str],
    seq: NDArray[np.int64],
    at_us: NDArray[np.int64],
    labels: Sequence[str],
    weight: NDArray[np.float64],
) -> tuple[LabelledRows, NDArray[np.intp]]:
    """Rows put in order of arrival, with the order: position in the input of each row.

    Raises DataError on a label that is none of `events.LABELS`.
    """
    unknown = sorted(set(labels) - set(LABELS))
    if unknown:
        raise DataError(f"Label {unknown[0]!r} of a training row is unknown. Labels are: {', '.join(LABELS)}.")
    columns = [np.asarray(values, dtype=object) for values in (tenant, message_id, recipient)]
    times, numbers = at_us.tolist(), seq.tolist()
    order = np.array(
        sorted(range(len(labels)), key=lambda row: (times[row], columns[0][row], numbers[row], columns[2][row])),
        dtype=np.intp,
    )
    first: dict[tuple[str, str], int] = {}
    message = np.array(
        [first.setdefault((columns[0][row], columns[1][row]), len(first)) for row in order], dtype=np.int64
    )
    rows = LabelledRows(
        tenant=columns[0][order],
        message_id=columns[1][order],
        recipient=columns[2][order],
        seq=seq[order],
        at_us=at_us[order],
        labels=tuple(labels[row] for row in order),
        weight=weight[order],
        message=message,
    )
    return rows, order


def _digest(column: NDArray[Any]) -> bytes:
    if column.dtype != object:
        # One NaN for all: their spare bits say nothing.
        return sha256(np.where(np.isnan(column), np.nan, column).astype("<f8").tobytes()).digest()
    digest = blake2b(digest_size=32)
    for value in column:
        data = b"\xff" if value is None else value.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(4, "little"))
        digest.update(data)
    return digest.digest()
