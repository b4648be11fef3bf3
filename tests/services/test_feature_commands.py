"""`mailwarden features`: what it prints, and exit codes that a pipeline can trust."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from feast import FeatureService

import mailwarden_detectors
import mailwarden_features
from mailwarden.domain.aggregates.definitions import ActivityView, Measure
from mailwarden.settings import Settings
from mailwarden.stores.feast.objects import ENTITIES, feature_view_of
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.online.client import open_client
from mailwarden.stores.online.generations import Generations
from mailwarden.stores.online.server import RedisServer
from mailwarden.stores.sql.registry import TrainingRecord
from mailwarden.training.register import BUNDLE
from mailwarden_detectors import discover as discover_detectors
from mailwarden_features.feature_services import feast_objects
from mailwarden_services.bootstrap import Platform
from mailwarden_services.cli import application

Run = Callable[..., tuple[int, str, str]]
REPOSITORY = mailwarden_features.discover()


@pytest.fixture
def run(
    wide: None,
    tmp_path: Path,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs `mailwarden features ...` in this process over an empty home."""
    for name in [name for name in os.environ if name.startswith("MAILWARDEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MAILWARDEN_HOME", str(tmp_path))
    monkeypatch.setenv("MAILWARDEN_REDIS_URL", redis_server.url)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mailwarden", "features", *words])
        capsys.readouterr()
        try:
            application.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def relationship(**changes: object) -> ActivityView:
    view = REPOSITORY.by_name("relationship")
    assert isinstance(view, ActivityView)
    return replace(view, **changes)  # type: ignore[arg-type]


def test_views_are_listed_and_shown_with_what_their_readers_need(run: Run) -> None:
    code, text, _ = run("list")
    assert code == 0
    for view in REPOSITORY.views:
        (line,) = [line for line in text.splitlines() if f" {view.name} " in line]
        assert view.owner in line and f" {view.version} " in line
    code, text, _ = run("show", "relationship")
    assert code == 0 and "tenant, sender, recipient" in text and "30d (1 d)" in text
    assert all(feature.name in text for feature in relationship().features)
    code, _, error = run("show", "relationshp")
    assert code == 66 and "Did you mean 'relationship'" in error


def test_usage_names_the_detectors_of_each_feature(run: Run) -> None:
    readers = {name for name, kind in discover_detectors().items() for f in kind.features if f.startswith("relation")}
    code, text, _ = run("usage")
    (line,) = [line for line in text.splitlines() if " relationship " in line]
    assert code == 0 and all(name in line for name in readers)
    code, text, _ = run("usage", "relationship")
    assert code == 0
    for line in [line for line in text.splitlines() if "relationship:" in line]:
        name = line.split()[1]
        read = any(name in kind.features for kind in discover_detectors().values())
        assert ("nobody" in line) != read, line


def test_check_says_what_is_wrong_and_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, text, _ = run("check")
    assert code == 0 and f"{len(REPOSITORY.views)} views keep their contract" in text
    assert run("check", "nothing")[0] == 66
    broken = relationship(owner="", measures=(*relationship().measures, Measure("unread")))
    others = tuple(view for view in REPOSITORY.activity if view.name != broken.name)
    monkeypatch.setattr(mailwarden_features, "discover", lambda: replace(REPOSITORY, activity=(*others, broken)))
    code, text, _ = run("check", "relationship")
    assert code == 1 and "relationship: it has no owner; name the team" in text and "'unread'" in text
    assert run("check", "sender_activity")[0] == 0


def test_check_names_a_feature_that_a_detector_misspells(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    known = discover_detectors()
    misspelt: Any = type("_M", (known["behaviour"],), {"features": ("relationship:recieved_30d",), "name": "odd"})
    monkeypatch.setattr(mailwarden_detectors, "discover", lambda: {**known, "odd": misspelt})
    for names in ((), ("relationship",)):
        code, text, _ = run("check", *names)
        assert code == 1 and "detector odd:relationship:recieved_30d: it reads" in text
        assert "Did you mean 'relationship:" in text
    assert run("check", "sender_activity")[0] == 0


def test_a_plan_fails_where_a_definition_changed_under_its_version(run: Run, tmp_path: Path) -> None:
    code, text, _ = run("plan")
    assert code == 0 and "Created feature view relationship" in text and "relationship: a new view" in text
    store = open_feature_store(Settings(home=tmp_path), feast_objects())
    code, text, _ = run("plan")
    assert code == 0 and text.startswith("No changes to registry") and "relationship" not in text
    store.apply([feature_view_of(relationship(measures=(*relationship().measures, Measure("odd"))))])
    code, text, _ = run("plan")
    assert code == 1 and "relationship: refused" in text and "mailwarden features version relationship" in text


def test_what_is_left_of_a_view_is_listed_and_dropped(run: Run, redis_server: RedisServer) -> None:
    gone = relationship(name="gone_view", version=3)
    with open_client(redis_server.url, timeout_seconds=10) as client:
        client.flushall()
        generations = Generations(client, "mailwarden", (gone, *REPOSITORY.activity))
        generations.register_empty()
        code, text, _ = run("retire")
        assert code == 0 and text.splitlines() == ["gone_view@3: generation 1 serves, and no view reads it"]
        name = f"relationship@{relationship().version}"
        code, _, error = run("retire", name)
        assert code == 78 and "remove its folder first" in error and "detector behaviour (name other features" in error
        assert run("retire", "gone_view")[0] == 66
        assert {"gone_view@3", name} <= generations.catalog().entries.keys()
        code, text, _ = run("retire", "gone_view@3")
        assert code == 0 and "gone_view@3: dropped from 0 keys" in text
        assert "gone_view@3" not in generations.catalog().entries and name in generations.catalog().entries
        assert "nothing is left" in run("retire")[1]


def test_what_is_read_still_is_dropped_by_force_alone(
    run: Run, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A detector, a service that was applied, and the bundle that serves each keep a view; so does a version."""
    gone, older = relationship(name="gone_view", version=3), relationship(version=7)
    feature = gone.features[0].name
    store = open_feature_store(Settings(home=tmp_path), [*ENTITIES, feature_view_of(gone)])
    store.apply([FeatureService(name="reports", features=[feature_view_of(gone)[[feature]]])])
    known = discover_detectors()
    reader: Any = type("_R", (known["behaviour"],), {"features": (f"gone_view:{feature}",), "name": "odd"})
    platform = Platform(Settings(home=tmp_path))
    parameters = {
        "views": {"relationship": 7, "gone_view": 3},
        "features": {"odd": [f"gone_view:{feature}", f"relationship:{feature}"]},
        "options": {"ablate": []},
    }
    record = TrainingRecord("f", "odd", "tests", 1, parameters=parameters)
    platform.registry.add(model_id="m", name=BUNDLE, artefact_uri="u", artefact_sha256="s", created_us=1, record=record)
    platform.registry.promote(BUNDLE, 1, at_us=1, reason="tests")
    with open_client(redis_server.url, timeout_seconds=10) as client:
        client.flushall()
        for views in ((gone, *REPOSITORY.activity), (older,)):
            Generations(client, "mailwarden", views).register_empty()
    monkeypatch.setattr(mailwarden_detectors, "discover", lambda: {**known, "odd": reader})
    code, text, _ = run("retire")
    assert code == 0 and "gone_view@3: generation 1 serves, and it is read by detector odd" in text
    code, _, error = run("retire", "gone_view@3")
    assert code == 70 and "FeatureService reports of Feast's registry" in error and "the bundle that serves" in error
    # Detectors read the version that the code has; the bundle was trained on the older one.
    code, _, error = run("retire", "relationship@7")
    assert code == 70 and "still read by the bundle that serves, version 1 (mailwarden train). Move" in error
    assert run("retire", "relationship@7", "gone_view@3", "--force")[0] == 0
    assert "nothing is left" in run("retire")[1]
