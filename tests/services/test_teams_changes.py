"""What a change of a view means: words, features, a version, or states of another kind under the same version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from mailwarden.domain.aggregates.definitions import ActivityView, Measure
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.mail.content import ContentView
from mailwarden.errors import ContractError, DataError
from mailwarden.settings import Settings
from mailwarden.stores.content_code import content_set
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden.stores.feast.source import ContentDefinition, Definition
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.lists import load_lists
from mailwarden.stores.spark.offline_table import Manifest, OfflineTable
from mailwarden_features import discover
from mailwarden_features.feature_services import feast_objects
from mailwarden_services.teams.changes import applied, changes, refuse_changed
from mailwarden_services.teams.content_changes import content_for_training
from mailwarden_services.teams.plan import plan

REPOSITORY = discover()
CONTENT = content_set(REPOSITORY.content, load_lists())


def view() -> ActivityView:
    found = REPOSITORY.by_name("relationship")
    assert isinstance(found, ActivityView)
    return found


def another_measure(found: ActivityView) -> ActivityView:
    """The same version with other states."""
    measures = (*found.measures, Measure("odd", where=("has_link",)))
    return replace(found, measures=measures)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def kind_of(now: ActivityView, before: Mapping[str, Definition | None], settings: Settings) -> tuple[str, bool, str]:
    (found,) = changes([now], before, settings, CONTENT)
    return found.kind, found.fills, found.words


def test_each_kind_of_change_is_told_apart(settings: Settings) -> None:
    now = view()
    known: Mapping[str, Definition | None] = {now.name: now}
    assert kind_of(now, known, settings) == ("none", False, "")
    assert kind_of(now, {}, settings)[:2] == ("new", True)
    assert kind_of(replace(now, owner="other"), known, settings)[:2] == ("words", False)
    assert kind_of(replace(now, version=now.version + 1), known, settings)[:2] == ("version", True)
    kind, fills, words = kind_of(replace(now, features=now.features[1:]), known, settings)
    assert (kind, fills) == ("features", False) and now.features[0].name in words
    assert kind_of(now, {now.name: None}, settings)[:2] == ("words", False)
    (_, removed) = changes([now], {now.name: now, "gone": now}, settings, CONTENT)
    assert (removed.name, removed.kind, removed.view) == ("gone", "removed", None)


def test_other_states_under_the_same_version_are_refused_with_the_mend(settings: Settings) -> None:
    now = view()
    kind, _, words = kind_of(another_measure(now), {now.name: now}, settings)
    assert kind == "in place"
    assert f"`version` to {now.version + 1}" in words and f"features version {now.name}" in words
    raised = replace(another_measure(now), version=now.version + 1)
    assert kind_of(raised, {now.name: now}, settings)[0] == "version"


def test_what_was_materialised_tells_it_too_where_nothing_was_applied(settings: Settings) -> None:
    now = view()
    table = OfflineTable(settings.offline_path, now.name, now.version)
    (table.path / "parts").mkdir(parents=True)
    table.publish(Manifest(now.name, now.version, layout_of(now).fingerprint, 0, 1, (), ()))
    assert kind_of(now, {}, settings)[0] == "new"
    assert kind_of(another_measure(now), {}, settings)[0] == "in place"
    refuse_changed([now, replace(another_measure(now), version=now.version + 1)], settings)
    with pytest.raises(ContractError, match=r"relationship is refused: .*--afresh"):
        refuse_changed([another_measure(now)], settings)


def test_a_content_view_that_gives_other_columns_under_the_same_version_is_refused(settings: Settings) -> None:
    now = REPOSITORY.content[0]
    before: Mapping[str, Definition | None] = {now.name: ContentDefinition.of(now)}
    assert changes([now], before, settings, CONTENT)[0].kind == "none"
    (found,) = changes([replace(now, features=now.features[1:])], before, settings, CONTENT)
    assert found.kind == "in place" and f"features version {now.name}" in found.words
    assert changes([replace(now, features=now.features[1:], version=now.version + 1)], before, settings, CONTENT)[
        0
    ].kind == ("version")


def test_changed_code_under_the_same_version_is_said_and_not_refused(settings: Settings) -> None:
    now = REPOSITORY.by_name("content_links")
    assert isinstance(now, ContentView)
    before: Mapping[str, Definition | None] = {now.name: ContentDefinition.of(now)}
    table = OfflineTable(settings.offline_path, now.name, now.version)
    (table.path / "parts").mkdir(parents=True)
    table.publish(Manifest(now.name, now.version, CONTENT.fingerprints[now.name], 7, 1, (), ()))
    assert changes([now], before, settings, CONTENT)[0].kind == "none"
    content_for_training(settings, CONTENT)
    table.publish(Manifest(now.name, now.version, 5, 7, 1, (), ()))
    (found,) = changes([now], before, settings, CONTENT)
    assert found.kind == "code" and "7 messages anew" in found.words and not found.fills
    with pytest.raises(DataError, match="content_links were made by other code"):
        content_for_training(settings, CONTENT)


def test_the_registry_gives_back_what_was_applied_and_a_plan_changes_nothing(settings: Settings) -> None:
    store = open_feature_store(settings)
    assert applied(store) == {}
    first = plan(settings, REPOSITORY)
    assert applied(open_feature_store(settings)) == {}
    assert {change.kind for change in first.changes} == {
        "new"
    } and "Created feature view relationship" in first.registry
    assert not first.refused and set(first.costs) == {found.name for found in REPOSITORY.activity}

    store = open_feature_store(settings, feast_objects())
    assert applied(store)["relationship"] == view()
    second = plan(settings, REPOSITORY, also=("relationship",))
    assert {change.kind for change in second.changes} == {"none"} and second.registry == "No changes to registry"
    assert set(second.costs) == {"relationship"}

    store.apply([feature_view_of(another_measure(view()))])
    third = plan(settings, REPOSITORY)
    assert [change.name for change in third.refused] == ["relationship"]
