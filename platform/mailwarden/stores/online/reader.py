"""The online read: every activity view of one or more messages, finalised, in one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.fact_specs import FACTS
from mailwarden.domain.aggregates.finalise import finalise_joined
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import NEVER, Asked, JoinedStates
from mailwarden.domain.aggregates.recent import own_set
from mailwarden.domain.aggregates.recipes import Recipes
from mailwarden.domain.mail.events import Event, members_of
from mailwarden.domain.status import Status
from mailwarden.errors import ContractError
from mailwarden.stores.online.breaker import Breaker
from mailwarden.stores.online.catalog import VERSION
from mailwarden.stores.online.client import Client, exchange, pack, round_trip, translated
from mailwarden.stores.online.keys import (
    KeyTemplate,
    catalog_field,
    catalog_key,
    check_views,
    encoded,
    marks_key,
    partition_of,
    state_field,
    streams_key,
)
from mailwarden.stores.online.serving import Serving, version_of
from mailwarden.stores.online.watermark import FOLDED, Marks, Watermark

_log = structlog.get_logger(__name__)

_READ = (Status.NEVER_SEEN, Status.NONE_IN_WINDOW, Status.PRESENT)


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A message whose values are wanted, at its own event time.

    due_seq: the highest seq of the tenant that writers should have folded by now (the newest one accepted longer ago
    than the lag that is allowed); 0 asks for none.
    """

    event: Event
    due_seq: int = 0


@dataclass(frozen=True, slots=True)
class VectorSet:
    """What one message read: a row for each recipient, in their order; one row where it has no recipient.

    recipients: ("",) where there is none. values: by view (n_recipients, n_features) float64 in the view's feature
    order, NaN for null. as_of_seq: by view (n_recipients,) int64, the last seq that the key's state had folded,
    `NEVER` where there is no state. facts: by view, the number of the fact set that was read. status: by view, one a
    row; unavailable also where this view's state could not be read. watermark: how far the partitions of these keys had
    folded the tenant, the least of them, read in the same round trip; None where one has folded nothing, or the store
    is unavailable.
    """

    recipients: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]
    as_of_seq: Mapping[str, NDArray[np.int64]]
    facts: Mapping[str, int]
    status: Mapping[str, tuple[Status, ...]]
    watermark: Watermark | None


@dataclass(frozen=True, slots=True)
class _View:
    name: str
    template: int
    """Index of the template of the view's keys."""
    columns: slice
    """The view's features among those of all views."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is read as of one version of the catalog.

    fields: by template, how a command for its hashes begins and ends; the key stands between. places: by view, which of
    them is its own, None where no generation of it can be read. facts: by view, see `VectorSet`. marks: by
    partition, the key of its marks and how a command for one of them begins.
    """

    version: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    places: tuple[int | None, ...]
    facts: Mapping[str, int]
    marks: tuple[tuple[bytes, bytes], ...]

    def reads_as(self, other: _Plan) -> bool:
        """Whether the other one says to read the same."""
        return (self.fields, self.places, self.marks) == (other.fields, other.places, other.marks)


_Rows = list[list[int]]
"""By recipient and template, which hash is read, -1 for none."""


class _Hashes:
    """The hashes of one read, each once. keys: in the order of their replies, with the index of their template."""

    __slots__ = ("_places", "keys")

    def __init__(self) -> None:
        self.keys: dict[bytes, int] = {}
        self._places: dict[bytes, int] = {}

    def add(self, template: int, key: bytes | None) -> int:
        """Where the reply for a key will be; -1 where there is no key."""
        if key is None:
            return -1
        place = self._places.setdefault(key, len(self.keys))
        self.keys.setdefault(key, template)
        return place


