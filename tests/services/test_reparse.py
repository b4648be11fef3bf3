"""Facts derived anew while mail flows: what was served before, between and after is recomputed without a mismatch."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from pyspark.sql import DataFrame

from mailwarden.domain.mail import facts as domain_facts
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Message
from mailwarden.errors import StoreError
from mailwarden.ingest import receive
from mailwarden.ingest import reparse as stage
from mailwarden.ingest.reparse import reparse
from mailwarden.monitoring.skew import measure_skew, read_vectors
from mailwarden.simulation.company import company
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.spark.facts import read_facts
from mailwarden_services.bootstrap import Platform
from mailwarden_services.loop import Loop
from mailwarden_services.scoring_api.answers import site_of

Run = Callable[..., tuple[int, str, str]]
CHANGED, LEFT = "sender_domain_activity", "sender_activity"
"""The view whose states are made anew, and one whose are left of the former facts."""


def one_domain(message: Message, **given: Any) -> Event:
    """Facts of new code, which takes all outside domains for one."""
    event = domain_facts.event_of(message, **given)
    own = event.direction != "inbound"
    return replace(event, sender_domain=event.sender_domain if own else "one.example", facts_version=9)


@pytest.fixture
def new_code(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    def deploy() -> None:
        monkeypatch.setattr(receive, "event_of", one_domain)
        monkeypatch.setattr(stage, "FACTS_VERSION", 9)

    yield deploy


def derive(warden: Any, **options: Any) -> None:
    platform = Platform(warden.settings)
    sites = {tenant.name: site_of(tenant) for tenant in platform.tenants.list()}
    reparse(platform.facts, platform.events, platform.raw, sites, made_at_us=5, workers=1, **options)


def served(warden: Any, messages: list[SimulatedMessage]) -> list[dict[str, Any]]:
    """Messages through the API, each folded and logged before the next."""
    answers = []
    writer = warden.writer()
    with warden.api() as api:
        for message in messages:
            answers.append(api.send(message))
            warden.drain(writer)
    writer.close()
    return answers


def from_outside(simulated: list[SimulatedMessage]) -> list[SimulatedMessage]:
    """Mail of the hosts that write most; what colleagues write is of their own domain by either code."""
    hosts = [(message.envelope.mail_from or "").rpartition("@")[2] for message in simulated]
    own = {"", *company(7).domains}
    often = {host for host, _ in Counter(host for host in hosts if host not in own).most_common(5)}
    return [message for message, host in zip(simulated, hosts, strict=True) if host in often]


def test_skew_is_none_before_between_and_after(
    warden: Any, simulated: list[SimulatedMessage], new_code: Callable[[], None]
) -> None:
    mail = from_outside(simulated)
    before = served(warden, mail[:14])
    new_code()
    between = iter(mail[14:])

    def arrives(tenant: str, messages: int) -> None:
        """More mail is accepted, folded and logged while a tenant's is parsed."""
        if tenant == "acme":
            served(warden, [next(between)])

    served(warden, [next(between) for _ in range(2)])
    derive(warden, progress=arrives)
    platform = Platform(warden.settings)
    facts = platform.facts.newest().tenants["acme"]
    assert (facts.through, facts.kept, platform.events.last_seq("acme")) == (16, 0, 17)
    # Accepted and in the spool, and in no log, while states are made.
    with warden.api() as api:
        label = {"label": "ham", "known_at": "2026-12-01T00:00:00Z"}
        outside = next(answer for answer in before if answer["direction"] == "inbound")
        assert api.label(message_id=outside["message_id"], **label).status_code == 201
        api.send(next(between))
    loop = Loop(platform)
    loop.materialize(only=[CHANGED])
    warden.drain().close()
    after = served(warden, [next(between) for _ in range(6)])
    catalog = platform.online_writer.generations.catalog()
    entries = {name: catalog.of(view) for view in platform.activity for name in [view.name] if name in (CHANGED, LEFT)}
    assert entries[CHANGED].facts == {2: 1} and entries[CHANGED].serving == 2 and entries[LEFT].facts == {}
    views = [view for view in platform.activity if view.name in (CHANGED, LEFT)]
    vectors = read_vectors(loop.spark, platform.vectors.snapshot())

    def events(number: int) -> DataFrame:
        return read_facts(loop.spark, platform.facts.snapshot(number))

    report = measure_skew(events, vectors, views, warden.settings.run_path)
    assert report.agrees, report.examples
    lines = {line.view: line for line in report.views}
    assert lines[LEFT].facts.keys() == {0}
    assert lines[CHANGED].facts.keys() == {0, 1} and min(lines[CHANGED].facts.values()) >= len(after)
    assert sum(lines[CHANGED].facts.values()) == lines[CHANGED].compared
    # The label counts where its message counts now.
    labels = [event for event in warden.events() if event.kind == "label"]
    assert [event.sender_domain for event in labels] == ["one.example"]
    # Recomputed from the other set, what was served is not there.
    assert measure_skew(lambda _: events(0), vectors, views, warden.settings.run_path).mismatches > 0
    assert measure_skew(lambda n: events(1 if n else 0), vectors, views, warden.settings.run_path).mismatches == 0


