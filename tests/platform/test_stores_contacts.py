"""First contacts: exact, the same when asked again, and never lost for good."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.mail.events import Event
from mailwarden.errors import StoreError
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.content_index import Content, Met
from mailwarden.stores.lake.event_log import EventLog, EventView

EMPTY = EventView(None)
ANN, BOB, EVE = "ann@parts.example", "bob@corp.example", "eve@corp.example"


def message(seq: int, sender: str, *recipients: str, tenant: str = "acme") -> Event:
    at_us = 1_176_000_000_000_000 + seq
    return Event(tenant, seq, "message", f"{tenant}{seq}", at_us, at_us, "envelope", "inbound", sender, "parts.example",
                 recipients, ("corp.example",))  # fmt: skip


def opened(path: Path, tenant: str = "acme", log: EventView = EMPTY, **options: int) -> Contacts:
    contacts = Contacts(path / "contacts.sqlite", **options)
    contacts.prepare(tenant, log)
    return contacts


def test_a_recipient_is_new_once_for_each_sender_and_tenant(tmp_path: Path) -> None:
    contacts = opened(tmp_path)
    contacts.prepare("other", EMPTY)
    assert contacts.first("acme", ANN, (BOB, EVE, BOB), 1, "acme1") == (BOB, EVE)
    assert contacts.first("acme", ANN, (BOB, "x@corp.example"), 2, "acme2") == ("x@corp.example",)
    assert contacts.first("acme", BOB, (ANN,), 3, "acme3") == (ANN,)  # the other way is another thing
    assert contacts.first("other", ANN, (BOB,), 1, "other1") == (BOB,)
    assert contacts.first("acme", "", (BOB,), 4, "acme4") == () and contacts.first("acme", ANN, ("",), 5, "acme5") == ()
    # Asked again, as after a crash, each answer is what it was.
    assert contacts.first("acme", ANN, (BOB, EVE), 1, "acme1") == (BOB, EVE)
    assert contacts.first("acme", ANN, (BOB,), 2, "acme2") == ()
    contacts.close()
    again = Contacts(tmp_path / "contacts.sqlite")
    again.restore("acme", "", (), 5, "acme5")
    again.prepare("acme", EMPTY)
    assert again.first("acme", ANN, (BOB, EVE), 6, "acme6") == ()
    again.close()


_sent = st.tuples(st.sampled_from("abc"), st.lists(st.sampled_from("xyz"), max_size=3).map(tuple))


@settings(max_examples=30, deadline=None)
@given(st.lists(_sent, max_size=40), st.integers(1, 7), st.data())
def test_whatever_way_messages_come_the_answers_are_those_of_a_plain_count(
    tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[str, tuple[str, ...]]], flush: int, data: st.DataObject
) -> None:
    """Bulk, one by one, restarts and lost memory, in any order; held against sets."""
    folder = tmp_path_factory.mktemp("contacts")
    log = EventLog(folder / "events")
    contacts = Contacts(folder / "c.sqlite", flush_pairs=flush)
    contacts.prepare("acme", log.view())
    met: set[tuple[str, str]] = set()
    expected = []
    for sender, recipients in sent:
        expected.append(tuple(dict.fromkeys(name for name in recipients if (sender, name) not in met)))
        met |= {(sender, name) for name in recipients}
    at = 0
    while at < len(sent):
        seqs = range(at + 1, min(at + 1 + data.draw(st.integers(1, 5)), len(sent) + 1))
        events = [message(seq, *[sent[seq - 1][0], *sent[seq - 1][1]]) for seq in seqs]
        asked = [(event.sender, event.recipients, event.seq, event.message_id) for event in events]
        how = data.draw(st.sampled_from(["single", "bulk", "crash", "bulk again"]))
        if how.startswith("bulk"):
            with contacts.numbering("acme") as numbering:
                for _ in range(2 if how == "bulk again" else 1):
                    numbering.begin(log.view())
                    found = [names for ask in asked for names in numbering.first([ask])]
        else:
            found = [contacts.first("acme", *ask) for ask in asked]
        assert found == expected[at : seqs[-1]]
        log.append([replace(event, new_recipients=names) for event, names in zip(events, found, strict=True)])
        if how == "crash":
            contacts._pool.shutdown()  # what waits in memory is gone
            contacts = Contacts(folder / "c.sqlite", flush_pairs=flush)
            contacts.prepare("acme", log.view())
        at = seqs[-1]
        assert [seq for seq in range(len(sent) + 2) if contacts.holds("acme", f"acme{seq}")] == list(range(1, at + 1))
    contacts.close()
    fresh = Contacts(folder / "fresh.sqlite")
    fresh.prepare("acme", log.view())
    for seq, (sender, recipients) in enumerate(sent, 1):
        assert fresh.first("acme", sender, recipients, seq, f"acme{seq}") == expected[seq - 1]
    fresh.close()


def test_what_the_spool_still_holds_counts_before_and_after_the_log_is_read(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    log.append([message(1, ANN, BOB)])
    contacts = Contacts(tmp_path / "contacts.sqlite")
    contacts.restore("acme", ANN, (BOB, EVE), 7, "acme7")
    contacts.prepare("acme", log.view())
    assert contacts.first("acme", ANN, (BOB, EVE), 7, "acme7") == (EVE,)
    assert contacts.first("acme", ANN, (BOB, EVE), 8, "acme8") == ()
    contacts.close()
    # The spool is ahead of the log, and so is what is known: nothing to make again.
    again = Contacts(tmp_path / "contacts.sqlite")
    again.restore("acme", ANN, (BOB, EVE), 8, "acme8")
    assert again.prepare("acme", log.view()) == 0
    assert again.first("acme", ANN, (EVE,), 9, "acme9") == ()
    again.close()


def test_a_log_that_was_replaced_is_learnt_anew(tmp_path: Path) -> None:
    contacts = opened(tmp_path)
    contacts.first("acme", ANN, (BOB,), 50, "acme50")
    contacts.close()
    log = EventLog(tmp_path / "events")
    log.append([message(1, ANN, EVE), message(2, ANN, EVE)])
    again = Contacts(tmp_path / "contacts.sqlite")
    assert again.prepare("acme", log.view()) == 2
    assert again.first("acme", ANN, (BOB, EVE), 3, "acme3") == (BOB,)
    again.close()


def test_what_the_spool_holds_outlives_learning_anew(tmp_path: Path) -> None:
    contacts = opened(tmp_path)
    contacts.first("acme", ANN, (BOB,), 2, "acme2")
    contacts.first("acme", ANN, (EVE,), 3, "acme3")
    contacts.close()
    # The message of seq 3 reached no disk: the file is ahead of log and spool.
    again = Contacts(tmp_path / "contacts.sqlite")
    again.restore("acme", ANN, (BOB,), 2, "acme2")
    again.prepare("acme", EMPTY)
    assert again.first("acme", ANN, (BOB, EVE), 4, "acme4") == (EVE,)
    again.close()


@pytest.mark.parametrize("damage", ["missing", "garbage", "version", "inside"])
def test_a_missing_or_damaged_file_is_made_again_from_the_log(tmp_path: Path, damage: str) -> None:
    log = EventLog(tmp_path / "events")
    log.append([message(1, ANN, BOB)])
    contacts = opened(tmp_path, log=log.view())
    contacts.first("acme", ANN, (BOB,), 2, "acme2")
    contacts.close()
    path = tmp_path / "contacts.sqlite"
    if damage == "garbage":
        path.write_bytes(b"no database at all" * 1000)
    elif damage == "inside":
        whole = path.read_bytes()
        path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    elif damage == "version":
        with sqlite3.connect(path) as file:
            file.execute("pragma user_version = 99")
        file.close()
    else:
        path.unlink()
    again = opened(tmp_path, log=log.view())
    assert again.first("acme", ANN, (BOB, EVE), 3, "acme3") == (EVE,)
    again.close()


def test_a_bulk_that_fails_leaves_nothing(tmp_path: Path) -> None:
    contacts = opened(tmp_path)
    contacts.first("acme", ANN, (EVE,), 1, "acme1")
    with pytest.raises(RuntimeError), contacts.numbering("acme") as numbering:
        numbering.begin(EMPTY)
        assert numbering.first([(ANN, (BOB, EVE), 2, "acme2"), (ANN, (BOB,), 3, "acme3")]) == [(BOB,), ()]
        raise RuntimeError
    assert contacts.first("acme", ANN, (BOB, EVE), 2, "acme2") == (BOB,)
    contacts.close()


def test_a_bulk_that_is_begun_again_forgets_the_seqs_it_gave_before(tmp_path: Path) -> None:
    contacts = opened(tmp_path)
    with contacts.numbering("acme") as numbering:
        numbering.begin(EMPTY)
        assert numbering.first([(ANN, (BOB,), 2, "acme2")]) == [(BOB,)]
        numbering.begin(EMPTY)
        assert numbering.first([(ANN, (BOB,), 9, "acme9")]) == [(BOB,)]
    contacts.close()


def test_a_message_that_reached_no_disk_is_taken_back(tmp_path: Path) -> None:
    contacts = opened(tmp_path)
    assert contacts.first("acme", ANN, (EVE,), 1, "acme1") == (EVE,)
    assert contacts.first("acme", ANN, (BOB, EVE), 2, "acme2") == (BOB,)
    contacts.forget("acme", ANN, (BOB, EVE), 2, "acme2")
    assert contacts.first("acme", ANN, (BOB, EVE), 3, "acme3") == (BOB,)
    contacts.close()


def test_a_message_is_taken_back_although_the_file_cannot_be_written(tmp_path: Path) -> None:
    contacts = opened(tmp_path, flush_pairs=1)
    assert contacts.first("acme", ANN, (BOB,), 1, "acme1") == (BOB,)
    contacts._land()
    with sqlite3.connect(tmp_path / "contacts.sqlite", isolation_level=None) as other:
        contacts._file.execute("pragma busy_timeout = 10")
        other.execute("begin immediate")
        with pytest.raises(StoreError, match="contacts"):
            contacts.forget("acme", ANN, (BOB,), 1, "acme1")
        assert contacts.first("acme", ANN, (BOB,), 2, "acme2") == (BOB,)
        other.execute("rollback")
    other.close()
    assert contacts.first("acme", ANN, (BOB,), 3, "acme3") == ()
    contacts.close()


def test_what_cannot_be_written_now_is_kept_and_written_later(tmp_path: Path) -> None:
    contacts = opened(tmp_path, flush_pairs=1)
    with sqlite3.connect(tmp_path / "contacts.sqlite", isolation_level=None) as other:
        contacts._file.execute("pragma busy_timeout = 10")
        other.execute("begin immediate")
        for seq in range(1, 6):
            assert contacts.first("acme", ANN, (f"{seq}@corp.example",), seq, f"acme{seq}") != ()
            assert contacts.first("acme", ANN, (f"{seq}@corp.example",), seq + 10, f"acme{seq + 10}") == ()
        with pytest.raises(StoreError, match="contacts"):
            contacts.prepare("acme", EMPTY)
        other.execute("rollback")
    other.close()
    contacts.close()
    with sqlite3.connect(tmp_path / "contacts.sqlite") as file:
        assert file.execute("select count(*) from pairs").fetchone() == (15,)  # five pairs, ten messages
    file.close()


def test_contents_that_cannot_be_written_now_are_kept_and_written_later(tmp_path: Path) -> None:
    """As where the disk is full, and messages that it refused are taken back."""
    contacts = opened(tmp_path)

    def meet(seq: int, key: str) -> Met:
        return contacts.meet("acme", ANN, (BOB,), seq, f"acme{seq}", Content(key, 0, (BOB,)))

    assert meet(1, "one").counts and meet(2, "two").counts
    with sqlite3.connect(tmp_path / "contacts.sqlite", isolation_level=None) as other:
        contacts._file.execute("pragma busy_timeout = 10")
        other.execute("begin immediate")
        with pytest.raises(StoreError, match="contacts"):
            contacts.forget("acme", ANN, (BOB,), 2, "acme2", Content("two", 0, (BOB,)))
        other.execute("rollback")
    other.close()
    assert meet(3, "two").counts
    for _ in ("in memory", "in the file"):
        copy = meet(4, "one").copy
        assert copy is not None and copy.first == "acme1"
        with contacts._writing():
            pass
    contacts.close()


def test_a_message_is_known_by_its_id_to_its_tenant_until_it_is_taken_back(tmp_path: Path) -> None:
    contacts = opened(tmp_path)
    contacts.prepare("other", EMPTY)
    # Of nobody and to nobody, and to people known already.
    for seq, sender in ((1, ""), (2, ANN), (3, ANN)):
        assert not contacts.holds("acme", f"acme{seq}")
        contacts.first("acme", sender, (BOB,), seq, f"acme{seq}")
        assert contacts.holds("acme", f"acme{seq}") and not contacts.holds("other", f"acme{seq}")
    contacts.forget("acme", ANN, (), 3, "acme3")
    assert [contacts.holds("acme", f"acme{seq}") for seq in (1, 2, 3)] == [True, True, False]
    contacts.close()
    again = Contacts(tmp_path / "contacts.sqlite")
    again.restore("acme", ANN, (BOB,), 4, "acme4")
    again.prepare("acme", EMPTY)
    assert [again.holds("acme", f"acme{seq}") for seq in (1, 2, 3, 4)] == [True, True, False, True]
    again.close()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(_sent, st.integers(0, 12)), max_size=30), st.integers(1, 9),
    st.sampled_from(["", "forget", "again"]),
)  # fmt: skip
def test_meeting_is_holding_and_first_in_one_look(
    tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[tuple[str, tuple[str, ...]], int]], flush: int, how: str
) -> None:
    """Held against sets, with pairs in memory, on their way and in the file; some taken back, some taken in again."""
    contacts = opened(tmp_path_factory.mktemp("contacts"), flush_pairs=flush)
    held: set[str] = set()
    met: set[tuple[str, str]] = set()
    for seq, ((sender, recipients), number) in enumerate(sent, 1):
        message_id = f"m{number}"
        ask = ("acme", sender, recipients, seq, message_id)
        expected = tuple(dict.fromkeys(name for name in recipients if (sender, name) not in met))
        assert set(contacts.held("acme", [f"m{n}" for n in range(13)])) == held
        if message_id in held:
            assert contacts.holds("acme", message_id) and contacts.meet(*ask).known
            if how != "again":
                continue
            assert contacts.meet(*ask, again=True).new == expected
        else:
            assert contacts.meet(*ask).new == expected
            if how == "forget" and seq % 3 == 0:
                contacts.forget("acme", sender, expected, seq, message_id)
                continue
        held.add(message_id)
        met |= {(sender, name) for name in recipients}
    contacts.close()


def test_what_cannot_be_looked_up_is_taken_in_only_where_it_is_sure(tmp_path: Path) -> None:
    contacts = opened(tmp_path)
    contacts._connections.asked.close()
    with pytest.raises(StoreError, match=r"contacts\.sqlite"):
        contacts.meet("acme", ANN, (BOB,), 1, "acme1")
    with pytest.raises(StoreError, match=r"contacts\.sqlite"):
        contacts.meet("acme", ANN, (EVE,), 2, "acme2", again=True)
    contacts._connections.asked = sqlite3.connect(tmp_path / "contacts.sqlite")
    assert contacts.held("acme", ["acme1", "acme2"]) == {"acme2": 2}
    assert contacts.meet("acme", ANN, (BOB, EVE), 3, "acme3").new == (BOB,)
    contacts.close()


def test_a_thousand_ids_are_one_look_into_the_file(tmp_path: Path) -> None:
    contacts = opened(tmp_path, flush_pairs=100)
    for seq in range(1, 501):
        contacts.meet("acme", ANN, (), seq, f"m{seq}")
    contacts._land()
    asked: list[str] = []
    contacts._connections.asked.set_trace_callback(asked.append)
    names = [f"m{number}" for number in range(1, 1_001)]
    assert contacts.held("acme", names) == {f"m{seq}": seq for seq in range(1, 501)}
    assert len(asked) <= 2
    assert contacts.held("acme", []) == {}
    contacts.close()
