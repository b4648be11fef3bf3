"""The load benchmark: both sides load every key, and what they load is the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mailwarden.domain.aggregates.finalise import finalise
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import read_slots
from mailwarden.settings import Settings
from mailwarden_services.bench import redis_load
from mailwarden_services.bench.suite import bench_tables


@pytest.mark.verify
def test_both_sides_load_every_key_and_are_shown_beside_each_other(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, spark_driver_memory="1g", spark_shuffle_partitions=2)
    figures = redis_load.measure(settings, keys=2_000, rounds=1)
    assert (figures["keys"], figures["values"]) == (2_000, 10)
    assert figures["ours"]["rows_per_second"] > 0 and figures["feast_engine"]["rows_per_second"] > 0
    assert len(bench_tables({"load": figures})) == 1


def test_the_values_are_those_of_the_states(tmp_path: Path) -> None:
    redis_load.write_rows(tmp_path, 1_500)
    states = pq.read_table(tmp_path / "states")
    values = pq.read_table(tmp_path / "values")
    assert states.num_rows == values.num_rows == 1_500
    assert len(set(states["sender"].to_pylist())) == 1_500
    layout = layout_of(redis_load.VIEW)
    packed = states["state"].to_pylist()
    at_us = np.array([int.from_bytes(state[16:24], "little") for state in packed])
    reads = read_slots(layout, packed, at_us)
    found = finalise(layout, reads.slots, reads.times, reads.matches, reads.seen, at_us)
    held = np.column_stack([values[name].to_numpy() for name in layout.feature_names])
    np.testing.assert_array_equal(found, held)
    assert not np.isnan(held).any() and len(np.unique(held[:, 0])) == 1 and len(np.unique(held[:, 4])) > 900
