"""Skew: logged vectors against what Spark recomputes, over every kind of view, and each kind of wrong found as such."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mailwarden.domain.aggregates.definitions import ActivityView, Feature, Total
from mailwarden.domain.aggregates.definitions import Measure as Aggregated
from mailwarden.domain.aggregates.finalise import finalise
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import read_slots
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.recent import own_set
from mailwarden.domain.aggregates.windows import W_ALL
from mailwarden.domain.mail.events import Event, Way, key_of, keys_of, members_of
from mailwarden.errors import ContractError, DataError
from mailwarden.monitoring import skew
from mailwarden.monitoring.skew import measure_skew, read_vectors
from mailwarden.monitoring.skew_history import SkewHistory, run_of
from mailwarden.monitoring.skew_report import FeatureSkew, SkewReport, ViewSkew
from mailwarden.stores.lake.delta import Snapshot
from mailwarden.stores.lake.event_log import EventLog, events_to_table
from mailwarden.stores.lake.vector_log import VectorLog
from mailwarden.stores.spark.as_of import as_of
from mailwarden.stores.spark.fold_rows import read_events
from mailwarden.testing.histories import PIECE_BITS, history_of
from mailwarden.testing.made_up_views import view_of
from mailwarden.testing.naive_recount import none_in_window

Row = dict[str, Any]


class Store:
    """What writers have folded of one view, up to a seq."""

    def __init__(self, view: ActivityView, events: Sequence[Event]) -> None:
        self.view, self._left = view, list(events)
        self._states: dict[tuple[str, ...], EntityState] = {}

    def fold_below(self, seq: int) -> None:
        while self._left and self._left[0].seq < seq:
            event = self._left.pop(0)
            ways: dict[tuple[str, ...], list[Way]] = defaultdict(list)
            for key, way in keys_of(self.view.emission, event, self.view.keys):
                ways[event.tenant, *key].append(way)
            for name, found in ways.items():
                self._states.setdefault(name, EntityState(layout_of(self.view))).fold(event, found)

    def read(self, reading: Event, recipient: str) -> Row:
        """The view's columns of the row that scoring logs."""
        layout, name = layout_of(self.view), self.view.name
        at = np.array([reading.received_at_us], dtype=np.int64)
        key = key_of(self.view.keys, reading, recipient)
        state = None if key is None else self._states.get((reading.tenant, *key))
        own = {recent.of: own_set(members_of(reading, recent.of)) for recent in self.view.recents}
        reads = read_slots(layout, [None if state is None else state.to_bytes()], at, [own])
        values = finalise(layout, reads.slots, reads.times, reads.matches, reads.seen, at)[0].tolist()
        status = "never_seen"
        if state is not None:
            silent = none_in_window(self.view, state.newest_us, int(at[0]))
            status = "none_in_window" if silent else "present"
        if key is None:
            status, values = "not_computable", [float("nan")] * len(values)
        return {
            f"{name}__as_of_seq": int(reads.last_seq[0]), f"{name}__version": self.view.version,
            f"{name}__status": status,
            **{
                f"{name}__{feature.name}": None if value != value else value
                for feature, value in zip(self.view.features, values, strict=True)
            },
        }  # fmt: skip


def logged_rows(events: Sequence[Event], views: Sequence[ActivityView], *, late: int = 0) -> list[Row]:
    """A row a message and recipient, as scoring would log it right before the message is folded.

    late: how many of the events just before it the store had not folded yet.
    """
    stores = [Store(view, events) for view in views]
    rows: list[Row] = []
    for event in events:
        if event.kind != "message":
            continue
        for store in stores:
            store.fold_below(event.seq - late)
        for recipient in event.recipients or ("",):
            row: Row = {
                "tenant": event.tenant, "seq": event.seq, "message_id": event.message_id, "recipient": recipient,
                "sender": event.sender, "sender_domain": event.sender_domain, "received_at": event.received_at_us,
                "decision_id": f"{event.seq}",
            }  # fmt: skip
            for store in stores:
                row |= store.read(event, recipient)
            rows.append(row)
    return rows


def table_of(rows: Sequence[Row]) -> pa.Table:
    table = pa.Table.from_pylist(list(rows))
    for index, name in enumerate(table.column_names):
        if name == "received_at":
            table = table.set_column(index, name, table[name].cast(pa.timestamp("us", tz="UTC")))
        elif "__" in name and not name.endswith(("__as_of_seq", "__status", "__version")):
            table = table.set_column(index, name, table[name].cast(pa.float64()))
    return table


Measure = Callable[..., SkewReport]


