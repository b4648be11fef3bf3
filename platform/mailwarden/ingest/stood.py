"""Messages that stood in the log before an ingest that labels them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Envelope
from mailwarden.ingest.spill import Spill
from mailwarden.stores.lake.delta import bucket_of, within
from mailwarden.stores.lake.event_log import EVENT_SCHEMA, EventView, table_to_events


class Stood:
    """Events of such messages, on disk in a folder of their own; in memory are their ids.

    A label counts where its message does: it bears the facts that this counts with, whatever the code of today takes
    from the same bytes.
    """

    def __init__(self, folder: Path) -> None:
        self._spill = Spill(folder)
        self._row: dict[str, int] = {}

    def read(self, view: EventView, tenant: str, message_ids: Sequence[str]) -> None:
        """Take in a tenant's messages of these ids; once. view: with the facts in force."""
        if message_ids:
            wanted = (
                (ds.field("tenant") == tenant)
                & (ds.field("kind") == "message")
                & ds.field("message_id").isin(pa.array(message_ids))
            )
            for batch in view.read(EVENT_SCHEMA.names, wanted, within([bucket_of(tenant)])):
                for event in table_to_events(pa.Table.from_batches([batch])):
                    self._row[event.message_id] = len(self._spill)
                    self._spill.add(event, Envelope(), b"")
        self._spill.close_writing()

    def find(self, message_ids: Sequence[str]) -> dict[str, Event]:
        """Those of the messages that were taken in, by message_id."""
        there = [message_id for message_id in dict.fromkeys(message_ids) if message_id in self._row]
        rows = np.array([self._row[message_id] for message_id in there], dtype=np.int64)
        return {event.message_id: event for event, _ in self._spill.read(rows)}

    def close(self) -> None:
        """Let go of the files; removing them is the folder's owner's business."""
        self._spill.close()
