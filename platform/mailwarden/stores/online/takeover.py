"""Having a loaded generation serve: by the writers that are there, or in place of those that are not."""

from __future__ import annotations

import time
from collections.abc import Callable

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.online.client import Client
from mailwarden.stores.online.partition_writer import PartitionWriters
from mailwarden.stores.online.writer import OnlineWriter

PATIENCE_SECONDS = 30.0
"""How long a partition's writer may take to catch a generation up before that is reported instead of waited for."""

_NO_LIMIT = 2**62
_LOOK_SECONDS = 0.05


class Takeover:
    """Completes generations: waits for the writers that hold partitions, and does the work of those that nobody holds.

    log: the event log. patience_seconds: without any progress.
    """

    def __init__(
        self,
        client: Client,
        project: str,
        writer: OnlineWriter,
        log: EventLog,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._client, self._project, self._writer, self._log = client, project, writer, log
        self._generations = writer.generations
        self._patience = patience_seconds

    def complete(self, view: ActivityView, say: Callable[[str], None] = lambda _: None) -> str:
        """Have the view's loaded generation serve; "" once nothing of it is pending, else why it does not yet.

        Raises StoreError where a store is away.
        """
        left = self._pending(view)
        if not left:
            return ""
        writers = PartitionWriters(
            self._client, self._project, self._writer.views, self._writer, self._log, take_over=False, limit=_NO_LIMIT
        )
        try:
            deadline = time.monotonic() + self._patience
            while left:
                did = writers.step()
                before, left = left, self._pending(view)
                if did or left != before:
                    deadline = time.monotonic() + self._patience
                elif left and time.monotonic() > deadline:
                    return self._why(view, left, writers)
                elif left:
                    say(f"{view.name}: partitions {', '.join(map(str, left))} are still to take it over")
                    time.sleep(_LOOK_SECONDS)
        finally:
            writers.close()
        return ""

    def missing(self, view: ActivityView) -> int:
        """How many events, at most, the view's loaded generation lacks; 0 where none is on its way."""
        filling = self._generations.catalog().of(view).filling
        if filling is None or filling.loaded is None:
            return 0
        newest: dict[str, int] = {}
        for marks in self._generations.marks.folded_everywhere():
            for tenant, mark in marks.items():
                newest[tenant] = max(mark.seq, newest.get(tenant, 0))
        return sum(max(0, seq - filling.loaded.get(tenant, 0)) for tenant, seq in newest.items())

    def _pending(self, view: ActivityView) -> tuple[int, ...]:
        catalog = self._generations.catalog()
        return tuple(
            partition
            for partition in range(self._generations.partitions)
            if any(pending.view == view for pending in self._generations.pending(partition, catalog))
        )

    def _why(self, view: ActivityView, left: tuple[int, ...], writers: PartitionWriters) -> str:
        ours = sorted({*left} & {*writers.held})
        if ours:
            return (
                f"view {view.name} is loaded, but events were folded that are not in the event log yet; start "
                "`mailwarden serve` or a feature writer, which logs what the spool holds and then takes the view over"
            )
        return (
            f"view {view.name} is loaded and waits for the feature writers of partitions "
            f"{', '.join(map(str, left))}; restart them if they run other code than this"
        )
