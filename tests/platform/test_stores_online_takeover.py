"""Generations that take over while mail flows: no event is lost and none counts twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.finalise import finalise
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import read_slots
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.mail.events import Event, keys_of
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.online.catalog import Entry
from mailwarden.stores.online.client import Client, open_client
from mailwarden.stores.online.keys import KeyTemplate, lease_key, state_field
from mailwarden.stores.online.partition_writer import PartitionWriters
from mailwarden.stores.online.streams import Portion, Streams, encode_event
from mailwarden.stores.online.takeover import Takeover
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden.testing.naive_recount import recount

Views = tuple[ActivityView, ...]
Events = Callable[..., list[Event]]
PROJECT = "mail"
TENANT = "acme"


class Mail:
    """A log and a Redis, and mail that flows through both while the block runs."""

    def __init__(self, url: str, folder: Path, views: Views, history: list[Event], coming: list[Event]) -> None:
        self.log = EventLog(folder / "events")
        self.log.append(history)
        self.views, self.done = views, list(history)
        self.client = open_client(url, timeout_seconds=10)
        self.writer = OnlineWriter(self.client, PROJECT, views)
        self.writer.fold(history)
        self._coming = coming
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._flow, args=(open_client(url, timeout_seconds=10),))

    def _flow(self, client: Client) -> None:
        unlogged: list[Event] = []

        def write_log() -> None:
            self.log.append(unlogged)
            unlogged.clear()

        streams = Streams(client, PROJECT, 4)
        writers = PartitionWriters(client, PROJECT, self.views, OnlineWriter(client, PROJECT, self.views), self.log)
        writers.write_log = write_log
        for event in self._coming:
            entry = (event.seq, event.known_at_us, encode_event(event))
            found = streams.send({p: [Portion(TENANT, self.done[-1].seq, [entry])] for p in range(4)})
            assert {sent[0].outcome for sent in found.values()} == {"appended"}
            unlogged.append(event)
            if len(unlogged) > 20:
                write_log()
            self.done.append(event)
            # Each step finds new mail: who waits for a quiet moment waits for ever.
            writers.step()
            if self._stop.is_set():
                break
        write_log()
        while writers.step():
            pass
        writers.close()
        client.close()

    def wait_for(self, more: int) -> None:
        target = len(self.done) + more
        while len(self.done) < target:
            assert self._thread.is_alive()
            time.sleep(0.005)

    def __enter__(self) -> Mail:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def takeover(self, patience_seconds: float = 120.0) -> Takeover:
        return Takeover(self.client, PROJECT, self.writer, self.log, patience_seconds=patience_seconds)

    def snapshot(self) -> list[Event]:
        """What a Spark job would read now."""
        return [event for chunk in self.log.after(TENANT, 0) for event in chunk]

    def backfill(self, view: ActivityView, meanwhile: Callable[[], None]) -> int:
        """Load a new generation from the log; meanwhile: called between reading the log and writing its states."""
        generation = self.writer.generations.begin(view)
        held = self.snapshot()
        meanwhile()
        states: dict[tuple[str, ...], EntityState] = {}
        for event in held:
            for key, way in keys_of(view.emission, event, view.keys):
                states.setdefault(key, EntityState(layout_of(view))).fold(event, [way])
        rows = [(TENANT, key, state.to_bytes(), state.sketch_bytes()) for key, state in states.items()]
        self.writer.load(view, generation, rows, chunk=5)
        self.writer.generations.loaded(view, generation, {TENANT: held[-1].seq})
        return generation

    def must_agree(self, view: ActivityView, *generations: int) -> None:
        """What the generations hold is what counting every event again gives."""
        layout, template = layout_of(view), KeyTemplate(PROJECT, view.keys)
        events = self.done
        keys = sorted({key for event in events for key, _ in keys_of(view.emission, event, view.keys)})
        for generation in generations:
            field = state_field(view, generation).decode()
            for key in keys:
                state = self.client.hget(template.key(TENANT, key), field)  # type: ignore[arg-type]
                at_us = np.array([max(event.received_at_us for event in events) + 1])
                reads = read_slots(layout, [state], at_us)  # type: ignore[list-item]
                found = finalise(layout, reads.slots, reads.times, reads.matches, reads.seen, at_us)[0]
                wanted = recount(view, events, key, TENANT, int(at_us[0]), events[-1].seq + 1)
                for name, value in zip(layout.feature_names, found, strict=True):
                    assert (None if np.isnan(value) else value) == pytest.approx(wanted[name]), (generation, key, name)


@pytest.fixture
def mail(redis_url: str, tmp_path: Path, activity_views: Views, mail_events: Events) -> Mail:
    events = [event for event in mail_events(4_000, seed=3) if event.sender not in event.recipients]
    return Mail(redis_url, tmp_path, activity_views[:2], events[:150], events[150:])


def test_a_backfill_while_mail_flows_neither_loses_nor_counts_twice(mail: Mail) -> None:
    view, other = mail.views
    with mail:
        mail.wait_for(10)
        first = mail.backfill(view, lambda: mail.wait_for(30))
        assert mail.takeover().complete(view) == ""
        mail.wait_for(10)
        second = mail.backfill(view, lambda: mail.wait_for(30))
        assert mail.takeover().complete(view) == ""
        mail.wait_for(10)
    generations = mail.writer.generations
    assert generations.catalog().of(view) == Entry(second, None, (1, first), last=second)
    assert len(mail.done) > 230
    mail.must_agree(view, 1, first, second)
    mail.must_agree(other, 1)
    gone = generations.retire(view)
    assert (gone, mail.writer.drop(view, gone) > 0) == ((1, first), True)
    generations.forget(view, gone)
    fields = {name for key in mail.client.scan_iter(match="*sender*") for name in mail.client.hkeys(key)}  # type: ignore[arg-type]
    names = {name for name in fields if name.startswith(b"sender_activity@")}
    assert names == {f"sender_activity@1.{second}".encode(), f"sender_activity@1.{second}:s".encode()}


def test_where_nobody_writes_the_leases_are_taken_and_let_go(mail: Mail) -> None:
    view = mail.views[0]
    generation = mail.backfill(view, lambda: None)
    more = mail._coming[:40]
    mail.log.append(more)
    mail.writer.fold(more)
    mail.done += more
    assert mail.takeover().missing(view) == 40
    assert mail.takeover().complete(view) == ""
    assert mail.writer.generations.catalog().of(view).serving == generation
    mail.must_agree(view, 1, generation)
    assert mail.client.exists(*[lease_key(PROJECT, partition) for partition in range(4)]) == 0


def test_what_is_folded_and_not_logged_is_waited_for_in_words(mail: Mail) -> None:
    view = mail.views[0]
    mail.backfill(view, lambda: None)
    mail.writer.fold(mail._coming[:10])
    assert "events were folded that are not in the event log yet" in mail.takeover(0.2).complete(view)
    assert mail.writer.generations.catalog().of(view).serving == 1
    mail.log.append(mail._coming[:10])
    mail.done += mail._coming[:10]
    assert mail.takeover().complete(view) == ""
    mail.must_agree(view, 2)


def test_writers_of_other_code_are_named(mail: Mail) -> None:
    view = mail.views[0]
    mail.backfill(view, lambda: None)
    for partition in (1, 3):
        mail.client.set(lease_key(PROJECT, partition), b"other code")
    words = mail.takeover(0.2).complete(view)
    assert "waits for the feature writers of partitions 1, 3; restart them" in words
    filling = mail.writer.generations.catalog().of(view).filling
    assert filling is not None and filling.caught_up == (0, 2)
