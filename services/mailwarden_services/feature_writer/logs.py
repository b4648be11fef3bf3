"""Where accepted records end up for good, and the thread that writes them there in batches."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event as Flag

import orjson
import structlog

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.mail.content import ContentView
from mailwarden.domain.mail.events import Event
from mailwarden.errors import DataError, NotFound, StoreError
from mailwarden.labelling.feedback import label_record
from mailwarden.stores.accepted import Accepted, AcceptedHistory, AcceptedLabel, AcceptedMessage, verdict_of
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.raw_mail import RawMail, RawRow
from mailwarden.stores.lake.score_log import ScoreLog
from mailwarden.stores.lake.texts import Texts
from mailwarden.stores.lake.vector_log import VectorLog
from mailwarden.stores.shards import SHARDS_FOLDER
from mailwarden.stores.spool_files import read_committed
from mailwarden.stores.spool_reader import SpoolReader, readers_of, retire
from mailwarden.stores.sql import DecisionRecord, Decisions, Labels
from mailwarden_services.allocator import give_back_now
from mailwarden_services.feature_writer.logged_tables import score_table, text_table, vector_table
from mailwarden_services.feature_writer.rejected import set_aside
from mailwarden_services.feature_writer.status import READER_NAME

log = structlog.get_logger(__name__)

RETRY_SECONDS = 0.5

HANDS_BYTES = 64 << 20
"""What may wait in memory for the logs, by estimate: beyond it the spool is read no further."""

BATCH_BYTES = 24 << 20
"""Of one batch, by estimate, unless its first record is larger: while it is written, its columns are held beside it."""

_RECORD_BYTES = 12_000
"""What a record takes in memory, and each recipient's vector again, beside the raw mail."""


class Logs:
    """Where accepted records end up for good: event log, raw mail, vector log, score log, texts, decisions and labels.

    Each append is idempotent, so that a batch cut off in the middle can be handed over again. writer: the name under
    which the lake knows batches, one a spool (`writer_of`), since a batch is known by its place in that.
    """

    def __init__(
        self,
        *,
        events: EventLog,
        raw: RawMail,
        vectors: VectorLog,
        scores: ScoreLog,
        texts: Texts,
        decisions: Decisions,
        labels: Labels,
        views: Sequence[ActivityView],
        content: Sequence[ContentView],
        writer: str,
    ) -> None:
        self._writer = writer
        self._events, self._raw, self._texts = events, raw, texts
        self._vectors, self._scores = vectors, scores
        self._decisions, self._labels = decisions, labels
        self._views, self._content = tuple(views), tuple(content)

    @property
    def events(self) -> EventLog:
        """The event log."""
        return self._events

    def append(self, records: Sequence[tuple[int, Accepted]]) -> None:
        """Write (spool position, record) pairs in order; the last position names the batch."""
        if not records:
            return
        batch = (self._writer, records[-1][0])
        messages = [record for _, record in records if isinstance(record, AcceptedMessage)]
        labels = [record for _, record in records if isinstance(record, AcceptedLabel)]
        mail = [record for _, record in records if isinstance(record, AcceptedMessage | AcceptedHistory)]
        if mail:
            self._raw.append([raw_row(record) for record in mail])
        self._events.append([record.event for _, record in records], batch_id=batch)
        # A batch cut off in the middle may come again with other bounds: rows that are there are left out.
        fresh = _after(self._vectors.last_batch(self._writer), records)
        if fresh:
            self._vectors.append(vector_table(fresh, self._views, self._content), batch_id=batch)
        fresh = _after(self._scores.last_batch(self._writer), records)
        if fresh:
            self._scores.append(score_table(fresh), batch_id=batch)
        fresh = _after(self._texts.last_batch(self._writer), records)
        if fresh:
            self._texts.append(text_table(fresh, self._content), batch_id=batch)
        self._decisions.append_many([decision_record(record) for record in messages])
        self._labels.append_many(
            [label_record(record.event, source=record.source, given_by=record.given_by) for record in labels]
        )


def writer_of(spool: Path) -> str:
    """The name of a spool's writer in the lake: made once, and kept with the spool, since positions are its own.

    Called before anything is appended to it. A spool of a release that kept no names has the one that all had then.
    """
    path = spool / "writer"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    spool.mkdir(parents=True, exist_ok=True)
    begun = read_committed(spool) > 0 and spool.parent.parent.name != SHARDS_FOLDER
    name = READER_NAME if begun else f"{READER_NAME}-{secrets.token_hex(8)}"
    unfinished = path.with_suffix(".new")
    unfinished.write_text(name + "\n")
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)
    return name


