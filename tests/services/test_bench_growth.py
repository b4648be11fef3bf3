"""The growth of histories: the events that are made for it, what is reckoned from figures, and the whole, small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mailwarden.errors import DataError
from mailwarden.settings import Settings
from mailwarden.stores.lake.event_log import EVENT_SCHEMA, table_to_events
from mailwarden_services.bench import growth
from mailwarden_services.bench.growth_report import draw_growth, growth_grid
from mailwarden_services.processes import resident_bytes, tree

MAKE = """
import sys
from pathlib import Path
from mailwarden.settings import Settings
from mailwarden.stores.spark.session import spark_session
from mailwarden_services.bench.made_history import write_history
spark = spark_session(Settings(spark_driver_memory="1g"), "made history")
print(len(write_history(spark, 20_000, Path(sys.argv[1]))))
"""


def size(events: int, states: float, as_of: float, memory: int = 500) -> dict[str, Any]:
    """Figures as one size gives them; states, as_of: CPU seconds."""
    costs = {
        job: {
            "rows_out": 1,
            "wall_s": cpu / 2,
            "cpu_s": cpu,
            "wall_s_a_million": cpu / 2 / events * 1e6,
            "cpu_s_a_million": cpu / events * 1e6,
            "executors_mb": 1,
        }
        for job, cpu in (("states", states), ("as_of", as_of))
    }
    return {"events": events, "made_s": 1.0, **costs, "driver_mb": memory, "heap_mb": memory / 10}


def figures() -> dict[str, Any]:
    found = [size(1_000_000, 15, 30), size(10_000_000, 105, 210), size(50_000_000, 905, 1010, 550)]
    return {
        "view": "v",
        "sizes": found,
        "ratios": growth._ratios(found),
        "cluster": growth.cluster_for(found[-1]),
        "cores": 2,
        "note": "made up",
    }


def test_ratios_are_of_a_row_and_without_what_every_job_costs() -> None:
    ratios = figures()["ratios"]
    assert ratios["states_cpu"] == pytest.approx(18.1 / 15, abs=0.01)
    assert ratios["as_of_wall"] == pytest.approx(20.2 / 30, abs=0.01)
    # 5 seconds a job, then 10 seconds a million, then 20 and 20: only the slope tells.
    assert (ratios["states_marginal"], ratios["as_of_marginal"]) == (2.0, 1.0)
    assert ratios["driver_mb"] == 1.1


def test_a_cluster_is_reckoned_from_the_largest_size() -> None:
    cluster = figures()["cluster"]
    assert cluster["core_hours"] == {"states": round(18.1 * 100 / 3600, 2), "as_of": round(20.2 * 100 / 3600, 2)}
    assert cluster["year_hours_on_cores"] == pytest.approx(365 * 18.1 * 100 / 3600 / 64, abs=0.01)


def test_the_table_and_the_curve_say_the_ratios(tmp_path: Path) -> None:
    found = figures()
    grid = growth_grid(found)
    assert len(grid.rows) == 6
    assert "1.21x CPU" in grid.note
    assert "100,000,000 messages a day" in grid.note
    png, svg, body = draw_growth(found, tmp_path / "new")
    assert png.stat().st_size > 10_000
    assert svg.read_text().startswith("<?xml")
    assert json.loads(body.read_text())["ratios"] == found["ratios"]


def test_sizes_must_ascend() -> None:
    for sizes in ((5,), (100, 50), (100, 100)):
        with pytest.raises(DataError, match="must ascend"):
            growth.measure(Settings(), sizes=sizes)


USAGE = """
import os, subprocess, sys
from mailwarden_services.processes import cpu_seconds, watched
burn = "import time\\nwhile time.process_time() < 0.5: bytearray(100_000)"
with watched((os.getpid(),)) as usage:
    subprocess.run([sys.executable, "-c", burn], check=True)
print(usage.cpu_seconds, usage.driver_bytes, cpu_seconds(os.getpid()))
"""


def test_usage_counts_what_was_started_and_has_ended() -> None:
    # In a process of its own: what other tests started, and left to the system, may leave this one's tree meanwhile.
    told = subprocess.run([sys.executable, "-c", USAGE], capture_output=True, text=True, check=True).stdout
    used, driver_bytes, whole = map(float, told.split())
    # Ticks of the system are 10 ms.
    assert 0.48 <= used < 5
    assert driver_bytes >= 10_000_000
    assert whole > used - 0.02


def test_a_tree_holds_children_while_they_are_there() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        assert child.pid in tree(os.getpid())
        assert resident_bytes(child.pid) > 0
    finally:
        child.kill()
        child.wait()
    assert resident_bytes(child.pid) == 0
    assert child.pid not in tree(os.getpid())


def test_made_events_are_the_event_logs_and_a_tenth_is_of_one_domain(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAKE, str(tmp_path / "made")], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    made = pa.concat_tables(pq.read_table(file) for file in (tmp_path / "made").glob("*.parquet"))
    assert {field.name: field.type for field in made.schema} == {f.name: f.type for f in EVENT_SCHEMA}
    events = table_to_events(made)
    assert sorted(event.seq for event in events) == list(range(1, 20_001))
    domains = Counter(event.sender_domain for event in events).most_common(3)
    assert domains[0][0] == growth.HOT_DOMAIN
    assert 0.09 < domains[0][1] / len(events) < 0.11
    assert 0.07 < dict(domains)["own.example"] / len(events) < 0.1
    assert 0.01 < sum(event.kind == "label" for event in events) / len(events) < 0.03
    assert sum(event.known_at_us > event.received_at_us for event in events if event.kind == "label") > 200
    in_order = sorted(events, key=lambda event: event.seq)
    assert any(b.received_at_us < a.received_at_us for a, b in pairwise(in_order))


def run_bench(sizes: str, out: Path, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "mailwarden_services.cli", "bench", "growth", "--sizes", sizes, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Growth of a history" in done.stdout
    found: dict[str, Any] = json.loads((out / "growth.json").read_text())
    return found


@pytest.mark.verify
def test_the_command_measures_and_draws(tmp_path: Path) -> None:
    found = run_bench("0.002,0.006", tmp_path, 400)
    assert [each["events"] for each in found["sizes"]] == [2_000, 6_000]
    for each in found["sizes"]:
        assert each["states"]["rows_out"] > 10
        assert 0 < each["as_of"]["rows_out"] < each["events"] / 25
        assert each["as_of"]["cpu_s"] > 0
        assert 0 < each["heap_mb"] < each["driver_mb"]
    assert (tmp_path / "growth.svg").exists()


@pytest.mark.verify
def test_a_row_of_fifty_million_costs_what_one_of_a_million_does() -> None:
    found = run_bench("1,10,50", Path("artifacts/growth"), 5_400)
    ratios = found["ratios"]
    assert max(ratios[name] for name in ("states_cpu", "states_wall", "as_of_cpu", "as_of_wall")) <= 1.5
    assert ratios["driver_mb"] <= 1.3
    assert ratios["heap_mb"] <= 1.3
