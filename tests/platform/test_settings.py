"""Settings say what is wrong with them: a name that does nothing, a value that is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from mailwarden.errors import ConfigError
from mailwarden.settings import Settings, refuse_unknown

KUBERNETES = (
    "MAILWARDEN_API_SERVICE_HOST",
    "MAILWARDEN_API_SERVICE_PORT",
    "MAILWARDEN_API_SERVICE_PORT_HTTP",
    "MAILWARDEN_REDIS_PORT",
    "MAILWARDEN_REDIS_PORT_6379_TCP",
    "MAILWARDEN_REDIS_PORT_6379_TCP_ADDR",
)


def test_every_setting_is_known_and_so_is_what_others_set() -> None:
    refuse_unknown([f"MAILWARDEN_{name.upper()}" for name in Settings.model_fields])
    refuse_unknown([*KUBERNETES, "MAILWARDEN_POSTGRES_PASSWORD", "mailwarden_home", "PATH", "MAILWARDENS_HOME"])


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("MAILWARDEN_REDIS", "MAILWARDEN_REDIS_URL"),
        ("MAILWARDEN_HOMES", "MAILWARDEN_HOME"),
        ("MAILWARDEN_MAX_MESSAGE_SIZE", "MAILWARDEN_MAX_MESSAGE_BYTES"),
        ("mailwarden_strems", "MAILWARDEN_STREAMS"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, near: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigError, match=f"{name} is no setting. Did you mean '{near}'"):
        Settings()


def test_a_wrong_value_names_the_variable_and_not_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILWARDEN_STREAMS", "secret-4")
    monkeypatch.setenv("MAILWARDEN_READING_SECONDS", "0")
    with pytest.raises(ConfigError) as raised:
        Settings()
    words = str(raised.value)
    assert "MAILWARDEN_STREAMS: input should be a valid integer" in words and "default is 4" in words
    assert "MAILWARDEN_READING_SECONDS: input should be greater than 0" in words
    assert "secret" not in words
    # Neither in what a traceback would show.
    assert raised.value.__suppress_context__ and raised.value.__cause__ is None


def test_a_child_process_says_it_in_a_line(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "mailwarden_services.signals"],
        env={**os.environ, "MAILWARDEN_HOEM": "x", "MAILWARDEN_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 78 and "Traceback" not in found.stderr
    assert found.stderr.startswith("ConfigError: MAILWARDEN_HOEM is no setting. Did you mean 'MAILWARDEN_HOME'?")


def test_the_page_for_operators_lists_every_setting_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    for name, field in Settings.model_fields.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `MAILWARDEN_{name.upper()}` |")]
        secret = isinstance(field.default, SecretStr) or field.default == ""
        shown = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        assert secret or f"`{shown}`" in row, row


def test_a_copy_for_another_home_lies_there(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "one")
    assert settings.run_path.is_relative_to(tmp_path / "one")
    assert settings.model_copy(update={"home": tmp_path / "other"}).run_path.is_relative_to(tmp_path / "other")
