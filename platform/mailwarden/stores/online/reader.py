"""The online read: every activity view of one or more messages, finalised, in one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import structlog
from numpy.typing import NDArray

from mailwarden.domain.finalise import NO_TIME, finalise_joined
from mailwarden.domain.layout import Layout, Recipes, layout_of
from mailwarden.domain.state import NEVER, read_state
from mailwarden.domain.views import ActivityView
from mailwarden.errors import ContractError, DataError
from mailwarden.stores.online.client import Client, round_trip, translated
from mailwarden.stores.online.keys import KeyTemplate, check_views, state_field, unreadable_field, watermark_key
from mailwarden.stores.online.watermark import Watermark

_log = structlog.get_logger(__name__)

Status = Literal["present", "never_seen", "not_computable", "stale", "unavailable"]
"""present: folded state was read. never_seen: the key has no event. not_computable: the message names no such key.
stale: writers had not folded up to `due_seq`. unavailable: the store, or this view's state in it, could not be read."""


_NULL: tuple[Status, ...] = ("not_computable", "unavailable")


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """The keys of one message, and the time that its values are read for.

    at_us: event time of the message, microseconds UTC. due_seq: the highest seq of the tenant that writers should
    have folded by now (the newest one accepted longer ago than the lag that is allowed); 0 asks for none.
    """

    tenant: str
    sender: str
    sender_domain: str
    recipients: tuple[str, ...]
    at_us: int
    due_seq: int = 0


@dataclass(frozen=True, slots=True)
class VectorSet:
    """What one message read: a row for each recipient, in their order; one row where it has no recipient.

    recipients: ("",) where there is none. values: by view (n_recipients, n_features) float64 in the view's feature
    order, NaN for null. as_of_seq: by view (n_recipients,) int64, the last seq that the key's state had folded,
    `NEVER` where there is no state. status: by view, one a row. watermark: of the tenant, read in the same round
    trip; None where nothing was ever folded, or the store is unavailable.
    """

    recipients: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]
    as_of_seq: Mapping[str, NDArray[np.int64]]
    status: Mapping[str, tuple[Status, ...]]
    watermark: Watermark | None


_Read = tuple[list[int], list[int], int, Status]
"""Window sums, event times, last seq and status of one view for one row."""


@dataclass(frozen=True, slots=True)
class _View:
    view: ActivityView
    layout: Layout
    template: int
    """Index of the template of the view's keys."""
    field: int
    """Index of the view's field among those read from a hash of its template."""
    columns: slice
    """The view's features among those of all views."""
    nothing: tuple[list[int], list[int]]
    """Window sums and event times of a key without state."""


