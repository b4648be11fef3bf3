"""Messages by (tenant, message_id), so that what several tables say of them is brought to one order by columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_AT_ONCE = 1_000_000


class Keys:
    """n messages, each once. tenant, message_id: (n,) strings."""

    def __init__(self, tenant: pa.Array, message_id: pa.Array) -> None:
        self._keys = joined(tenant, message_id)

    def __len__(self) -> int:
        return len(self._keys)

    def places(self, tenant: pa.Array, message_id: pa.Array) -> NDArray[np.int64]:
        """(rows,) which message each row is of, -1 for none of these."""
        found = pc.index_in(joined(tenant, message_id), value_set=self._keys)
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int64)

    def read(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        """Rows of batches that have `tenant` and `message_id`, of these messages alone, each with which it is of."""
        for rows in gathered(batches):
            place = self.places(rows["tenant"].combine_chunks(), rows["message_id"].combine_chunks())
            known = place >= 0
            yield place[known], rows.filter(pa.array(known))


def joined(tenant: pa.Array, message_id: pa.Array) -> pa.Array:
    """(rows,) tenant and message_id as one string; a line break is in neither."""
    wide = pa.large_string()
    return pc.binary_join_element_wise(tenant.cast(wide), message_id.cast(wide), pa.scalar("\n", wide))


def gathered(batches: Iterable[pa.RecordBatch], rows: int = _AT_ONCE) -> Iterator[pa.Table]:
    """The same rows in few large tables: each look-up makes its index of all messages anew."""
    held: list[pa.RecordBatch] = []
    n = 0
    for batch in batches:
        held.append(batch)
        n += batch.num_rows
        if n >= rows:
            yield pa.Table.from_batches(held)
            held, n = [], 0
    if held:
        yield pa.Table.from_batches(held)


def newest(place: Sequence[NDArray[np.int64]], seq: Sequence[NDArray[np.int64]], n: int) -> NDArray[np.int64]:
    """(n,) position, among all rows, of each message's row of the greatest seq; -1 where it has none.

    place: by part, (rows,) which message a row is of. seq: likewise.
    """
    found = np.full(n, -1, dtype=np.int64)
    if not place:
        return found
    where, number = np.concatenate(place), np.concatenate(seq)
    order = np.lexsort((number, where))
    last = np.flatnonzero(np.append(where[order][1:] != where[order][:-1], True)) if len(order) else order
    found[where[order][last]] = order[last]
    return found
