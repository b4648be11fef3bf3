"""Who wrote to whom before, and which messages were numbered: exact, and decided where a message gets its seq.

One SQLite file holds, by tenant and pair of sender and recipient, the first seq at which the one wrote to the other,
and by tenant and message its seq. It is an index of the event log and never the truth. A home's one numbering process
uses it so:

1. Start: `restore` takes in messages that the spool holds and the log may not; `prepare` then takes in what the log
   holds beyond the seq up to which the file is whole. Damaged, missing or ahead of the log, it is made again from it.
2. A message is handed over: `holds` answers whether it, so written and so enveloped, was numbered before.
3. It gets its seq: `first` answers which of its recipients are new, and remembers the pairs and its id (`_fresh`).
4. At `flush_pairs` of them a thread writes them (`_flying` meanwhile) with the seqs up to which each tenant is whole.
5. A message that was numbered and reached no disk is taken back by `forget`.
6. Bulk ingest asks by `numbering`, inside one transaction: kept where the log took the messages, else undone.

Invariants:

- A message's id is a pair of nobody: what follows holds of it alike, and of what `content_index` keeps in the file.
- A recipient is new at seq q where no seq below q is known of the pair. So the same message with the same seq gets the
  same answer, after any restart.
- What is known of a pair is what file, `_flying` and `_fresh` say, less what is forgotten.
- The seq up to which a tenant is whole is written in one transaction with the pairs up to it: a crash loses both, and
  `prepare` reads them from the log again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import structlog

from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.stores.contact_numbering import Numbering
from mailwarden.stores.contacts_connections import Connections
from mailwarden.stores.contacts_file import KEEP, MARK, Digests, known_in, logged, translated
from mailwarden.stores.content_index import Content, ContentIndex, Met, Rows, drop_old
from mailwarden.stores.lake.event_log import EventView
from mailwarden.stores.lake.fact_sets import FactSets

FLUSH_PAIRS = 2_000
"""How many pairs wait in memory before they are written; those of a process that died are in the log or the spool."""

_BEYOND_ALL = 2**63 - 1

_log = structlog.get_logger(__name__)


class Contacts:
    """The first seq at which each sender wrote to each recipient, and each message's, by tenant; the steps are the
    module's.

    Whichever way a message crossed the tenant's border counts. Pairs and ids are 64-bit keyed digests: of n known,
    a new one is taken for one of them with a chance of n / 2**64. One process at a time numbers a home; it alone uses
    the file, from one thread. A tenant's part is made again once another fact set is in force (fact_sets; without them
    the log is read).
    """

    def __init__(self, path: Path, fact_sets: FactSets | None = None, *, flush_pairs: int = FLUSH_PAIRS) -> None:
        self._path, self._fact_sets, self._flush_pairs = path, fact_sets, flush_pairs
        self._connections = Connections(path)
        self._digests, self._contents = Digests(self._connections.salt), ContentIndex(self._connections.salt)
        self._ids: dict[str, int] = {}
        self._marks: dict[int, int] = {}
        self._spooled: dict[str, int] = {}
        self._restored: dict[tuple[int, int], int] = {}
        self._forgotten: set[tuple[int, int, int]] = set()
        self._fresh: dict[tuple[int, int], int] = {}
        self._flying: dict[tuple[int, int], int] = {}
        self._flight: Future[None] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="contacts")

    def restore(
        self,
        tenant: str,
        sender: str,
        recipients: Sequence[str],
        seq: int,
        message_id: str,
        content: Content | None = None,
    ) -> None:
        """Take in a message that the spool still holds; before `prepare`."""
        with translated(self._path):
            number = self._number(tenant)
        if content is not None:
            self._contents.add(number, content, seq, message_id, restored=True)
        for pair in (self._digests.message(message_id), *self._digests.pairs(sender, recipients).values()):
            self._add(number, pair, seq)
            self._restored[number, pair] = min(seq, self._restored.get((number, pair), seq))
        self._spooled[tenant] = max(self._spooled.get(tenant, 0), seq)

    def prepare(self, tenant: str, log: EventView) -> int:
        """Take in what the event log holds of a tenant beyond what is known; returns how many messages that was.

        Where more is known than log and spool hold, as after the log was replaced, the tenant is learnt anew; so is
        every tenant where the file turns out to be damaged.
        """
        try:
            return self._prepare(tenant, log)
        except StoreError as exc:
            if not isinstance(exc.__cause__, sqlite3.DatabaseError) or isinstance(
                exc.__cause__, sqlite3.OperationalError
            ):
                raise
            known = [name for name, number in self._ids.items() if number in self._marks]
            self._connections.replace(str(exc))
            self._begun_anew()
            for name in known:
                self._prepare(name, log)
            return self._prepare(tenant, log)

    def _prepare(self, tenant: str, log: EventView) -> int:
        with self._writing():
            learnt, last = self._learn(tenant, log)
        self._marks[self._ids[tenant]] = last
        return learnt

    @property
    def failed(self) -> bool:
        """Whether the file could not be read, or was found damaged, since `mend`."""
        return self._connections.failure is not None

    @property
    def begun(self) -> int:
        """How often an empty file was begun in the place of one that was damaged or gone, by `prepare` or `mend`.

        Every tenant is then to be restored and prepared again.
        """
        return self._connections.begun

    def mend(self) -> None:
        """Open the file again after it failed; raises StoreError where it cannot be opened."""
        if self._flight is not None:
            wait([self._flight])
            self._land()
        if self._connections.mend():
            self._begun_anew()

    def _begun_anew(self) -> None:
        """What the spool held waits to be written into an empty file, where tenants have other numbers."""
        restored = {(name, pair): seq for name, number in self._ids.items()
                    for (of, pair), seq in self._restored.items() if of == number}  # fmt: skip
        before = self._ids
        self._ids, self._marks = {}, {}
        self._restored, self._fresh, self._flying, self._flight = {}, {}, {}, None
        with translated(self._path):
            self._contents.emptied({number: self._number(name) for name, number in before.items()})
            for (name, pair), seq in restored.items():
                key = self._number(name), pair
                self._restored[key] = self._fresh[key] = seq

    @property
    def _file(self) -> sqlite3.Connection:
        return self._connections.file

    def holds(self, tenant: str, message_id: str) -> bool:
        """Whether a message of that id has a seq, scored or ingested; the tenant must be prepared.

        Raises StoreError where the file cannot be read.
        """
        return bool(self.held(tenant, [message_id]))

    def held(self, tenant: str, message_ids: Sequence[str]) -> dict[str, int]:
        """Those of the ids that `holds` with their seqs, by one look into the file."""
        number, own = self._ids[tenant], {name: self._digests.message(name) for name in message_ids}
        with self._connections.asking() as file:
            known = known_in(file, number, list(own.values()))
        seqs = {name: self._seq(number, pair, known) for name, pair in own.items()}
        return {name: seq for name, seq in seqs.items() if seq is not None}

    def first(self, tenant: str, sender: str, recipients: Sequence[str], seq: int, message_id: str) -> tuple[str, ...]:
        """Those of the recipients that the sender writes to for the first time with the message of that seq.

        The tenant must be prepared, and seqs ascend. What is new is written behind the caller's back. Raises
        StoreError where the file cannot be read; the message is taken in all the same.
        """
        return self.meet(tenant, sender, recipients, seq, message_id, again=True).new

    def meet(
        self,
        tenant: str,
        sender: str,
        recipients: Sequence[str],
        seq: int,
        message_id: str,
        content: Content | None = None,
        *,
        again: bool = False,
    ) -> Met:
        """`first` for a message that counts, see `Met`; of one that does not, nothing is taken in.

        again: take it in all the same, as a new one. Raises StoreUnavailable, with nothing taken in, where the tenant
        is not prepared, and StoreError where the file cannot be read; with `again` it is taken in all the same.
        """
        if self._ids.get(tenant) not in self._marks:
            raise StoreUnavailable(f"contacts of tenant {tenant} are not learnt; try again")
        number, pairs, own = (
            self._ids[tenant],
            self._digests.pairs(sender, recipients),
            self._digests.message(message_id),
        )
        met, new, taken = Met(), pairs, again
        try:
            with self._connections.asking() as file:
                known = known_in(file, number, [own, *pairs.values()])
                if not again:
                    copy = None if content is None else self._contents.find(file, number, content)
                    met = Met((), self._before(number, own, _BEYOND_ALL, known), copy)
            taken = again or met.counts
            if met.copy is not None:
                pairs = {name: pair for name, pair in pairs.items() if name in met.copy.recipients}
            new = {name: pair for name, pair in pairs.items() if not self._before(number, pair, seq, known)}
        finally:
            for pair in (own, *new.values()) if taken else ():
                self._add(number, pair, seq)
            if taken and content is not None:
                self._contents.add(number, content if met.copy is None else content.of_copy(met.copy), seq, message_id)
            if taken:
                self._marks[number] = max(self._marks[number], seq)
                self._spooled[tenant] = max(self._spooled.get(tenant, 0), seq)
            if len(self._fresh) + self._contents.waiting >= self._flush_pairs:
                self._flush()
        return met._replace(new=tuple(new)) if taken else met

    def forget(
        self,
        tenant: str,
        sender: str,
        recipients: Sequence[str],
        seq: int,
        message_id: str,
        content: Content | None = None,
    ) -> None:
        """Take back a message that was numbered and then reached no disk. content: as it was numbered.

        Messages numbered after it keep the answers that they got. Raises StoreError where the file cannot be written;
        the message is taken back all the same, until the process ends.
        """
        number = self._ids[tenant]
        pairs = (self._digests.message(message_id), *self._digests.pairs(sender, recipients).values())
        gone = [(number, pair, seq) for pair in pairs]
        self._forgotten.update(gone)
        for *key, _ in gone:
            if self._fresh.get((key[0], key[1])) == seq:
                del self._fresh[key[0], key[1]]
        of_content = [] if content is None else self._contents.forget(number, content, seq)
        with self._writing():
            self._file.executemany("delete from pairs where tenant = ? and pair = ? and seq = ?", gone)
            delete = "delete from contents where tenant = ? and week = ? and part = ? and seq = ?"
            self._file.executemany(delete, of_content)
        self._forgotten.difference_update(gone)
        self._contents.forgotten(of_content)

    def newest_of(self, tenant: str, content_key: str) -> str | None:
        """The id of the tenant's newest message of that content, within `KEPT_WEEKS`; None where none is known."""
        with self._connections.asking() as file:
            return self._contents.newest(file, self._ids[tenant], content_key)

    @contextmanager
    def numbering(self, tenant: str) -> Iterator[Numbering]:
        """`first` for messages in bulk: kept where the block ends well, forgotten where it raises."""
        with self._writing():
            numbering = Numbering(self, tenant)
            yield numbering
            numbering.finish()

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        try:
            with self._writing():
                pass
        finally:
            self._pool.shutdown()
            self._connections.close()

    def _learn(self, tenant: str, log: EventView) -> tuple[int, int]:
        """Take in what a log holds beyond what is known; how many messages that was, and the seq known now."""
        number = self._number(tenant)
        known, made_of = self._file.execute("select seq, facts from tenants where id = ?", (number,)).fetchone()
        log, facts = (log, 0) if self._fact_sets is None else self._fact_sets.over(log, tenant)
        last = log.last_seq(tenant)
        ahead = known > max(last, self._spooled.get(tenant, 0))
        if ahead or facts != made_of:
            why = "ahead of the event log" if ahead else "of another fact set"
            _log.warning(f"contacts are {why} and made again", tenant=tenant, known=known, log=last, facts=facts)
            self._file.execute("delete from pairs where tenant = ?", (number,))
            self._file.execute("update tenants set seq = 0, facts = ? where id = ?", (facts, number))
            known = 0
            # What the spool holds is not in the log yet.
            spooled = [(*key, seq) for key, seq in self._restored.items() if key[0] == number]
            self._file.executemany(KEEP, sorted(spooled))
            self._contents.begin_anew(self._file, number)
        learnt = 0
        for messages in logged(log, tenant, known) if last > known else ():
            first: dict[int, int] = {}
            for sender, recipients, seq, message_id, _ in messages:
                for pair in (self._digests.message(message_id), *self._digests.pairs(sender, recipients).values()):
                    first[pair] = min(seq, first.get(pair, seq))
            self._file.executemany(KEEP, sorted((number, pair, seq) for pair, seq in first.items()))
            of_content = ((content, seq, message_id) for _, _, seq, message_id, content in messages if content)
            self._contents.put(self._file, number, of_content)
            learnt += len(messages)
        if learnt:
            drop_old(self._file, number)
        self._file.execute(MARK, (last, number))
        return learnt, max(known, last)

    def _number(self, tenant: str) -> int:
        if tenant not in self._ids:
            self._settle()
            self._file.execute("insert or ignore into tenants (name, seq) values (?, 0)", (tenant,))
            self._ids[tenant] = self._file.execute("select id from tenants where name = ?", (tenant,)).fetchone()[0]
        return self._ids[tenant]

    def _seq(self, number: int, pair: int, known: dict[int, int]) -> int | None:
        key = number, pair
        held = known.get(pair), self._fresh.get(key), self._flying.get(key)
        left = (seq for seq in held if seq is not None and (number, pair, seq) not in self._forgotten)
        return min(left, default=None)

    def _before(self, number: int, pair: int, seq: int, known: dict[int, int]) -> bool:
        first = self._seq(number, pair, known)
        return first is not None and first < seq

    def _add(self, number: int, pair: int, seq: int) -> None:
        key = number, pair
        self._fresh[key] = min(seq, self._fresh.get(key, seq))

    def _flush(self) -> None:
        """Have what waits written by the thread, unless it is still busy."""
        if self._flight is not None and not self._flight.done():
            return
        self._land()
        self._flying, self._fresh = self._fresh, {}
        self._flight = self._pool.submit(self._write, self._flying, self._contents.start(), dict(self._marks))

    def _land(self) -> None:
        """Take note of how the thread's writing ended, once it did."""
        if self._flight is None:
            return
        written = True
        try:
            self._flight.result()
        except sqlite3.Error as exc:
            written = False
            self._connections.not_written(exc)
            _log.warning("contacts could not be written; trying again", file=self._path.name, why=str(exc))
            for (number, pair), seq in self._flying.items():
                self._add(number, pair, seq)
        self._contents.landed(written=written)
        self._flight, self._flying = None, {}

    def _settle(self) -> None:
        """Have all that waits in the file; no thread writes after it."""
        self._land()
        if self._fresh or self._contents.waiting:
            written = False
            try:
                self._write(self._fresh, self._contents.start(), self._marks)
                self._fresh, written = {}, True
            finally:
                self._contents.landed(written=written)

    def _write(self, pairs: dict[tuple[int, int], int], contents: Rows, marks: dict[int, int]) -> None:
        self._file.execute("begin immediate")
        try:
            self._file.executemany(KEEP, sorted((*key, seq) for key, seq in pairs.items()))
            self._contents.write(self._file, contents)
            self._file.executemany(MARK, [(seq, number) for number, seq in marks.items()])
            self._file.execute("commit")
        except BaseException:
            self._file.execute("rollback")
            raise

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction of this thread's own, behind all that waited."""
        with translated(self._path):
            self._settle()
            self._file.execute("begin immediate")
            try:
                self._file.executemany(MARK, [(seq, number) for number, seq in self._marks.items()])
                yield
                self._file.execute("commit")
            except BaseException:
                self._file.execute("rollback")
                raise
