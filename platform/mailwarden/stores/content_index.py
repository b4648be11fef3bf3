"""Which messages came before, by what they hold: a table beside the first contacts, of the newest weeks.

Of a message it has an entry under its content key alone, and one under the key with each recipient, with the mail
system's id of it, and of outbound mail with each domain written to. An entry names the message whose decision covers
it, the one that this is a copy of, and that one's event time. It is an index of the event log, as the contacts are,
and kept whole with them.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, Self

from mailwarden.domain.aggregates.windows import DAY_US
from mailwarden.domain.mail.events import Event

SHARED_WITHIN_US = DAY_US
"""How far apart two messages of one content and one recipient may come to be one."""

QUEUED_WITHIN_US = 7 * DAY_US
"""How far apart two of one content and one queue id may: mail systems try for days, and use their ids again."""

KEPT_WEEKS = 6
"""Weeks with mail that are kept, the newest of them; those of ids and contacts have no end."""

KEPT_ENTRIES = 4_000_000
"""Entries of a tenant beyond which only its two newest weeks with mail are kept, which is what live mail asks for."""

CONTENTS = """
create table contents (
    tenant integer not null, week integer not null, part integer not null, seq integer not null,
    received_at integer not null, message_id text not null, copy_of text not null,
    primary key (tenant, week, part, seq)
) without rowid;
create table content_weeks (
    tenant integer not null, week integer not null, entries integer not null, primary key (tenant, week)
) without rowid;
"""
_WEEK_US = 7 * DAY_US
_KEEP = (
    "insert into contents values (?, ?, ?, ?, ?, ?, ?) on conflict (tenant, week, part, seq) do update set "
    "received_at = excluded.received_at, message_id = excluded.message_id, copy_of = excluded.copy_of "
    "where (received_at, message_id, copy_of) <> (excluded.received_at, excluded.message_id, excluded.copy_of)"
)
_COUNT = (
    "insert into content_weeks values (?, ?, ?) on conflict (tenant, week) do update set entries = entries + "
    "excluded.entries"
)
_OF_PART = (
    "select part, seq, received_at, message_id, copy_of, week from contents where tenant = ? and week = ? and part = ?"
)
_ASKED = 900
_QUEUED = 8
"""Entries of one week that are looked at under a queue id: the lowest seqs, of which the first message's is one."""


class Copy(NamedTuple):
    """A message that was there before. first, received_at_us: the one that it counts with, and its event time.
    decided: the one whose decision it was given under, for all that share it; "" where these were several. recipients,
    domains: of this one, whom and where it was not for yet; none of the former where all of it was."""

    first: str
    received_at_us: int
    decided: str
    recipients: tuple[str, ...]
    domains: tuple[str, ...]

    def of(self, event: Event) -> Event:
        """A message's event as that of a further copy."""
        domains = tuple(name for name in event.recipient_domains if name in self.domains)
        return replace(
            event,
            received_at_us=self.received_at_us,
            known_at_us=self.received_at_us,
            recipients=self.recipients,
            recipient_domains=domains if event.direction == "outbound" else event.recipient_domains,
            copy_of=self.first,
        )


@dataclass(frozen=True, slots=True)
class Content:
    """What tells whether a message came before. domains: that it was written to, of outbound mail alone. queue_id: ""
    where none is known. copy_of: as in `Event`."""

    key: str
    received_at_us: int
    recipients: Sequence[str]
    domains: Sequence[str] = ()
    queue_id: str = ""
    copy_of: str = ""

    @classmethod
    def of(cls, event: Event) -> Self | None:
        """A message's; None where it has no content key."""
        if not event.content_key:
            return None
        domains = event.recipient_domains if event.direction == "outbound" else ()
        return cls(event.content_key, event.received_at_us, event.recipients, domains, event.queue_id, event.copy_of)

    def of_copy(self, copy: Copy) -> Content:
        """The same as a further copy of another message."""
        return replace(
            self,
            received_at_us=copy.received_at_us,
            recipients=copy.recipients,
            domains=copy.domains,
            copy_of=copy.first,
        )


class Met(NamedTuple):
    """What numbering is told of a message. new: recipients that its sender writes to for the first time. known: its id
    has a seq. copy: the message that it is a copy of, itself where that is known. Taken in where it is not known, and
    no copy or one with recipients of its own: then as that, for these alone."""

    new: tuple[str, ...] = ()
    known: bool = False
    copy: Copy | None = None

    @property
    def counts(self) -> bool:
        """Whether the message gets a seq."""
        return not self.known and (self.copy is None or bool(self.copy.recipients))


class _Entry(NamedTuple):
    """seq, message_id: of the message that made it. received_at_us: of the first. copy_of: the first's id, "" where it
    is this one."""

    seq: int
    received_at_us: int
    message_id: str
    copy_of: str = ""

    @property
    def first(self) -> str:
        """The message that it counts with."""
        return self.copy_of or self.message_id


_Place = tuple[int, int, int]
"""Number of a tenant, week, digest of a part."""

Rows = dict[_Place, list[_Entry]]
"""Entries by their place."""


