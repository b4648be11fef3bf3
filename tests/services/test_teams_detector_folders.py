"""Folders that `mailwarden detectors new` lays out: they keep every rule of the contract and train as they stand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.detection.detector import Detector
from mailwarden.errors import ConfigError
from mailwarden.simulation.company import company
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.content_code import content_set
from mailwarden.stores.lists import load_lists
from mailwarden.testing.check_detector import check_detector
from mailwarden.testing.content_models import train_on_content
from mailwarden_detectors import discover as discover_installed
from mailwarden_detectors.discovery import discover
from mailwarden_features import discover as discover_features
from mailwarden_services.teams.detector_folders import DEFAULT_FEATURES, new_detector
from mailwarden_services.teams.sources import lay_out

ROOT = Path(__file__).parents[2]
REPOSITORY = discover_features()
PACKAGE = "team_detectors"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An importable folder of a team's detectors."""
    root = tmp_path / PACKAGE
    root.mkdir()
    (root / "__init__.py").touch()
    (root / "discovery.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield root
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]


def made(root: Path, name: str, features: Sequence[str] = DEFAULT_FEATURES, **options: Any) -> type[Detector]:
    described = {full_name: REPOSITORY.feature(full_name) for full_name in features}
    new_detector(root, name, features=described, **{"owner": "team", **options})
    return discover(root, PACKAGE)[name]


@pytest.mark.parametrize(
    ("name", "features", "options"),
    [
        ("tax_fraud", DEFAULT_FEATURES, {"owner": 'the "team"\nof two'}),
        ("deep_text", ("content_text:subject", "content_text:new_text"), {"stage": "costly"}),
        ("one_flag", ("sender_activity:history",), {}),
        ("one_text", ("content_authentication:spf",), {}),
        ("detector", ("link_domain_activity:qr_urls_later_30d", "content_text:subject"), {}),
        ("shares", ("content_links:url_plain_http_share", "sender_activity:last_authentication"), {}),
        ("everything", REPOSITORY.feature_names(), {"stage": "costly"}),
    ],
)
def test_a_new_detector_keeps_every_rule(
    root: Path, name: str, features: Sequence[str], options: dict[str, str]
) -> None:
    kind = made(root, name, features, **options)
    assert [str(finding) for finding in check_detector(kind, REPOSITORY.feature_names())] == []
    assert (kind.stage, kind.owner, kind.features) == (
        options.get("stage", "cheap"),
        options.get("owner", "team"),
        tuple(features),
    )
    for words in (("check",), ("format", "--check")):
        house = ("--config", str(ROOT / "pyproject.toml"), "--config", "lint.isort.known-first-party = ['mailwarden']")
        ruff = Path(sys.executable).with_name("ruff")
        style = subprocess.run([ruff, *words, *house, root / name], capture_output=True, text=True)
        assert style.returncode == 0, style.stdout


def test_a_new_detector_trains_beside_others_and_tells_attacks(root: Path, simulated: list[SimulatedMessage]) -> None:
    kind = made(
        root, "urgent_links", (*DEFAULT_FEATURES, "content_standing:brand_borrowed", "content_links:url_free_host")
    )
    trained = train_on_content(
        simulated,
        content_set(REPOSITORY.content, load_lists()),
        {"urgent_links": kind, "header_rules": discover_installed()["header_rules"]},
        authserv_id=company(7).authserv_id,
        withheld=[view.name for view in REPOSITORY.activity],
        seed=7,
    )
    roca = trained.evaluations["urgent_links"].roca
    assert roca is not None and roca < 45.0
    assert set(trained.bundle.members) == {"urgent_links", "header_rules"}
    loaded = trained.bundle.load({"urgent_links": kind, **discover_installed()}, trained.fetch)["urgent_links"]
    assert loaded.parameters()["usual"]["content_links:url_count"] >= 0.0


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("Fraud", {}, "no name for a detector"),
        ("a__b", {}, "no name for a detector"),
        ("../fraud", {}, "no name for a detector"),
        ("import", {}, "no name for a detector"),
        ("discovery", {}, "the name of a module"),
        ("taken", {}, "is there already"),
        ("relationship", {"taken": ("relationship",)}, "names a view or an entity"),
        ("sender", {}, "names a view or an entity"),
        ("bundle", {}, "something else beside detectors"),
        ("fraud", {"owner": " "}, "--owner"),
        ("fraud", {"features": ()}, "--features"),
    ],
)
def test_what_cannot_be_laid_out_leaves_nothing(root: Path, name: str, options: dict[str, Any], words: str) -> None:
    (root / "taken").mkdir()
    before = sorted(root.iterdir())
    with pytest.raises(ConfigError, match=words):
        made(root, name, **options)
    assert sorted(root.iterdir()) == before


def test_a_folder_is_there_whole_or_not_at_all(root: Path) -> None:
    before = sorted(root.iterdir())
    with pytest.raises(UnicodeEncodeError):
        lay_out(root / "half", {"detector.py": "x = 1\n", "cases.jsonl": "\ud800"})
    assert sorted(root.iterdir()) == before
    folder = lay_out(root / "whole", {"detector.py": "x = 1\n"})
    assert (folder / "detector.py").read_text() == "x = 1\n" and sorted(root.iterdir()) == sorted([*before, folder])
