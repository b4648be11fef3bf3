"""The feature writer: from the spool into Redis at once, and into the logs in batches."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event as Flag
from typing import Any

import orjson
import pyarrow as pa
import structlog

from mailwarden.domain.events import Event
from mailwarden.domain.views import ActivityView
from mailwarden.errors import DataError, NotFound, StoreError
from mailwarden.labelling.feedback import label_record
from mailwarden.stores.accepted import Accepted, AcceptedLabel, AcceptedMessage, decode_accepted
from mailwarden.stores.event_log import EventLog
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden.stores.raw_mail import RawMail, RawRow
from mailwarden.stores.spool_reader import SpoolReader, retire
from mailwarden.stores.sql import DecisionRecord, Decisions, Labels
from mailwarden.stores.vector_log import VectorLog
from mailwarden_services.feature_writer.history import FOLD_LIMIT, History
from mailwarden_services.feature_writer.rejected import count_aside, set_aside
from mailwarden_services.feature_writer.status import READER_NAME, WriterStatus, write_status

log = structlog.get_logger(__name__)

__all__ = ["READER_NAME", "FeatureWriter", "Logs"]

IDLE_SECONDS = 0.002
BUSY_WAIT_SECONDS = 2.0
LONGEST_IDLE_SECONDS = 0.02
RETRY_SECONDS = 0.5
LOOK_SECONDS = 2.0
"""How often Redis is asked, mail or none, whether it still holds what was folded."""

REPORT_SECONDS = 1.0


class Logs:
    """Where accepted records end up for good: event log, raw mail, vector log, decisions and labels.

    Each append is idempotent, so that a batch cut off in the middle can be handed over again.
    """

    def __init__(
        self,
        *,
        events: EventLog,
        raw: RawMail,
        vectors: VectorLog,
        decisions: Decisions,
        labels: Labels,
        views: Sequence[ActivityView],
    ) -> None:
        self._events, self._raw, self._vectors = events, raw, vectors
        self._decisions, self._labels = decisions, labels
        self._views = tuple(views)

    @property
    def events(self) -> EventLog:
        """The event log."""
        return self._events

    def append(self, records: Sequence[tuple[int, Accepted]]) -> None:
        """Write (spool position, record) pairs in order; the last position names the batch."""
        if not records:
            return
        batch = (READER_NAME, records[-1][0])
        messages = [record for _, record in records if isinstance(record, AcceptedMessage)]
        labels = [record for _, record in records if isinstance(record, AcceptedLabel)]
        if messages:
            self._raw.append([raw_row(record) for record in messages])
        self._events.append([record.event for _, record in records], batch_id=batch)
        # A batch cut off in the middle may come again with other bounds: rows that are there are left out.
        logged = self._vectors.last_batch(READER_NAME)
        fresh = [r for position, r in records if position > logged and isinstance(r, AcceptedMessage) and r.rows]
        if fresh:
            self._vectors.append(vector_table(fresh, self._views), batch_id=batch)
        self._decisions.append_many([decision_record(record) for record in messages])
        self._labels.append_many(
            [label_record(record.event, source=record.source, given_by=record.given_by) for record in labels]
        )


def raw_row(record: AcceptedMessage) -> RawRow:
    """The raw mail of an accepted message, with all that it takes to parse it again alike."""
    event = record.event
    return RawRow(
        tenant=event.tenant,
        content_sha256=event.content_sha256,
        message_id=event.message_id,
        received_at_us=event.received_at_us,
        mail_from=record.mail_from,
        rcpt_to=record.rcpt_to,
        time_source=event.time_source,
        raw=record.raw,
    )


def decision_record(record: AcceptedMessage) -> DecisionRecord:
    """The decision of an accepted message as the decision log keeps it."""
    event, answer = record.event, record.answer
    return DecisionRecord(
        tenant=event.tenant,
        decision_id=answer["decision_id"],
        message_id=event.message_id,
        idempotency_key=record.idempotency_key,
        seq=event.seq,
        received_at_us=event.received_at_us,
        decided_model=str(answer["model_version"]),
        score=answer["score"],
        decision=answer["decision"],
        category=answer["category"],
        degraded=answer["degraded"],
        sender=event.sender,
        sender_domain=event.sender_domain,
        recipients=event.recipients,
        direction=event.direction,
        response=orjson.dumps(answer).decode(),
    )


def vector_table(messages: Sequence[AcceptedMessage], views: Sequence[ActivityView]) -> pa.Table:
    """The logged vectors as the vector log's table: one row a recipient of each message."""
    columns: dict[str, list[Any]] = defaultdict(list)
    for record in messages:
        event = record.event
        for row in record.rows:
            columns["tenant"].append(event.tenant)
            columns["seq"].append(event.seq)
            columns["message_id"].append(event.message_id)
            columns["recipient"].append(row.recipient)
            columns["sender"].append(event.sender)
            columns["sender_domain"].append(event.sender_domain)
            columns["received_at"].append(event.received_at_us)
            columns["decision_id"].append(record.answer["decision_id"])
            for view in views:
                columns[f"{view.name}__as_of_seq"].append(row.as_of_seq[view.name])
                columns[f"{view.name}__status"].append(row.status[view.name])
                columns[f"{view.name}__version"].append(row.version[view.name])
                for feature, value in zip(view.features, row.values[view.name], strict=True):
                    columns[f"{view.name}__{feature.name}"].append(value)
    return pa.table({name: pa.array(values, type=_type_of(name)) for name, values in columns.items()})


