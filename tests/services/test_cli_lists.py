from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mailwarden.errors import ConfigError
from mailwarden.settings import Settings
from mailwarden.stores.lists import LISTS, load_lists
from mailwarden_services.cli import progress
from mailwarden_services.cli.application import app
from mailwarden_services.embedded import environment_of


def run(*words: str) -> str:
    """What the command prints; raises what it raises."""
    with progress.out.capture() as captured:
        result = CliRunner().invoke(app, words)
    if result.exception is not None:
        raise result.exception
    return captured.get()


def test_lists_in_use_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = run("lists")
    assert load_lists().fingerprint in text
    assert all(name in text for name in LISTS) and "shipped" in text and "10," in text
    (tmp_path / "free_mail.txt").write_text("# name: free_mail\n# version: ours\n\nposta.example\n")
    monkeypatch.setenv("MAILWARDEN_LISTS", str(tmp_path))
    text = run("lists")
    assert "replaced" in text and "ours" in text and str(tmp_path / "free_mail.txt") in text


def test_a_folder_is_checked_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "free_mail.txt"
    file.write_text("# name: free_mail\n# version: 1\n# mode: extend\n\nposta.example\n-gmx.net\n-x.example\n")
    text = run("lists", "check", str(tmp_path))
    assert "free_mail: 1 entries that do not ship, 1 left out" in text
    assert "-x.example takes nothing out" in text
    file.write_text("# name: free_mail\n# version: 1\n\nposta\n")
    with pytest.raises(ConfigError, match="line 4: 'posta' is no domain"):
        run("lists", "check", str(tmp_path))


def test_child_processes_get_the_folder_whatever_theirs_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert environment_of(Settings(lists="mine"))["MAILWARDEN_LISTS"] == str(tmp_path / "mine")
    given = environment_of(Settings())
    assert given["MAILWARDEN_LISTS"] == ""
    monkeypatch.setenv("MAILWARDEN_LISTS", "")
    assert Settings().lists_path is None
