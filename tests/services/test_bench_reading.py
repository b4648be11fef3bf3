from __future__ import annotations

from pathlib import Path

from mailwarden_services.bench import reading
from mailwarden_services.bench.suite import PARTS, bench_tables


def test_reading_is_measured_beside_the_standard_library(tmp_path: Path) -> None:
    found = reading.measure(messages=20, rounds=1, corpus=tmp_path / "absent")
    assert found["messages"] == 20 and found["mail"] == "simulated mail"
    assert all(value > 0 for value in found["cpu_ms"].values())
    assert found["sum_cpu_ms"] == round(found["cpu_ms"]["parse"] + found["cpu_ms"]["content"], 4)
    assert found["p99_cpu_ms"] > 0
    (table,) = bench_tables({"reading": found})
    assert table is not None
    assert PARTS["reading"].by_default