_TYPES = {
    "seq": pa.int64(),
    "received_at": pa.timestamp("us", tz="UTC"),
}
_STRINGS = ("tenant", "message_id", "recipient", "sender", "sender_domain", "decision_id")


def _type_of(name: str) -> pa.DataType:
    if name in _TYPES:
        return _TYPES[name]
    if name in _STRINGS or name.endswith("__status"):
        return pa.string()
    return pa.int64() if name.endswith(("__as_of_seq", "__version")) else pa.float64()


class FeatureWriter:
    """Folds each record into the online store as soon as the spool has it, then logs batches in a thread.

    The spool's checkpoint moves only behind the logs, so that a crash at any moment means redelivery; folds and
    logs know what they have and take nothing twice. While Redis is away nothing is lost and nothing is skipped:
    records wait in the spool. Nothing is folded onto a gap: see `History`. A record that a log refuses for good is
    set aside under the spool's `rejected`, and the others go on.

    tenants: those to look after from the start, whether or not they have new mail.
    """

    def __init__(
        self,
        spool: Path,
        online: OnlineWriter,
        logs: Logs,
        *,
        tenants: Callable[[], Sequence[str]] = tuple,
        batch_records: int = 2_000,
        batch_seconds: float = 5.0,
    ) -> None:
        self._spool = spool
        self._reader, self._online, self._logs = SpoolReader(spool, READER_NAME), online, logs
        self._batch_records, self._batch_seconds = batch_records, batch_seconds
        self._polled: list[tuple[int, bytes]] = []
        self._unfolded: list[tuple[int, Accepted]] = []
        self._waiting: list[tuple[int, Accepted]] = []
        self._since = 0.0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="logs")
        self._batch: list[tuple[int, Accepted]] = []
        self._under_way: Future[int | None] | None = None
        self._stop = Flag()
        self._gave_up = False
        self._history = History(
            online, logs.events, self._in_hand, go_on=lambda: not self._stop.is_set(), tell=self._report_when_due
        )
        self._tenants, self._started = tenants, False
        self._looked = self._reported = -LOOK_SECONDS
        self._trouble = self._log_trouble = ""
        self._rejected = 0
        self._said: tuple[str, ...] = ()

    def run(self) -> None:
        """Work until `stop` is called, then log what was folded and return."""
        last_work = time.monotonic()
        while not self._stop.is_set():
            if self._work():
                last_work = time.monotonic()
                continue
            # A mail flow is bursty: look often for a while after the last record, then rarely.
            quiet = time.monotonic() - last_work > BUSY_WAIT_SECONDS
            self._stop.wait(LONGEST_IDLE_SECONDS if quiet else IDLE_SECONDS)
        while self._work():
            pass
        self.flush()
        self._pool.shutdown()

    def stop(self) -> None:
        """Have `run` return soon; what could not be folded or logged stays in the spool for the next start."""
        self._stop.set()

    def step(self) -> bool:
        """Fold what the spool has now; True where something was folded or passed on to the logs.

        Raises StoreError where the spool itself cannot be read.
        """
        try:
            self._take()
            took = bool(self._unfolded) and self._fold()
        finally:
            self._log_when_due()
        self._look()
        self._report_when_due()
        return took

    def flush(self) -> None:
        """Log everything folded so far and move the checkpoint behind it."""
        self._finish(wait=True)
        if self._waiting and not self._gave_up:
            self._start()
            self._finish(wait=True)
        self._report()

    def _work(self) -> bool:
        """A step that outlives a spool which cannot be read for a while."""
        try:
            took = self.step()
        except StoreError as exc:
            if not self._trouble:
                log.error("the spool cannot be read; trying again", error=str(exc))
            self._trouble = str(exc)
            self._report()
            self._stop.wait(RETRY_SECONDS)
            return False
        self._trouble = ""
        return took

    def _take(self) -> None:
        if self._unfolded:
            return
        if not self._polled:
            # After trouble one at a time, so that what lies before a damaged record is still taken.
            self._polled = self._reader.poll(limit=1 if self._trouble else FOLD_LIMIT)
        # Kept until all of it is read: the spool's reader is past it already.
        self._unfolded = [(position, decode_accepted(payload)) for position, payload in self._polled]
        self._polled = []

    def _fold(self) -> bool:
        events = [record.event for _, record in self._unfolded]
        try:
            whole = self._history.whole(list(dict.fromkeys(event.tenant for event in events)))
            foldable = [event for event in events if event.tenant in whole]
            if foldable:
                self._online.fold(foldable)
                self._history.folded(foldable)
        except StoreError as exc:
            log.warning(
                "online store away; records wait", error=type(exc).__name__, why=str(exc), n=len(self._unfolded)
            )
            self._stop.wait(RETRY_SECONDS)
            return False
        # What was not folded is logged all the same, and folded from the log once its tenant's gap is filled.
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting += self._unfolded
        self._unfolded = []
        return True

    def _look(self) -> None:
        """Fill gaps of tenants without new mail: at the start, and when Redis lost what it held."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        try:
            names = self._history.tenants
            if not self._started:
                names = sorted({*names, *self._tenants()})
                self._started = True
            self._history.whole(names)
        except StoreError as exc:
            self._started = False
            log.warning("the online store could not be looked at", error=type(exc).__name__, why=str(exc))

    def _in_hand(self, tenant: str) -> list[Event]:
        return [record.event for _, record in (*self._batch, *self._waiting) if record.event.tenant == tenant]

    def _words(self) -> tuple[str, ...]:
        words = [word for word in (self._trouble, self._log_trouble) if word]
        words += [self._history.waits[tenant] for tenant in sorted(self._history.waits)]
        words += [f"view {name} is not folded: {why}" for name, why in sorted(self._online.unreadable.items())]
        if self._rejected:
            where = self._spool / "rejected"
            words.append(f"{self._rejected} records were refused by a log and lie, with the reasons, in {where}")
        return tuple(words)

    def _report_when_due(self) -> None:
        if time.monotonic() - self._reported >= REPORT_SECONDS or self._words() != self._said:
            self._report()

    def _report(self) -> None:
        self._reported = time.monotonic()
        self._rejected = count_aside(self._spool)
        self._said = self._words()
        not_logged = len(self._waiting) + len(self._batch)
        write_status(
            self._spool,
            WriterStatus(len(self._unfolded) + len(self._polled), not_logged, self._rejected, self._said),
        )

    def _log_when_due(self) -> None:
        self._finish(wait=False)
        if not self._waiting or self._under_way is not None or self._gave_up:
            return
        if len(self._waiting) >= self._batch_records or time.monotonic() - self._since >= self._batch_seconds:
            self._start()

    def _start(self) -> None:
        self._batch, self._waiting = self._waiting, []
        self._since = time.monotonic()
        self._under_way = self._pool.submit(self._append, self._batch)

    def _append(self, batch: list[tuple[int, Accepted]]) -> int | None:
        while True:
            try:
                self._append_or_set_aside(batch)
                self._log_trouble = ""
                return batch[-1][0]
            except StoreError as exc:
                self._log_trouble = f"a log is away: {exc}"
                log.warning("a log is away; trying again", error=str(exc), n=len(batch))
                if self._stop.wait(RETRY_SECONDS):
                    return None

    def _append_or_set_aside(self, batch: list[tuple[int, Accepted]]) -> None:
        """Log a batch; where a log refuses it, halve it until the refused records stand alone."""
        try:
            self._logs.append(batch)
        except (DataError, NotFound, LookupError, TypeError, ValueError) as exc:
            if len(batch) > 1:
                # In order, since logs take batches by ascending position only.
                self._append_or_set_aside(batch[: len(batch) // 2])
                self._append_or_set_aside(batch[len(batch) // 2 :])
                return
            (position, record) = batch[0]
            set_aside(self._spool, position, record, f"{type(exc).__name__}: {exc}")
            self._rejected += 1

    def _finish(self, *, wait: bool) -> None:
        if self._under_way is not None and (wait or self._under_way.done()):
            position = self._under_way.result()
            self._under_way = None
            if position is None:
                # Later records logged and checkpointed would drop these for good.
                self._gave_up = True
                return
            self._batch = []
            self._reader.commit(position)
            retire(self._spool, [READER_NAME])
