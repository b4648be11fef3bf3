"""The audit log: who did what to whom and when, never changed once it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mailwarden.stores.sql.engine import reading, writing
from mailwarden.stores.sql.tables import audit


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that was done.

    number: of the entry, rising; at_us: when it was written. tenant: whose matter it is, "" where the whole platform's.
    who: the key's label or the command line's user, as `key:LABEL` or `cli:USER`. what: verb of the act, as
    `content.read`, `label.give`, `policy.change`. target: what it was done to: a message id, a key's label, a model.
    details: plain JSON.
    """

    number: int
    at_us: int
    tenant: str
    who: str
    what: str
    target: str
    details: Mapping[str, Any] = field(default_factory=dict)


class Audit:
    """The audit log; `engine` comes from `open_engine`, migrated. The database refuses to change or drop an entry."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(
        self,
        *,
        at_us: int,
        tenant: str,
        who: str,
        what: str,
        target: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down one act, committed on return; see `AuditEntry`. Raises StoreError where it cannot be kept."""
        self.add_many(at_us=at_us, tenant=tenant, who=who, what=what, acts=[(target, details or {})])

    def add_many(
        self, *, at_us: int, tenant: str, who: str, what: str, acts: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> None:
        """Write down several acts of a kind, (target, details) each, all of them or none."""
        if not acts:
            return
        row = {"at_us": at_us, "tenant": tenant, "who": who, "what": what}
        with writing(self._engine) as connection:
            connection.execute(
                sa.insert(audit), [row | {"target": target, "details": dict(details)} for target, details in acts]
            )

    def page(
        self, tenant: str | None, *, before: int | None = None, limit: int = 100, what: str | None = None
    ) -> tuple[AuditEntry, ...]:
        """Return the newest entries, the newest first, at most `limit`.

        tenant: whose; None for all. before: only entries with a smaller number. what: only such acts; a verb's first
        part alone, as `label`, means all of its kind.
        """
        wanted = sa.select(
            audit.c.number, audit.c.at_us, audit.c.tenant, audit.c.who, audit.c.what, audit.c.target, audit.c.details
        )
        if tenant is not None:
            wanted = wanted.where(audit.c.tenant == tenant)
        if before is not None:
            wanted = wanted.where(audit.c.number < before)
        if what is not None:
            wanted = wanted.where(sa.or_(audit.c.what == what, audit.c.what.startswith(what + ".", autoescape=True)))
        with reading(self._engine) as connection:
            rows = connection.execute(wanted.order_by(audit.c.number.desc()).limit(limit)).all()
        return tuple(AuditEntry(*row) for row in rows)