class OnlineReader:
    """Reads whole vectors from Redis.

    project: the name that ends every key. views: those to read; two views over the same keys share one command.
    The client is synchronous: called in-line on a near Redis, a read ends sooner than asyncio or a thread would
    hand it over.
    """

    def __init__(self, client: Client, project: str, views: Sequence[ActivityView]) -> None:
        check_views(views)
        self._client = client
        self._watermarks = watermark_key(project)
        templates: dict[tuple[str, ...], int] = {}
        self._fields: list[list[bytes]] = []
        self._views: list[_View] = []
        width = 0
        for view in views:
            unknown = set(view.keys) - {"sender", "sender_domain", "recipient"}
            if unknown:
                raise ContractError(
                    f"view {view.name}: no message names the key {', '.join(sorted(unknown))}; "
                    "use sender, sender_domain or recipient"
                )
            layout = layout_of(view)
            template = templates.setdefault(view.keys, len(templates))
            if template == len(self._fields):
                self._fields.append([])
            columns = slice(width, width + len(layout.feature_names))
            nothing = [0] * len(layout.slots), [NO_TIME] * len(layout.extreme_names)
            self._views.append(_View(view, layout, template, len(self._fields[template]), columns, nothing))
            self._fields[template].append(state_field(view))
            width = columns.stop
        self._templates = [KeyTemplate(project, keys) for keys in templates]
        self._marks = [unreadable_field(view) for view in views]
        self._recipes = Recipes.joined([v.layout for v in self._views])
        self._view_of_column = np.repeat(np.arange(len(views)), [len(v.layout.feature_names) for v in self._views])
        self.feature_names = {view.name: layout_of(view).feature_names for view in views}
        """By view, the names of the columns of `VectorSet.values`."""

    def read(self, requests: Sequence[ReadRequest]) -> list[VectorSet]:
        """Read the vectors of messages, in their order, in one round trip.

        Raises StoreTimeout or StoreUnavailable; the caller then scores with `unavailable`.
        """
        if not requests:
            return []
        hashes: dict[bytes, int] = {}
        commands: list[tuple[bytes, list[bytes]]] = []
        rows: list[tuple[ReadRequest, list[int]]] = []
        for request in requests:
            for recipient in request.recipients or ("",):
                known = {"sender": request.sender, "sender_domain": request.sender_domain, "recipient": recipient}
                fetched = []
                for template, fields in zip(self._templates, self._fields, strict=True):
                    values = [known[name] for name in template.names]
                    if not all(values):
                        fetched.append(-1)
                        continue
                    key = template.key(request.tenant, values)
                    index = hashes.setdefault(key, len(commands))
                    if index == len(commands):
                        commands.append((key, fields))
                    fetched.append(index)
                rows.append((request, fetched))
        tenants = list(dict.fromkeys(request.tenant for request in requests))
        states, marks = self._fetch(commands, tenants)
        watermarks = {tenant: Watermark.read(mark) for tenant, mark in zip(tenants, marks, strict=False)}
        readable = [mark is None for mark in marks[len(tenants) :]]
        return self._vectors(requests, self._reads(rows, states, readable), watermarks)

    def unavailable(self, requests: Sequence[ReadRequest]) -> list[VectorSet]:
        """The vectors of messages whose read failed: all null, every status `unavailable`."""
        sets = []
        for request in requests:
            recipients = request.recipients or ("",)
            n = len(recipients)
            sets.append(
                VectorSet(
                    recipients,
                    {name: np.full((n, len(features)), np.nan) for name, features in self.feature_names.items()},
                    {name: np.full(n, NEVER, dtype=np.int64) for name in self.feature_names},
                    {name: cast(tuple[Status, ...], ("unavailable",) * n) for name in self.feature_names},
                    None,
                )
            )
        return sets

    def watermark(self, tenant: str) -> Watermark | None:
        """The tenant's watermark; raises StoreTimeout or StoreUnavailable."""
        with translated("reading a watermark"):
            return Watermark.read(round_trip(self._client, [("HGET", self._watermarks, tenant)])[0])

    def _fetch(
        self, commands: list[tuple[bytes, list[bytes]]], tenants: list[str]
    ) -> tuple[list[list[bytes | None]], list[bytes | None]]:
        with translated("reading features"):
            replies = round_trip(
                self._client,
                [
                    *(("HMGET", key, *fields) for key, fields in commands),
                    ("HMGET", self._watermarks, *tenants, *self._marks),
                ],
            )
        return replies[:-1], replies[-1]

    def _reads(
        self,
        rows: Sequence[tuple[ReadRequest, list[int]]],
        states: list[list[bytes | None]],
        readable: Sequence[bool],
    ) -> list[list[_Read]]:
        """For each row its read of each view; rows that share key and time share the read."""
        done: dict[tuple[int, int, int], _Read] = {}
        reads = []
        for request, fetched in rows:
            row = []
            for i, v in enumerate(self._views):
                index = fetched[v.template]
                name = (i, index, request.at_us)
                read = done.get(name)
                if read is None and not readable[i]:
                    # Writers left it out: keys without a state are not keys without history.
                    read = done[name] = (*v.nothing, NEVER, "unavailable" if index >= 0 else "not_computable")
                elif read is None:
                    state = states[index][v.field] if index >= 0 else None
                    read = done[name] = _read(v, state, request.at_us, computable=index >= 0)
                row.append(read)
            reads.append(row)
        return reads

    def _vectors(
        self, requests: Sequence[ReadRequest], reads: list[list[_Read]], watermarks: Mapping[str, Watermark | None]
    ) -> list[VectorSet]:
        at_us = np.array([r.at_us for r in requests for _ in r.recipients or ("",)], dtype=np.int64)
        slots = np.array([[x for read in row for x in read[0]] for row in reads], dtype=np.int64)
        times = np.array([[x for read in row for x in read[1]] for row in reads], dtype=np.int64)
        seqs = np.array([[read[2] for read in row] for row in reads], dtype=np.int64)
        seen = (seqs != NEVER).take(self._view_of_column, axis=1)
        values = finalise_joined(self._recipes, slots, times, seen, at_us)
        sets = []
        start = 0
        for request in requests:
            recipients = request.recipients or ("",)
            stop = start + len(recipients)
            watermark = watermarks[request.tenant]
            stale = request.due_seq > (0 if watermark is None else watermark.seq)
            by_view: dict[str, NDArray[np.float64]] = {}
            as_of_seq: dict[str, NDArray[np.int64]] = {}
            statuses: dict[str, tuple[Status, ...]] = {}
            for i, v in enumerate(self._views):
                name = v.view.name
                status = [row[i][3] for row in reads[start:stop]]
                by_view[name] = values[start:stop, v.columns]
                as_of_seq[name] = seqs[start:stop, i]
                for n, read in enumerate(status):
                    if read in _NULL:
                        by_view[name][n] = np.nan
                    elif stale:
                        status[n] = "stale"
                statuses[name] = tuple(status)
            sets.append(VectorSet(recipients, by_view, as_of_seq, statuses, watermark))
            start = stop
        return sets


def _read(v: _View, state: bytes | None, at_us: int, *, computable: bool) -> _Read:
    if state is None:
        return (*v.nothing, NEVER, "never_seen" if computable else "not_computable")
    try:
        return (*read_state(v.layout, state, at_us), "present")
    except (DataError, ValueError, IndexError, TypeError) as exc:
        # One team's view must not take the other views of the message down with it.
        _log.error("state of a view cannot be read", view=v.view.name, version=v.view.version, error=str(exc))
        return (*v.nothing, NEVER, "unavailable")