class _Parts(NamedTuple):
    """Digests: of the key alone, and with what it was seen with."""

    alone: int
    recipients: dict[str, int]
    domains: dict[str, int]
    queue: int | None

    def all(self) -> list[int]:
        queue = () if self.queue is None else (self.queue,)
        return [self.alone, *self.recipients.values(), *self.domains.values(), *queue]


class ContentIndex:
    """The entries in memory, and those in the file that is given with each call; whose transactions are the caller's.

    salt: keys the digests, 64 bits each: of n entries of a tenant's weeks a message that came never before is taken for
    one of them with a chance of n / 2**64 for each of its own.
    """

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._fresh: Rows = {}
        self._flying: Rows = {}
        self._restored: Rows = {}
        self._forgotten: set[tuple[_Place, int]] = set()

    @property
    def waiting(self) -> int:
        """Places with entries that are not in the file yet."""
        return len(self._fresh)

    def find(self, file: sqlite3.Connection, number: int, content: Content) -> Copy | None:
        """The message that one is a copy of: the first of those that share a recipient, or the queue id, soon enough.

        None for a new one.
        """
        parts = self._parts(content)
        at_us = content.received_at_us
        span_us = SHARED_WITHIN_US if parts.queue is None else QUEUED_WITHIN_US
        weeks = range((at_us - span_us) // _WEEK_US, (at_us + span_us) // _WEEK_US + 1)
        held = self._held(file, number, weeks, [*parts.recipients.values(), *parts.domains.values()])
        queued = [] if parts.queue is None else self._few(file, number, weeks, parts.queue, _QUEUED)
        shared = [entry for part in parts.recipients.values() for entry in held.get(part, ())]
        near = [entry for entry in shared if abs(at_us - entry.received_at_us) <= SHARED_WITHIN_US]
        near += [entry for entry in queued if abs(at_us - entry.received_at_us) <= QUEUED_WITHIN_US]
        if not near:
            return None
        first = min(near)

        def is_new(part: int) -> bool:
            # Whom another message of that content was for may have been told another verdict.
            return all(entry.first != first.first for entry in held.get(part, ()))

        covering = {entry.message_id for entry in shared or queued if entry.first == first.first}
        return Copy(
            first.first,
            first.received_at_us,
            covering.pop() if len(covering) == 1 else "",
            tuple(name for name, part in parts.recipients.items() if is_new(part)),
            tuple(name for name, part in parts.domains.items() if is_new(part)),
        )

    def newest(self, file: sqlite3.Connection, number: int, key: str) -> str | None:
        """The id of the newest message of a content, or of a further copy; None where none is known."""
        alone = self._parts(Content(key, 0, ())).alone
        weeks = {week for of, week, _ in (*self._fresh, *self._flying) if of == number}
        weeks.update(week for week, _ in _weeks_of(file, number))
        found = self._few(file, number, sorted(weeks), alone, 1, last=True)
        return max(found).message_id if found else None

    def add(self, number: int, content: Content, seq: int, message_id: str, *, restored: bool = False) -> None:
        """Take in a message that got that seq. restored: the spool held it."""
        for place, entry in self._entries(number, content, seq, message_id):
            _put(self._fresh, place, entry)
            if restored:
                _put(self._restored, place, entry)

    def forget(self, number: int, content: Content, seq: int) -> list[tuple[int, int, int, int]]:
        """Take back what `add` did; what is to be deleted in the file, and then `forgotten`."""
        gone = [place for place, _ in self._entries(number, content, seq, "")]
        for place in gone:
            self._forgotten.add((place, seq))
            kept = [entry for entry in self._fresh.pop(place, ()) if entry.seq != seq]
            if kept:
                self._fresh[place] = kept
        return [(*place, seq) for place in gone]

    def forgotten(self, gone: Iterable[tuple[int, int, int, int]]) -> None:
        """They are in the file no more."""
        self._forgotten.difference_update(((number, week, part), seq) for number, week, part, seq in gone)

    def start(self) -> Rows:
        """What waits, as it is handed to a thread that writes it; until `landed` it is known from here."""
        self._flying, self._fresh = self._fresh, {}
        return self._flying

    def landed(self, *, written: bool) -> None:
        """The thread is done; not written: it waits again."""
        for place, entries in {} if written else self._flying.items():
            for entry in entries:
                _put(self._fresh, place, entry)
        self._flying = {}

    def write(self, file: sqlite3.Connection, rows: Rows) -> None:
        """Write entries, and drop weeks that are too old by then."""
        _keep(file, ((place, entry) for place, entries in rows.items() for entry in entries))
        for number in {number for number, _, _ in rows}:
            drop_old(file, number)

    def put(self, file: sqlite3.Connection, number: int, messages: Iterable[tuple[Content, int, str]]) -> None:
        """Take messages (content, seq, id) in, at once."""
        _keep(file, (row for message in messages for row in self._entries(number, *message)))

    def begin_anew(self, file: sqlite3.Connection, number: int) -> None:
        """Nothing of a tenant but what the spool held."""
        file.execute("delete from contents where tenant = ?", (number,))
        file.execute("delete from content_weeks where tenant = ?", (number,))
        restored = ((place, own) for place, own in self._restored.items() if place[0] == number)
        _keep(file, ((place, entry) for place, own in restored for entry in own))

    def emptied(self, numbers: Mapping[int, int]) -> None:
        """The file is a new one, and numbers tenants otherwise (old to new): what the spool held waits again."""
        restored = {
            (numbers[place[0]], *place[1:]): entries for place, entries in self._restored.items() if place[0] in numbers
        }
        self._restored, self._fresh, self._flying = restored, {p: list(e) for p, e in restored.items()}, {}

    def _held(
        self, file: sqlite3.Connection, number: int, weeks: Sequence[int], parts: Sequence[int]
    ) -> dict[int, list[_Entry]]:
        found: dict[int, list[_Entry]] = {}
        in_weeks, waits = ",".join("?" * len(weeks)), bool(self._fresh or self._flying)
        for at in range(0, len(parts), _ASKED):
            some = parts[at : at + _ASKED]
            rows = file.execute(
                "select part, seq, received_at, message_id, copy_of, week from contents "
                f"where tenant = ? and week in ({in_weeks}) and part in ({','.join('?' * len(some))})",
                (number, *weeks, *some),
            )
            self._take(number, rows, found)
        for week in weeks if waits else ():
            for part in parts:
                self._take_waiting(number, week, part, found)
        return found

    def _few(
        self, file: sqlite3.Connection, number: int, weeks: Sequence[int], part: int, most: int, *, last: bool = False
    ) -> list[_Entry]:
        """Of each week so many entries of a part that are in the file, by seq, and all that wait."""
        found: dict[int, list[_Entry]] = {}
        one = f"select * from ({_OF_PART} order by seq {'desc' if last else 'asc'} limit ?)"
        most += len(self._forgotten)
        asked = [value for week in weeks for value in (number, week, part, most)]
        self._take(number, file.execute(" union all ".join([one] * len(weeks)), asked) if weeks else (), found)
        for week in weeks:
            self._take_waiting(number, week, part, found)
        return found.get(part, [])

    def _take(self, number: int, rows: Iterable[tuple[Any, ...]], found: dict[int, list[_Entry]]) -> None:
        for part, *entry, week in rows:
            if not self._forgotten or ((number, week, part), entry[0]) not in self._forgotten:
                found.setdefault(part, []).append(_Entry(*entry))

    def _take_waiting(self, number: int, week: int, part: int, found: dict[int, list[_Entry]]) -> None:
        place = number, week, part
        for waiting in (self._fresh, self._flying):
            for one in waiting.get(place, ()):
                if (place, one.seq) not in self._forgotten:
                    found.setdefault(part, []).append(one)

    def _entries(self, number: int, content: Content, seq: int, message_id: str) -> Iterable[tuple[_Place, _Entry]]:
        week = content.received_at_us // _WEEK_US
        entry = _Entry(seq, content.received_at_us, message_id, content.copy_of)
        for part in self._parts(content).all():
            yield (number, week, part), entry

    def _parts(self, content: Content) -> _Parts:
        start = hashlib.blake2b(content.key.encode(), digest_size=8, key=self._salt)

        def part(kind: bytes, name: str) -> int:
            digest = start.copy()
            digest.update(kind + name.encode("utf-8", "surrogatepass"))
            return int.from_bytes(digest.digest(), "little", signed=True)

        return _Parts(
            part(b"", ""),
            {name: part(b"r", name) for name in content.recipients if name},
            {name: part(b"d", name) for name in content.domains if name},
            part(b"q", content.queue_id) if content.queue_id else None,
        )


def drop_old(file: sqlite3.Connection, number: int) -> None:
    """Drop a tenant's weeks but for the newest `KEPT_WEEKS` that have mail, or the newest two where these are many."""
    kept = 0
    for place, (week, entries) in enumerate(_weeks_of(file, number)):
        kept += entries
        if place == KEPT_WEEKS or (place >= 2 and kept > KEPT_ENTRIES):
            for table in ("contents", "content_weeks"):
                file.execute(f"delete from {table} where tenant = ? and week <= ?", (number, week))
            return


def _weeks_of(file: sqlite3.Connection, number: int) -> list[tuple[int, int]]:
    """A tenant's weeks, the newest first, and how many entries were written of each."""
    return file.execute(
        "select week, entries from content_weeks where tenant = ? order by week desc", (number,)
    ).fetchall()


def _keep(file: sqlite3.Connection, entries: Iterable[tuple[_Place, _Entry]]) -> None:
    rows = sorted((*place, *entry) for place, entry in entries)
    for (number, week), of_week in groupby(rows, key=itemgetter(0, 1)):
        file.execute(_COUNT, (number, week, file.executemany(_KEEP, of_week).rowcount))


def _put(rows: Rows, place: _Place, entry: _Entry) -> None:
    entries = rows.setdefault(place, [])
    if entry not in entries:
        entries.append(entry)
