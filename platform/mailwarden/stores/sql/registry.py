"""The model registry: which models were trained, from what, and which of them serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mailwarden.errors import DataError, NotFound
from mailwarden.stores.sql.engine import reading, serialise, writing
from mailwarden.stores.sql.tables import models, promotions, tenants


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What it takes to train the same model again, and what to expect of it.

    data_fingerprint: of the training rows; feature_service: its Feast name; code_revision: of this project.
    event_log_version: of the Delta table that the rows came from; known_by_us: microseconds UTC, labels known later
    were not seen. Both are None for rows that came from elsewhere.
    parameters, metrics: JSON values; a metric that is not defined is None, since JSON knows no NaN.
    """

    data_fingerprint: str
    feature_service: str
    code_revision: str
    seed: int
    event_log_version: int | None = None
    known_by_us: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model as registered.

    name: a detector's, or 'bundle' for the detectors fused; tenant: None for a model that serves all.
    version: 1, 2, ... within tenant and name; artefact_uri, artefact_sha256: as ModelArtefacts gave them.
    """

    model_id: str
    tenant: str | None
    name: str
    version: int
    artefact_uri: str
    artefact_sha256: str
    created_us: int
    record: TrainingRecord


@dataclass(frozen=True, slots=True)
class Promotion:
    """One change of champion: the version that serves from then on, and why."""

    version: int
    action: Literal["promote", "rollback"]
    at_us: int
    reason: str


class _Scope(NamedTuple):
    tenant: str
    name: str


class Registry:
    """Models and their champions; `engine` comes from `open_engine`, migrated.

    `tenant` is None throughout for the models that the whole platform shares; a tenant without a
    champion of its own has none here: falling back on the shared one is the caller's decision.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(
        self,
        *,
        model_id: str,
        name: str,
        artefact_uri: str,
        artefact_sha256: str,
        created_us: int,
        record: TrainingRecord,
        tenant: str | None = None,
    ) -> ModelRecord:
        """Register a model under the next version of its name, and return it; it does not serve yet.

        A model is what it holds: the same content under the same name is one version, returned as it was registered
        first. Raises DataError where the model_id is taken, NotFound where there is no such tenant.
        """
        scope = _scope(name, tenant)
        with writing(self._engine) as connection:
            serialise(connection, *scope)
            _check_tenant(connection, scope)
            alike = sa.select(models).where(*_in(models, scope), models.c.artefact_sha256 == artefact_sha256)
            known = connection.execute(alike.order_by(models.c.version).limit(1)).first()
            if known is not None:
                return _model(known)
            if connection.execute(sa.select(models.c.model_id).where(models.c.model_id == model_id)).first():
                raise DataError(f"Model id {model_id!r} is registered already. Give each model its own.")
            newest = connection.execute(sa.select(sa.func.max(models.c.version)).where(*_in(models, scope)))
            version = int(newest.scalar_one() or 0) + 1
            connection.execute(
                sa.insert(models),
                {
                    "model_id": model_id,
                    "tenant": scope.tenant,
                    "name": name,
                    "version": version,
                    "artefact_uri": artefact_uri,
                    "artefact_sha256": artefact_sha256,
                    "created_us": created_us,
                    "record": asdict(record),
                },
            )
            return _get(connection, scope, version)

    def get(self, name: str, version: int, *, tenant: str | None = None) -> ModelRecord:
        """Return that version; raises NotFound, telling the versions there are."""
        with reading(self._engine) as connection:
            return _get(connection, _scope(name, tenant), version)

    def versions(self, name: str, *, tenant: str | None = None) -> tuple[ModelRecord, ...]:
        """Return every version of `name`, oldest first; none for a name that was never registered."""
        wanted = sa.select(models).where(*_in(models, _scope(name, tenant))).order_by(models.c.version)
        with reading(self._engine) as connection:
            return tuple(_model(row) for row in connection.execute(wanted))

    def names(self, *, tenant: str | None = None) -> tuple[str, ...]:
        """Return the names under which models are registered, in order."""
        wanted = sa.select(models.c.name).where(models.c.tenant == (tenant or "")).distinct()
        with reading(self._engine) as connection:
            return tuple(connection.execute(wanted.order_by(models.c.name)).scalars())

    def promote(self, name: str, version: int, *, at_us: int, reason: str, tenant: str | None = None) -> ModelRecord:
        """Make that version the champion and return it; where it is the champion, nothing changes.

        Raises NotFound where there is no such version.
        """
        scope = _scope(name, tenant)
        with writing(self._engine) as connection:
            serialise(connection, *scope)
            model = _get(connection, scope, version)
            past = _promotions(connection, scope)
            if not past or past[-1].version != version:
                _record(connection, scope, len(past), Promotion(version, "promote", at_us, reason))
            return model

    def champion(self, name: str, *, tenant: str | None = None) -> ModelRecord | None:
        """Return the version that serves, or None where none was promoted."""
        scope = _scope(name, tenant)
        last = (
            sa.select(promotions.c.version)
            .where(*_in(promotions, scope))
            .order_by(promotions.c.position.desc())
            .limit(1)
            .scalar_subquery()
        )
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(models).where(*_in(models, scope), models.c.version == last)).first()
        return None if row is None else _model(row)

    def rollback(self, name: str, *, at_us: int, reason: str, tenant: str | None = None) -> ModelRecord:
        """Make the champion before the present one the champion again, and return it.

        Rolling back twice goes back two promotions. Raises NotFound where there is no earlier champion.
        """
        scope = _scope(name, tenant)
        with writing(self._engine) as connection:
            serialise(connection, *scope)
            past = _promotions(connection, scope)
            version = _earlier(scope, past)
            _record(connection, scope, len(past), Promotion(version, "rollback", at_us, reason))
            return _get(connection, scope, version)

    def earlier(self, name: str, *, tenant: str | None = None) -> int:
        """The version that `rollback` would go back to; raises NotFound where there is none."""
        scope = _scope(name, tenant)
        with reading(self._engine) as connection:
            return _earlier(scope, _promotions(connection, scope))

    def history(self, name: str, *, tenant: str | None = None) -> tuple[Promotion, ...]:
        """Return every change of champion, oldest first."""
        with reading(self._engine) as connection:
            return _promotions(connection, _scope(name, tenant))


