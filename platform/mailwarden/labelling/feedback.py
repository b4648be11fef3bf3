"""Labels as they are kept: one record for each label event, wherever it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailwarden.domain.mail.events import LABEL_SOURCES, Event, LabelSource
from mailwarden.stores.sql import LabelRecord, Labels


def label_id_of(event: Event) -> str:
    """The id of a label: its seq and its message, so that a redelivered label is known again."""
    return f"l{event.seq}-{event.message_id}"


def label_record(event: Event, *, source: LabelSource, given_by: str) -> LabelRecord:
    """A label event as the label log keeps it; raises DataError where it holds no label."""
    return LabelRecord(
        tenant=event.tenant,
        label_id=label_id_of(event),
        message_id=event.message_id,
        label=event.label,
        known_at_us=event.known_at_us,
        seq=event.seq,
        source=source,
        given_by=given_by,
    )


def index_sink(labels: Labels) -> Callable[[Sequence[Event]], None]:
    """Takes the label events of a bulk ingest into the label log; an event twice counts once."""

    def take(events: Sequence[Event]) -> None:
        # A message of the source may bear labels that people gave: those stand as they were given.
        standing = {
            (tenant, label_id)
            for tenant in {event.tenant for event in events}
            for label_id in labels.standing(tenant, [label_id_of(event) for event in events if event.tenant == tenant])
        }
        fresh = [event for event in events if (event.tenant, label_id_of(event)) not in standing]
        labels.append_many([label_record(event, source=_source(event), given_by="") for event in fresh])

    return take


def _source(event: Event) -> LabelSource:
    # One from before it was kept came of an index, as all here do.
    return next((source for source in LABEL_SOURCES if source == event.label_source), "index")
