from __future__ import annotations

import pytest

from mailwarden.settings import Settings
from mailwarden_services.bench import historical_join, through_http
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
def test_a_service_of_its_own_is_loaded_and_stopped() -> None:
    found = through_http.measure(Settings(), seconds=3.0)
    for load in (found["flat_out"], found["half_load"]):
        assert load["failed"] == 0 and load["messages"] > 10
        assert load["cpu_ms"]["api"] > 0 and load["cpu_ms"]["writer"] > 0
    assert found["half_load"]["messages_per_second"] < found["flat_out"]["messages_per_second"]
    assert len(bench_tables({"http": found})) == 1