def _scope(name: str, tenant: str | None) -> _Scope:
    if not name or tenant == "":
        raise DataError(f"Model name {name!r} of tenant {tenant!r} is empty. Write a name, or None.")
    return _Scope(tenant or "", name)


def _words(scope: _Scope) -> str:
    return f"Model {scope.name!r}" + (f" of tenant {scope.tenant!r}" if scope.tenant else "")


def _in(table: sa.Table, scope: _Scope) -> tuple[sa.ColumnElement[bool], ...]:
    return (table.c.tenant == scope.tenant, table.c.name == scope.name)


def _check_tenant(connection: Connection, scope: _Scope) -> None:
    if scope.tenant and not connection.execute(sa.select(1).where(tenants.c.name == scope.tenant)).first():
        raise NotFound(f"There is no tenant {scope.tenant!r} to register a model for. Create it first.")


def _get(connection: Connection, scope: _Scope, version: int) -> ModelRecord:
    row = connection.execute(sa.select(models).where(*_in(models, scope), models.c.version == version)).first()
    if row is None:
        there = connection.execute(sa.select(models.c.version).where(*_in(models, scope)).order_by(models.c.version))
        known = ", ".join(map(str, there.scalars())) or "none"
        raise NotFound(f"{_words(scope)} has no version {version}. Versions there are: {known}.")
    return _model(row)


def _model(row: sa.Row[Any]) -> ModelRecord:
    columns = dict(row._mapping)
    columns["tenant"] = columns["tenant"] or None
    columns["record"] = TrainingRecord(**columns["record"])
    return ModelRecord(**columns)


def _promotions(connection: Connection, scope: _Scope) -> tuple[Promotion, ...]:
    wanted = sa.select(promotions.c.version, promotions.c.action, promotions.c.at_us, promotions.c.reason)
    rows = connection.execute(wanted.where(*_in(promotions, scope)).order_by(promotions.c.position))
    return tuple(Promotion(*row) for row in rows)


def _line_of_champions(past: tuple[Promotion, ...]) -> list[int]:
    line: list[int] = []
    for change in past:
        if change.action == "promote":
            line.append(change.version)
        else:
            line.pop()
    return line


def _earlier(scope: _Scope, past: tuple[Promotion, ...]) -> int:
    line = _line_of_champions(past)
    if len(line) < 2:
        raise NotFound(f"{_words(scope)} has no earlier champion. Promote a version instead.")
    return line[-2]


def _record(connection: Connection, scope: _Scope, position: int, change: Promotion) -> None:
    connection.execute(sa.insert(promotions), {**scope._asdict(), "position": position, **asdict(change)})
