"""Writers of partitions: whatever ends them wherever, and whoever takes over, every state holds every event once."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from mailwarden.domain.mail.events import Event
from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.stores.online import partition_writer as module
from mailwarden.stores.online.keys import catalog_key, lease_key, sketch_field
from mailwarden.stores.online.partition_writer import PartitionWriters
from mailwarden.stores.online.streams import decode_event, encode_event

Events = Callable[..., list[Event]]
Home = Any
"""See `conftest.Home`."""


class Killed(BaseException):
    """Stands for the process's end: nothing catches it."""


def work(writers: PartitionWriters) -> None:
    while writers.step():
        pass


def work_on(writers: PartitionWriters) -> None:
    """As a process does: what it notices of a store's loss it mends with the next steps."""
    with contextlib.suppress(StoreUnavailable):
        work(writers)
    work(writers)


def test_every_partition_folds_its_keys_of_every_event(home: Home, mail_events: Events) -> None:
    events = mail_events(60) + mail_events(20, seed=3, tenant="other")
    writers = home.writers()
    for start in range(0, len(events), 7):
        home.send(events[start : start + 7])
        assert writers.step() > 0
    assert writers.step() == 0 and writers.held == (0, 1, 2, 3)
    home.check(events)


def test_partitions_of_several_processes_lag_apart_and_end_alike(home: Home, mail_events: Events) -> None:
    events = mail_events(60)
    left, right = home.writers([0, 2]), home.writers([1, 3])
    home.send(events[:30])
    work(left)
    mark = home.generations.marks
    assert [m["acme"].seq if m else 0 for m in mark.folded_everywhere()] == [30, 0, 30, 0]
    assert mark.whole("acme") is None
    home.send(events[30:])
    work(right)
    work(left)
    home.check(events)


