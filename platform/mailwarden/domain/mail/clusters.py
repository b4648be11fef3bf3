"""Campaigns of one tenant: clusters of near copies around the message that founded each, in order of seq.

A message joins the cluster whose founder it is most like, or founds one. It is compared with founders alone, so that
no chain of small changes leads from one text to another. What is known is bounded, and follows from the messages
before it alone: the `CAPACITY` clusters joined last, and in each band of the index the `BUCKET` joined last.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mailwarden.compiled import compiled
from mailwarden.domain.mail.campaigns import SIGNATURE_BYTES, SLOTS, name_of

CAPACITY = 65_536
"""Clusters of a tenant that are known; the one that was joined longest ago is dropped."""

BUCKET = 16
"""Clusters that a message is compared with in each band; those joined last."""

BANDS = SLOTS // 2
"""A band is two slots beside each other; messages that agree in none are not compared."""

FEWEST_SHARED = 7
"""Words that two messages of a campaign share at least, or all where there are fewer."""

MAY_DIFFER = 16
"""Words that the one with fewer may have apart: ten random ones, a name and what the estimate errs by."""

MAY_EXCEED = 28
"""Words that the one with more may have apart: a sentence besides."""

_KEYS = 1 << 16
_FIRST_ROWS = 64
_UNDONE = 4_096

Bytes = NDArray[np.uint8]
IntArray = NDArray[np.int32]
LongArray = NDArray[np.int64]


class Member(NamedTuple):
    """A message that was given a campaign. signature: its own."""

    seq: int
    campaign: str
    signature: str


class _Taken(NamedTuple):
    """A member, the seq that its cluster was joined at before (0: it founded it), and the cluster that had to go."""

    member: Member
    before: int
    dropped: tuple[int, str, Bytes] | None


class Clusters:
    """The clusters of one tenant as they are known after some message, found by bands of their founder's signature.

    capacity: see `CAPACITY`. Memory is 0.7 KB a cluster, 50 MB at most.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._row_of: dict[str, int] = {}
        self._names: list[str] = []
        self._stamp = 0
        self._taken: deque[_Taken] = deque(maxlen=_UNDONE)
        self._signatures = np.zeros((0, SIGNATURE_BYTES), dtype=np.uint8)
        self._joined = np.zeros(0, dtype=np.int64)
        self._grow(min(capacity, _FIRST_ROWS))

    def __len__(self) -> int:
        return len(self._row_of)

    def find(self, signature: str) -> str:
        """The campaign that a message of this signature belongs to now, its own where it would found one.

        Of several founders alike, the one that agrees in the most slots, then the one joined last. "" for "".
        """
        if not signature:
            return ""
        self._stamp += 1
        row = _nearest(
            bytes_of(signature), self._signatures, self._joined, self._heads, self._next, self._seen, self._stamp
        )
        return name_of(signature) if row < 0 else self._names[row]

    def take(self, member: Member) -> None:
        """Take in a message that was given its campaign; seqs ascend.

        A campaign that is not known and that the message did not found is passed over: its founder is lost.
        """
        row = self._row_of.get(member.campaign)
        dropped = None
        if row is None:
            if not member.signature or name_of(member.signature) != member.campaign:
                return
            row, dropped = self._place(member.campaign, bytes_of(member.signature))
            before = 0
        else:
            before = int(self._joined[row])
        self._joined[row] = member.seq
        self._to_front(row)
        self._taken.append(_Taken(member, before, dropped))

    def join(self, seq: int, signature: str) -> str:
        """`find`, and `take` what was found."""
        campaign = self.find(signature)
        if campaign:
            self.take(Member(seq, campaign, signature))
        return campaign

    def forget(self, member: Member) -> None:
        """Take back one of the last 4,096 messages; those taken in after it keep the campaign that they got."""
        later: list[Member] = []
        while self._taken and self._taken[-1].member.seq >= member.seq:
            taken = self._taken.pop()
            self._undo(taken)
            if taken.member == member:
                break
            later.append(taken.member)
        self._relink()
        for member in reversed(later):
            self.take(member)

    def founders(self) -> tuple[list[str], LongArray, Bytes]:
        """Names, the seq that each was joined last at, and signatures (n, SIGNATURE_BYTES), in order of that seq."""
        rows = self._in_order()
        return [self._names[row] for row in rows], self._joined[rows], self._signatures[rows]

    @classmethod
    def of(cls, names: list[str], joined: LongArray, signatures: Bytes, capacity: int = CAPACITY) -> Clusters:
        """Clusters again from `founders`; of more than there is room for, those joined last."""
        made = cls(capacity)
        order = np.argsort(joined, kind="stable")[-capacity:]
        made._grow(max(len(order), 1))
        made._names = [names[at] for at in order]
        made._row_of = {name: row for row, name in enumerate(made._names)}
        made._joined[: len(order)] = joined[order]
        made._signatures[: len(order)] = signatures[order]
        made._relink()
        return made

    def _place(self, name: str, signature: Bytes) -> tuple[int, tuple[int, str, Bytes] | None]:
        """A row for a new cluster: the next, or that of the cluster which was joined longest ago."""
        dropped = None
        if len(self._row_of) == self._capacity:
            row = int(self._ends[1])
            dropped = int(self._joined[row]), self._names[row], self._signatures[row].copy()
            self._unlink(row)
            del self._row_of[self._names[row]]
            self._names[row] = name
        else:
            row = len(self._names)
            if row == len(self._joined):
                self._grow(2 * row)
            self._names.append(name)
        self._row_of[name] = row
        self._signatures[row] = signature
        return row, dropped

    def _undo(self, taken: _Taken) -> None:
        row = self._row_of[taken.member.campaign]
        if taken.before:
            self._joined[row] = taken.before
            return
        del self._row_of[taken.member.campaign]
        if taken.dropped is not None:
            self._joined[row], self._names[row], self._signatures[row] = taken.dropped
            self._row_of[self._names[row]] = row
            return
        else:
            # Undone from the newest on, so that this row was the last to be used.
            self._names.pop()

    def _in_order(self) -> NDArray[np.intp]:
        return np.argsort(self._joined[: len(self._names)], kind="stable")

    def _grow(self, rows: int) -> None:
        """Room for more clusters; the index over them is made anew."""
        rows = min(max(rows, len(self._joined)), self._capacity)
        held = len(self._joined)
        self._signatures = np.concatenate(
            [self._signatures, np.zeros((rows - held, SIGNATURE_BYTES), dtype=np.uint8)], axis=0
        )
        self._joined = np.concatenate([self._joined, np.zeros(rows - held, dtype=np.int64)])
        self._relink()

    def _relink(self) -> None:
        rows, buckets = len(self._joined), 1
        while buckets < min(2 * rows, _KEYS):
            buckets *= 2
        self._heads = np.full((BANDS, buckets), -1, dtype=np.int32)
        self._next = np.full((rows, BANDS), -1, dtype=np.int32)
        self._before = np.full((rows, BANDS), _OUT, dtype=np.int32)
        self._older, self._newer = np.full((2, rows), _OUT, dtype=np.int32)
        self._ends = np.full(2, -1, dtype=np.int32)
        self._seen = np.zeros(rows, dtype=np.int64)
        self._stamp = 0
        for row in self._in_order():
            self._to_front(int(row))

    def _to_front(self, row: int) -> None:
        _to_front(
            row, self._signatures, self._heads, self._next, self._before, self._older, self._newer, self._ends, BUCKET
        )

    def _unlink(self, row: int) -> None:
        _unlink(row, self._signatures, self._heads, self._next, self._before, self._older, self._newer, self._ends)


