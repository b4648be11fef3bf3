"""Generations of another fact set than the log's: what the set holds is never folded from streams or the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mailwarden.domain.mail.events import Event
from mailwarden.errors import StoreError
from mailwarden.stores.online.catalog import Entry
from mailwarden.stores.online.generations import Generations
from mailwarden.stores.online.keys import facts_key
from mailwarden.stores.online.partition_writer import PartitionWriters
from mailwarden.stores.online.reader import OnlineReader, ReadRequest
from mailwarden.stores.online.writer import OnlineWriter

Events = Callable[..., list[Event]]
Home = Any
"""See `conftest.Home`."""


def work(writers: PartitionWriters) -> None:
    while writers.step():
        pass


def anew(events: list[Event], through: int) -> list[Event]:
    """Facts of a set: up to a seq everybody writes from one address, which the log has for nobody."""
    return [replace(e, sender="one@far.example") if e.seq <= through else e for e in events]


@pytest.mark.parametrize(("folded", "loaded"), [(10, 30), (30, 30), (40, 30), (40, 40), (10, 40)])
def test_streams_bring_nothing_that_the_set_holds(home: Home, mail_events: Events, folded: int, loaded: int) -> None:
    """The partitions have folded less than the set goes through, as much, or more, when it is loaded."""
    through, events = 30, mail_events(60)
    facts = anew(events, through)
    view = home.views[0]
    writers = home.writers()
    writers.step()
    home.log.append(events[:40])
    home.send(events[:folded])
    work(writers)
    home.generations.tell_facts(1, {"acme": through})
    generation = home.loaded(view, loaded, facts, 1)
    home.send(events[folded:50])
    home.log.append(events[40:50])
    writers._asked = float("-inf")
    work(writers)
    # Another writer reads the streams from their beginning.
    writers.close()
    writers = home.writers()
    home.log.append(events[50:])
    home.send(events[50:])
    work(writers)
    entry = home.generations.catalog().of(view)
    assert entry == Entry(generation, None, (1,), last=2, facts={2: 1})
    home.check_generation(view, generation, facts)
    home.check_generation(view, 1, events)
    home.check(events, home.views[1:])


def test_readers_say_of_which_set_they_read(home: Home, mail_events: Events) -> None:
    events = mail_events(10)
    writers = home.writers()
    home.log.append(events)
    home.send(events)
    work(writers)
    reader = OnlineReader(home.client, "mail", home.views)
    asked = [ReadRequest(events[-1])]
    assert set(reader.read(asked)[0].facts.values()) == {0}
    home.generations.tell_facts(3, {"acme": 10})
    home.loaded(home.views[1], 10, anew(events, 10), 3)
    writers._asked = float("-inf")
    work(writers)
    found = reader.read(asked)[0].facts
    assert found == {view.name: 3 if view is home.views[1] else 0 for view in home.views}
    assert reader.unavailable(asked)[0].facts == dict.fromkeys(found, 0)


def test_what_retires_is_folded_as_before_and_then_forgotten(home: Home, mail_events: Events) -> None:
    events = mail_events(30)
    view = home.views[0]
    writers = home.writers()
    home.log.append(events[:20])
    home.send(events[:20])
    work(writers)
    for number in (1, 2):
        home.generations.tell_facts(number, {"acme": 10 * number})
        home.loaded(view, 20, anew(events, 10 * number), number)
        writers._asked = float("-inf")
        work(writers)
    home.log.append(events[20:])
    home.send(events[20:])
    work(writers)
    assert home.generations.catalog().of(view).facts == {2: 1, 3: 2}
    home.check_generation(view, 2, anew(events, 10))
    home.check_generation(view, 3, anew(events, 20))
    home.generations.retire(view)
    assert home.generations.catalog().of(view).facts == {3: 2}


def test_a_set_that_redis_lost_stops_folding_in_words(home: Home, mail_events: Events) -> None:
    events = mail_events(10)
    home.generations.register_empty()
    home.generations.tell_facts(1, {"acme": 5})
    home.loaded(home.views[0], 5, anew(events, 5), 1)
    home.client.delete(facts_key("mail"))
    with pytest.raises(StoreError, match="fact set 1 any more; run `mailwarden materialize`"):
        OnlineWriter(home.client, "mail", home.views, 4).fold(events)
    home.generations.tell_facts(1, {"acme": 5})
    assert Generations(home.client, "mail", home.views, 4).through(1) == {"acme": 5}
