"""Which messages are of one campaign: a home's clusters, kept beside first contacts and given with each seq."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import structlog

from mailwarden.domain.mail.campaigns import SIGNATURE_BYTES, hashed_words, name_of, signature_of_words
from mailwarden.domain.mail.clusters import CAPACITY, Bytes, Clusters, LongArray, Member, bytes_of
from mailwarden.errors import StoreError
from mailwarden.stores.lake.delta import bucket_of, within
from mailwarden.stores.lake.event_log import EventView
from mailwarden.stores.lake.fact_sets import FactSets

SAVE_EVERY = 10_000
"""Messages of a tenant between two writings of its file; what came since is in the log or the spool."""

_VERSION = 2
_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Known:
    """A tenant's clusters, and the greatest seq that is taken in.

    facts: number of the table of facts that they were learnt from, 0 for the log. unsaved: messages since the file was
    written.
    """

    clusters: Clusters
    seq: int
    facts: int = 0
    unsaved: int = 0
    saved_seq: int = 0


class Campaigns:
    """The clusters of each tenant, in memory, with one file a tenant under a folder.

    The files hold nothing that the event log does not: one that is missing, damaged, behind or ahead is made again
    from it, since what is known follows from the seq, campaign and signature of messages alone. Where facts were
    derived anew, that is what they are learnt from. One process at a time numbers a home, and it alone uses the folder,
    from one thread. fact_sets: the home's. save_every, capacity: for tests.
    """

    def __init__(
        self,
        folder: Path,
        fact_sets: FactSets | None = None,
        *,
        save_every: int = SAVE_EVERY,
        capacity: int = CAPACITY,
    ) -> None:
        self._folder, self._fact_sets = folder, fact_sets
        self._save_every, self._capacity = save_every, capacity
        self._known: dict[str, _Known] = {}
        self._spooled: dict[str, list[Member]] = {}
        self._writing: Future[None] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="campaigns")
        # So that the first message does not wait for what is compiled at a first call.
        Clusters(1).join(1, signature_of_words(hashed_words("compiled by now")[0]))

    def restore(self, tenant: str, member: Member) -> None:
        """Take in a message that the spool still holds; before `prepare`."""
        self._spooled.setdefault(tenant, []).append(member)

    def prepare(self, tenant: str, log: EventView) -> int:
        """Take in what the event log holds of a tenant beyond what is known; returns how many messages that was.

        Where the file knows more than log and spool hold, as after the log was replaced, the tenant is learnt anew.
        """
        known, learnt = self._learn(tenant, log)
        self._known[tenant] = known
        self._spooled.pop(tenant, None)
        return learnt

    def find(self, tenant: str, signature: str) -> str:
        """The campaign that a message of this signature is of, were it numbered now; leaves no trace.

        "" for "". The tenant must be prepared.
        """
        return self._known[tenant].clusters.find(signature)

    def take(self, tenant: str, member: Member) -> None:
        """Take in a numbered message with the campaign that `find` gave; seqs ascend. Written behind one's back."""
        known = self._known[tenant]
        known.clusters.take(member)
        known.seq = max(known.seq, member.seq)
        known.unsaved += 1
        if known.unsaved >= self._save_every and (self._writing is None or self._writing.done()):
            self._save(tenant)

    def forget(self, tenant: str, member: Member) -> None:
        """Take back a message that was numbered and then reached no disk.

        Messages numbered after it keep the campaigns that they got. Raises StoreError where a file that holds it
        cannot be removed; it is taken back all the same, until the process ends.
        """
        known = self._known[tenant]
        known.clusters.forget(member)
        if member.seq > known.saved_seq:
            return
        self._land()
        try:
            self._path(tenant).unlink(missing_ok=True)
        except OSError as exc:
            raise StoreError(
                f"campaigns in {self._path(tenant)} failed: {exc}; remove the file: it is made again from the event log"
            ) from exc

    @contextmanager
    def numbering(self, tenant: str) -> Iterator[CampaignNumbering]:
        """`find` and `take` for messages in bulk: kept where the block ends well, forgotten where it raises."""
        numbering = CampaignNumbering(self, tenant)
        yield numbering
        numbering.finish()

    def close(self) -> None:
        """Write what is not written yet."""
        for tenant, known in self._known.items():
            if known.unsaved:
                self._save(tenant)
                self._land()
        self._land()
        self._pool.shutdown()

    def _learn(self, tenant: str, log: EventView) -> tuple[_Known, int]:
        """What is known of a tenant with what a log holds beyond it, as a copy; how many messages that was."""
        spooled = self._spooled.get(tenant, [])
        log, facts = (log, 0) if self._fact_sets is None else self._fact_sets.over(log, tenant)
        last = log.last_seq(tenant)
        names: list[str] = []
        joined, signatures = np.zeros(0, np.int64), np.zeros((0, SIGNATURE_BYTES), np.uint8)
        seq = saved_seq = 0
        if tenant in self._known and self._known[tenant].facts == facts:
            held = self._known[tenant]
            names, joined, signatures = held.clusters.founders()
            seq, saved_seq = held.seq, held.saved_seq
        elif (read := self._read(tenant)) is not None:
            saved_seq, made_of = read[:2]
            if made_of != facts:
                _log.warning("campaigns are of another fact set and made again", tenant=tenant, facts=facts)
            elif saved_seq > max([last, *(member.seq for member in spooled)]):
                _log.warning("campaigns are ahead of the event log and made again", tenant=tenant, known=saved_seq)
            else:
                seq, _, names, joined, signatures = read
        newest = _Newest(self._capacity, names, joined, signatures)
        learnt = newest.read(log, tenant, seq) if last > seq else 0
        for member in spooled:
            newest.add(member)
        seq = max([seq, last, *(member.seq for member in spooled)])
        return _Known(newest.clusters(), seq, facts, learnt + len(spooled), saved_seq), learnt

    def _path(self, tenant: str) -> Path:
        digest = hashlib.blake2b(tenant.encode("utf-8", "surrogatepass"), digest_size=8)
        return self._folder / f"{digest.hexdigest()}.npz"

    def _read(self, tenant: str) -> tuple[int, int, list[str], LongArray, Bytes] | None:
        """The seq and table of facts that a tenant's file knows, and its founders; None where there is none to read."""
        path = self._path(tenant)
        try:
            with np.load(path, allow_pickle=False) as file:
                version, seq, facts = file["known"].tolist()
                names = [name.decode("ascii") for name in file["names"].tolist()]
                joined, signatures = file["joined"].astype(np.int64), file["signatures"].astype(np.uint8)
            if version != _VERSION or signatures.shape != (len(names), SIGNATURE_BYTES) or len(joined) != len(names):
                raise ValueError(f"it is of version {version}, or cut off")
        except FileNotFoundError:
            return None
        except _DAMAGE as exc:
            _log.warning("campaigns are damaged and made again from the event log", file=path.name, why=str(exc))
            return None
        return seq, facts, names, joined, signatures

    def _save(self, tenant: str) -> None:
        """Have a tenant's file written by the thread."""
        self._land()
        known = self._known[tenant]
        self._writing = self._pool.submit(
            _write, self._path(tenant), (known.seq, known.facts), *known.clusters.founders()
        )
        known.unsaved, known.saved_seq = 0, known.seq

    def _land(self) -> None:
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        try:
            writing.result()
        except OSError as exc:
            # The file before it is good, and what it lacks is in the log.
            _log.warning("campaigns could not be written", folder=str(self._folder), why=str(exc))


