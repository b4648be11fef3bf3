"""The label store: what people said of messages, and when; a history that only grows."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine

from mailwarden.domain.mail.events import LABEL_SOURCES, LABELS, WITHDRAWN, LabelSource
from mailwarden.errors import DataError
from mailwarden.stores.sql.engine import reading, writing
from mailwarden.stores.sql.tables import labels

_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class LabelRecord:
    """One label as given, or a withdrawal.

    label: one of LABELS, or WITHDRAWN where the one before is taken back; known_at_us: when it was given; seq: from its
    tenant's one sequence.
    source: who is behind it; given_by: which analyst, user or index, in the caller's own terms.
    """

    tenant: str
    label_id: str
    message_id: str
    label: str
    known_at_us: int
    seq: int
    source: LabelSource
    given_by: str

    def __post_init__(self) -> None:
        if self.label not in LABELS and self.label != WITHDRAWN:
            raise DataError(f"Label {self.label!r} is unknown. Write one of {', '.join(LABELS)}.")
        if self.source not in LABEL_SOURCES:
            raise DataError(f"Label source {self.source!r} is unknown. Write one of {', '.join(LABEL_SOURCES)}.")


_FIELDS = tuple(field.name for field in fields(LabelRecord))
_SELECT = sa.select(*(labels.c[name] for name in _FIELDS))
_values = operator.attrgetter(*_FIELDS)


class Labels:
    """The label store; `engine` comes from `open_engine`, migrated."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        self._insert = (
            insert(labels)
            .on_conflict_do_nothing(index_elements=[labels.c.tenant, labels.c.label_id])
            .returning(labels.c.tenant, labels.c.label_id)
        )

    def append(self, record: LabelRecord) -> bool:
        """Add one label as `append_many` does; return whether it was new."""
        return bool(self.append_many([record]))

    def append_many(self, records: Sequence[LabelRecord]) -> frozenset[tuple[str, str]]:
        """Add the labels in one transaction; return the (tenant, label_id) of those that were new.

        The same record again changes nothing. Nothing is ever overwritten: a correction is another
        record with an id and a seq of its own. Raises DataError, and adds none of them, on an unknown
        tenant or a label_id that names a label with other content.
        """
        if not records:
            return frozenset()
        # In one order for all: two batches that share labels would otherwise wait for each other.
        ordered = sorted(records, key=lambda record: (record.tenant, record.label_id))
        rows = [dict(zip(_FIELDS, _values(record), strict=True)) for record in ordered]
        stored: set[tuple[str, str]] = set()
        with writing(self._engine) as connection:
            for start in range(0, len(rows), _BATCH):
                returned = connection.execute(self._insert, rows[start : start + _BATCH])
                stored.update((row.tenant, row.label_id) for row in returned)
            if len(stored) < len(records):
                _check_same(connection, ordered)
        return frozenset(stored)

    def standing(self, tenant: str, label_ids: Sequence[str]) -> frozenset[str]:
        """Return those of the ids that are taken by labels of the tenant."""
        found: set[str] = set()
        with reading(self._engine) as connection:
            for start in range(0, len(label_ids), _BATCH):
                part = label_ids[start : start + _BATCH]
                wanted = sa.select(labels.c.label_id).where(labels.c.tenant == tenant, labels.c.label_id.in_(part))
                found.update(connection.execute(wanted).scalars())
        return frozenset(found)

    def latest(self, tenant: str, message_id: str) -> LabelRecord | None:
        """Return the newest word on the message, the one of the greatest seq; None where it never had a label."""
        newest = _of_message(tenant, message_id).order_by(*(column.desc() for column in _order())).limit(1)
        with reading(self._engine) as connection:
            row = connection.execute(newest).first()
        return None if row is None else LabelRecord(*row)

    def history(self, tenant: str, message_id: str) -> tuple[LabelRecord, ...]:
        """Return every label that the message was given, in the order of seq; the last one counts."""
        with reading(self._engine) as connection:
            rows = connection.execute(_of_message(tenant, message_id).order_by(*_order())).all()
        return tuple(LabelRecord(*row) for row in rows)

    def page(
        self, tenant: str, *, message_id: str | None = None, after: tuple[int, str] | None = None, limit: int = 100
    ) -> tuple[LabelRecord, ...]:
        """Return the tenant's newest labels, or a message's, from behind `after` (seq, label_id), at most `limit`."""
        wanted = _SELECT.where(labels.c.tenant == tenant)
        if message_id is not None:
            wanted = wanted.where(labels.c.message_id == message_id)
        if after is not None:
            wanted = wanted.where(labels.c.seq <= after[0], sa.tuple_(*_order()) < sa.tuple_(*after))
        newest = wanted.order_by(*(column.desc() for column in _order())).limit(limit)
        with reading(self._engine) as connection:
            return tuple(LabelRecord(*row) for row in connection.execute(newest))

    def count(self, tenant: str) -> int:
        """Return how many labels the tenant has given, corrections included."""
        with reading(self._engine) as connection:
            counted = sa.select(sa.func.count()).select_from(labels).where(labels.c.tenant == tenant)
            return int(connection.execute(counted).scalar_one())


def _order() -> tuple[sa.Column[int], sa.Column[str]]:
    # As counts and training take them: the order in which labels were accepted, whatever time they were given for.
    return labels.c.seq, labels.c.label_id


def _of_message(tenant: str, message_id: str) -> sa.Select[Any]:
    return _SELECT.where(labels.c.tenant == tenant, labels.c.message_id == message_id)


def _check_same(connection: Connection, ordered: Sequence[LabelRecord]) -> None:
    for start in range(0, len(ordered), _BATCH):
        for tenant, group in itertools.groupby(ordered[start : start + _BATCH], lambda record: record.tenant):
            records = list(group)
            kept = connection.execute(
                _SELECT.where(labels.c.tenant == tenant, labels.c.label_id.in_([record.label_id for record in records]))
            )
            there = {row.label_id: LabelRecord(*row) for row in kept}
            for record in records:
                if there[record.label_id] != record:
                    raise DataError(
                        f"Label {record.label_id!r} of tenant {tenant!r} exists with other content. "
                        "Labels are never changed: append the correction under an id of its own."
                    )