def test_partitions_that_read_unlike_far_do_not_share_a_fold(
    home: Home, mail_events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FOLD_LIMIT", 3)
    events = mail_events(50)
    writers = home.writers()
    for event in events[:25]:
        home.send([event])
    writers.step()
    home.send(events[25:])
    work(writers)
    home.check(events)


STEPS = ("read", "catalog", "fold", "half", "settle")


def dying(writers: PartitionWriters, step: str, *, after: bool) -> None:
    """Have a writer end just before or after one of its steps, the next time that it comes to it."""
    online: Any = writers._online
    owner, name = {
        "read": (writers.streams, "read"),
        "catalog": (online.generations, "catalog"),
        "fold": (online, "fold"),
        "half": (online, "fold"),
        "settle": (writers.streams, "settle"),
    }[step]
    act = getattr(owner, name)

    def killed(*arguments: Any, **options: Any) -> Any:
        if step == "half":
            events, partitions, catalog = arguments
            act(events[: len(events) // 2] if after else events, list(partitions)[:2], catalog)
        elif after:
            act(*arguments, **options)
        raise Killed

    setattr(owner, name, killed)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_writer_that_ends_between_any_two_steps_leaves_each_event_once(
    home: Home, mail_events: Events, step: str, after: bool
) -> None:
    events = mail_events(60)
    first = home.writers()
    home.send(events[:20])
    work(first)
    home.send(events[20:40])
    dying(first, step, after=after)
    with pytest.raises(Killed):
        first._asked = float("-inf")
        first.step()
    home.send(events[40:])
    work(home.writers())
    home.check(events)


def test_deaths_in_a_row_at_random_steps(home: Home, mail_events: Events) -> None:
    events, rng = mail_events(200), random.Random(5)
    for start in range(0, 200, 10):
        home.send(events[start : start + 10])
        writers = home.writers()
        dying(writers, rng.choice(STEPS), after=rng.random() < 0.5)
        with pytest.raises(Killed):
            work(writers)
            raise Killed
    work(home.writers())
    home.check(events)


def test_the_newest_writer_takes_over_and_the_former_one_moves_nothing(home: Home, mail_events: Events) -> None:
    events = mail_events(40)
    former = home.writers()
    home.send(events[:10])
    work(former)
    home.send(events[10:20])
    read = former.streams.read
    later = home.writers()

    def taken_over_meanwhile(*arguments: Any) -> Any:
        found = read(*arguments)
        work(later)
        home.send(events[20:30])
        return found

    former.streams.read = taken_over_meanwhile  # type: ignore[method-assign]
    assert former.step() == 0 and former.held == ()
    former.streams.read = read  # type: ignore[method-assign]
    assert former.step() == 0 and former.held == ()
    work(later)
    home.send(events[30:])
    later.close()
    former._renewed = float("-inf")
    assert former.step() > 0 and former.held == (0, 1, 2, 3)
    home.check(events)


def test_what_waits_for_a_free_partition_gets_it_when_the_lease_ends(home: Home, mail_events: Events) -> None:
    events = mail_events(20)
    holder = home.writers()
    home.send(events[:10])
    work(holder)
    waiting = home.writers(take_over=False)
    waiting.step()
    assert waiting.held == ()
    home.send(events[10:])
    for partition in range(4):
        home.client.pexpire(lease_key("mail", partition).decode(), 1)
    time.sleep(0.01)
    waiting._renewed = float("-inf")
    work(waiting)
    assert waiting.held == (0, 1, 2, 3)
    home.check(events)


def test_a_store_that_fails_has_streams_read_from_their_beginning(home: Home, mail_events: Events) -> None:
    events = mail_events(30)
    writers = home.writers()
    home.send(events[:20])
    work(writers)
    before = home.client.dump("nothing")
    assert before is None
    # A node that failed over lost its newest states; its marks lie on another node.
    lost = random.Random(1).sample([key for key in home.client.scan_iter() if not key.startswith(b"mailwarden:")], k=5)
    for key in lost:
        home.client.delete(key)
    fold = writers._online.fold
    home.send(events[20:])

    def away(*_: Any) -> Any:
        raise StoreUnavailable("away")

    writers._online.fold = away  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        writers.step()
    writers._online.fold = fold  # type: ignore[method-assign]
    work_on(writers)
    home.check(events)


def test_a_state_that_was_set_back_is_noticed_before_anything_newer_hides_it(home: Home, mail_events: Events) -> None:
    events = mail_events(60)
    writers = home.writers()
    home.send(events[:20])
    work(writers)
    earlier = {key: home.client.hgetall(key) for key in home.client.scan_iter() if not key.startswith(b"mailwarden:")}
    home.send(events[20:40])
    work(writers)
    for key in home.client.scan_iter():
        if not key.startswith(b"mailwarden:"):
            home.client.delete(key)
    for key, values in earlier.items():
        home.client.hset(key, mapping=values)
    home.send(events[40:])
    with pytest.raises(StoreUnavailable, match="went back"):
        writers.step()
    work(writers)
    home.check(events)


def test_an_entry_of_another_release_is_read_by_what_both_know(home: Home, mail_events: Events) -> None:
    (event,) = mail_events(1)
    facts = orjson.loads(encode_event(event))
    del facts["thread"]
    facts["a_fact_of_tomorrow"] = [1]
    assert decode_event(orjson.dumps(facts)) == replace(event, thread="")


def test_an_entry_that_was_folded_may_become_unreadable_and_a_new_one_is_named(
    home: Home, mail_events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = mail_events(20)
    home.send(events[:10])
    work(home.writers())

    def unreadable(payload: bytes) -> Event:
        if decode_event(payload).seq in broken:
            raise StoreError("of another time")
        return decode_event(payload)

    monkeypatch.setattr(module, "decode_event", unreadable)
    broken = {4}
    home.send(events[10:])
    work(home.writers())
    home.check(events)
    broken = {21}
    home.send([replace(events[0], seq=21, message_id="another")])
    with pytest.raises(StoreError, match=r"entry .* of stream .* seq 21\) cannot be read: of another time"):
        home.writers().step()


def test_damaged_sketches_stop_their_view_and_no_other(home: Home, mail_events: Events) -> None:
    events = mail_events(40)
    writers = home.writers()
    home.send(events[:20])
    work(writers)
    view = next(view for view in home.views if view.distincts)
    field = sketch_field(view, 1)
    damaged = [
        key for key in home.client.scan_iter() if home.client.type(key) == b"hash" and home.client.hexists(key, field)
    ]
    for key in damaged:
        home.client.hset(key, field, b"\xff" * len(home.client.hget(key, field)))
    home.send(events[20:])
    work(writers)
    assert set(writers._online.unreadable) == {view.name}
    mark = home.generations.marks.whole("acme")
    assert mark is not None and mark.seq == 40


def test_marks_do_not_move_for_views_that_nobody_folds(home: Home, mail_events: Events) -> None:
    events = mail_events(30)
    writers = home.writers()
    home.log.append(events)
    home.send(events[:20])
    work(writers)
    home.client.delete(catalog_key("mail").decode())
    home.send(events[20:])
    assert writers.step() == 0
    mark = home.generations.marks.whole("acme")
    assert mark is not None and mark.seq == 20
    work(writers)
    home.check(events)


def test_an_emptied_redis_has_its_streams_folded_from_the_start(home: Home, mail_events: Events) -> None:
    events = mail_events(30)
    writers = home.writers()
    home.send(events[:20])
    work(writers)
    home.client.flushall()
    home.send(events)
    assert writers.step() == 0
    work_on(writers)
    home.check(events)
