"""The content filter behind a real Postfix's queue, by LMTP and by SMTP."""

from __future__ import annotations

import uuid
from email import message_from_bytes

import pytest

from mailwarden.testing.postfix import wait_for, without_trace


@pytest.fixture(params=["lmtp", "smtp"])
def system(request: pytest.FixtureRequest):
    return request.getfixturevalue(f"with_{request.param}_filter")


def mail(asked: str, *, forged: bytes = b"", size: int = 0) -> tuple[str, bytes]:
    name = uuid.uuid4().hex
    body = b".a line with a dot\r\n..\r\n" + (b"x" * 70 + b"\r\n") * (size // 72) + b"\xc3\xa9, the end\r\n\r\n"
    return name, forged + f"From: ann@partner.example\r\nSubject: {name} [{asked}]\r\n\r\n".encode() + body


def delivered(system, name: str) -> list[bytes]:
    return [raw for raw in system.postfix.delivered() if f"Subject: {name} ".encode() in raw]


def arrived(system, name: str, copies: int = 1) -> list[bytes]:
    wait_for(
        lambda: len(delivered(system, name)) >= copies,
        f"mail {name}: {system.postfix.log()[-1500:]}{system.gateway.log()[-1500:]}",
    )
    wait_for(lambda: not system.postfix.queue(), "the queue to be empty")
    return delivered(system, name)


def held_of(system, name: str):
    found = []
    wait_for(
        lambda: found.extend(one for one in system.gateway.quarantine.page(None) if name in one.subject) or found,
        f"mail {name} to be held: {system.postfix.log()[-1500:]}{system.gateway.log()[-1500:]}",
    )
    return found[0]


def test_mail_goes_through_as_it_came_with_who_brought_it(system) -> None:
    name, raw = mail("accept", size=3_000_000)
    assert system.postfix.send(raw, to=["bob@example.com", "carl@example.com"])[0] == 250
    got = arrived(system, name, copies=2)
    assert [without_trace(one) for one in got] == [raw, raw]
    assert all(one.count(b"(Mailwarden content filter)") == 1 for one in got)
    headers = next(head for head, body in system.api.asked if name.encode() in body)
    assert headers["x-mailwarden-client-ip"] == ["127.0.0.1"]
    assert headers["x-mailwarden-helo"] == ["client.partner.example"]
    assert headers["x-mailwarden-queue-id"][0] in system.postfix.log()
    assert headers["x-mailwarden-rcpt-to"] == ["bob@example.com", "carl@example.com"]


def test_fields_are_added_and_forged_ones_of_ours_are_gone(system) -> None:
    name, raw = mail("junk", forged=b"X-Mailwarden-Verdict: deliver\r\nX-MAILWARDEN-Odd :\r\n one\r\n\ttwo\r\n")
    assert system.postfix.send(raw, sender="")[0] == 250
    got = message_from_bytes(arrived(system, name)[0])
    assert got.get_all("X-Mailwarden-Verdict") == ["junk"] and "X-Mailwarden-Odd" not in got
    assert got["Authentication-Results"] == "mx.example.com; dmarc=none" and got["Return-Path"] == "<>"


@pytest.mark.parametrize("asked", ["quarantine", "reject"])
def test_unwanted_mail_is_held_without_a_bounce_and_released_once_as_it_came(system, asked: str) -> None:
    name, raw = mail(asked)
    assert system.postfix.send(raw)[0] == 250
    held = held_of(system, name)
    wait_for(lambda: not system.postfix.queue(), "the queue to be empty")
    assert held.place == "store" and not delivered(system, name)
    assert "status=bounced" not in system.postfix.log()
    assert without_trace(system.gateway.quarantine.content(held)) == raw
    assert system.releases.release(held.held_id, who="test").state == "released"
    assert [without_trace(one) for one in arrived(system, name)] == [raw]


def test_what_was_released_passes_the_filter_once_and_a_copy_of_it_does_not(system) -> None:
    name, raw = mail("quarantine")
    system.postfix.send(raw)
    held = held_of(system, name)
    releases = system.releases
    # Back through the front door, and so through the filter.
    releases.next_hop = f"127.0.0.1:{system.postfix.port}"
    releases.release(held.held_id, who="test")
    assert [without_trace(one) for one in arrived(system, name)] == [raw]
    system.postfix.send(raw)
    wait_for(lambda: len([h for h in system.gateway.quarantine.page(None) if name in h.subject]) == 1, "to be held")
    assert len(delivered(system, name)) == 1


def test_a_filter_killed_in_the_middle_of_a_message_loses_nothing(system) -> None:
    name, raw = mail("late")
    assert system.postfix.send(raw)[0] == 250
    wait_for(lambda: any(name.encode() in body for _, body in system.api.asked), "the question")
    system.gateway.kill()
    wait_for(lambda: system.postfix.queue("deferred"), "the mail to be deferred")
    assert not delivered(system, name)
    system.gateway.start()
    system.postfix.flush()
    assert [without_trace(one) for one in arrived(system, name)] == [raw]


def test_mail_that_is_not_answered_for_waits_in_the_queue(system) -> None:
    name, raw = mail("error")
    assert system.postfix.send(raw)[0] == 250
    wait_for(lambda: system.postfix.queue("deferred"), "the mail to be deferred")
    assert "4.7.1 The mail filter does not answer" in system.postfix.log()
    (row,) = system.postfix.queue()
    system.releases._run_postsuper("-d", row["queue_id"])
    assert not delivered(system, name)
