"""First contacts, decided where the API gives a message its seq."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import StoreError
from mailwarden.stores import contacts as contacts_module
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.sql import Decisions
from mailwarden_services.sequencer import learning as learning_module

START = 1_772_409_600_000_000
BOB, EVE = "bob@brightmoor.example", "eve@brightmoor.example"


def send(api: Any, minute: int, *to: str, sender: str = "ann@parts.example") -> dict[str, Any]:
    raw = f"From: {sender}\nTo: {', '.join(to)}\nSubject: {minute}\nDate: Tue, 3 Mar 2026 10:00:00 +0000\n\nhello\n"
    response = api.score(raw.encode(), Envelope(START + minute * 60_000_000, sender, to))
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_who_is_new_to_a_sender_survives_a_restart_and_labels_bear_it(warden: Any) -> None:
    with warden.api() as api:
        first = send(api, 1, BOB, EVE)
        send(api, 2, BOB)
        assert send(api, 1, BOB, EVE)["repeated"] is True
    # What the feature writer has not logged yet is in the spool; what it has, in the log.
    with warden.api() as api:
        send(api, 3, BOB, "joe@brightmoor.example")
    warden.drain()
    (warden.settings.contacts_path).unlink()
    with warden.api() as api:
        send(api, 4, EVE, BOB)
        send(api, 5, BOB, sender="zoe@parts.example")
        api.label(message_id=first["message_id"], label="CP", known_at="2026-03-09T00:00:00Z")
    warden.drain()
    new = [(event.kind, event.seq, event.new_recipients) for event in warden.events()]
    assert new == [
        ("message", 1, (BOB, EVE)),
        ("message", 2, ()),
        ("message", 3, ("joe@brightmoor.example",)),
        ("message", 4, ()),
        ("message", 5, (BOB,)),
        ("label", 6, (BOB, EVE)),
    ]


def unreadable(*_: object) -> None:
    raise sqlite3.OperationalError("disk I/O error")


def broken(*_: object, **__: object) -> None:
    raise StoreError("contacts failed")


def test_mail_goes_on_and_says_so_where_contacts_cannot_be_read(warden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with warden.api() as api:
        with monkeypatch.context() as patched:
            patched.setattr(contacts_module, "known_in", unreadable)
            answer = send(api, 1, BOB)
            assert "first contacts unavailable" in answer["flags"] and answer["degraded"] is True
            assert answer["seq"] == 1 and send(api, 1, BOB)["repeated"] is True
        assert send(api, 2, BOB)["flags"] == []
        # Nobody could tell that Bob was new, and nobody takes it back; that she wrote to him is known.
        assert send(api, 3, BOB, EVE)["flags"] == []
    warden.drain()
    assert [event.new_recipients for event in warden.events()] == [(), (), (EVE,)]


def test_tied_and_late_mail_searches_neither_log_nor_decisions(warden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def searched(*_: object) -> None:
        raise AssertionError("a message that is not newer than the newest was searched for")

    with warden.api() as api:
        send(api, 5, BOB)
        warden.drain()
        monkeypatch.setattr(EventLog, "find", searched)
        monkeypatch.setattr(Decisions, "by_message", searched)
        answers = [send(api, 5, EVE), send(api, 5, BOB, EVE), send(api, 1, BOB)]
        assert [answer["seq"] for answer in answers] == [2, 3, 4]
        assert all(not answer["repeated"] and not answer["flags"] for answer in answers)


def test_where_the_index_cannot_be_read_repeats_are_still_found(warden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with warden.api() as api:
        first = send(api, 1, BOB)
        send(api, 2, BOB)
    warden.drain()
    # As a bulk ingest would leave it: in the event log, without a decision.
    with warden.platform._engine.begin() as connection:
        connection.exec_driver_sql(f"delete from decisions where seq = {first['seq'] + 1}")
    with warden.api() as api:
        monkeypatch.setattr(contacts_module, "known_in", unreadable)
        again = send(api, 1, BOB)
        assert again["repeated"] is True and again["seq"] == 1
        ingested = send(api, 2, BOB)
        assert ingested["seq"] is None and ingested["flags"] == ["ingested before: not counted again"]
        assert send(api, 1, EVE)["seq"] == 3


def test_what_was_numbered_while_the_index_failed_is_in_it_later(warden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with warden.api() as api:
        sequencer = warden.service.intake._sequencing("acme")._sequencer
        sequencer.order_of("acme").acquainted = False
        with monkeypatch.context() as patched:
            patched.setattr(learning_module, "RETRY_SECONDS", 0.0)
            patched.setattr(Contacts, "prepare", broken)
            first = send(api, 1, BOB)
            assert first["flags"] == ["first contacts unavailable"] and first["degraded"] is True
            assert send(api, 1, BOB)["repeated"] is True
        assert send(api, 2, BOB)["flags"] == []
        assert sequencer.contacts_of("acme").holds("acme", first["message_id"])
    warden.drain()
    assert [event.new_recipients for event in warden.events()] == [(), ()]
