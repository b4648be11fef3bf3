"""Handing events into the streams: each once and in order, whatever Redis lost and whoever else sends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.mail.events import Event
from mailwarden.errors import StoreUnavailable
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.online.client import Client, open_client
from mailwarden.stores.online.leases import Leases
from mailwarden.stores.online.server import RedisServer
from mailwarden.stores.online.streams import START, Routes, Streams
from mailwarden.stores.online.watermark import Marks
from mailwarden_features import discover
from mailwarden_services.feature_writer import dispatcher as module
from mailwarden_services.feature_writer.dispatcher import Dispatcher

PROJECT, P = "mail", 4


def mail(first: int, last: int, tenant: str = "acme") -> list[Event]:
    return [
        Event(
            tenant, seq, "message", f"{seq:032x}", 1_700_000_000_000_000 + seq, 1_700_000_000_000_000 + seq, "envelope",
            "inbound", f"s{seq % 7}@far.example", "far.example", (f"r{seq % 5}@acme.example",), ("acme.example",),
        )
        for seq in range(first, last + 1)
    ]  # fmt: skip


class Sending:
    """A dispatcher over a Redis and a log, and what its streams hold."""

    def __init__(self, client: Client, folder: Path, **options: Any) -> None:
        self.client, self.log = client, EventLog(folder / "events")
        self.views: tuple[ActivityView, ...] = discover().activity
        self.streams = Streams(client, PROJECT, P)
        self.routes = Routes(PROJECT, self.views, P)
        self.hands: list[Event] = []
        self.dispatcher = Dispatcher(
            self.streams,
            self.routes,
            self.log,
            lambda tenant: [event for event in self.hands if event.tenant == tenant],
            **options,
        )

    def take(self, events: Sequence[Event]) -> None:
        """From the spool: in hand, and sent."""
        self.hands += events
        self.dispatcher.send(events)

    def logged(self) -> None:
        """All that is in hand is in the log."""
        self.log.append(self.hands)
        self.hands = []

    def finish(self) -> None:
        while self.dispatcher.step():
            pass

    def check(self, events: Sequence[Event]) -> None:
        """Each partition's stream holds the events of its keys, once and in order, and no gap before the last."""
        for p, entries in self.streams.read(dict.fromkeys(range(P), START), 10_000).items():
            for tenant in {event.tenant for event in events}:
                own = [event for event in events if event.tenant == tenant]
                found = [entry.seq for entry in entries if entry.tenant == tenant]
                assert found == sorted(set(found)) and found[-1] == own[-1].seq
                assert [e.event for e in entries if e.tenant == tenant and e.payload] == [
                    event for event in own if p in self.routes.of(event)
                ]
        assert not self.dispatcher.behind and self.dispatcher.waits == {}


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Client]:
    with open_client(redis_server.url, timeout_seconds=10) as client:
        client.flushall()
        yield client


@pytest.fixture
def sending(client: Client, tmp_path: Path) -> Sending:
    return Sending(client, tmp_path)


def test_events_are_sent_as_they_come_and_known_from_then_on(sending: Sending) -> None:
    events = mail(1, 30) + mail(1, 9, tenant="other")
    for start in range(0, len(events), 4):
        sending.take(events[start : start + 4])
        sending.finish()
    sending.check(events)
    assert sending.dispatcher.step() is False


def test_what_was_sent_before_is_not_sent_again(sending: Sending, tmp_path: Path) -> None:
    events = mail(1, 20)
    sending.take(events[:12])
    sending.finish()
    later = Sending(sending.client, tmp_path)
    later.take(events[5:16])  # from the spool's checkpoint on
    later.finish()
    later.take(events[16:])
    later.finish()
    later.check(events)


def test_mail_ingested_meanwhile_is_sent_before_what_came_after_it(sending: Sending) -> None:
    events = mail(1, 30)
    sending.take(events[:5])
    sending.finish()
    sending.logged()
    sending.log.append(events[5:20])
    sending.take(events[20:25])
    sending.finish()
    sending.take(events[25:])
    sending.check(events)


def test_without_mail_a_look_finds_what_redis_lost(sending: Sending) -> None:
    events = mail(1, 20)
    sending.take(events[:15])
    sending.finish()
    sending.logged()
    sending.take(events[15:])
    sending.check(events)
    sending.client.flushall()
    assert sending.dispatcher.step() is False
    sending.dispatcher.look([])
    sending.finish()
    sending.check(events)


