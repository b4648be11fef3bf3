"""`mailwarden detectors`: what it prints, and exit codes that a pipeline can trust."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mailwarden_detectors
from mailwarden.testing.check_detector import CHECKS
from mailwarden.training.register import register
from mailwarden.training.train import Trained
from mailwarden_detectors.discovery import FOLDER
from mailwarden_services.bootstrap import Platform

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]
KINDS = mailwarden_detectors.discover()


def row(text: str, name: str) -> str:
    (line,) = [line for line in text.splitlines() if f" {name} " in line and "│" in line]
    return line


def installed(monkeypatch: pytest.MonkeyPatch, unread: dict[str, str], **kinds: Any) -> None:
    """Have these detectors be found beside those that there are, and these folders hold none."""

    def discover(*, unread: dict[str, str], every: bool = False, gone: dict[str, str] = unread) -> dict[str, Any]:
        unread |= gone
        return {**KINDS, **kinds}

    monkeypatch.setattr(mailwarden_detectors, "discover", discover)


def test_detectors_are_listed_with_what_serves(run: Run, warden: Any, trained_bundle: Trained) -> None:
    code, text, _ = run("detectors", "list")
    assert code == 0
    for name, kind in KINDS.items():
        line = row(text, name)
        assert kind.owner in line and f" {kind.version} " in line and f" {kind.stage} " in line
        assert f" {kind.cpu_budget_us} " in line and ", ".join(kind.categories) in line
        assert "model 1, of bundle 1" in line
    bundle = trained_bundle.bundle
    members = {**bundle.members, "message_text": replace(bundle.members["message_text"], code=99)}
    del members["header_rules"]
    platform = Platform(warden.settings)
    models = {name: data for name, data in trained_bundle.detectors.items() if name in members}
    other = replace(trained_bundle, detectors=models, bundle=replace(bundle, members=members))
    register(other, platform.registry, platform.artefacts, code_revision="tests", created_us=3, promote="tests")
    code, text, _ = run("detectors", "list")
    assert code == 0 and "of bundle 2" in row(text, "behaviour")
    assert "│ away" in row(text, "message_text") and "│ no" in row(text, "header_rules")
    assert "message_text is away: Detector message_text is version" in text


def test_where_nothing_serves_a_list_makes_no_home(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAILWARDEN_HOME", str(tmp_path / "fresh"))
    code, text, _ = run("detectors", "list")
    assert code == 0 and all("│ no" in row(text, name) for name in KINDS)
    assert not (tmp_path / "fresh").exists()


def test_a_folder_that_cannot_be_read_is_listed_and_fails_the_check(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, {"odd": "Detector odd cannot be imported. Mend it."})
    code, text, _ = run("detectors", "list")
    assert code == 0 and row(text, "odd") and "Detector odd cannot be imported. Mend it." in text
    code, text, _ = run("detectors", "check", "odd")
    assert code == 1 and text.strip() == "Detector odd cannot be imported. Mend it."


def test_check_says_what_is_wrong_and_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, text, _ = run("detectors", "check", "header_rules")
    assert code == 0 and "1 detectors keep their contract" in text
    code, _, error = run("detectors", "check", "header_rule")
    assert code == 66 and "Did you mean 'header_rules'" in error
    rules = KINDS["header_rules"]
    silent: Any = type("Silent", (rules,), {"name": "silent", "explain": lambda *_, **__: []})
    nobody: Any = type("Nobody", (rules,), {"name": "nobody", "owner": ""})
    for kind in (silent, nobody):
        kind.__module__ = rules.__module__
    installed(monkeypatch, {}, silent=silent, nobody=nobody)
    code, text, _ = run("detectors", "check", "silent", "nobody", "header_rules")
    assert code == 1 and "silent, reasons_given: no reason for " in text
    assert "nobody, definition: it has no owner; name the team that answers for it" in text
    (untried,) = [line for line in text.splitlines() if "not tried" in line]
    assert untried.startswith("nobody: ") and all(rule in untried for rule in CHECKS if rule != "definition")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the folder of detectors."""
    folder = tmp_path / "copy" / FOLDER.name
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_a_new_detector_passes_its_tests_as_it_stands(copied: Path) -> None:
    """As a team's shell would."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAILWARDEN_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(copied.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment |= {"JAVA_HOME": "/nonexistent", "FEAST_USAGE": "False", "IS_TEST": "True"}

    def shell(*command: str) -> subprocess.CompletedProcess[str]:
        binary = Path(sys.executable).with_name(command[0])
        return subprocess.run(
            [str(binary), *command[1:]], env=environment, cwd=copied.parent, capture_output=True, text=True, timeout=300
        )

    told = shell("mailwarden", "detectors", "new", "urgent_links", "--stage", "costly", "--owner", "payments")
    assert told.returncode == 0, told.stderr
    # It was judged, and nothing found.
    first, last = told.stdout.splitlines()
    assert first == f"{copied / 'urgent_links'} laid out" and "mailwarden train urgent_links" in last
    contract = ROOT / "tests" / "detectors" / "test_detectors_contract.py"
    suite = shell("pytest", str(contract), "-q", "-p", "no:cacheprovider", "-k", "urgent_links", "-vvvv")
    assert suite.returncode == 0 and f"[urgent_links-{list(CHECKS)[-1]}] PASSED" in suite.stdout, suite.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("header_rules",), 78, "is there already"),
        (("relationship",), 78, "names a view or an entity"),
        (("other", "--features", "content_links:url_counts"), 66, "Did you mean 'content_links:url_count'"),
        (("other", "--features", ","), 78, "--features"),
        (("other", "--stage", "dear"), 78, "one of cheap, costly"),
    ],
)
def test_what_cannot_be_laid_out_is_told_in_a_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, copied: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.setattr("mailwarden_detectors.discovery.FOLDER", copied)
    before = sorted(copied.rglob("*"))
    found, _, error = run("detectors", "new", *words)
    assert found == code and said in error and len(error.splitlines()) == 1
    assert sorted(copied.rglob("*")) == before