def joined(members: Iterable[tuple[int, str]], capacity: int = CAPACITY) -> Iterator[str]:
    """The campaign of each message of one tenant, given seq and signature in order of seq."""
    clusters = Clusters(capacity)
    for seq, signature in members:
        yield clusters.join(seq, signature)


def bytes_of(signature: str) -> Bytes:
    """A signature's bytes: (SIGNATURE_BYTES,) uint8."""
    return np.frombuffer(base64.b64decode(signature), dtype=np.uint8)


_OUT = -2
"""In the place of the row before: this row is in no chain."""


@compiled
def _alike(same: int, words: int, others: int) -> bool:
    """Whether two messages of so many words each are of one campaign, agreeing in so many slots.

    The share of words in common (of those that either has) is estimated as same / SLOTS, less what bytes agree in by
    chance. It must be that of `FEWEST_SHARED` words in common, and a quarter; and 9/20, or that of all words but
    `MAY_DIFFER` of the one with fewer and `MAY_EXCEED` of the one with more.
    """
    share, whole = 256 * same - SLOTS, 255 * SLOTS
    both = words + others
    common = max(min(words, others) - MAY_DIFFER, max(words, others) - MAY_EXCEED)
    return (
        share * max(both - FEWEST_SHARED, FEWEST_SHARED) >= FEWEST_SHARED * whole
        and 4 * share >= whole
        and (20 * share >= 9 * whole or (both > common and share * (both - common) >= common * whole))
    )