@pytest.fixture
def measure(spark: SparkSession, tmp_path: Path) -> Measure:
    """Measures the skew of rows in files of their own, which a snapshot of the logs would name."""

    def run(views: Sequence[ActivityView], events: Sequence[Event], *parts: Sequence[Row]) -> SkewReport:
        log, schema = tmp_path / "events.parquet", pa.schema([])
        pq.write_table(events_to_table(events), log)
        for number, part in enumerate(parts):
            pq.write_table(table_of(part), tmp_path / f"{number}.parquet")
            schema = pa.unify_schemas([schema, table_of(part).schema])
        files = tuple(str(tmp_path / f"{number}.parquet") for number in range(len(parts)))
        found = read_vectors(spark, Snapshot(1, str(tmp_path), files, schema))
        return measure_skew(lambda _: read_events(spark, (str(log),)), found, views, tmp_path / "run")

    return run


def mail(n: int = 50, seed: int = 4) -> list[Event]:
    rng = random.Random(seed)
    return history_of([rng.getrandbits(PIECE_BITS) for _ in range(n)])


def some_view(number: int, *, emission: str = "", recents: bool = False) -> ActivityView:
    """A made-up view with what is asked for."""
    rng = random.Random(number)
    while True:
        view = view_of(rng.getrandbits(PIECE_BITS))
        if emission in ("", view.emission) and (view.recents or not recents) and len(view.features) > 4:
            return replace(view, name=f"made_up_{number}")


@pytest.fixture(scope="module")
def view() -> ActivityView:
    return some_view(7, emission="participants")


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return mail()


@pytest.fixture(scope="module")
def rows(events: list[Event], view: ActivityView) -> list[Row]:
    return logged_rows(events, [view])


def with_codes(view: ActivityView) -> ActivityView:
    """The view with what is found in messages after they were accepted."""
    codes = Aggregated("codes", of="late_qr_code_count", on="signal")
    total = Feature("codes", Total("codes", W_ALL), "found later", "codes")
    return replace(view, measures=(*view.measures, codes), features=(*view.features, total))


def test_what_was_served_is_what_history_says_for_every_kind_of_view(measure: Measure, events: list[Event]) -> None:
    views = [
        some_view(1, emission="facts", recents=True), some_view(2, emission="pairs", recents=True),
        with_codes(some_view(3, emission="recipients")),
    ]  # fmt: skip
    rows = logged_rows(events, views)
    assert sum(1 for row in rows if row["made_up_3__codes"]) > 20
    report = measure(views, events, rows[::2], rows[1::2])
    assert report.examples == ()
    assert (report.mismatches, report.status_mismatches, report.unknown, report.stale_values) == (0, 0, 0, 0)
    assert report.agrees and report.vectors == len(rows)
    assert {line.compared for line in report.features} == {len(rows)}
    for found in report.views:
        logged = [row[f"{found.view}__status"] for row in rows]
        assert found.statuses == {status: logged.count(status) for status in set(logged)}
        assert found.rows == found.compared == len(rows) and found.behind == 0
    kinds = {status for found in report.views for status in found.statuses}
    assert kinds == {"present", "never_seen", "none_in_window", "not_computable"}
    assert 0 < report.values_with_history < report.compared_values


def test_each_kind_of_wrong_is_counted_as_what_it_is(
    measure: Measure, events: list[Event], view: ActivityView, rows: list[Row]
) -> None:
    name = view.features[1].name
    column = f"{view.name}__{name}"
    wrong = [dict(row) for row in rows]
    valued = [i for i, row in enumerate(rows) if row[column] is not None]
    absent = next(i for i, row in enumerate(rows) if row[column] is None)
    wrong[valued[0]][column] = -17.0
    wrong[valued[1]][column] = None
    wrong[absent][column] = 0.0
    seen = [i for i, row in enumerate(rows) if row[f"{view.name}__status"] == "present"]
    wrong[seen[0]][f"{view.name}__status"] = "never_seen"
    wrong[seen[1]][f"{view.name}__status"] = "stale"  # a lagging writer, which is no lie
    # A seq between two events of the key gives the same values, of a state that no key ever had.
    as_of_seq = f"{view.name}__as_of_seq"
    between = next(i for i in seen[2:] if rows[i][as_of_seq] < rows[i]["seq"] - 1)
    wrong[between][as_of_seq] += 1
    report = measure([view], events, wrong)
    line = next(line for line in report.features if line.feature == name)
    assert (line.mismatches, line.null_logged, line.null_recomputed) == (3, 1, 1)
    assert report.mismatches == 3 and report.status_mismatches == 2 and not report.agrees
    assert report.as_json()["mismatches"] == 3 and report.as_json()["status_mismatches"] == 2
    shown = {(example["feature"], example["seq"]) for example in report.examples}
    assert {("", wrong[seen[0]]["seq"]), ("", wrong[between]["seq"])} <= shown
    assert {seq for feature, seq in shown if feature == name} <= {wrong[i]["seq"] for i in (*valued[:2], absent)}


