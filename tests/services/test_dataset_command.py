"""`dataset export`, `sql` and `status --redis-url` on the command line: what they refuse before Spark starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mailwarden_services.loop import Loop

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def without_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of these may start it."""
    monkeypatch.setattr(Loop, "spark", property(lambda self: pytest.fail("Spark was started")))


def test_what_cannot_be_exported_is_said_before_spark_starts(run: Run, tmp_path: Path) -> None:
    out = str(tmp_path / "set")
    code, _, error = run("dataset", "export", "behavior", "--out", out)
    assert code == 66 and "no FeatureService 'behavior'. Did you mean 'behaviour'?" in error
    code, _, error = run("dataset", "export", "behaviour", "--out", str(tmp_path))
    assert code == 65 and "exists; choose another folder" in error
    code, _, error = run(
        "dataset", "export", "behaviour", "--out", out, "--split", "train=..2026", "--split", "b=2025.."
    )
    assert code == 65 and "'2026' is no time" in error
    code, _, error = run("dataset", "export", "behaviour", "--out", out, "--tenant", "nobody")
    assert code == 66 and "nobody" in error
    assert not Path(out).exists()


def test_views_are_printed_and_written_and_open(run: Run, tmp_path: Path) -> None:
    code, text, _ = run("sql")
    assert code == 0 and "events: version -1, 0 files" in text
    connection = duckdb.connect()
    connection.execute(text)
    assert connection.execute("SELECT count(*) FROM messages").fetchone() == (0,)
    code, said, _ = run("sql", "--engine", "spark", "--out", str(tmp_path / "views.sql"))
    assert code == 0 and "tables as views in" in said and "TEMPORARY VIEW" in (tmp_path / "views.sql").read_text()
    code, _, error = run("sql", "--engine", "duckdbb")
    assert code == 78 and "Did you mean 'duckdb'" in error


def test_the_online_stores_address_can_be_asked(run: Run, warden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("status", "--redis-url") == (0, warden.settings.redis_url.get_secret_value() + "\n", "")
    monkeypatch.delenv("MAILWARDEN_REDIS_URL")
    code, text, _ = run("status", "--redis-url")
    assert code == 0 and text == f"unix://{warden.settings.run_path}/redis/redis.sock?db=0\n"
