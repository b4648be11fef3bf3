"""The decision log: what was decided on each message, kept once, seen by its tenant alone."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine

from mailwarden.errors import DataError
from mailwarden.stores.sql.engine import reading, writing
from mailwarden.stores.sql.tables import decisions

_PAGE = 1_000
_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One decision as logged.

    idempotency_key: the caller's, None where it gave none; seq: the message's in its tenant.
    decided_model: version of the bundle that decided; score: 0..1, higher is worse.
    category: code of the attack, None where none is named; degraded: features could not be read.
    recipients: normalised addresses; response: JSON text that the API answered, byte for byte.
    """

    tenant: str
    decision_id: str
    message_id: str
    idempotency_key: str | None
    seq: int
    received_at_us: int
    decided_model: str
    score: float
    decision: str
    category: str | None
    degraded: bool
    sender: str
    sender_domain: str
    recipients: tuple[str, ...]
    direction: str
    response: str


_FIELDS = tuple(field.name for field in fields(DecisionRecord))
_SELECT = sa.select(*(decisions.c[name] for name in _FIELDS))
_values = operator.attrgetter(*_FIELDS)


class Decisions:
    """The decision log; `engine` comes from `open_engine`, migrated."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        self._insert = insert(decisions).on_conflict_do_nothing().returning(decisions.c.tenant, decisions.c.message_id)

    def append_many(self, records: Sequence[DecisionRecord]) -> frozenset[tuple[str, str]]:
        """Log the decisions in one transaction; return the (tenant, message_id) of those that were new.

        A message that has a decision keeps it, and so does an idempotency key: for a record that is not
        among those returned, `by_message` or `by_idempotency_key` gives the decision that stands.
        Raises DataError, and logs none of them, on a score outside 0..1, an unknown tenant, or a
        decision_id that another message's decision bears.
        """
        for record in records:
            if not 0.0 <= record.score <= 1.0:
                raise DataError(f"Decision {record.decision_id!r}: score {record.score!r} is outside 0..1.")
        if not records:
            return frozenset()
        # In one order for all: two batches that share messages would otherwise wait for each other.
        ordered = sorted(records, key=lambda record: (record.tenant, record.message_id))
        rows = [dict(zip(_FIELDS, _values(record), strict=True)) for record in ordered]
        stored: set[tuple[str, str]] = set()
        with writing(self._engine) as connection:
            for start in range(0, len(rows), _BATCH):
                returned = connection.execute(self._insert, rows[start : start + _BATCH])
                stored.update((row.tenant, row.message_id) for row in returned)
            refused = [record for record in ordered if (record.tenant, record.message_id) not in stored]
            _check_stand(connection, refused)
        return frozenset(stored)

    def get(self, tenant: str, decision_id: str) -> DecisionRecord | None:
        """Return the tenant's decision of that id, or None."""
        return self._one(tenant, decisions.c.decision_id == decision_id)

    def by_message(self, tenant: str, message_id: str) -> DecisionRecord | None:
        """Return the tenant's decision on that message, or None."""
        return self._one(tenant, decisions.c.message_id == message_id)

    def by_idempotency_key(self, tenant: str, key: str) -> DecisionRecord | None:
        """Return the decision that the tenant asked for under that idempotency key, or None."""
        return self._one(tenant, decisions.c.idempotency_key == key)

    def count(self, tenant: str) -> int:
        """Return how many decisions the tenant has."""
        with reading(self._engine) as connection:
            counted = sa.select(sa.func.count()).select_from(decisions).where(decisions.c.tenant == tenant)
            return int(connection.execute(counted).scalar_one())

    def recent(self, tenant: str, limit: int) -> tuple[DecisionRecord, ...]:
        """Return the tenant's newest decisions by (received_at, seq), the newest first, at most `limit`."""
        newest = _SELECT.where(decisions.c.tenant == tenant).order_by(*(column.desc() for column in _time_order()))
        with reading(self._engine) as connection:
            return tuple(DecisionRecord(*row) for row in connection.execute(newest.limit(limit)))

    def between(self, tenant: str, from_us: int, to_us: int) -> Iterator[DecisionRecord]:
        """Yield the tenant's decisions with from_us <= received_at < to_us, by (received_at, seq).

        Reads a page at a time and holds no connection in between, however slowly it is consumed.
        """
        ordered = _SELECT.where(decisions.c.tenant == tenant, decisions.c.received_at_us < to_us).order_by(
            *_time_order()
        )
        page = ordered.where(decisions.c.received_at_us >= from_us)
        while True:
            with reading(self._engine) as connection:
                records = [DecisionRecord(*row) for row in connection.execute(page.limit(_PAGE))]
            yield from records
            if len(records) < _PAGE:
                return
            last = records[-1]
            page = ordered.where(
                # Implied by the next line, but SQLite would start at the first row without it.
                decisions.c.received_at_us >= last.received_at_us,
                sa.tuple_(*_time_order()) > sa.tuple_(last.received_at_us, last.seq, last.message_id),
            )

    def _one(self, tenant: str, condition: sa.ColumnElement[bool]) -> DecisionRecord | None:
        with reading(self._engine) as connection:
            row = connection.execute(_SELECT.where(decisions.c.tenant == tenant, condition)).first()
        return None if row is None else DecisionRecord(*row)


def _time_order() -> tuple[sa.Column[int], sa.Column[int], sa.Column[str]]:
    return decisions.c.received_at_us, decisions.c.seq, decisions.c.message_id


def _check_stand(connection: Connection, refused: Sequence[DecisionRecord]) -> None:
    # DO NOTHING also swallows a decision_id given twice, which would lose a decision without a word.
    for start in range(0, len(refused), _BATCH):
        for tenant, group in itertools.groupby(refused[start : start + _BATCH], lambda record: record.tenant):
            records = list(group)
            messages = _among(connection, tenant, decisions.c.message_id, [r.message_id for r in records])
            given = [r.idempotency_key for r in records if r.idempotency_key is not None]
            keys = _among(connection, tenant, decisions.c.idempotency_key, given)
            for record in records:
                if record.message_id not in messages and record.idempotency_key not in keys:
                    raise DataError(
                        f"Decision id {record.decision_id!r} of tenant {tenant!r} belongs to another "
                        "message already. Give each decision an id of its own."
                    )


def _among(connection: Connection, tenant: str, column: sa.Column[str], values: list[str]) -> set[str]:
    wanted = sa.select(column).where(decisions.c.tenant == tenant, column.in_(values))
    return set(connection.execute(wanted).scalars()) if values else set()
