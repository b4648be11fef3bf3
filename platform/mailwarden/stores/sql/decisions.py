"""The decision log: what was decided on each message, kept once, seen by its tenant alone."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine

from mailwarden.errors import DataError
from mailwarden.stores.sql.engine import reading, writing
from mailwarden.stores.sql.tables import decisions

_PAGE = 1_000
_LOOKED_AT = 20_000
"""Decisions that one page looks at, at most, however few of them are wanted."""
_BATCH = 1_000
_COLUMN_PAGE = 20_000


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One decision as logged.

    idempotency_key: the caller's, None where it gave none; seq: the message's in its tenant.
    decided_model: version of the bundle that decided; score: 0..1, higher is worse.
    category: code of the attack, None where none is named; degraded: features could not be read.
    recipients: normalised addresses; response: JSON text that the API answered, byte for byte.
    message_id_header: the message's own, as the answer has it; "" where there is none, or it was not kept.
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
    message_id_header: str = ""


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """Which decisions are wanted; None for any.

    from_us <= received_at < to_us. sender, recipient: normalised addresses, or a registrable domain in `sender`.
    """

    verdict: str | None = None
    category: str | None = None
    sender: str | None = None
    recipient: str | None = None
    from_us: int | None = None
    to_us: int | None = None
    message_id_header: str | None = None


Place = tuple[int, int, str]
"""Where a page ends: (received_at_us, seq, message_id)."""


@dataclass(frozen=True, slots=True)
class DecisionPage:
    """Decisions, the newest first, and where the next page begins; None at the end."""

    records: tuple[DecisionRecord, ...]
    next: Place | None


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

    def page(
        self, tenant: str, wanted: DecisionFilter, *, after: Place | None = None, limit: int = 100
    ) -> DecisionPage:
        """Return the tenant's newest decisions that are wanted, from behind `after`, at most `limit`.

        A page may hold fewer, or none, and yet name a next one: it looks at a bounded number of decisions.
        """
        span = sa.select(*(decisions.c[name] for name in _FIELDS)).where(decisions.c.tenant == tenant)
        if wanted.message_id_header is not None:
            span = span.where(decisions.c.message_id_header == wanted.message_id_header)
        if wanted.from_us is not None:
            span = span.where(decisions.c.received_at_us >= wanted.from_us)
        if wanted.to_us is not None:
            span = span.where(decisions.c.received_at_us < wanted.to_us)
        if after is not None:
            span = span.where(
                # Implied by the next line, but SQLite would start at the first row without it.
                decisions.c.received_at_us <= after[0],
                sa.tuple_(*_time_order()) < sa.tuple_(*after),
            )
        span = span.order_by(*(column.desc() for column in _time_order())).limit(_LOOKED_AT)
        looked_at = span.subquery()
        rows = sa.select(looked_at).where(*_conditions(looked_at, wanted, self._engine.dialect.name))
        newest = (looked_at.c.received_at_us, looked_at.c.seq, looked_at.c.message_id)
        rows = rows.order_by(*(column.desc() for column in newest)).limit(limit + 1)
        with reading(self._engine) as connection:
            found = [DecisionRecord(*row) for row in connection.execute(rows)]
            if len(found) > limit:
                return DecisionPage(tuple(found[:limit]), _place(found[limit - 1]))
            last = connection.execute(span.with_only_columns(*_time_order()).offset(_LOOKED_AT - 1).limit(1)).first()
        return DecisionPage(tuple(found), None if last is None else (last[0], last[1], last[2]))

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

    def judged_by(self, tenant: str) -> dict[str, int]:
        """By version of the bundle that decided, how many decisions the tenant has."""
        counted = sa.select(decisions.c.decided_model, sa.func.count()).where(decisions.c.tenant == tenant)
        with reading(self._engine) as connection:
            found = connection.execute(counted.group_by(decisions.c.decided_model))
            return {model: int(n) for model, n in found}

    def judged(
        self, tenant: str, model: str, from_us: int | None = None, to_us: int | None = None
    ) -> Iterator[dict[str, list[Any]]]:
        """What a bundle decided of the tenant's mail, as columns of some thousand messages at a time, by time.

        Columns: message_id, received_at_us, decision, category, degraded, log_odds (fused, as answered; None where the
        answer has none). from_us <= received_at < to_us, None for open. Holds no connection in between.
        """
        read = (*_time_order(), decisions.c.decision, decisions.c.category, decisions.c.degraded)
        kept = sa.select(*read, self._answered("log_odds").label("log_odds"))
        kept = kept.where(decisions.c.tenant == tenant, decisions.c.decided_model == model)
        if to_us is not None:
            kept = kept.where(decisions.c.received_at_us < to_us)
        kept = kept.order_by(*_time_order())
        page = kept if from_us is None else kept.where(decisions.c.received_at_us >= from_us)
        while True:
            with reading(self._engine) as connection:
                rows = connection.execute(page.limit(_COLUMN_PAGE)).all()
            if rows:
                times, seqs, ids, *rest = (list(column) for column in zip(*rows, strict=True))
                names = ("decision", "category", "degraded", "log_odds")
                yield {"message_id": ids, "received_at_us": times, **dict(zip(names, rest, strict=True))}
            if len(rows) < _COLUMN_PAGE:
                return
            page = kept.where(
                # Implied by the next line, but SQLite would start at the first row without it.
                decisions.c.received_at_us >= times[-1],
                sa.tuple_(*_time_order()) > sa.tuple_(times[-1], seqs[-1], ids[-1]),
            )

    def _answered(self, name: str) -> sa.ColumnElement[Any]:
        """A number of the answer, read in the database."""
        # A cast of text to JSON means nothing to SQLite, and all to PostgreSQL.
        sqlite_has = self._engine.dialect.name == "sqlite"
        answer = sa.type_coerce(decisions.c.response, sa.JSON) if sqlite_has else sa.cast(decisions.c.response, sa.JSON)
        number: sa.ColumnElement[Any] = answer[name].as_float()
        return number

    def _one(self, tenant: str, condition: sa.ColumnElement[bool]) -> DecisionRecord | None:
        with reading(self._engine) as connection:
            row = connection.execute(_SELECT.where(decisions.c.tenant == tenant, condition)).first()
        return None if row is None else DecisionRecord(*row)


def _place(record: DecisionRecord) -> Place:
    return record.received_at_us, record.seq, record.message_id


def _conditions(rows: sa.Subquery, wanted: DecisionFilter, dialect: str) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.verdict is not None:
        conditions.append(rows.c.decision == wanted.verdict)
    if wanted.category is not None:
        conditions.append(rows.c.category == wanted.category)
    if wanted.sender is not None:
        conditions.append(sa.or_(rows.c.sender == wanted.sender, rows.c.sender_domain == wanted.sender))
    if wanted.recipient is not None:
        each = sa.func.json_array_elements_text if dialect == "postgresql" else sa.func.json_each
        one = each(rows.c.recipients).table_valued("value")
        conditions.append(sa.exists(sa.select(sa.literal(1)).select_from(one).where(one.c.value == wanted.recipient)))
    return conditions


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