def test_a_stream_set_back_to_an_earlier_moment_is_filled_again(sending: Sending) -> None:
    events = mail(1, 30)
    sending.take(events[:10])
    sending.finish()
    keys = [key for key in sending.client.scan_iter(match="*{p01}*")]
    earlier = {key: sending.client.dump(key) for key in keys}
    sending.take(events[10:20])
    sending.logged()
    for key, value in earlier.items():
        sending.client.restore(key, 0, value, replace=True)
    sending.take(events[20:])
    assert sending.dispatcher.behind
    sending.finish()
    sending.check(events)


def test_two_that_send_at_once_leave_each_event_once(sending: Sending, tmp_path: Path) -> None:
    events = mail(1, 60)
    other = Sending(sending.client, tmp_path)
    for start in range(0, 60, 6):
        for one in (sending, other):
            one.take(events[start : start + 6])
            one.dispatcher.step()
    sending.finish()
    other.finish()
    sending.check(events)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_end_before_or_after_the_sending_loses_and_doubles_nothing(
    sending: Sending, tmp_path: Path, after: bool
) -> None:
    events = mail(1, 20)
    sending.take(events[:6])
    sending.finish()
    send = sending.streams.send

    def killed(*arguments: Any, **options: Any) -> Any:
        if after:
            send(*arguments, **options)
        raise KeyboardInterrupt

    sending.streams.send = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        sending.take(events[6:12])
    later = Sending(sending.client, tmp_path)
    later.take(events)
    later.finish()
    later.check(events)


def test_redis_away_is_told_and_made_up_for_from_log_and_hands(sending: Sending) -> None:
    events = mail(1, 25)
    sending.take(events[:5])
    sending.finish()
    send = sending.streams.send

    def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("away")

    sending.streams.send = away  # type: ignore[method-assign]
    for start in range(5, 20, 5):
        sending.hands += events[start : start + 5]
        if start == 5:
            with pytest.raises(StoreUnavailable):
                sending.dispatcher.send(events[start : start + 5])
        else:
            sending.dispatcher.send(events[start : start + 5])
        if start == 10:
            sending.logged()
    with pytest.raises(StoreUnavailable):
        sending.dispatcher.step()
    sending.streams.send = send  # type: ignore[method-assign]
    sending.take(events[20:])
    sending.finish()
    sending.check(events)


def test_a_full_stream_is_tried_again_and_holds_nothing_up_for_good(client: Client, tmp_path: Path) -> None:
    sending = Sending(client, tmp_path, full=8)
    events = mail(1, 40)
    sending.take(events[:10])
    sending.finish()
    sending.take(events[10:])
    assert sending.dispatcher.full and sending.dispatcher.behind and sending.dispatcher.step() is False
    leases = Leases(client, PROJECT)
    leases.take(range(P))
    for p, entries in sending.streams.read(dict.fromkeys(range(P), START), 1000).items():
        sending.streams.settle({p: (START, entries[-1].id, entries)}, token=leases.token, lease_ms=1000)
    sending.finish()
    sending.check(events)
    assert not sending.dispatcher.full


def test_beyond_the_limit_a_tenant_waits_and_the_others_do_not(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)
    sending = Sending(client, tmp_path, limit=10)
    events = mail(1, 30)
    sending.log.append(events[:20])
    sending.take(events[20:22])
    sending.take(mail(1, 4, tenant="other"))
    sending.finish()
    assert sending.streams.sent(["acme", "other"]) == [[0] * P, [4] * P]
    assert "20 events" in sending.dispatcher.waits["acme"] and "materialize" in sending.dispatcher.waits["acme"]
    sending.logged()
    # What `materialize` does: states of a snapshot in Redis, marks behind them.
    Marks(client, PROJECT, P).advance({"acme": (15, 1)})
    sending.take(events[22:24])
    sending.finish()
    assert sending.streams.sent(["acme"]) == [[15] * P]
    sending.dispatcher.look([])
    sending.finish()
    sending.take(events[24:])
    assert sending.streams.sent(["acme"]) == [[30] * P] and sending.dispatcher.waits == {}
    found = sending.streams.read(dict.fromkeys(range(P), START), 1000)
    for p, entries in found.items():
        assert [e.event for e in entries if e.tenant == "acme" and e.payload] == [
            event for event in events[15:] if p in sending.routes.of(event)
        ]


def test_a_tenant_that_was_never_seen_is_looked_after_from_the_log(sending: Sending) -> None:
    events = mail(1, 12)
    sending.log.append(events)
    sending.dispatcher.look(["acme", "other"])
    sending.finish()
    sending.check(events)