@compiled
def _nearest(
    signature: Bytes,
    signatures: Bytes,
    joined: LongArray,
    heads: IntArray,
    following: IntArray,
    seen: LongArray,
    stamp: int,
) -> int:
    """The row of the founder that a message is of, -1 for none; at most `BUCKET` are looked at in a band."""
    words = np.int64(signature[SLOTS]) | np.int64(signature[SLOTS + 1]) << 8
    best, best_same = -1, -1
    for band in range(BANDS):
        one, two = signature[2 * band], signature[2 * band + 1]
        row = heads[band, (np.int64(one) << 8 | two) & (heads.shape[1] - 1)]
        met = 0
        while row >= 0 and met < BUCKET:
            if signatures[row, 2 * band] == one and signatures[row, 2 * band + 1] == two:
                met += 1
                if seen[row] != stamp:
                    seen[row] = stamp
                    same = 0
                    for slot in range(SLOTS):
                        same += signature[slot] == signatures[row, slot]
                    if same > best_same or (same == best_same and joined[row] > joined[best]):
                        others = np.int64(signatures[row, SLOTS]) | np.int64(signatures[row, SLOTS + 1]) << 8
                        if _alike(same, int(words), int(others)):
                            best, best_same = row, same
            row = following[row, band]
    return best


@compiled
def _unlink(
    row: int,
    signatures: Bytes,
    heads: IntArray,
    following: IntArray,
    before: IntArray,
    older: IntArray,
    newer: IntArray,
    ends: IntArray,
) -> None:
    """Take a row out of every chain that it is in."""
    for band in range(BANDS):
        last, after = before[row, band], following[row, band]
        if last == _OUT:
            continue
        if last >= 0:
            following[last, band] = after
        else:
            key = np.int64(signatures[row, 2 * band]) << 8 | signatures[row, 2 * band + 1]
            heads[band, key & (heads.shape[1] - 1)] = after
        if after >= 0:
            before[after, band] = last
        before[row, band] = _OUT
    if newer[row] != _OUT:
        if newer[row] >= 0:
            older[newer[row]] = older[row]
        else:
            ends[0] = older[row]
        if older[row] >= 0:
            newer[older[row]] = newer[row]
        else:
            ends[1] = newer[row]
        newer[row] = _OUT


@compiled
def _to_front(
    row: int,
    signatures: Bytes,
    heads: IntArray,
    following: IntArray,
    before: IntArray,
    older: IntArray,
    newer: IntArray,
    ends: IntArray,
    keep: int,
) -> None:
    """Make a row the newest of all and of its bucket in each band; of a bucket over its bound, the oldest goes out."""
    _unlink(row, signatures, heads, following, before, older, newer, ends)
    for band in range(BANDS):
        one, two = signatures[row, 2 * band], signatures[row, 2 * band + 1]
        bucket = (np.int64(one) << 8 | two) & (heads.shape[1] - 1)
        first = heads[band, bucket]
        following[row, band], before[row, band] = first, -1
        if first >= 0:
            before[first, band] = row
        heads[band, bucket] = row
        met, other = 1, first
        while other >= 0:
            after = following[other, band]
            if signatures[other, 2 * band] == one and signatures[other, 2 * band + 1] == two:
                met += 1
                if met > keep:
                    following[before[other, band], band] = after
                    if after >= 0:
                        before[after, band] = before[other, band]
                    before[other, band] = _OUT
                    break
            other = after
    newer[row], older[row] = -1, ends[0]
    if ends[0] >= 0:
        newer[ends[0]] = row
    else:
        ends[1] = row
    ends[0] = row
