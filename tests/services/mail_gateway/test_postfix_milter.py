"""The milter behind a real Postfix: mail in, decision out, mail delivered, held or refused."""

from __future__ import annotations

import hashlib
import threading
import uuid
from email import message_from_bytes

import pytest

from mailwarden.errors import DataError, NotFound
from mailwarden.testing.postfix import wait_for, without_trace


def mail(asked: str, *, forged: bytes = b"", size: int = 0) -> tuple[str, bytes]:
    """A message that names itself and what the stand-in shall answer."""
    name = uuid.uuid4().hex
    body = b".a line with a dot\r\n..\r\n" + (b"x" * 70 + b"\r\n") * (size // 72) + b"the end\r\n\r\n"
    head = f"From: Ann <ann@partner.example>\r\nSubject: {name} [{asked}]\r\n".encode()
    return name, forged + head + b"To:\tbob@example.com,\r\n\tcarl@example.com\r\n\r\n" + body


def delivered(system, name: str) -> list[bytes]:
    return [raw for raw in system.postfix.delivered() if f"Subject: {name} ".encode() in raw]


def arrived(system, name: str) -> bytes:
    wait_for(
        lambda: delivered(system, name), f"mail {name}: {system.postfix.log()[-1500:]}{system.gateway.log()[-1500:]}"
    )
    (raw,) = delivered(system, name)
    return raw


def test_the_api_is_asked_about_the_bytes_and_the_envelope_that_postfix_has(with_milter) -> None:
    name, raw = mail("accept", size=300_000)
    assert with_milter.postfix.send(raw, to=["bob@example.com", "carl@example.com"])[0] == 250
    headers, asked = next(one for one in with_milter.api.asked if name.encode() in one[1])
    assert asked == raw
    assert headers["x-mailwarden-mail-from"] == ["ann@partner.example"]
    assert headers["x-mailwarden-rcpt-to"] == ["bob@example.com", "carl@example.com"]
    assert headers["x-mailwarden-client-ip"] == ["127.0.0.1"]
    assert headers["x-mailwarden-helo"] == ["client.partner.example"]
    assert headers["x-mailwarden-listener"] == ["milter"] and headers["authorization"] == ["Bearer mw_test"]
    assert headers["x-mailwarden-queue-id"][0] in with_milter.postfix.log()
    wait_for(lambda: len(delivered(with_milter, name)) == 2, "both copies")
    assert {without_trace(one) for one in delivered(with_milter, name)} == {raw}


def test_fields_are_added_on_top_and_forged_ones_of_ours_are_gone(with_milter) -> None:
    forged = (
        b"X-Mailwarden-Verdict: deliver\r\nX-Forged-One: 1\r\nx-mailwarden-verdict:\r\n deliver\r\n\tonce more\r\n"
        b"X-Mailwarden-Anything : 1\r\nX-Mailwarden-Verdict: deliver\r\nX-Forged-Two: 2\r\nX-Forged-One: 3\r\n"
    )
    name, raw = mail("junk", forged=forged)
    assert with_milter.postfix.send(raw)[0] == 250
    got = message_from_bytes(arrived(with_milter, name))
    assert got.get_all("X-Mailwarden-Verdict") == ["junk"] and got["X-Mailwarden-Anything"] is None
    assert got["Authentication-Results"] == "mx.example.com; dmarc=none"
    assert got.get_all("X-Forged-One") == ["1", "3"] and list(got)[3:6] == [
        "Authentication-Results",
        "X-Mailwarden-Verdict",
        "X-Mailwarden-Reasons",
    ]
    name, raw = mail("forged", forged=forged)
    assert with_milter.postfix.send(raw)[0] == 250
    assert without_trace(arrived(with_milter, name)) == raw.removeprefix(forged)


def test_a_refusal_is_a_refusal_with_words(with_milter) -> None:
    name, raw = mail("reject")
    code, words = with_milter.postfix.send(raw)
    assert code == 550 and words.startswith("5.7.1 Refused as unwanted mail (d")
    assert not delivered(with_milter, name)


@pytest.mark.parametrize("asked", ["nonsense", "error"])
def test_mail_that_is_not_answered_for_is_tried_again_later(with_milter, asked: str) -> None:
    name, raw = mail(asked)
    code, words = with_milter.postfix.send(raw)
    assert code == 451 and "try again later" in words and not delivered(with_milter, name)


def test_held_mail_is_listed_and_released_once_as_it_came(with_milter) -> None:
    name, raw = mail("quarantine", forged=b"X-Mailwarden-Verdict: deliver\r\n")
    assert with_milter.postfix.send(raw)[0] == 250
    (held,) = [one for one in with_milter.gateway.quarantine.page(None) if name in one.subject]
    assert held.place == "postfix_hold" and held.recipients == ("bob@example.com",) and held.tenant == "default"
    assert held.reason == "What it says is odd" and held.header_from == "Ann <ann@partner.example>"
    assert held.queue_id in [row["queue_id"] for row in with_milter.postfix.queue("hold")]
    assert not delivered(with_milter, name)
    assert with_milter.releases.release(held.held_id, who="test").state == "released"
    got = without_trace(arrived(with_milter, name))
    wanted = raw.removeprefix(b"X-Mailwarden-Verdict: deliver\r\n")
    assert hashlib.sha256(got).digest() == hashlib.sha256(wanted).digest()
    with pytest.raises(DataError, match="it is released"):
        with_milter.releases.release(held.held_id, who="test")
    assert with_milter.postfix.queue() == [] and len(delivered(with_milter, name)) == 1


def test_what_was_taken_off_hold_by_hand_is_said_to_be_gone(with_milter) -> None:
    name, raw = mail("quarantine")
    with_milter.postfix.send(raw)
    (held,) = [one for one in with_milter.gateway.quarantine.page(None) if name in one.subject]
    other = with_milter.releases
    other._run_postsuper("-d", held.queue_id)
    with pytest.raises(NotFound, match="released or deleted by other means"):
        other.release(held.held_id, who="test")
    assert other.quarantine.get(held.held_id).state == "held"
    assert other.delete(held.held_id, who="test").held_id == held.held_id
    assert other.quarantine.get(held.held_id).state == "deleted"


def test_a_milter_killed_in_the_middle_of_a_message_loses_nothing(with_milter) -> None:
    name, raw = mail("late")
    replies: list[tuple[int, str]] = []
    sender = threading.Thread(target=lambda: replies.append(with_milter.postfix.send(raw)))
    sender.start()
    wait_for(lambda: any(name.encode() in body for _, body in with_milter.api.asked), "the question")
    with_milter.gateway.kill()
    sender.join(30)
    assert 400 <= replies[0][0] < 500 and not delivered(with_milter, name)
    assert 400 <= with_milter.postfix.send(raw)[0] < 500
    with_milter.gateway.start()
    assert with_milter.postfix.send(raw)[0] == 250
    assert without_trace(arrived(with_milter, name)) == raw