def raw_row(record: AcceptedMessage | AcceptedHistory) -> RawRow:
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
        reception=record.reception,
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
        decision=verdict_of(answer),
        category=answer["category"],
        degraded=answer["degraded"],
        sender=event.sender,
        sender_domain=event.sender_domain,
        recipients=event.recipients,
        direction=event.direction,
        response=orjson.dumps(answer).decode(),
        message_id_header=answer.get("message_id_header", ""),
    )


def _after(position: int, records: Sequence[tuple[int, Accepted]]) -> list[AcceptedMessage]:
    """Scored messages behind a spool position."""
    return [record for at, record in records if at > position and isinstance(record, AcceptedMessage) and record.rows]


class LogBatches:
    """Records in hand, written to the logs in batches by a thread; the spool's checkpoint moves behind them.

    A record that a log refuses for good is set aside under the spool's `rejected`, and the others go on.

    trouble: in words, why a log is not written; "" where all is well.
    """

    def __init__(
        self, spool: Path, reader: SpoolReader, logs: Logs, *, batch_records: int, batch_seconds: float
    ) -> None:
        self._spool, self._reader, self._logs = spool, reader, logs
        self.batch_records, self.batch_seconds = batch_records, batch_seconds
        self._waiting: list[tuple[int, Accepted]] = []
        self._batch: list[tuple[int, Accepted]] = []
        self._since = 0.0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="logs")
        self._under_way: Future[int | None] | None = None
        self._stop = Flag()
        self._gave_up = False
        self._at_once = False
        self._bytes = self._waiting_bytes = 0
        self.trouble = ""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._batch)

    @property
    def full(self) -> bool:
        """Whether as much waits as may."""
        return self._bytes >= HANDS_BYTES

    def add(self, records: Sequence[tuple[int, Accepted]]) -> None:
        """Take (spool position, record) pairs, in order."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting += records
        size = sum(map(_size, records))
        self._bytes += size
        self._waiting_bytes += size

    def in_hand(self, tenant: str) -> list[Event]:
        """A tenant's events that may not be in the log yet, in order of seq."""
        return [record.event for _, record in (*self._batch, *self._waiting) if record.event.tenant == tenant]

    def write_soon(self) -> None:
        """Have what waits written without waiting for a batch to fill."""
        self._at_once = True

    def step(self) -> None:
        """Take note of a batch that is written, and begin the next one where it is due."""
        self._finish(wait=False)
        if not self._waiting or self._under_way is not None or self._gave_up:
            return
        late = time.monotonic() - self._since >= self.batch_seconds
        full = len(self._waiting) >= self.batch_records or self._waiting_bytes >= BATCH_BYTES
        if self._at_once or late or full:
            self._start()

    def flush(self) -> None:
        """Write all that is in hand and move the checkpoint behind it."""
        self._finish(wait=True)
        while self._waiting and not self._gave_up:
            self._start()
            self._finish(wait=True)

    def stop(self) -> None:
        """Give a batch up that cannot be written, instead of trying for ever: it stays in the spool."""
        self._stop.set()

    def close(self) -> None:
        """Write what is left and end the thread."""
        self.flush()
        self._pool.shutdown()

    def _start(self) -> None:
        size = count = 0
        for record in self._waiting:
            if count and size + _size(record) > BATCH_BYTES:
                break
            size, count = size + _size(record), count + 1
        self._batch, self._waiting = self._waiting[:count], self._waiting[count:]
        self._waiting_bytes -= size
        if not self._waiting:
            # What is left over has waited as long, and is asked for as much.
            self._since, self._at_once = time.monotonic(), False
        self._under_way = self._pool.submit(self._append, self._batch)

    def _append(self, batch: list[tuple[int, Accepted]]) -> int | None:
        while True:
            try:
                self._append_or_set_aside(batch)
                self.trouble = ""
                return batch[-1][0]
            except StoreError as exc:
                self.trouble = f"a log is away: {exc}"
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

    def _finish(self, *, wait: bool) -> None:
        if self._under_way is not None and (wait or self._under_way.done()):
            position = self._under_way.result()
            self._under_way = None
            if position is None:
                # Later records logged and checkpointed would drop these for good.
                self._gave_up = True
                return
            self._bytes -= sum(map(_size, self._batch))
            self._batch = []
            self._reader.commit(position)
            # The signal worker may be behind.
            retire(self._spool, {READER_NAME, *readers_of(self._spool)})
            self._pool.submit(give_back_now)


def _size(record: tuple[int, Accepted]) -> int:
    _, accepted = record
    return _RECORD_BYTES * (1 + len(getattr(accepted, "rows", ()))) + len(getattr(accepted, "raw", b""))