def test_a_store_that_lags_is_late_and_not_wrong(measure: Measure, events: list[Event], view: ActivityView) -> None:
    report = measure([view], events, logged_rows(events, [view], late=3))
    assert report.mismatches == 0 and report.status_mismatches == 0 and report.agrees
    assert report.stale_values > 0 and report.views[0].behind > 0


def test_only_rows_of_the_present_version_are_compared_and_a_later_view_breaks_no_older_file(
    measure: Measure, events: list[Event], view: ActivityView, rows: list[Row]
) -> None:
    view = replace(view, version=2)
    version = f"{view.name}__version"
    # Ten rows before the view was there, ten that do not say their version, ten of an earlier one, ten without Redis.
    bare = [{name: value for name, value in row.items() if "__" not in name} for row in rows[:10]]
    unsaid = [{name: value for name, value in row.items() if name != version} for row in rows[10:20]]
    now = [{**row, version: 2} for row in rows[30:]]
    dark = [{**row, f"{view.name}__status": "unavailable"} for row in now[:10]]
    report = measure([view], events, bare, unsaid, rows[20:30], dark, now[10:])
    (found,) = report.views
    assert report.vectors == found.rows == len(rows)
    assert found.other_versions == {0: 20, 1: 10} and found.unavailable == 10
    assert {line.compared for line in report.features} == {found.compared} == {len(rows) - 40}
    assert report.as_json()["rows_of_other_versions"] == {view.name: {"0": 20, "1": 10}}
    assert report.agrees and report.unavailable == 10


def test_a_view_that_no_row_was_logged_under_is_named_and_not_compared(
    measure: Measure, events: list[Event], view: ActivityView, rows: list[Row]
) -> None:
    report = measure([replace(view, version=7)], events, rows)
    assert report.features == () and report.mismatches == 0 and not report.agrees
    assert report.views[0].other_versions == {1: len(rows)}


def test_vectors_of_messages_that_the_log_does_not_hold_are_counted(
    measure: Measure, events: list[Event], view: ActivityView, rows: list[Row]
) -> None:
    last = rows[-1]["seq"]
    lost = sum(row["seq"] == last for row in rows)
    report = measure([view], [event for event in events if event.seq != last], rows)
    assert report.unknown == lost and report.views[0].compared == len(rows) - lost and not report.agrees


def test_a_seq_that_two_messages_bear_is_refused(
    spark: SparkSession, tmp_path: Path, events: list[Event], view: ActivityView, rows: list[Row]
) -> None:
    log, logged = EventLog(tmp_path / "events"), VectorLog(tmp_path / "vectors")
    log.append(events[:5])
    logged.append(table_of(rows[:5]))
    once = read_events(spark, log.snapshot().files)
    with pytest.raises(DataError, match="the event log holds a seq twice"):
        measure_skew(lambda _: once.unionAll(once), read_vectors(spark, logged.snapshot()), [view], tmp_path / "run")


@pytest.mark.parametrize("change", ["lost", "doubled"])
def test_rows_that_spark_loses_or_doubles_are_refused(
    measure: Measure, events: list[Event], view: ActivityView, rows: list[Row], change: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def faulty(*arguments: Any) -> Any:
        answers = as_of(*arguments)
        first = answers.where("row_id = 0")
        return answers.where("row_id != 0") if change == "lost" else answers.unionAll(first)

    monkeypatch.setattr(skew, "as_of", faulty)
    with pytest.raises(ContractError, match="rows went into Spark and"):
        measure([view], events, rows[:6])


def test_runs_are_kept_in_order_and_a_line_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    features = tuple(FeatureSkew("v", name, 10, 4, 0, 0, 0, stale) for name, stale in (("a", 2), ("b", 1)))
    report = SkewReport(12, (ViewSkew("v", 12, 10, 2, 0, {}, {"present": 10}, 0, 3),), features)
    path = tmp_path / "kept" / "skew.jsonl"
    assert SkewHistory(path).runs() == []
    first = run_of(report, at_us=1_700_000_000_000_000, events=3, vectors=4)
    SkewHistory(path).append(first)
    with path.open("ab") as file:
        file.write(b'{"at_us": 17')
    second = replace(first, at_us=first.at_us + 1)
    SkewHistory(path).append(second)
    assert SkewHistory(path).runs() == [first, second]
    (line,) = first.views
    assert (line.rows, line.compared, line.with_history, line.stale, line.behind) == (10, 20, 8, 3, 3)
    assert first.at == "2023-11-14 22:13:20" and first.agrees