class CampaignNumbering:
    """Messages of one tenant on their way into the log in bulk; see `Campaigns.numbering`."""

    def __init__(self, campaigns: Campaigns, tenant: str) -> None:
        self._campaigns, self._tenant = campaigns, tenant
        self._known: _Known | None = None

    def begin(self, log: EventView) -> None:
        """Begin on what the log holds now, whatever was numbered in this block before."""
        self._known, _ = self._campaigns._learn(self._tenant, log)

    def join(self, messages: Sequence[tuple[int, str]]) -> list[str]:
        """The campaign of each message, given seq and signature in order of seq over all calls since `begin`."""
        assert self._known is not None
        found = [self._known.clusters.join(seq, signature) for seq, signature in messages]
        if messages:
            self._known.seq = max(self._known.seq, messages[-1][0])
            self._known.unsaved += len(messages)
        return found

    def finish(self) -> None:
        """Take over what was numbered."""
        if self._known is not None:
            self._campaigns._known[self._tenant] = self._known
            self._campaigns._save(self._tenant)
            self._campaigns._land()


class _Newest:
    """The clusters joined last, from messages in no order: memory is bounded by `capacity`."""

    def __init__(self, capacity: int, names: list[str], joined: LongArray, signatures: Bytes) -> None:
        self._capacity = capacity
        self._joined = dict(zip(names, joined.tolist(), strict=True))
        self._signatures: dict[str, Bytes] = dict(zip(names, signatures, strict=True))

    def read(self, log: EventView, tenant: str, beyond: int) -> int:
        """Take in a tenant's messages beyond a seq; returns how many have a campaign."""
        wanted = (ds.field("tenant") == tenant) & (ds.field("kind") == "message") & (ds.field("seq") > beyond)
        files, count = within([bucket_of(tenant)]), 0
        for batch in log.read(["campaign", "signature", "seq"], wanted, files):
            rows = pa.Table.from_batches([batch])
            # An older log names campaigns that no signature tells.
            rows = rows.filter(pc.and_(pc.not_equal(rows["signature"], ""), pc.not_equal(rows["campaign"], "")))
            count += rows.num_rows
            newest = rows.group_by("campaign").aggregate([("seq", "max")])
            for name, seq in zip(newest["campaign"].to_pylist(), newest["seq_max"].to_pylist(), strict=True):
                self._joined[name] = max(seq, self._joined.get(name, 0))
            if len(self._joined) > 4 * self._capacity:
                self._cut()
        self._cut()
        lacking = set(self._joined) - set(self._signatures)
        if lacking:
            founders = wanted & ds.field("campaign").isin(pa.array(sorted(lacking)))
            for batch in log.read(["campaign", "signature"], founders, files):
                for name, signature in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    if name in lacking and signature and name_of(signature) == name:
                        self._signatures[name] = bytes_of(signature)
                        lacking.discard(name)
        return count

    def add(self, member: Member) -> None:
        """Take in one message."""
        self._joined[member.campaign] = max(member.seq, self._joined.get(member.campaign, 0))
        if name_of(member.signature) == member.campaign:
            self._signatures[member.campaign] = bytes_of(member.signature)

    def clusters(self) -> Clusters:
        """The clusters that came of it; one whose founder is nowhere is left out."""
        names = [name for name in self._joined if name in self._signatures]
        joined = np.array([self._joined[name] for name in names], dtype=np.int64)
        signatures = np.zeros((len(names), SIGNATURE_BYTES), dtype=np.uint8)
        for row, name in enumerate(names):
            signatures[row] = self._signatures[name]
        return Clusters.of(names, joined, signatures, self._capacity)

    def _cut(self) -> None:
        if len(self._joined) > self._capacity:
            order = sorted(self._joined, key=self._joined.__getitem__)
            self._joined = {name: self._joined[name] for name in order[-self._capacity :]}


def _write(path: Path, known: tuple[int, int], names: list[str], joined: LongArray, signatures: Bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".new")
    with unfinished.open("wb") as file:
        np.savez(
            file,
            known=np.array([_VERSION, *known], dtype=np.int64),
            names=np.array([name.encode("ascii") for name in names], dtype="S16"),
            joined=joined,
            signatures=signatures,
        )
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
