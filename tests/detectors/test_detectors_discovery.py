from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailwarden.errors import ContractError
from mailwarden_detectors.discovery import discover

_SOURCE = """
from mailwarden_detectors.header_rules.detector import HeaderRules


class Mine(HeaderRules):
    name = "{name}"
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "team_detectors"
    root.mkdir()
    (root / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield root
    for name in [name for name in sys.modules if name.startswith("team_detectors")]:
        del sys.modules[name]


def _add(root: Path, name: str, source: str) -> Path:
    folder = root / name
    folder.mkdir()
    for file in ("__init__.py", "cases.jsonl"):
        (folder / file).touch()
    (folder / "detector.py").write_text(source)
    return folder


def test_a_folder_is_found_by_being_there(package: Path) -> None:
    _add(package, "mine", _SOURCE.format(name="mine"))
    found = discover(package, "team_detectors")
    assert list(found) == ["mine"]
    assert found["mine"].name == "mine"


@pytest.mark.parametrize("file", ["__init__.py", "detector.py", "cases.jsonl"])
def test_a_folder_without_a_file_is_an_error(package: Path, file: str) -> None:
    (_add(package, "mine", _SOURCE.format(name="mine")) / file).unlink()
    with pytest.raises(ContractError, match=f"mine has no {file}"):
        discover(package, "team_detectors")


def test_what_is_left_of_a_removed_detector_is_passed_over(package: Path) -> None:
    (package / "gone" / "__pycache__").mkdir(parents=True)
    assert discover(package, "team_detectors") == {}
    (package / "gone" / "cases.jsonl").touch()
    with pytest.raises(ContractError, match=r"gone has no __init__\.py"):
        discover(package, "team_detectors")


def test_where_the_faults_are_asked_for_the_others_are_found(package: Path) -> None:
    _add(package, "mine", _SOURCE.format(name="mine"))
    _add(package, "broken", "import nowhere_to_be_found")
    _add(package, "empty", "")
    unread: dict[str, str] = {}
    assert list(discover(package, "team_detectors", unread=unread)) == ["mine"]
    assert set(unread) == {"broken", "empty"} and "nowhere_to_be_found" in unread["broken"]


def test_a_module_that_cannot_be_imported_is_an_error(package: Path) -> None:
    _add(package, "mine", "import nowhere_to_be_found")
    with pytest.raises(ContractError, match="nowhere_to_be_found"):
        discover(package, "team_detectors")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (_SOURCE.format(name="yours"), "named 'yours'"),
        ("", "must define one Detector class; it defines: none"),
        (_SOURCE.format(name="mine") + "\n\nclass Other(Mine):\n    pass\n", "it defines: Mine, Other"),
    ],
)
def test_what_a_folder_must_define(package: Path, source: str, words: str) -> None:
    _add(package, "mine", source)
    with pytest.raises(ContractError, match=words):
        discover(package, "team_detectors")
