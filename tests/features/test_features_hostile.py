"""Hostile mail through the parser, the event and the content features: bounded, linear, and nothing lost."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from mailwarden.domain.mail.content import ContentSet, ContentView
from mailwarden.domain.mail.message import Envelope, Message
from mailwarden.domain.mail.reception import Reception
from mailwarden.domain.status import Status
from mailwarden.ingest.receive import Site, receive
from mailwarden.stores.lists import load_lists
from mailwarden.testing.hostile.campaign import Cost, attack, cost_of, growth, read_made
from mailwarden.testing.hostile.kinds import KINDS, Input, inputs
from mailwarden.testing.hostile.made import made_message
from mailwarden.testing.hostile.signature_kinds import hostile_answer
from mailwarden_features.discovery import discover

SITE = Site("acme", frozenset({"acme.example"}), frozenset({"mx.example"}))
CONTENT = ContentSet(discover().content, load_lists(), {})

MOST_SECONDS = 1.0
MOST_EXPONENT = 1.3
MOST_MB = 300


def read(raw: bytes) -> Message:
    """What the API does with a message before history speaks."""
    envelope = Envelope(mail_from="mallory@hostile.example", reception=Reception(client_ip="192.0.2.7"))
    message = receive(raw, envelope, SITE, hostile_answer).message
    CONTENT.values_of(message, raise_it)
    return message


def read_unasked(raw: bytes) -> Message:
    """The same where nobody asks the DNS: that is a hundredfold for a sender whose records are made to be long."""
    message = receive(raw, Envelope(), SITE).message
    CONTENT.values_of(message, raise_it)
    return message


def raise_it(view: ContentView, failure: Exception) -> None:
    raise AssertionError(f"{view.name} fails") from failure


def check(costs: list[Cost]) -> None:
    for cost in costs:
        assert not cost.failed, cost
        assert not cost.lost, f"{cost.input} lost its headers"
    slow = [cost for cost in costs if cost.seconds > MOST_SECONDS]
    assert not slow, slow
    large = [cost for cost in costs if cost.above_idle_mb > MOST_MB]
    assert not large, large
    steep = {key: exponent for key, exponent in growth(costs).items() if exponent >= MOST_EXPONENT}
    assert not steep, steep


def test_a_hundredth_of_hostile_mail_is_read_in_bounded_time() -> None:
    chosen = Random(7).sample(sorted(KINDS), 7)
    costs = list(attack(inputs(range(3), tuple(chosen)), read, processes=1))
    assert len(costs) == 7 * 3 * 3
    check(costs)


@pytest.mark.parametrize("kind", KINDS)
def test_no_small_message_of_a_kind_loses_its_headers(kind: str) -> None:
    for seed in range(3):
        cost = cost_of(Input(kind, seed, 6_000), read, 0.0)
        assert not cost.failed and not cost.lost, cost
        assert cost.seconds < MOST_SECONDS


def test_a_hundredth_of_made_messages_is_read() -> None:
    for run, failures in read_made(range(0, 10_000), read_unasked, processes=2):
        assert not failures, (run, failures[:5])


def test_a_made_message_is_the_same_each_time() -> None:
    assert [made_message(number) for number in range(50)] == [made_message(number) for number in range(50)]


def test_what_a_limit_cuts_is_said_and_the_same_each_time() -> None:
    raw = Input("parts of messages with links", 0, 400_000).make()
    once, again = read(raw), read(raw)
    assert once == again
    assert once.status_of(("headers",)) is Status.PRESENT
    assert once.status_of(("inner",)) is Status.OVER_BUDGET
    assert "too_many_parts" in {defect.code for defect in once.defects}


def test_an_entity_of_4301_digits_loses_nothing() -> None:
    digits = b"&#" + b"9" * 4_301 + b";"
    message = read(
        b"From: Ann <ann@x.example>\nSubject: s " + digits + b"\nContent-Type: text/html\n\n<meta content='" + digits
        + b"'><a href='http://y.example/" + digits + b"'>link " + digits + b"</a> words"
    )  # fmt: skip
    assert message.sender.address == "ann@x.example"
    assert message.new_text == "link \ufffd words"
    assert [url.host for url in message.urls] == ["y.example"]
    assert message.unread == ()


@pytest.mark.parametrize("kind", ["url", "header", "leaf", "hop"])
def test_what_raises_is_damaged_and_the_rest_is_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    where, aspect = {
        "url": ("mailwarden.ingest.urls.read_url", "links"),
        "header": ("mailwarden.ingest.head.read_mailboxes", "headers"),
        "leaf": ("mailwarden.ingest.bodies.undo_transfer", "text"),
        "hop": ("mailwarden.ingest.received.read_date", "headers"),
    }[kind]
    monkeypatch.setattr(where, raises)
    message = read(b"Received: from a by b; x\nFrom: a@b.example\nSubject: kept\n\nsee http://c.example/\n")
    assert message.subject == "kept"
    assert dict(message.unread)[aspect] is Status.DAMAGED
    assert f"{aspect}_unreadable" in {defect.code for defect in message.defects}
    assert "parser_failed" not in {defect.code for defect in message.defects}


@pytest.mark.verify
def test_every_kind_of_hostile_mail_is_read_in_bounded_time_and_memory() -> None:
    costs = list(attack(inputs(range(3)), read, processes=2))
    slowest = sorted(costs, key=lambda cost: -cost.seconds)[:10]
    largest = max(costs, key=lambda cost: cost.above_idle_mb)
    steepest = sorted(growth(costs).items(), key=lambda item: -item[1])[:5]
    print(f"\n{len(costs)} inputs of {len(KINDS)} kinds; the slowest, the largest and the steepest:")
    for cost in (*slowest, largest):
        print(f"{cost.seconds:.3f} s, {cost.above_idle_mb:4.0f} MB: {cost.input}")
    for key, exponent in steepest:
        print(f"exponent {exponent:.2f}: {key}")
    assert len(costs) >= 1_000
    check(costs)


@pytest.mark.verify
def test_a_million_made_messages_are_read() -> None:
    found = list(
        islice((failure for _, failures in read_made(range(1_000_000), read_unasked) for failure in failures), 20)
    )
    assert not found, found
