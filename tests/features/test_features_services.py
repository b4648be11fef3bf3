from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from feast import FeatureStore

import mailwarden_features
from mailwarden.errors import ContractError
from mailwarden.stores.feast.source import view_of
from mailwarden.testing.check_view import check_view
from mailwarden_detectors import discover as discover_detectors
from mailwarden_features import discover
from mailwarden_features.feature_services import SERVICES, feast_objects, feature_service_of, services_of

FEATURE_REPO = Path(mailwarden_features.__file__).parent.parent
VIEWS = discover().feature_views


def projected(service: object) -> dict[str, list[str]]:
    return {
        projection.name: [field.name for field in projection.features]
        for projection in service.feature_view_projections  # type: ignore[attr-defined]
    }


def test_a_service_covers_exactly_the_features_named() -> None:
    names = ["relationship:reverse_all", "sender_activity:days_known", "relationship:history"]
    service = feature_service_of("sample", names, VIEWS, owner="team")
    assert service.name == "sample" and service.owner == "team"
    assert projected(service) == {"relationship": ["reverse_all", "history"], "sender_activity": ["days_known"]}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["sender_activity:days_know"], "Did you mean 'sender_activity:days_known'"),
        (["sender_activty:days_known"], "Did you mean 'sender_activity:days_known'"),
        (["reverse_all"], "'relationship:reverse_all'"),
        (["relationship:history", "relationship:history"], "twice"),
        ([], "no feature"),
    ],
)
def test_a_name_that_no_view_has_is_an_error_with_the_mend(names: list[str], words: str) -> None:
    with pytest.raises(ContractError, match=words) as caught:
        feature_service_of("sample", names, VIEWS)
    assert "sample" in str(caught.value)


def test_every_detector_has_a_service_that_feast_finds_by_name() -> None:
    detectors = discover_detectors(every=True)
    assert SERVICES.keys() == detectors.keys()
    for name, detector in detectors.items():
        views = projected(SERVICES[name])
        assert {f"{view}:{field}" for view, fields in views.items() for field in fields} == set(detector.features)
        assert SERVICES[name].owner == detector.owner
        assert getattr(sys.modules["mailwarden_features.feature_services"], name) is SERVICES[name]


def test_all_objects_are_handed_over_at_once() -> None:
    names = [item.name for item in feast_objects()]
    assert {"tenant", "message", "relationship", *SERVICES} <= set(names) and len(set(names)) == len(names)


def test_an_unknown_feature_of_any_detector_stops_all() -> None:
    broken = SimpleNamespace(features=("content_text:nothing_like_it",), description="", owner="")
    with pytest.raises(ContractError, match="broken"):
        services_of({"broken": broken}, VIEWS)  # type: ignore[dict-item]


def run_feast(repository: Path, *arguments: str) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(repository), os.environ.get("PYTHONPATH")))),
        "JAVA_HOME": "/nonexistent",
        "FEAST_USAGE": "False",
        "IS_TEST": "True",
    }
    command = [str(Path(sys.executable).with_name("feast")), "-c", str(repository), *arguments]
    done = subprocess.run(command, env=environment, cwd=repository.parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_feast_finds_a_new_folder_on_an_empty_clone_without_a_jvm(tmp_path: Path) -> None:
    repository = tmp_path / "clone" / "feature_repo"
    shutil.copytree(FEATURE_REPO, repository, ignore=shutil.ignore_patterns("__pycache__"))
    folder = repository / "mailwarden_features" / "sender_bulk"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    # The README's own example, as a newcomer would copy it.
    transform, view, *_ = re.findall(r"```python\n(.*?)```", (repository / "README.md").read_text(), re.DOTALL)
    (folder / "transform.py").write_text(transform)
    (folder / "view.py").write_text(view)

    applied = run_feast(repository, "apply")
    for name in VIEWS.keys() | {"sender_bulk"}:
        assert name in applied, name
    # Opened from outside of the folder, as a user does: the registry must be the one that was applied to.
    store = FeatureStore(repo_path=str(repository))
    assert {service.name for service in store.list_feature_services()} == SERVICES.keys()
    feature_view = store.get_feature_view("sender_bulk")
    fields = {field.name: field for field in feature_view.features}
    assert fields["links_per_message_7d"].tags["null"] == "sent nothing in the window"
    assert check_view(view_of(feature_view)) == []
    assert (tmp_path / "clone" / ".mailwarden" / "feast.db").exists()
