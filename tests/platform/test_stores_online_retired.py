"""Two versions of a view beside one another online, and what is left of one whose folder is gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mailwarden.domain.aggregates.definitions import ActivityView, Feature, Measure, Total
from mailwarden.domain.aggregates.windows import W_ALL
from mailwarden.domain.mail.events import Event
from mailwarden.stores.online.client import Client
from mailwarden.stores.online.generations import Generations
from mailwarden.stores.online.reader import OnlineReader, ReadRequest
from mailwarden.stores.online.retired import drop_left_behind, left_behind
from mailwarden.stores.online.writer import OnlineWriter

Made = Callable[..., list[Event]]


@pytest.fixture
def former(activity_views: tuple[ActivityView, ...]) -> ActivityView:
    """What a detector that has not moved reads."""
    return next(view for view in activity_views if view.name == "relationship")


@pytest.fixture
def later(former: ActivityView) -> ActivityView:
    """The next version, in a folder of its own, that counts something else."""
    return replace(
        former,
        name="relationship_v2",
        version=2,
        measures=(*former.measures, Measure("heavy", of="size_bytes", where=("has_link",))),
        features=(*former.features, Feature("heavy_all", Total("heavy", W_ALL), "F.", "bytes")),
    )


def fold(client: Client, views: tuple[ActivityView, ...], events: list[Event], project: str = "mailwarden") -> None:
    OnlineWriter(client, project, views).fold(events)


def read(client: Client, views: tuple[ActivityView, ...], events: list[Event], name: str) -> list[np.ndarray]:
    found = OnlineReader(client, "mailwarden", views).read([ReadRequest(event) for event in events])
    return [vector.values[name] for vector in found]


def states(client: Client) -> dict[bytes, dict[bytes, bytes]]:
    return {key: client.hgetall(key) for key in client.scan_iter(_type="hash") if not key.startswith(b"mailwarden:")}


def test_both_versions_are_served_and_the_former_keeps_its_values(
    redis_client: Client, former: ActivityView, later: ActivityView, mail_events: Made
) -> None:
    events = mail_events(120)
    ask = [event for event in events[-10:] if event.kind == "message"]
    fold(redis_client, (former,), events)
    alone = read(redis_client, (former,), ask, former.name)
    states_alone = states(redis_client)
    redis_client.flushall()

    fold(redis_client, (former, later), events)
    for views in ((former,), (former, later), (later, former)):
        np.testing.assert_equal(read(redis_client, views, ask, former.name), alone)
    moved = read(redis_client, (former, later), ask, later.name)
    n = len(former.features)
    np.testing.assert_equal([values[:, :n] for values in moved], alone)
    assert all(np.isfinite(values[:, n]).any() for values in moved)
    # The former one's fields are those that it had alone, byte for byte.
    together = states(redis_client)
    assert together.keys() == states_alone.keys()
    assert all(states_alone[key].items() <= together[key].items() for key in together)


def test_what_is_left_of_a_view_goes_and_the_others_stay(
    redis_client: Client, former: ActivityView, later: ActivityView, mail_events: Made
) -> None:
    events = mail_events(120)
    ask = [event for event in events[-10:] if event.kind == "message"]
    fold(redis_client, (later,), events)
    expected = states(redis_client)
    after = read(redis_client, (later,), ask, later.name)
    redis_client.flushall()

    fold(redis_client, (former, later), events)
    generations = Generations(redis_client, "mailwarden", (later,))
    version = generations.catalog().version
    assert set(left_behind(generations.catalog(), (later,))) == {"relationship@1"}
    assert left_behind(generations.catalog(), (former, later)) == {}
    dropped = drop_left_behind(redis_client, "mailwarden", "relationship@1")
    assert dropped == len(expected)
    # Readers fetch the catalog again where its version differs.
    assert generations.catalog().version > version
    assert left_behind(generations.catalog(), (later,)) == {}
    assert states(redis_client) == expected
    np.testing.assert_equal(read(redis_client, (later,), ask, later.name), after)
    assert drop_left_behind(redis_client, "mailwarden", "relationship@1") == 0


def test_a_project_with_a_longer_name_is_not_touched(
    redis_client: Client, former: ActivityView, mail_events: Made
) -> None:
    fold(redis_client, (former,), mail_events(20), project="old_mail")
    before = states(redis_client)
    fold(redis_client, (former,), mail_events(20), project="mail")
    assert drop_left_behind(redis_client, "mail", "relationship@1") > 0
    assert states(redis_client) == before


def test_a_name_that_another_begins_with_is_not_taken_for_it(
    redis_client: Client, former: ActivityView, mail_events: Made
) -> None:
    tenth = replace(former, version=10)
    fold(redis_client, (tenth,), mail_events(20))
    before = states(redis_client)
    assert drop_left_behind(redis_client, "mailwarden", "relationship@1") == 0
    assert states(redis_client) == before
