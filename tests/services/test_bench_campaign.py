from __future__ import annotations

from pathlib import Path

import pytest

from mailwarden.settings import Settings
from mailwarden_services.bench import historical_join, http_price
from mailwarden_services.bench.suite import bench_tables


@pytest.mark.verify
def test_both_joins_answer_every_request_once() -> None:
    size = historical_join.Size(requests=300, events=1_500, senders=50, domains=10, recipients=10)
    found = historical_join.measure(Settings(), size=size)
    assert found["ours"]["rows"] == found["feast_spark"]["rows"] == 300
    assert found["rows_that_differ"] == 0 and found["windowed"]["rows"] == 300
    assert found["ours"]["seconds"] > 0 and found["feast_spark"]["seconds"] > 0
    assert len(bench_tables({"join": found})) == 1


@pytest.mark.verify
def test_a_home_is_made_loaded_and_kept(tmp_path: Path) -> None:
    home = tmp_path / "home"
    found = http_price.measure(Settings(), http_price.HttpOptions(home=home, messages=200, times=("late",), peer=False))
    half = found["half_load"]
    assert set(found["cpu"]) == {"late", "ahead"} and found["spread"] >= 1
    assert half["failed"] == 0 and half["messages"] == 200 and half["parts"]["writer"] > 0
    assert half["messages_per_second"] < found["flat_out"]["messages_per_second"]
    assert found["small_files"] == 500 and (home / "models").exists()
