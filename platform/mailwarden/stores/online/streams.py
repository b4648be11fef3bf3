"""Streams of accepted events in Redis, one a partition of the entity keys, and the marks of how far each one is.

A partition's stream, marks and lease lie in one slot of a cluster, so that each script below is one step. See
`watermark` for the marks `sent` and `folded`; beside them `at` is the id of the last entry that was folded, `added`
and `done` count entries handed in and folded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import orjson

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.mail.events import TOMBSTONE, TUPLES, Event, keys_of
from mailwarden.errors import StoreError
from mailwarden.stores.online.client import Client, round_trip, translated
from mailwarden.stores.online.keys import KeyTemplate, lease_key, marks_key, partition_of, stream_key

KEEP_MS = 10_000
"""How long folded entries stay in a stream. A node of a cluster that failed over may have lost its newest second of
states: what is read again from here puts them right."""

FULL = 50_000
"""Entries that may wait in a stream: beyond it nothing is sent until writers have caught up."""

_SEND = """
local full = tonumber(redis.call('HGET', KEYS[2], 'added') or '0')
  - tonumber(redis.call('HGET', KEYS[2], 'done') or '0') >= tonumber(ARGV[1])
local replies = {}
local i = 2
while i <= #ARGV do
  local field, entries = 'sent ' .. ARGV[i], tonumber(ARGV[i + 2])
  local sent = redis.call('HGET', KEYS[2], field) or '0'
  if sent ~= ARGV[i + 1] then
    replies[#replies + 1] = {0, tonumber(sent)}
  elseif full then
    replies[#replies + 1] = {1, tonumber(sent)}
  else
    for j = i + 3, i + 3 * entries, 3 do
      redis.call('XADD', KEYS[1], '*', 't', ARGV[i], 'q', ARGV[j], 'u', ARGV[j + 1], 'e', ARGV[j + 2])
      sent = ARGV[j]
    end
    redis.call('HSET', KEYS[2], field, sent)
    redis.call('HINCRBY', KEYS[2], 'added', entries)
    replies[#replies + 1] = {2, tonumber(sent)}
  end
  i = i + 3 + 3 * entries
end
return replies
"""
"""Script: appends tenants' entries where the last seq sent is the one expected.

KEYS: stream, marks. ARGV: how many may wait; then for each tenant its name, the seq expected, how many entries, and
of each entry seq, time and payload. Returns for each tenant 0 (another seq was sent last), 1 (too many wait) or 2
(appended), with the last seq sent now."""

_ADVANCE = """
local function advance(field, seq, at)
  local old = redis.call('HGET', KEYS[1], field)
  if old then
    local before, time = string.match(old, '^(%-?%d+):(%-?%d+)$')
    if tonumber(before) >= tonumber(seq) then return end
    if tonumber(time) > tonumber(at) then at = time end
  end
  redis.call('HSET', KEYS[1], field, seq .. ':' .. at)
end
"""

_SETTLE = (
    _ADVANCE
    + """
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
if (redis.call('HGET', KEYS[1], 'at') or '0-0') ~= ARGV[4] then return 0 end
redis.call('PEXPIRE', KEYS[3], ARGV[2])
for i = 7, #ARGV, 3 do advance('folded ' .. ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
if ARGV[5] ~= ARGV[4] then redis.call('HSET', KEYS[1], 'at', ARGV[5]) end
if ARGV[6] ~= '0' then redis.call('HINCRBY', KEYS[1], 'done', ARGV[6]) end
local now = redis.call('TIME')
local edge = now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(ARGV[3])
local ms, n = string.match(ARGV[5], '^(%d+)-(%d+)$')
if tonumber(ms) < edge then
  redis.call('XTRIM', KEYS[2], 'MINID', ms .. '-' .. string.format('%.0f', tonumber(n) + 1))
else
  redis.call('XTRIM', KEYS[2], 'MINID', string.format('%.0f', edge))
end
return 1
"""
)
"""Script: notes what was folded, renews the lease and drops old entries that were; 0 where the lease is another's or
the stream stands elsewhere than the writer believes.

KEYS: marks, stream, lease. ARGV: token, milliseconds of the lease, milliseconds that folded entries stay, id of the
last entry folded before and now, how many entries that is; then tenant, seq and time, each."""

_FILLED = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
return 1
"""
"""Script: writes a mark under the lease. KEYS: marks, lease. ARGV: token, field, value."""

_FIELDS = tuple(field.name for field in fields(Event))

_FILLED_FIELD = b"filled "

START = b"0-0"
"""Before the first entry of a stream."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream; event: None where the message has no key in the partition and only its seq counts."""

    id: bytes
    tenant: str
    seq: int
    time_us: int
    payload: bytes

    @property
    def is_tombstone(self) -> bool:
        """Whether the event takes a message out of the counts; told without reading it."""
        return _TOMBSTONE in self.payload

    @property
    def event(self) -> Event | None:
        """What is to be folded."""
        return decode_event(self.payload) if self.payload else None


@dataclass(frozen=True, slots=True)
class Portion:
    """A tenant's next entries for one partition: (seq, time known in microseconds UTC, payload or b"") in order.

    expected: the last seq sent before. They hold everything of the partition's between it and the last of them.
    """

    tenant: str
    expected: int
    entries: Sequence[tuple[int, int, bytes]]


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a portion: `appended`, `full` (too many wait) or `moved` (sent is not what was expected).

    sent: the last seq in the stream now.
    """

    outcome: str
    sent: int


@dataclass(frozen=True, slots=True)
class StreamLag:
    """entries: that wait in a stream. seconds: for how long the oldest of them has."""

    entries: int
    seconds: float


_TOMBSTONE = b'"kind":"%b"' % TOMBSTONE.encode()
"""Inside of a JSON string the quotes would be escaped."""

_OUTCOMES = ("moved", "full", "appended")


def encode_event(event: Event) -> bytes:
    """An event as a stream's payload; raises StoreError where a name in it cannot be written."""
    try:
        return orjson.dumps(event)
    except TypeError as exc:
        raise StoreError(f"event {event.seq} of tenant {event.tenant} cannot be written to a stream: {exc}") from exc


def decode_event(payload: bytes) -> Event:
    """Read what `encode_event` wrote; raises StoreError where it is something else."""
    try:
        facts = orjson.loads(payload)
        # Entries outlive the process that wrote them: a fact that it lacked has its default, one we lack is left out.
        known = {name: facts[name] for name in _FIELDS if name in facts}
        known |= {name: tuple(known[name]) for name in TUPLES if name in known}
        return Event(**known)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as exc:
        raise StoreError(
            "an entry of a stream is not one that this version wrote; run every process with one version"
        ) from exc


class Streams:
    """The streams and marks of a project's partitions. Every method raises StoreTimeout or StoreUnavailable."""

    def __init__(self, client: Client, project: str, partitions: int, *, keep_ms: int = KEEP_MS) -> None:
        self._client, self._project = client, project
        self.partitions = partitions
        self._keep_ms = keep_ms
        self._streams = [stream_key(project, p) for p in range(partitions)]
        self._marks = [marks_key(project, p) for p in range(partitions)]
        self._leases = [lease_key(project, p) for p in range(partitions)]

    def sent(self, tenants: Sequence[str]) -> list[list[int]]:
        """By tenant and partition, the last seq in the stream; 0 where none was sent."""
        fields_of = [f"sent {tenant}" for tenant in tenants]
        with translated("reading what was sent"):
            found = round_trip(self._client, [("HMGET", marks, *fields_of) for marks in self._marks])
        return [[int(row[n] or 0) for row in found] for n in range(len(tenants))]

    def send(self, parts: Mapping[int, Sequence[Portion]], *, full: int = FULL) -> dict[int, list[Sent]]:
        """Append portions by partition, each whole or not at all, in one round trip; what became of each."""
        commands = []
        for partition, portions in parts.items():
            words: list[object] = []
            for portion in portions:
                words += (portion.tenant, portion.expected, len(portion.entries))
                for entry in portion.entries:
                    words += entry
            commands.append(("EVAL", _SEND, 2, self._streams[partition], self._marks[partition], full, *words))
        with translated("sending events to streams"):
            replies = round_trip(self._client, commands)
        return {
            partition: [Sent(_OUTCOMES[outcome], sent) for outcome, sent in reply]
            for partition, reply in zip(parts, replies, strict=True)
        }

    def at(self, partitions: Sequence[int]) -> dict[int, bytes]:
        """By partition, the id of the last entry that was folded."""
        with translated("reading where streams stand"):
            found = round_trip(self._client, [("HGET", self._marks[p], "at") for p in partitions])
        return {p: value or START for p, value in zip(partitions, found, strict=True)}

    def read(self, after: Mapping[int, bytes], limit: int) -> dict[int, list[Entry]]:
        """By partition the next entries after an id, at most `limit` each; partitions without any are left out."""
        with translated("reading streams"):
            found = round_trip(
                self._client,
                [("XRANGE", self._streams[p], b"(" + last, "+", "COUNT", limit) for p, last in after.items()],
            )
        return {p: [_entry(name, facts) for name, facts in rows] for p, rows in zip(after, found, strict=True) if rows}

    def settle(
        self,
        folded: Mapping[int, tuple[bytes, bytes, Sequence[Entry]]],
        *,
        token: bytes,
        lease_ms: int,
    ) -> set[int]:
        """Note entries as folded and renew the leases; the partitions where that could be done.

        folded: by partition the id of the last entry that was folded before and now, and the entries between.
        """
        commands = []
        for p, (before, now, entries) in folded.items():
            newest: dict[str, tuple[int, int]] = {}
            for entry in entries:
                _, time_us = newest.get(entry.tenant, (0, entry.time_us))
                newest[entry.tenant] = (entry.seq, max(time_us, entry.time_us))
            words = [word for tenant, (seq, at) in newest.items() for word in (tenant, seq, at)]
            keys = (self._marks[p], self._streams[p], self._leases[p])
            commands.append(
                ("EVAL", _SETTLE, 3, *keys, token, lease_ms, self._keep_ms, before, now, len(entries), *words)
            )
        with translated("noting what was folded"):
            replies = round_trip(self._client, commands)
        return {p for p, done in zip(folded, replies, strict=True) if done}

    def filled(self, partition: int, view: str) -> bytes | None:
        """What `fill` noted last for a view."""
        with translated("reading which generation is filled"):
            value: bytes | None = round_trip(
                self._client, [("HGET", self._marks[partition], _FILLED_FIELD + view.encode())]
            )[0]
        return value

    def fill(self, partition: int, view: str, note: bytes, *, token: bytes) -> bool:
        """Note which generation of a view is filled up to where; False where the lease is another's."""
        with translated("noting a filled generation"):
            keys = (self._marks[partition], self._leases[partition])
            done = round_trip(self._client, [("EVAL", _FILLED, 2, *keys, token, _FILLED_FIELD + view.encode(), note)])
        return bool(done[0])

    def lag(self) -> list[StreamLag]:
        """By partition, what waits in its stream."""
        with translated("reading how far streams are behind"):
            marks = round_trip(self._client, [("HMGET", key, "added", "done", "at") for key in self._marks])
            commands: list[tuple[object, ...]] = [
                ("XRANGE", stream, b"(" + (found[2] or START), "+", "COUNT", 1)
                for stream, found in zip(self._streams, marks, strict=True)
            ]
            *oldest, now = round_trip(self._client, [*commands, ("TIME",)])
        now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
        lags = []
        for found, entry in zip(marks, oldest, strict=True):
            waiting = int(found[0] or 0) - int(found[1] or 0)
            age = now_ms - int(entry[0][0].partition(b"-")[0]) if entry else 0
            lags.append(StreamLag(waiting if entry else 0, max(0, age) / 1000))
        return lags


def _entry(name: bytes, facts: Mapping[bytes, bytes]) -> Entry:
    return Entry(name, facts[b"t"].decode(), int(facts[b"q"]), int(facts[b"u"]), facts[b"e"])


class Routes:
    """Which partitions an event's keys of any view lie in."""

    def __init__(self, project: str, views: Sequence[ActivityView], partitions: int) -> None:
        self._views = tuple((view, KeyTemplate(project, view.keys)) for view in views)
        self._partitions = partitions

    def of(self, event: Event) -> set[int]:
        """The partitions that the event must reach."""
        found: set[int] = set()
        for view, template in self._views:
            for values, _ in keys_of(view.emission, event, view.keys):
                found.add(partition_of(template.key(event.tenant, values), self._partitions))
                if len(found) == self._partitions:
                    return found
        return found