def test_contacts_are_those_of_the_facts_in_force(
    warden: Any, simulated: list[SimulatedMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = b"From: ann2@parts.example\nTo: bob@brightmoor.example\nSubject: a\n\nhello\n"
    envelope = replace(simulated[0].envelope, rcpt_to=("bob@brightmoor.example",))

    def send(api: Any, minute: int, sender: bytes) -> None:
        assert envelope.received_at_us is not None
        at = replace(envelope, received_at_us=envelope.received_at_us + minute * 60_000_000)
        assert api.score(raw.replace(b"ann2", sender), at).status_code == 200

    def one_ann(message: Message, **given: Any) -> Event:
        event = domain_facts.event_of(message, **given)
        return replace(event, sender=event.sender.replace("ann2@", "ann@"), facts_version=9)

    with warden.api() as api:
        send(api, 0, b"ann2")
    warden.drain().close()
    monkeypatch.setattr(receive, "event_of", one_ann)
    monkeypatch.setattr(stage, "FACTS_VERSION", 9)
    derive(warden)
    with warden.api() as api:
        send(api, 1, b"ann")
        send(api, 2, b"zoe")
    warden.drain().close()
    assert [len(event.new_recipients) for event in warden.events()] == [1, 0, 1]


def test_the_command_tells_what_it_did_and_refuses_what_changed_nothing(
    warden: Any, simulated: list[SimulatedMessage], run: Run
) -> None:
    assert run("reparse")[0] == 66
    with warden.api() as api:
        for message in simulated[:3]:
            api.send(message)
    warden.drain().close()
    code, _, words = run("reparse")
    assert code == 65 and "nothing to derive" in words and "--again" in words
    code, text, _ = run("reparse", "--tenant", "acme", "--again")
    assert code == 0 and "fact set 1" in text and "mailwarden materialize" in text
    code, text, _ = run("status", "--json")
    found = json.loads(text)["facts"]
    assert code == 0 and found["set"] == found["sets"] == 1 and found["other_fingerprints"] == []
    acme = found["tenants"]["acme"]
    assert (acme["through"], acme["events"], acme["kept"], acme["events_beyond"]) == (3, 3, 0, 0)
    assert run("reparse", "--tenant", "nobody")[0] == 66


def test_what_is_forgotten_stays_so_under_facts_that_are_derived_meanwhile(
    warden: Any, simulated: list[SimulatedMessage], run: Run, new_code: Callable[[], None]
) -> None:
    """A tombstone bears its message's facts: none is numbered while these are replaced, and none waits in a spool."""
    served(warden, from_outside(simulated)[:4])
    ids = [event.message_id for event in warden.events()]
    seen: list[tuple[int, str]] = []

    def asks(tenant: str, messages: int) -> None:
        if not seen:
            with warden.api() as api:
                answer = api.client.post(f"/v1/messages/{ids[0]}/forget")
                seen.append((answer.status_code, answer.json()["detail"]))
            code, _, words = run("forget", ids[0], "--tenant", "acme")
            seen.append((code, " ".join(words.split())))

    new_code()
    derive(warden, progress=asks)
    assert [code for code, _ in seen] == [503, 69] and all("mailwarden reparse" in words for _, words in seen)
    with warden.api() as api:
        assert api.client.post(f"/v1/messages/{ids[0]}/forget").status_code == 200
    # In the spool and in no log: facts that are derived now would not be the tombstone's.
    code, _, words = run("reparse", "--again")
    assert code == 69 and "mailwarden serve" in words
    assert Platform(warden.settings).facts.newest().number == 1
    warden.drain().close()
    platform = Platform(warden.settings)
    (told,) = platform.facts.view("acme").tombstones("acme")
    message = platform.facts.view("acme").find("acme", ids[0])
    assert message is not None and told.sender_domain == message.sender_domain == "one.example"
    # Where somebody serves, it is waited for.
    with warden.api() as api:
        assert api.client.post(f"/v1/messages/{ids[1]}/forget").status_code == 200
        logs = threading.Timer(0.5, lambda: warden.drain().close())
        logs.start()
        code, _, words = run("reparse", "--again")
        logs.join()
    assert code == 0, words
    assert {event.sender_domain for event in platform.facts.view("acme").tombstones("acme")} == {"one.example"}
    assert Platform(warden.settings).facts.newest().tenants["acme"].through == 6


def test_whoever_forgets_holds_off_those_who_would_derive_facts(warden: Any) -> None:
    facts = Platform(warden.settings).facts
    begun = threading.Event()

    def begin() -> None:
        with Platform(warden.settings).facts.beginning():
            begun.set()

    with facts.in_force() as held, facts.in_force():
        assert held.number == 0
        other = threading.Thread(target=begin)
        other.start()
        assert not begun.wait(0.2)
        # Whoever comes while a run waits would keep it waiting.
        with pytest.raises(StoreError, match="mailwarden reparse"), facts.in_force():
            pass
    other.join()
    assert begun.is_set()
    with facts.beginning(), pytest.raises(StoreError, match="mailwarden reparse"), facts.in_force():
        pass
