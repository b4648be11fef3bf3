"""What marks are moved to once everything is loaded, and what is given up for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.mail.events import Event
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.online.client import Client
from mailwarden.stores.online.watermark import Watermark
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden.stores.spark.load import RedisSink
from mailwarden.stores.spark.online_load import OnlineLoad

Views = tuple[ActivityView, ...]
Events = Callable[..., list[Event]]


@pytest.fixture
def folded(redis_client: Client, activity_views: Views, mail_events: Events) -> list[Event]:
    events = mail_events(60)
    OnlineWriter(redis_client, "mail", activity_views).fold(events)
    return events


def load_of(client: Client, url: str, views: Views, folder: Path) -> OnlineLoad:
    log = EventLog(folder / "events")
    sets = FactSets(folder / "facts", log)
    return OnlineLoad(client, RedisSink(url, "mail", views, 4), log, sets.snapshot(), sets)


def test_marks_move_to_what_was_loaded_and_never_back(
    redis_client: Client, redis_url: str, activity_views: Views, folded: list[Event], tmp_path: Path
) -> None:
    load = load_of(redis_client, redis_url, activity_views, tmp_path)
    before = load.writer.generations.catalog()
    load.finish({"acme": (50, 1)})
    assert load.writer.generations.catalog() == before
    assert [mark["acme"].seq for mark in load.writer.generations.marks.folded_everywhere()] == [60] * 4
    at_us = max(event.known_at_us for event in folded) + 5
    load.finish({"acme": (90, at_us), "other": (7, 3)})
    found = load.writer.generations.marks.folded_everywhere()
    assert found == [{"acme": Watermark(90, at_us), "other": Watermark(7, 3)}] * 4


def test_views_of_other_code_are_left_to_their_writers_as_long_as_those_can_follow(
    redis_client: Client, redis_url: str, activity_views: Views, folded: list[Event], tmp_path: Path
) -> None:
    load = load_of(redis_client, redis_url, activity_views[1:], tmp_path)
    generations = load.writer.generations
    load.finish({"acme": (90, 0)})
    assert [mark["acme"].seq for mark in generations.marks.folded_everywhere()] == [60] * 4
    assert generations.catalog().of(activity_views[0]).unreadable is None
    load.finish({"acme": (300_000, 0)})
    assert [mark["acme"].seq for mark in generations.marks.folded_everywhere()] == [300_000] * 4
    assert generations.catalog().of(activity_views[0]).unreadable is not None
    assert all(generations.catalog().of(view).unreadable is None for view in activity_views[1:])
