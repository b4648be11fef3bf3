"""The index of messages fails while mail flows: it is opened again, or made again, and nobody restarts anything."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.stores import contacts, contacts_connections
from mailwarden_services.sequencer import learning as learning_module
from mailwarden_services.sequencer.history import History

BOB, EVE, JOE = "bob@acme.example", "eve@acme.example", "joe@acme.example"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_module, "RETRY_SECONDS", 0.0)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


async def some_mail(shard: Any) -> None:
    """Seqs 1 to 4 of one tenant, scored and of the past, of which the log holds the first two; and another's."""
    await shard.accept(shard.draft(1))
    await shard.take(shard.message(2, EVE))
    shard.events.append([record.event for record in shard.records()])
    await shard.take(shard.message(3, JOE))
    await shard.accept(shard.draft(4))
    await shard.accept(shard.draft(1, tenant="other"))
    # All of it is in the file: what is in memory alone would be known whatever became of that.
    shard.contacts._land()
    with shard.contacts._writing():
        pass


def overwritten(shard: Any) -> None:
    """Its pages are no pages any more."""
    path = shard.folder / "contacts.sqlite"
    shard.contacts._file.execute("pragma wal_checkpoint(truncate)")
    with path.open("r+b") as file:
        file.write(b"x" * path.stat().st_size)
    # A connection that has pages in memory, and sees that nobody wrote to it, reads none.
    for connection in (shard.contacts._file, shard.contacts._connections.asked):
        connection.execute("pragma shrink_memory")


def closed(shard: Any) -> None:
    shard.contacts._connections.asked.close()


def replaced(shard: Any) -> None:
    """Removed, and a connection found out."""
    (shard.folder / "contacts.sqlite").unlink()
    closed(shard)


@pytest.mark.parametrize("broken", [overwritten, closed, replaced])
def test_a_file_that_fails_is_mended_while_mail_flows(opened: Any, broken: Callable[[Any], None]) -> None:
    async def test() -> None:
        with opened() as shard:
            await some_mail(shard)
            broken(shard)
            unsure = await shard.accept(shard.draft(5, EVE))
            assert unsure.unsure and shard.contacts.failed
            # The next one finds it mended, with what the log holds, what the spool alone does, and other tenants'.
            assert (await shard.accept(shard.draft(5, EVE))).seq == 5 and not shard.contacts.failed
            assert shard.records()[-1].event.new_recipients == ()
            ids = ["acme1", "m2", "m3", "acme4", "acme5", "acme6"]
            assert await shard.sequencer.numbered("acme", ids) == {name: seq for seq, name in enumerate(ids[:5], 1)}
            assert await shard.sequencer.numbered("other", ["other1"]) == {"other1": 1}
            assert [one.seq for one in await shard.take(shard.message(3, JOE), shard.message(6, JOE))] == [0, 6]
            assert shard.records()[-1].event.new_recipients == ()
        with opened() as shard:
            # And so does another process, from the file that was left.
            assert (await shard.accept(shard.draft(7, JOE))).seq == 7
            assert shard.records()[-1].event.new_recipients == ()
            assert await shard.sequencer.numbered("acme", ["m3"]) == {"m3": 3}

    run(test())


def test_what_learning_another_tenant_finds_damaged_is_made_again_for_all(opened: Any) -> None:
    async def test() -> None:
        with opened() as shard:
            await some_mail(shard)
            overwritten(shard)
            assert (await shard.accept(shard.draft(1, tenant="third"))).seq == 1
            for tenant, name, seq in (("acme", "m3", 3), ("acme", "acme1", 1), ("other", "other1", 1)):
                assert await shard.sequencer.numbered(tenant, [name]) == {name: seq}
            assert [one.seq for one in await shard.take(shard.message(3, JOE))] == [0]

    run(test())


def test_a_file_that_cannot_be_read_again_and_again_is_taken_for_damaged(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot_be_read(*_: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHORT_READ
        raise error

    async def test() -> None:
        with opened() as shard:
            await some_mail(shard)
            made: list[str] = []
            replace = contacts_connections.Connections.replace

            def noted(self: Any, why: str) -> None:
                made.append(why)
                replace(self, why)

            monkeypatch.setattr(contacts_connections.Connections, "replace", noted)
            for times in (0, 0, 1):
                assert len(made) == times
                with monkeypatch.context() as patched:
                    patched.setattr("mailwarden.stores.contacts.known_in", cannot_be_read)
                    with pytest.raises(StoreError):
                        shard.contacts.held("acme", ["m3"])
                assert await shard.sequencer.numbered("acme", ["m3"]) == {"m3": 3}
            assert made == ["disk I/O error"] * 2

    run(test())


@pytest.mark.parametrize("found_by", ["other", "third"])
def test_a_batch_of_the_past_under_way_while_the_file_is_made_again_is_refused_and_counts_once(
    opened: Any, monkeypatch: pytest.MonkeyPatch, found_by: str
) -> None:
    """Another tenant's message finds the damage, known to the file or not, while the batch waits for its turn."""

    async def damaged(_: History, tenant: str) -> None:
        overwritten(shard)
        await shard.accept(shard.draft(2, tenant=found_by))
        await shard.accept(shard.draft(2, tenant=found_by))

    async def test() -> None:
        await some_mail(shard)
        batch = shard.message(3, JOE), shard.message(9, EVE)
        with monkeypatch.context() as patched:
            patched.setattr(History, "_room", damaged)
            with pytest.raises(StoreUnavailable):
                await shard.take(*batch)
        await shard.sequencer.meet("acme")
        assert [(one.seq, one.counts_with) for one in await shard.take(*batch)] == [(0, "m3"), (5, "")]
        ids = [record.event.message_id for record in shard.records() if record.event.tenant == "acme"]
        assert ids == ["acme1", "m2", "m3", "acme4", "m9"]

    with opened() as shard:
        run(test())


def test_other_tenants_go_on_where_learning_fails_behind_an_empty_file(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise StoreError("the event log is away")

    async def test() -> None:
        await some_mail(shard)
        overwritten(shard)
        with monkeypatch.context() as patched:
            patched.setattr(contacts, "logged", away)
            assert (await shard.accept(shard.draft(1, tenant="third"))).unsure
        assert shard.contacts.begun == 1
        assert [(await shard.accept(shard.draft(5))).seq, (await shard.accept(shard.draft(2, tenant="other"))).seq] == [
            5,
            2,
        ]
        assert await shard.sequencer.numbered("acme", ["m3", "acme5"]) == {"m3": 3, "acme5": 5}
        assert (await shard.accept(shard.draft(5))).repeated

    with opened() as shard:
        run(test())


def test_an_empty_file_that_was_half_made_has_the_salt_of_what_is_in_memory(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, asked = contacts_connections.connect, []

    def once(path: Path) -> sqlite3.Connection:
        asked.append(path)
        if len(asked) == 2:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(path)

    async def test() -> None:
        await some_mail(shard)
        salt = shard.contacts._connections.salt
        overwritten(shard)
        assert (await shard.accept(shard.draft(5, EVE))).unsure
        with monkeypatch.context() as patched:
            patched.setattr(contacts_connections, "connect", once)
            assert (await shard.accept(shard.draft(5, EVE))).unsure
        assert (await shard.accept(shard.draft(5, EVE))).seq == 5
        stored = shard.contacts._file.execute("select salt from secret").fetchone()[0]
        assert salt == shard.contacts._connections.salt == stored

    with opened() as shard:
        run(test())
