"""Skew: logged vectors against what Spark recomputes; rows of another version are counted, not compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from mailwarden.domain.events import Event, keys_of
from mailwarden.domain.finalise import finalise
from mailwarden.domain.layout import layout_of
from mailwarden.domain.state import NEVER, EntityState, read_slots
from mailwarden.domain.views import ActivityView
from mailwarden.monitoring.skew import SkewReport, measure_skew, read_vectors
from mailwarden.stores.event_log import EventLog
from mailwarden.stores.spark.fold_rows import read_events
from mailwarden.stores.vector_log import VectorLog


def vectors(events: Sequence[Event], view: ActivityView, *, wrong_at: int = -1) -> pa.Table:
    """A row a message with a sender, as scoring would log it right before the message is folded."""
    layout = layout_of(view)
    states: dict[tuple[str, ...], EntityState] = {}
    rows: list[dict[str, Any]] = []
    for event in events:
        if event.kind == "message" and event.sender:
            state = states.get((event.tenant, event.sender))
            at_us = np.array([event.received_at_us], dtype=np.int64)
            blobs = [None if state is None else state.to_bytes()]
            slots, times, seen, last_seq = read_slots(layout, blobs, at_us)
            values = finalise(layout, slots, times, seen, at_us)[0]
            row = {
                "tenant": event.tenant, "seq": event.seq, "message_id": event.message_id, "recipient": "",
                "sender": event.sender, "sender_domain": event.sender_domain, "received_at": event.received_at_us,
                "decision_id": str(event.seq),
                f"{view.name}__as_of_seq": int(last_seq[0]), f"{view.name}__version": view.version,
                f"{view.name}__status": "never_seen" if last_seq[0] == NEVER else "present",
            }  # fmt: skip
            for feature, value in zip(view.features, values, strict=True):
                row[f"{view.name}__{feature.name}"] = None if np.isnan(value) else float(value)
            if event.seq == wrong_at:
                row[f"{view.name}__{view.features[1].name}"] = -17.0
            rows.append(row)
        for key, forward in keys_of(view.emission, event):
            states.setdefault((event.tenant, *key), EntityState(layout)).fold(event, [forward])
    table = pa.Table.from_pylist(rows)
    for index, name in enumerate(table.column_names):
        if name == "received_at":
            table = table.set_column(index, name, table[name].cast(pa.timestamp("us", tz="UTC")))
        elif name.startswith(view.name) and not name.endswith(("__as_of_seq", "__status", "__version")):
            table = table.set_column(index, name, table[name].cast(pa.float64()))
    return table


def measure(spark: SparkSession, folder: Path, view: ActivityView, tables: Sequence[pa.Table],
            events: Sequence[Event]) -> SkewReport:  # fmt: skip
    log, logged = EventLog(folder / "events"), VectorLog(folder / "vectors")
    log.append(list(events))
    for table in tables:
        logged.append(table)
    found = read_vectors(spark, logged.snapshot())
    return measure_skew(read_events(spark, log.snapshot().files), found, [view], folder / "run")


@pytest.fixture
def mail(histories: Any) -> list[Event]:
    made: list[Event] = [event for event in histories.events(90, tenants=("t1",)) if len(set(event.recipients)) > 0]
    # One direction a key: mail to oneself would fold twice.
    kept = [event for event in made if event.sender not in event.recipients]
    return [replace(event, seq=number) for number, event in enumerate(kept, start=1)]


def test_only_rows_of_the_present_version_are_compared_and_a_later_view_breaks_no_older_file(
    spark: SparkSession, tmp_path: Path, histories: Any, mail: list[Event]
) -> None:
    view: ActivityView = histories.view(distincts=False)
    earlier = replace(view, version=1)
    view = replace(view, version=2)
    half = [event.seq for event in mail if event.kind == "message" and event.sender][30]
    whole = vectors(mail, view, wrong_at=half)
    first, last = whole.slice(0, 30), whole.slice(30)
    # Ten rows before the view was there, ten that do not say their version, ten of an earlier one.
    keys = [name for name in first.column_names if "__" not in name]
    unsaid = first.slice(10, 10).drop_columns([f"{view.name}__version"])
    place = first.column_names.index(f"{view.name}__version")
    versions = pa.array([earlier.version] * 10, type=pa.int64())
    old = first.slice(20, 10).set_column(place, f"{view.name}__version", versions)
    report = measure(spark, tmp_path, view, [first.slice(0, 10).select(keys), unsaid, old, last], mail)
    assert report.vectors == whole.num_rows
    assert {line.compared for line in report.features} == {last.num_rows}
    assert report.other_versions == {view.name: {0: 20, 1: 10}}
    assert report.as_json()["rows_of_other_versions"] == {view.name: {"0": 20, "1": 10}}
    assert report.mismatches == 1 and report.examples[0]["seq"] == half and report.examples[0]["logged"] == -17.0
    assert report.values_with_history > 0


def test_a_view_that_no_row_was_logged_under_is_named_and_not_compared(
    spark: SparkSession, tmp_path: Path, histories: Any, mail: list[Event]
) -> None:
    view: ActivityView = histories.view(distincts=False)
    logged = vectors(mail[:20], view)
    report = measure(spark, tmp_path, replace(view, version=7), [logged], mail[:20])
    assert report.features == () and report.mismatches == 0
    assert report.other_versions == {view.name: {1: logged.num_rows}}
