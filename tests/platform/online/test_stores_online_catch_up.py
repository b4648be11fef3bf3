"""Generations that join while mail flows: no event lost, none twice, whoever takes over when."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.mail.events import Event
from mailwarden.stores.online import catch_up as catch_up_module
from mailwarden.stores.online import partition_writer as module
from mailwarden.stores.online.keys import catalog_field
from mailwarden.stores.online.partition_writer import PartitionWriters

Events = Callable[..., list[Event]]
Home = Any
"""See `conftest.Home`."""


def work(writers: PartitionWriters) -> None:
    while writers.step():
        pass


@pytest.mark.parametrize("loaded", [0, 25, 40])
def test_a_generation_joins_while_mail_flows(home: Home, mail_events: Events, loaded: int) -> None:
    events = mail_events(80)
    view = home.views[0]
    home.log.append(events[:40])
    left, right = home.writers([0, 1]), home.writers([2, 3])
    for writers in (left, right):
        writers.step()
    home.send(events[:40])
    work(left)
    work(right)
    generation = home.loaded(view, loaded, events)
    catalog = home.generations.catalog()
    assert catalog.of(view).serving == 1
    for start in range(40, 80, 10):
        home.log.append(events[start : start + 10])
        home.send(events[start : start + 10])
        for writers in (left, right):
            writers._asked = float("-inf")
            writers.step()
    work(left)
    work(right)
    entry = home.generations.catalog().of(view)
    assert (entry.serving, entry.retiring, entry.filling) == (generation, (1,), None)
    home.check(events)
    home.check_generation(view, 1, events)


def test_a_generation_waits_for_the_log_and_mail_waits_for_neither_long(
    home: Home, mail_events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = mail_events(50)
    view = home.views[1]
    writers = home.writers()
    asked: list[bool] = []
    writers.write_log = lambda: asked.append(True)
    writers.step()
    home.send(events[:30])
    work(writers)
    home.log.append(events[:20])
    generation = home.loaded(view, 10, events)
    writers._asked = float("-inf")
    while writers.step():
        pass
    home.send(events[30:40])
    assert writers.step() == 0 and asked and "event log" in writers.waits[0]
    # Mail goes first once it has waited long enough.
    monkeypatch.setattr(module, "STARVED_SECONDS", -1.0)
    writers.step()
    monkeypatch.setattr(module, "STARVED_SECONDS", 10.0)
    writers._fed_until = time.monotonic() + 0.2
    work(writers)
    mark = home.generations.marks.whole("acme")
    assert mark is not None and mark.seq == 40
    assert home.generations.catalog().of(view).serving == 1
    time.sleep(0.2)
    home.log.append(events[20:40])
    home.send(events[40:])
    work(writers)
    home.log.append(events[40:])
    work(writers)
    assert home.generations.catalog().of(view).serving == generation and writers.waits == ()
    home.check(events)


def test_beyond_the_limit_a_generation_waits_for_materialize(home: Home, mail_events: Events) -> None:
    events = mail_events(30)
    writers = home.writers()
    writers.limit = 5
    home.log.append(events)
    writers.step()
    home.send(events)
    work(writers)
    home.loaded(home.views[0], 10, events)
    writers._asked = float("-inf")
    work(writers)
    assert "20 events" in writers.waits[0] and "materialize" in writers.waits[0]
    assert home.generations.catalog().of(home.views[0]).serving == 1
    generation = home.loaded(home.views[0], 28, events)
    work(writers)
    assert home.generations.catalog().of(home.views[0]).serving == generation
    home.check(events)


def test_who_takes_a_partition_over_while_a_generation_joins_folds_it_as_well(
    home: Home, mail_events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catch_up_module, "CHUNK", 3)  # the later one cannot read the log at once
    events = mail_events(60)
    view = home.views[0]
    home.log.append(events[:30])
    former = home.writers()
    former.step()
    home.send(events[:30])
    work(former)
    generation = home.loaded(view, 20, events)
    later = home.writers()
    marks: Any = former._online.generations.marks
    held = marks.lease_and_folded

    def overtaken(partition: int) -> Any:
        found = held(partition)
        if partition == 2:  # the lease is still its own, and the catalog is not changed yet
            home.send(events[30:50])
            for _ in range(3):
                later.step()
        return found

    caught_up = former._online.generations.caught_up

    def last_act(view: Any, generation: int, partition: int, **options: Any) -> bool:
        done = caught_up(view, generation, partition, **options)
        if partition == 2:
            raise KeyboardInterrupt
        return done

    marks.lease_and_folded = overtaken
    former._online.generations.caught_up = last_act  # type: ignore[method-assign]
    former._asked = float("-inf")
    with pytest.raises(KeyboardInterrupt):
        work(former)
    home.log.append(events[30:])
    home.send(events[50:])
    later._asked = float("-inf")
    work(later)
    assert home.generations.catalog().of(view).serving == generation
    home.check(events)


def test_a_view_that_is_new_to_a_running_store_is_filled_from_the_log(
    home: Home, mail_events: Events, tmp_path: Path
) -> None:
    events = mail_events(40)
    view = replace(home.views[0], version=9)
    home.log.append(events[:30])
    writers = home.writers()
    writers.step()
    home.send(events[:30])
    work(writers)
    newer = type(home)(home.client, (view, *home.views[1:]), tmp_path)
    writers = newer.writers()
    work(writers)
    home.log.append(events[30:])
    newer.send(events[30:])
    work(writers)
    assert catalog_field(view) in newer.generations.catalog().entries
    newer.check(events)
