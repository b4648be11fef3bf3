"""Folders that `mailwarden features` lays out: they keep every contract as they stand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mailwarden.errors import ConfigError, ContractError, NotFound
from mailwarden_features.discovery import FOLDER
from mailwarden_services.teams.folders import emission_of, new_content_view, new_view, next_version

ROOT = Path(__file__).parents[2]
KEYS = {
    "sender_bulk": ("sender",),
    "domain_bulk": ("sender_domain",),
    "recipient_bulk": ("recipient",),
    "pair_bulk": ("sender", "recipient"),
    "campaign_links": ("campaign", "link_domain"),
    "name_of_sender": ("sender", "display_name"),
    "tenant_bulk": (),
}


def clone(folder: Path) -> Path:
    """A copy of the feature repository; returns the folder of its views."""
    shutil.copytree(FOLDER.parent, folder / "feature_repo", ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "feature_repo" / FOLDER.name


def run(views: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command as in that clone: its views are those that are imported, and there is no JVM."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAILWARDEN_")}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(views.parent), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "MAILWARDEN_HOME": str(views.parent.parent / ".mailwarden"),
        "JAVA_HOME": "/nonexistent",
        "COLUMNS": "200",
        "FEAST_USAGE": "False",
        "IS_TEST": "True",
    }
    binary = Path(sys.executable).with_name(command[0])
    return subprocess.run(
        [str(binary), *command[1:]],
        env=environment,
        cwd=views.parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_new_views_and_versions_keep_every_contract_as_they_stand(tmp_path: Path) -> None:
    views = clone(tmp_path)
    made = [new_view(views, name, keys=keys, owner='the "team"\nof two') for name, keys in KEYS.items()]
    made.append(new_view(views, "sender_like", keys=None, owner="team", like="sender_activity"))
    made.append(next_version(views, "relationship"))
    made.append(new_content_view(views, "content_lines", owner="team"))
    made.append(new_view(views, "content_addresses", keys=None, owner="team", like="content_identity"))
    made.append(next_version(views, "content_text"))
    names = [folder.name for folder in made]

    told = run(views, "mailwarden", "features", "new", "thread_bulk", "--keys", "thread", "--owner", "team")
    assert told.returncode == 0, told.stderr
    assert str(views / "thread_bulk") in told.stdout and "thread_bulk: " not in told.stdout
    names.append("thread_bulk")

    contract = ROOT / "tests" / "features" / "test_features_contract.py"
    suite = run(views, "pytest", str(contract), "-q", "-p", "no:cacheprovider", "-k", " or ".join(names), "-vvvv")
    assert suite.returncode == 0, suite.stdout
    for name in names:
        assert f"keeps_its_contract[{name}]" in suite.stdout

    planned = run(views, "feast", "-c", str(views.parent), "plan")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    for name in names:
        assert f"feature view {name}" in planned.stdout.replace("\x1b[1m\x1b[32m", "")
    for words in (("check",), ("format", "--check")):
        ours = "lint.isort.known-first-party = ['mailwarden', 'mailwarden_features']"
        house = ("--config", str(ROOT / "pyproject.toml"), "--config", ours)
        style = run(views, "ruff", *words, *house, *map(str, made))
        assert style.returncode == 0, style.stdout


def test_a_version_is_a_view_of_its_own(tmp_path: Path) -> None:
    views = clone(tmp_path)
    before = {path: path.read_text() for path in (views / "sender_activity").glob("*.py")}
    first = next_version(views, "sender_activity")
    second = next_version(views, first.name)
    number = int(first.name.rpartition("_v")[2])
    assert first.name == f"sender_activity_v{number}" and second.name == f"sender_activity_v{number + 1}"
    text = (first / "view.py").read_text()
    assert f'name="{first.name}"' in text and f"version={number}," in text
    assert f"mailwarden_features.{first.name}.transform" in text
    assert "mailwarden_features.sender_activity." not in text
    assert f"mailwarden_features.{second.name}.transform" in (second / "view.py").read_text()
    assert {path: path.read_text() for path in before} == before


def test_keys_of_another_view_are_exchanged(tmp_path: Path) -> None:
    views = clone(tmp_path)
    folder = new_view(views, "campaign_like", keys=("campaign",), owner="team", like="thread_activity")
    text = (folder / "view.py").read_text()
    assert 'keys=("campaign",)' in text and 'emission="facts"' in text and 'owner="team"' in text
    assert "version=1," in text and "mailwarden_features.campaign_like.transform" in text


@pytest.mark.parametrize(
    ("keys", "emission"),
    [
        (("sender",), "participants"),
        (("sender_domain",), "participant_domains"),
        (("recipient",), "recipients"),
        (("sender", "recipient"), "pairs"),
        (("thread",), "facts"),
        (("sender", "display_name"), "facts"),
        ((), "facts"),
    ],
)
def test_keys_name_their_emission(keys: tuple[str, ...], emission: str) -> None:
    assert emission_of(keys) == emission


@pytest.mark.parametrize(
    ("keys", "words"),
    [(("colour",), "'colour' is no key"), (("recipient", "sender"), "after sender"), (("thread", "thread"), "twice")],
)
def test_keys_that_cannot_be_are_refused_in_words(keys: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        emission_of(keys)


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("Bulk", {"keys": ()}, ConfigError, "no name for a view"),
        ("a__b", {"keys": ()}, ConfigError, "no name for a view"),
        ("../bulk", {"keys": ()}, ConfigError, "no name for a view"),
        ("thread", {"keys": ()}, ConfigError, "name of an entity"),
        ("relationship", {"keys": ()}, ConfigError, "is there already"),
        ("bulk", {"keys": None}, ConfigError, "--keys"),
        ("bulk", {"keys": ("colour",)}, ConfigError, "no key"),
        ("bulk", {"keys": None, "like": "nothing"}, NotFound, "there are .*relationship"),
        ("bulk", {"keys": ("sender",), "like": "content_links"}, ConfigError, "content view"),
    ],
)
def test_what_cannot_be_laid_out_leaves_nothing(
    tmp_path: Path, name: str, options: dict[str, object], error: type[Exception], words: str
) -> None:
    views = clone(tmp_path)
    before = sorted(views.iterdir())
    with pytest.raises(error, match=words):
        new_view(views, name, owner="team", **options)  # type: ignore[arg-type]
    assert sorted(views.iterdir()) == before


def test_a_view_that_is_written_otherwise_is_named_and_left_alone(tmp_path: Path) -> None:
    views = clone(tmp_path)
    view = views / "relationship" / "view.py"
    view.write_text(view.read_text().replace("version=", "**{}, version_of="))
    with pytest.raises(ContractError, match="`version=` by name"):
        next_version(views, "relationship")
