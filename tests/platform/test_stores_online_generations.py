"""The catalog of generations: each change over what was read, and no partition joins on another's word."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.mail.events import Event
from mailwarden.errors import ConfigError, DataError, StoreError
from mailwarden.stores.online.catalog import Catalog, Entry, Filling
from mailwarden.stores.online.client import Client, open_client
from mailwarden.stores.online.generations import Generations
from mailwarden.stores.online.keys import catalog_key, lease_key
from mailwarden.stores.online.watermark import Watermark
from mailwarden.stores.online.writer import OnlineWriter

Views = tuple[ActivityView, ...]
Events = Callable[..., list[Event]]
PROJECT = "mail"
OWNER = b"us"


@pytest.fixture
def generations(redis_client: Client, activity_views: Views) -> Generations:
    for partition in range(4):
        redis_client.set(lease_key(PROJECT, partition), OWNER)
    return Generations(redis_client, PROJECT, activity_views)


def fill(generations: Generations, view: ActivityView, newest: dict[str, int]) -> int:
    number = generations.begin(view)
    generations.loaded(view, number, newest)
    return number


def join(generations: Generations, view: ActivityView, number: int, partition: int) -> bool:
    marks = generations.marks.folded(partition)
    return generations.caught_up(view, number, partition, owner=OWNER, folded=marks)


def test_a_generation_lives_from_loading_to_being_dropped(generations: Generations, activity_views: Views) -> None:
    view, other = activity_views[:2]
    generations.register_empty()
    assert generations.catalog() == Catalog(1, {f"{v.name}@{v.version}": Entry(1, last=1) for v in activity_views})
    assert generations.begin(view) == 2
    assert generations.catalog().of(view) == Entry(1, Filling(2), last=2)
    assert generations.pending(0) == ()
    generations.loaded(view, 2, {"acme": 7})
    assert [(p.view, p.generation, p.loaded) for p in generations.pending(3)] == [(view, 2, {"acme": 7})]
    assert generations.catalog().of(view).live(3) == (1,)
    for partition in (3, 0, 1):
        assert join(generations, view, 2, partition)
    entry = generations.catalog().of(view)
    assert entry.serving == 1 and entry.live(3) == (1, 2) and entry.live(2) == (1,)
    assert generations.pending(3) == () and len(generations.pending(2)) == 1
    assert join(generations, view, 2, 2)
    assert generations.catalog().of(view) == Entry(2, None, (1,), last=2)
    assert generations.catalog().of(view).live(2) == (2, 1)
    assert generations.retire(view) == (1,)
    assert generations.catalog().of(view).live(2) == (2,)
    generations.forget(view, (1,))
    assert generations.catalog().of(view) == Entry(2, last=2)
    assert generations.catalog().of(other) == Entry(1, last=1)


def test_what_was_cut_off_while_loading_is_given_up_and_its_number_never_used_again(
    generations: Generations, activity_views: Views
) -> None:
    view = activity_views[0]
    assert generations.begin(view) == 1
    assert generations.begin(view) == 2
    with pytest.raises(StoreError, match="generation 1 of view sender_activity was given up"):
        generations.loaded(view, 1, {})
    generations.loaded(view, 2, {})
    generations.give_up(view)
    assert generations.catalog().of(view).filling == Filling(2, {})
    generations.give_up(view, even_loaded=True)
    assert generations.catalog().of(view) == Entry(abandoned=(1, 2), last=2)
    assert generations.begin(view) == 3


def test_no_partition_joins_without_its_lease_or_behind_its_marks(
    generations: Generations, activity_views: Views, redis_client: Client
) -> None:
    view = activity_views[0]
    number = fill(generations, view, {})
    before = generations.marks.folded(1)
    generations.marks.advance({"acme": (5, 50)}, [1])
    assert not generations.caught_up(view, number, 1, owner=OWNER, folded=before)
    redis_client.set(lease_key(PROJECT, 1), b"them")
    assert not generations.caught_up(view, number, 1, owner=OWNER, folded=generations.marks.folded(1))
    redis_client.delete(lease_key(PROJECT, 1))
    assert not generations.caught_up(view, number, 1, owner=OWNER, folded=generations.marks.folded(1))
    assert generations.catalog().of(view).filling == Filling(number, {}, ())
    redis_client.set(lease_key(PROJECT, 1), OWNER)
    assert generations.caught_up(view, number, 1, owner=OWNER, folded={"acme": Watermark(5, 0)})
    assert generations.catalog().of(view).filling == Filling(number, {}, (1,))


def test_changes_at_the_same_moment_all_count(redis_url: str, activity_views: Views) -> None:
    barrier = threading.Barrier(4)
    numbers: list[int] = []

    def change(view: ActivityView) -> None:
        with open_client(redis_url, timeout_seconds=10) as client:
            mine = Generations(client, PROJECT, activity_views)
            mine.check_partitions()
            barrier.wait()
            numbers.extend(mine.begin(view) for _ in range(5))

    threads = [threading.Thread(target=change, args=(activity_views[i % 2],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == sorted([*range(1, 11)] * 2)
    with open_client(redis_url, timeout_seconds=10) as client:
        assert Generations(client, PROJECT, activity_views).catalog().version == 20


def test_views_that_come_later_are_caught_up_from_the_beginning(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    OnlineWriter(redis_client, PROJECT, activity_views[:2]).fold(mail_events(20))
    generations = Generations(redis_client, PROJECT, activity_views)
    generations.register_empty()
    catalog = generations.catalog()
    assert [catalog.of(view).serving for view in activity_views] == [1, 1, None, None]
    assert [pending.view for pending in generations.pending(0)] == list(activity_views[2:])
    assert generations.pending(0)[0].loaded == {}


def test_an_unreadable_generation_is_folded_no_more_until_a_new_one_serves(
    generations: Generations, activity_views: Views
) -> None:
    view = activity_views[0]
    generations.register_empty()
    fill(generations, view, {})
    generations.mark_unreadable(view, 2, "damaged")
    assert generations.catalog().of(view) == Entry(1, abandoned=(2,), last=2)
    generations.mark_unreadable(view, 1, "another definition")
    entry = generations.catalog().of(view)
    assert (entry.unreadable, entry.live(0)) == ("another definition", ())
    number = fill(generations, view, {})
    for partition in range(4):
        join(generations, view, number, partition)
    assert generations.catalog().of(view) == Entry(3, abandoned=(2, 1), last=3)


def test_marks_that_outrun_writers_leave_only_what_is_whole(generations: Generations, activity_views: Views) -> None:
    view, filling, other = activity_views[:3]
    generations.register_empty()
    for number in (fill(generations, view, {}),):
        for partition in range(4):
            join(generations, view, number, partition)
    number = fill(generations, filling, {"acme": 3})
    join(generations, filling, number, 2)
    generations.outrun([view, filling], {"acme": (9, 90)})
    catalog = generations.catalog()
    assert catalog.of(view) == Entry(2, abandoned=(1,), last=2)
    assert catalog.of(filling) == Entry(1, Filling(2, {"acme": 3}, ahead={"acme": (9, 90)}), last=2)
    assert generations.marks.whole("acme") == Watermark(9, 90)
    assert "materialise this view too" in str(catalog.of(other).unreadable)
    assert catalog.of(other).live(0) == ()


def test_no_partition_joins_on_marks_that_are_moved_while_it_looks(
    generations: Generations, activity_views: Views, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = activity_views[0]
    generations.register_empty()
    number = fill(generations, view, {"acme": 3})
    look, before = generations.marks.lease_and_folded, generations.marks.folded(1)

    def outrun_behind_the_look(partition: int) -> tuple[bytes, dict[str, Watermark]]:
        seen = look(partition)
        generations.outrun([view], {"acme": (9, 90)})
        return seen

    monkeypatch.setattr(generations.marks, "lease_and_folded", outrun_behind_the_look)
    assert not generations.caught_up(view, number, 1, owner=OWNER, folded=before)
    assert generations.catalog().of(view).live(1) == (1,)
    monkeypatch.undo()
    assert join(generations, view, number, 1)
    assert generations.catalog().of(view).live(1) == (1, number)


def test_marks_that_somebody_was_to_move_and_did_not_are_moved_by_whoever_joins(
    generations: Generations, activity_views: Views, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = activity_views[0]
    generations.register_empty()
    number = fill(generations, view, {"acme": 3})
    with monkeypatch.context() as cut:
        cut.setattr(generations.marks, "advance", lambda ahead: 0)
        generations.outrun([view], {"acme": (9, 90)})
    assert not join(generations, view, number, 1)
    assert generations.marks.folded(1) == {"acme": Watermark(9, 90)}
    assert join(generations, view, number, 1)


def test_a_catalog_of_a_former_release_is_read(
    generations: Generations, activity_views: Views, redis_client: Client
) -> None:
    former = (
        b'{"serving":1,"filling":{"generation":2,"loaded":{"acme":3},"caught_up":[1]},"retiring":[],"abandoned":[],'
        b'"unreadable":null,"last":2}'
    )
    view = activity_views[0]
    redis_client.hset(catalog_key(PROJECT).decode(), f"{view.name}@{view.version}", former)
    assert generations.catalog().of(view) == Entry(1, Filling(2, {"acme": 3}, (1,)), last=2)


def test_another_number_of_streams_and_a_broken_catalog_are_said_in_words(
    generations: Generations, activity_views: Views, redis_client: Client
) -> None:
    generations.register_empty()
    with pytest.raises(ConfigError, match="filled for 4 streams and the setting says 8; set MAILWARDEN_STREAMS=4"):
        Generations(redis_client, PROJECT, activity_views, 8).catalog()
    redis_client.hset(catalog_key(PROJECT).decode(), "sender_activity@1", b'{"serving": 1}')
    with pytest.raises(DataError, match="the catalog of generations in Redis holds"):
        generations.catalog()


def test_both_live_generations_are_folded_and_a_caught_up_one_equals_the_first(
    generations: Generations, activity_views: Views, redis_client: Client, mail_events: Events
) -> None:
    events = mail_events(240)
    view = replace(activity_views[0])
    writer = OnlineWriter(redis_client, PROJECT, activity_views)
    writer.fold(events[:100])
    number = fill(generations, view, {})
    for partition in range(4):
        writer.fold_into(view, number, events[:100], [partition])
        assert join(generations, view, number, partition)
        # One event after another, so that some partitions fold it already and others do not.
        for event in events[100 + partition * 10 : 110 + partition * 10]:
            writer.fold([event])
            for left in range(partition + 1, 4):
                writer.fold_into(view, number, events[: events.index(event) + 1], [left])
    writer.fold(events[140:])
    assert generations.catalog().of(view).serving == number
    name = f"{view.name}@{view.version}".encode()
    pairs = 0
    for key in redis_client.scan_iter():
        held = redis_client.hgetall(key) if not key.startswith(b"mailwarden:") else {}
        if name + b".1" in held:
            pairs += 1
            assert held[name + b".1"] == held[name + b".2"]
            assert held[name + b".1:s"] == held[name + b".2:s"]
    assert pairs > 5
