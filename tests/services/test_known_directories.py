"""Directories that a scoring process holds: read once, again when replaced, and the former while none can be read."""

from __future__ import annotations

from dataclasses import replace

from mailwarden.domain.mail.directory import Directory, Entry
from mailwarden.errors import StoreUnavailable
from mailwarden.stores.sql import Tenant
from mailwarden_services.scoring_worker import known_directories
from mailwarden_services.scoring_worker.known_directories import KnownDirectories

FIRST = Directory.of([Entry("ann@acme.example", "Ann Lee")])
SECOND = Directory.of([Entry("bob@acme.example", "Bob Stone")])
TENANT = Tenant("acme", ("acme.example",), (), {}, 1, directory=FIRST.fingerprint)


class Database:
    def __init__(self) -> None:
        self.held: Directory | None = FIRST
        self.reads = 0

    def get(self, tenant: str) -> Directory:
        self.reads += 1
        if self.held is None:
            raise StoreUnavailable("the database is away")
        return self.held


def test_a_directory_is_read_once_and_again_where_it_was_replaced() -> None:
    database = Database()
    known = KnownDirectories(database.get)
    assert [known.of(TENANT) for _ in range(3)] == [(FIRST, True)] * 3 and database.reads == 1
    database.held = SECOND
    assert known.of(replace(TENANT, directory=SECOND.fingerprint)) == (SECOND, True)
    given, current = known.of(replace(TENANT, directory=""))
    assert (given is not None and len(given), current, database.reads) == (0, True, 2)


def test_the_former_one_counts_while_none_can_be_read() -> None:
    database = Database()
    known = KnownDirectories(database.get)
    database.held = None
    assert [known.of(TENANT) for _ in range(2)] == [(None, False)] * 2
    assert database.reads == 1, "it is not asked for every message"
    database.held = FIRST
    other = KnownDirectories(database.get)
    assert other.of(TENANT) == (FIRST, True)
    database.held = None
    assert other.of(replace(TENANT, directory="another")) == (FIRST, False)


def test_room_is_made_for_the_newest() -> None:
    database = Database()
    known = KnownDirectories(database.get)
    room, known_directories.MOST_ENTRIES = known_directories.MOST_ENTRIES, 1
    try:
        for name in ("a", "b", "a"):
            assert known.of(replace(TENANT, name=name)) == (FIRST, True)
    finally:
        known_directories.MOST_ENTRIES = room
    assert database.reads == 3
