"""The feature writer: from the spool into the streams at once, into the logs in batches, and from streams to states."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event as Flag

import structlog

from mailwarden.errors import StoreError
from mailwarden.stores.accepted import decode_accepted
from mailwarden.stores.online.partition_writer import FOLD_LIMIT, PartitionWriters
from mailwarden.stores.online.streams import Routes, StreamLag
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden.stores.spool_reader import SpoolReader
from mailwarden_services.allocator import give_back_now
from mailwarden_services.feature_writer.dispatcher import Dispatcher
from mailwarden_services.feature_writer.logs import LogBatches, Logs
from mailwarden_services.feature_writer.rejected import count_aside
from mailwarden_services.feature_writer.status import READER_NAME, WriterStatus, write_status

log = structlog.get_logger(__name__)

__all__ = ["READER_NAME", "FeatureWriter", "serve_partitions"]

IDLE_SECONDS = 0.002
BUSY_WAIT_SECONDS = 2.0
LONGEST_IDLE_SECONDS = 0.02
RETRY_SECONDS = 0.5
FULL_SECONDS = 0.05
"""How long a full stream is left alone before it is tried again."""

READ_SECONDS = 0.05
"""How often streams are read into which this process has sent nothing."""

LOOK_SECONDS = 2.0
"""How often Redis is asked, mail or none, whether it still holds what was sent."""

REPORT_SECONDS = 1.0
LATE_SECONDS = 10.0
"""Accepted mail that is older than this and not folded is named in /readyz."""

STOP_SECONDS = 20.0
"""How long one that was asked to stop goes on folding what it finds."""


class FeatureWriter:
    """Reads the spool: events go to the streams and whole records to the logs; folds its partitions' streams.

    The spool's checkpoint moves only behind the logs, and an event is sent to the streams from the spool or, later,
    from the event log, so that neither Redis nor a log that is away holds the other up. A crash at any moment means
    that something is handed over again; streams, states and logs know what they have and take nothing twice.

    writers: of the partitions that this process serves, all by default. tenants: those to look after from the start,
    whether or not they have new mail. pause_seconds: from one look into the spool to the next, unless much waits: what
    comes meanwhile is folded together, a key once.
    """

    def __init__(
        self,
        spool: Path,
        writers: PartitionWriters,
        online: OnlineWriter,
        routes: Routes,
        logs: Logs,
        *,
        tenants: Callable[[], Sequence[str]] = tuple,
        batch_records: int = 2_000,
        batch_seconds: float = 5.0,
        pause_seconds: float = 0.0,
    ) -> None:
        self._spool = spool
        self._reader = SpoolReader(spool, READER_NAME)
        self.writers, self.online = writers, online
        self.batches = LogBatches(spool, self._reader, logs, batch_records=batch_records, batch_seconds=batch_seconds)
        writers.write_log = self.batches.write_soon
        self.dispatcher = Dispatcher(writers.streams, routes, logs.events, self.batches.in_hand)
        self._polled: list[tuple[int, bytes]] = []
        self._stop = Flag()
        self._tenants = tenants
        self._pause_seconds = pause_seconds
        self._named: list[str] | None = None
        self._looked = self._reported = self._folded = float("-inf")
        self._redis_again = self._send_again = float("-inf")
        self._more = True
        self._much_waits = False
        self._trouble = self._redis_trouble = ""
        self._late_since: float | None = None
        self._lag: tuple[StreamLag, ...] = ()
        self._rejected = 0
        self._said: tuple[str, ...] = ()

    def run(self) -> None:
        """Work until `stop` is called, then fold and log what is there and return."""
        last_work = time.monotonic()
        while not self._stop.is_set():
            began = time.monotonic()
            if self._work():
                last_work = time.monotonic()
                rest = began + self._pause_seconds - last_work
                if rest > 0 and not self._much_waits:
                    self._stop.wait(rest)
                continue
            # A mail flow is bursty: look often for a while after the last record, then rarely.
            quiet = time.monotonic() - last_work > BUSY_WAIT_SECONDS
            self._stop.wait(max(self._pause_seconds, LONGEST_IDLE_SECONDS if quiet else IDLE_SECONDS))
        ends = time.monotonic() + STOP_SECONDS
        while self._work() and time.monotonic() < ends:
            pass
        self.close()

    def stop(self) -> None:
        """Have `run` return soon; what could not be folded or logged stays for the next start."""
        self._stop.set()
        self.batches.stop()

    def step(self) -> bool:
        """Send, fold and pass on what there is now; True where there was something.

        Raises StoreError where the spool itself cannot be read.
        """
        took = False
        try:
            took = self._take()
        finally:
            self.batches.step()
        worked = self._serve_redis()
        self._report_when_due()
        return took or worked

    def flush(self) -> None:
        """Log everything taken so far and move the checkpoint behind it."""
        self.batches.flush()
        self._report()

    def close(self) -> None:
        """Log what was taken, and let go of the partitions."""
        self.batches.close()
        self._report()
        try:
            self.writers.close()
        except StoreError as exc:
            log.warning("leases end by themselves", why=str(exc))
        self._reader.close()

    @property
    def words(self) -> tuple[str, ...]:
        """What keeps it from its work, each a sentence."""
        return self._words()

    def _work(self) -> bool:
        """A step that outlives a spool which cannot be read for a while."""
        try:
            took = self.step()
        except StoreError as exc:
            if not self._trouble:
                log.error("the spool cannot be read; trying again", error=str(exc))
            self._trouble = str(exc)
            self._serve_redis()
            self._report()
            self._stop.wait(RETRY_SECONDS)
            return False
        self._trouble = ""
        return took

    def _take(self) -> bool:
        if self.batches.full:
            return False
        if not self._polled:
            # After trouble one at a time, so that what lies before a damaged record is still taken.
            self._polled = self._reader.poll(limit=1 if self._trouble else FOLD_LIMIT)
        self._much_waits = len(self._polled) == FOLD_LIMIT or self.dispatcher.behind
        if not self._polled:
            return False
        # Kept until all of it is read: the spool's reader is past it already.
        records = [(position, decode_accepted(payload)) for position, payload in self._polled]
        self._polled = []
        self.batches.add(records)
        try:
            self.dispatcher.send([record.event for _, record in records])
            self._more = True
        except StoreError as exc:
            self._redis_is_away(exc)
        return True

    def _serve_redis(self) -> bool:
        """What Redis is asked for: the rest of the sending, the folding, and whether it is still whole."""
        now = time.monotonic()
        if now < self._redis_again:
            return False
        worked = False
        try:
            if now - self._looked >= LOOK_SECONDS:
                self._look()
                self._looked = now
            if self.dispatcher.behind and now >= self._send_again:
                worked = self.dispatcher.step()
                self._more |= worked
                if not self.dispatcher.behind:
                    # The log was read for what lacked.
                    give_back_now()
                self._send_again = now + FULL_SECONDS if self.dispatcher.full else float("-inf")
            if self._more or now - self._folded >= READ_SECONDS:
                self._more = self.writers.step() > 0
                self._folded = now
                worked |= self._more
            self._redis_trouble = ""
        except StoreError as exc:
            self._redis_is_away(exc)
        return worked

    def _redis_is_away(self, exc: StoreError) -> None:
        log.warning("online store away; events wait", error=type(exc).__name__, why=str(exc), n=len(self.batches))
        # The first failure may be one that the next step mends.
        wait = RETRY_SECONDS if self._redis_trouble else IDLE_SECONDS
        self._redis_trouble = f"the online store is away: {exc}"
        self._redis_again = time.monotonic() + wait
        self._more = True

    def _look(self) -> None:
        if self._named is None:
            self._named = list(self._tenants())
        self.dispatcher.look(self._named)

    def _words(self) -> tuple[str, ...]:
        words = [word for word in (self._trouble, self._redis_trouble, self.batches.trouble) if word]
        words += [self.dispatcher.waits[tenant] for tenant in sorted(self.dispatcher.waits)]
        words += self.writers.waits
        words += [f"view {name} is not folded: {why}" for name, why in sorted(self.online.unreadable.items())]
        late = [(lag.seconds, number) for number, lag in enumerate(self._lag) if lag.seconds > LATE_SECONDS]
        if late:
            seconds, number = max(late)
            words.append(
                f"the oldest of {self._lag[number].entries:,} entries of stream {number} has waited for "
                f"{seconds:.0f} s; look for the process that serves this partition"
            )
        if self._rejected:
            where = self._spool / "rejected"
            words.append(f"{self._rejected} records were refused by a log and lie, with the reasons, in {where}")
        return tuple(words)

    def _report_when_due(self) -> None:
        if time.monotonic() - self._reported >= REPORT_SECONDS or self._words() != self._said:
            self._report()

    def _report(self) -> None:
        now = self._reported = time.monotonic()
        self._rejected = count_aside(self._spool)
        held_up = self.dispatcher.behind or bool(self._trouble)
        self._late_since = (self._late_since or now) if held_up else None
        if now >= self._redis_again:
            try:
                self._lag = tuple(self.writers.streams.lag())
            except StoreError as exc:
                self._redis_is_away(exc)
        self._said = self._words()
        seconds = max([lag.seconds for lag in self._lag], default=0.0)
        if self._late_since is not None:
            seconds = max(seconds, now - self._late_since)
        write_status(
            self._spool,
            WriterStatus(
                not_sent=len(self.batches) if held_up else 0,
                not_logged=len(self.batches),
                rejected=self._rejected,
                words=self._said,
                streams=self._lag,
                oldest_seconds=seconds,
            ),
        )


def serve_partitions(writers: PartitionWriters, stop: Flag) -> None:
    """Fold partitions' streams until told to stop, in a process that leaves spool and logs to another."""
    last_work = time.monotonic()
    while not stop.is_set():
        try:
            if writers.step():
                last_work = time.monotonic()
                continue
        except StoreError as exc:
            log.warning("online store away; entries wait", error=type(exc).__name__, why=str(exc))
            stop.wait(RETRY_SECONDS)
            continue
        quiet = time.monotonic() - last_work > BUSY_WAIT_SECONDS
        stop.wait(LONGEST_IDLE_SECONDS if quiet else IDLE_SECONDS)
    writers.close()