class OnlineReader:
    """Reads whole vectors from Redis: of each view the generation that serves.

    project: the name that ends every key. views: those to read; two views over the same keys share one command.
    The catalog of generations is kept; its version comes with every read, and where it changed the catalog is
    fetched and what it says to read is read again. The number of partitions is the one recorded in Redis.
    The client is synchronous: called in-line on a near Redis, a read ends sooner than asyncio or a thread would
    hand it over.
    """

    def __init__(self, client: Client, project: str, views: Sequence[ActivityView]) -> None:
        check_views(views)
        self._client, self._project = client, project
        self.breaker = Breaker("Redis", client.ping)
        templates: dict[tuple[str, ...], int] = {}
        self._views: list[_View] = []
        self._activity = tuple(views)
        width = 0
        for view in views:
            unknown = set(view.keys) - {*FACTS, "recipient"}
            if unknown:
                raise ContractError(
                    f"view {view.name}: no message names the key {', '.join(sorted(unknown))}; "
                    f"use {', '.join((*FACTS, 'recipient'))}"
                )
            columns = slice(width, width + len(view.features))
            self._views.append(_View(view.name, templates.setdefault(view.keys, len(templates)), columns))
            width = columns.stop
        layouts = [layout_of(view) for view in views]
        self._templates = [KeyTemplate(project, keys) for keys in templates]
        self._by_recipient = [i for i, keys in enumerate(templates) if "recipient" in keys]
        self._numbered = [(i, (t, i in self._by_recipient)) for i, t in enumerate(self._templates)]
        self._named = tuple({"tenant": None, **{n: None for keys in templates for n in keys if n != "recipient"}})
        self._states = JoinedStates(layouts)
        self._recipes = Recipes.joined([layout.recipes for layout in layouts])
        self._facts = sorted({layout.view.recents[i].of for layout in layouts for i, _ in layout.matches})
        self._version = (catalog_key(project), pack(b"HGET", catalog_key(project), VERSION))
        self._plan: _Plan | None = None
        self.feature_names = {view.name: layout_of(view).feature_names for view in views}
        """By view, the names of the columns of `VectorSet.values`."""
        self._compile()

    def read(self, requests: Sequence[ReadRequest]) -> list[VectorSet]:
        """Read the vectors of messages, in their order, in one round trip.

        Raises StoreTimeout or StoreUnavailable, the latter at once while `breaker` is open; the caller then scores with
        `unavailable`.
        """
        if not requests:
            return []
        hashes = _Hashes()
        rows = [self._rows_of(request.event, hashes) for request in requests]
        with self.breaker.asking(), translated("reading features"):
            plan = self._plan or self._fetch_plan()
            found = self._fetch(plan, requests, rows, hashes)
            if found[2] != plan.version:
                now = self._fetch_plan()
                if not now.reads_as(plan):
                    found = self._fetch(now, requests, rows, hashes)
                plan = now
        states, marks, _ = found
        return self._vectors(plan, requests, rows, states, marks)

    def _compile(self) -> None:
        """Read nothing once, so that the first message does not wait for what is compiled at a first call."""
        nothing = self._states.read([Asked(0, {}, ([None] * len(self._views),))])
        at_us = np.zeros(1, dtype=np.int64)
        finalise_joined(self._recipes, nothing.slots, nothing.times, nothing.matches, nothing.seen, at_us)

    def unavailable(self, requests: Sequence[ReadRequest]) -> list[VectorSet]:
        """The vectors of messages whose read failed: all null, every status `unavailable`."""
        sets = []
        for request in requests:
            recipients = request.event.recipients or ("",)
            n = len(recipients)
            sets.append(
                VectorSet(
                    recipients,
                    {name: np.full((n, len(features)), np.nan) for name, features in self.feature_names.items()},
                    {name: np.full(n, NEVER, dtype=np.int64) for name in self.feature_names},
                    dict.fromkeys(self.feature_names, 0),
                    {name: (Status.UNAVAILABLE,) * n for name in self.feature_names},
                    None,
                )
            )
        return sets

    def watermark(self, tenant: str) -> Watermark | None:
        """How far every partition has folded the tenant, the least of them; None where one has folded nothing.

        Raises StoreTimeout or StoreUnavailable.
        """
        with translated("reading a watermark"):
            recorded = round_trip(self._client, [("GET", streams_key(self._project))])[0]
        return None if recorded is None else Marks(self._client, self._project, int(recorded)).whole(tenant)

    def _fetch_plan(self) -> _Plan:
        serving = Serving.fetch(self._client, self._project)
        names: list[list[bytes]] = [[] for _ in self._templates]
        places: list[int | None] = []
        for view, known in zip(self._activity, self._views, strict=True):
            generation = serving.generation(view)
            if generation is None:
                _log.warning("a view cannot be read", view=catalog_field(view), reason=serving.why_not(view))
                places.append(None)
                continue
            places.append(len(names[known.template]))
            names[known.template].append(state_field(view, generation))
        packed = tuple(map(_packed, names))
        keys = [marks_key(self._project, partition) for partition in range(serving.partitions)]
        marks = tuple((key, b"*3\r\n$4\r\nHGET\r\n$%d\r\n%b\r\n" % (len(key), key)) for key in keys)
        facts = {view.name: serving.facts(view) for view in self._activity}
        self._plan = _Plan(serving.version, packed, tuple(places), facts, marks)
        return self._plan

    def _rows_of(self, event: Event, hashes: _Hashes) -> _Rows:
        parts = {name: encoded(value) for name in self._named if (value := getattr(event, name))}
        shared = [-1 if by_recipient else hashes.add(i, t.joined(parts)) for i, (t, by_recipient) in self._numbered]
        rows = []
        for recipient in event.recipients or ("",):
            row = shared.copy()
            if recipient:
                parts["recipient"] = encoded(recipient)
                for i in self._by_recipient:
                    row[i] = hashes.add(i, self._templates[i].joined(parts))
            rows.append(row)
        return rows

    def _fetch(
        self, plan: _Plan, requests: Sequence[ReadRequest], rows: Sequence[_Rows], hashes: _Hashes
    ) -> tuple[list[tuple[list[bytes | None], int]], dict[tuple[str, int], Watermark | None], bytes]:
        """Of each hash its fields and partition, marks by tenant and partition, and the catalog's version now."""
        commands: list[tuple[bytes, bytes]] = []
        partitions: list[int] = []
        n = len(plan.marks)
        for key, template in hashes.keys.items():
            head, fields = plan.fields[template]
            commands.append((key, b"%b%d\r\n%b\r\n%b" % (head, len(key), key, fields)))
            partitions.append(partition_of(key, n))
        wanted: dict[tuple[str, int], None] = {}
        for request, of_message in zip(requests, rows, strict=True):
            tenant = request.event.tenant
            for row in of_message:
                for place in row:
                    if place >= 0:
                        wanted[tenant, partitions[place]] = None
        for tenant, partition in wanted:
            marks, head = plan.marks[partition]
            name = FOLDED + tenant.encode("utf-8", "surrogatepass")
            commands.append((marks, b"%b$%d\r\n%b\r\n" % (head, len(name), name)))
        commands.append(self._version)
        replies = exchange(self._client, commands)
        folded = {name: Watermark.read(reply) for name, reply in zip(wanted, replies[len(partitions) :], strict=False)}
        return list(zip(replies, partitions, strict=False)), folded, version_of(replies[-1])

    def _vectors(
        self,
        plan: _Plan,
        requests: Sequence[ReadRequest],
        rows: Sequence[_Rows],
        states: Sequence[tuple[list[bytes | None], int]],
        marks: Mapping[tuple[str, int], Watermark | None],
    ) -> list[VectorSet]:
        asked = []
        at_us: list[int] = []
        places = [(view.template, place) for view, place in zip(self._views, plan.places, strict=True)]
        for request, of_message in zip(requests, rows, strict=True):
            event = request.event
            own = {fact: own_set(members_of(event, fact)) for fact in self._facts}
            at_us += [event.received_at_us] * len(of_message)
            taken = [
                [None if place is None or row[t] < 0 else states[row[t]][0][place] for t, place in places]
                for row in of_message
            ]
            asked.append(Asked(event.received_at_us, own, taken))
        reads = self._states.read(asked)
        for (_, index), problem in reads.problems.items():
            # One team's view must not take the other views of the message down with it.
            _log.error("state of a view cannot be read", view=self._views[index].name, error=problem)
        at = np.array(at_us, dtype=np.int64)
        values = finalise_joined(self._recipes, reads.slots, reads.times, reads.matches, reads.seen, at)
        kinds = reads.found.tolist()
        sets = []
        start = 0
        for request, of_message in zip(requests, rows, strict=True):
            stop = start + len(of_message)
            tenant, due = request.event.tenant, request.due_seq
            by_view: dict[str, NDArray[np.float64]] = {}
            as_of_seq: dict[str, NDArray[np.int64]] = {}
            statuses: dict[str, tuple[Status, ...]] = {}
            folded = {
                partition: marks[tenant, partition]
                for partition in {states[place][1] for row in of_message for place in row if place >= 0}
            }
            late = {partition for partition, mark in folded.items() if due > (0 if mark is None else mark.seq)}
            for index, view in enumerate(self._views):
                found: list[Status] = []
                for n, row in enumerate(of_message, start):
                    place = row[view.template]
                    if place < 0 or plan.places[index] is None or (n, index) in reads.problems:
                        found.append(Status.NOT_COMPUTABLE if place < 0 else Status.UNAVAILABLE)
                        values[n, view.columns] = np.nan
                    elif late and states[place][1] in late:
                        found.append(Status.STALE)
                    else:
                        found.append(_READ[kinds[n][index]])
                by_view[view.name] = values[start:stop, view.columns]
                as_of_seq[view.name] = reads.last_seq[start:stop, index]
                statuses[view.name] = tuple(found)
            recipients = request.event.recipients or ("",)
            sets.append(VectorSet(recipients, by_view, as_of_seq, plan.facts, statuses, _least(list(folded.values()))))
            start = stop
        return sets


def _packed(fields: Sequence[bytes]) -> tuple[bytes, bytes]:
    if not fields:
        # Nothing to read there; its key still says which partition's marks count.
        return b"*2\r\n$6\r\nEXISTS\r\n$", b""
    words = b"".join(b"$%d\r\n%b\r\n" % (len(name), name) for name in fields)
    return b"*%d\r\n$5\r\nHMGET\r\n$" % (len(fields) + 2), words


def _least(marks: Sequence[Watermark | None]) -> Watermark | None:
    known = [mark for mark in marks if mark is not None]
    if not known or len(known) < len(marks):
        return None
    return Watermark(min(mark.seq for mark in known), min(mark.time_us for mark in known))
