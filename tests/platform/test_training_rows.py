from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mailwarden.domain.aggregates.fact_specs import FACTS, MEMBERS
from mailwarden.domain.aggregates.windows import DAY_US
from mailwarden.domain.mail.events import WITHDRAWN, Event, members_of
from mailwarden.errors import DataError
from mailwarden.stores.lake.event_log import EVENT_SCHEMA, EventLog, events_to_table
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.training.rows import training_rows, write_training_rows

START = 1_772_409_600_000_000


def _labelled(tenant: str, day: int) -> list[Event]:
    at_us = START + day * DAY_US
    message = Event(tenant, 1, "message", f"{1:032x}", at_us, at_us, "envelope", "inbound", "a@far.example",
                    "far.example", ("u@own.example",), ("own.example",))  # fmt: skip
    label = Event(tenant, 2, "label", f"{1:032x}", at_us, at_us + DAY_US, "given", "inbound", "a@far.example",
                  "far.example", ("u@own.example",), ("own.example",), label="SP", labelled_bad=1)  # fmt: skip
    return [message, label]


@pytest.mark.parametrize(("own", "tenants"), [
    ({}, ["here"]),
    ({"later": START + 400 * DAY_US}, ["here", "later"]),
    ({"later": START + 400 * DAY_US, "here": START}, ["later"]),
    ({"later": START + 360 * DAY_US}, ["here"]),
])  # fmt: skip
def test_a_tenant_may_have_a_cutoff_of_its_own(spark: SparkSession, own: dict[str, int], tenants: list[str]) -> None:
    """Labels of another site count by that site's time: it may be a year ahead of the one that is replayed."""
    table = events_to_table([*_labelled("here", 0), *_labelled("later", 360)])
    events = spark.createDataFrame(table.to_pandas())
    rows = training_rows(events, cutoff_us=START + 5 * DAY_US, tenant_cutoffs_us=own).collect()
    assert sorted(row["tenant"] for row in rows) == tenants


def test_a_label_that_was_withdrawn_by_the_cutoff_labels_nothing(spark: SparkSession) -> None:
    message, label = _labelled("here", 0)
    withdrawal = replace(label, seq=3, known_at_us=START + 10 * DAY_US, label=WITHDRAWN, labelled_bad=-1)
    events = spark.createDataFrame(events_to_table([message, label, withdrawal]).to_pandas())
    before = training_rows(events, cutoff_us=START + 5 * DAY_US).collect()
    assert [row["label"] for row in before] == ["SP"]
    assert training_rows(events, cutoff_us=START + 20 * DAY_US).collect() == []
    (unlabelled,) = training_rows(events, cutoff_us=START + 20 * DAY_US, unlabelled=True).collect()
    assert unlabelled["label"] is None


def _labels(*said: tuple[str, str, int, int]) -> list[Event]:
    """A message and labels of it: label, source, day that it is known on, and how many messages it stands for."""
    message, label = _labelled("here", 0)
    return [message] + [
        replace(label, seq=seq, label=code, label_source=source, known_at_us=START + day * DAY_US, stands_for=drawn)
        for seq, (code, source, day, drawn) in enumerate(said, 2)
    ]


@pytest.mark.parametrize(("said", "counts", "weight"), [
    # The most trusted source, then the label known last, whatever was numbered last.
    ([("SP", "analyst", 1, 0), ("ham", "user", 2, 0)], "SP", 1.0),
    ([("SP", "user", 1, 0), ("ham", "index", 2, 0)], "ham", 1.0),
    ([("SP", "index", 1, 0), ("ham", "analyst", 2, 0), ("SP", "index", 3, 0)], "ham", 1.0),
    ([("CP", "user", 3, 0), ("ham", "user", 2, 0)], "CP", 0.5),
    ([("SP", "", 1, 0), ("ham", "user", 2, 0)], "SP", 1.0),
    ([("SP", "audit", 1, 50)], "SP", 50.0),
    ([("SP", "audit", 1, 5_000)], "SP", 100.0),
    ([("SP", "audit", 1, 0)], "SP", 1.0),
    ([("SP", "analyst", 1, 50)], "SP", 1.0),
    # Only what was known, and nothing from before a withdrawal, whoever said it.
    ([("SP", "analyst", 9, 0), ("ham", "user", 2, 0)], "ham", 0.5),
    ([("SP", "analyst", 1, 0), (WITHDRAWN, "user", 2, 0), ("ham", "user", 3, 0)], "ham", 0.5),
])  # fmt: skip
def test_labels_that_conflict_are_settled_by_source_and_weigh_by_how_they_came_about(
    spark: SparkSession, said: list[tuple[str, str, int, int]], counts: str, weight: float
) -> None:
    events = spark.createDataFrame(events_to_table(_labels(*said)).to_pandas())
    (row,) = training_rows(events, cutoff_us=START + 5 * DAY_US).collect()
    assert (row["label"], row["weight"]) == (counts, weight)


def test_labels_that_are_not_known_yet_are_told(spark: SparkSession, tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    facts = FactSets(tmp_path / "facts", log)
    with pytest.raises(DataError, match=r"event log is empty.*mailwarden starter"):
        write_training_rows(spark, facts.snapshot(), tmp_path / "none", cutoff_us=START)
    log.append(_labels(("SP", "index", 1, 0), ("ham", "user", 3, 0)))
    with pytest.raises(DataError, match=r"known by the cut-off: 2 labels were given later, the first on 2026-03-03"):
        write_training_rows(spark, facts.snapshot(), tmp_path / "rows", cutoff_us=START)


def test_rows_bear_every_key_and_the_messages_own_names_also_of_files_from_before(
    spark: SparkSession, tmp_path: Path
) -> None:
    message, label = _labelled("here", 0)
    message = replace(message, display_name="ann lee", thread="t1", campaign="c1", link_domain="far.example",
                      attachment="", structure="s1", recipients=("u@own.example", "v@own.example"),
                      recipient_domains=("own.example",))  # fmt: skip
    log = EventLog(tmp_path / "events")
    log.append([message, label])
    old = tmp_path / "old.parquet"
    before = EVENT_SCHEMA.names[: EVENT_SCHEMA.names.index("display_name")]
    table = events_to_table(_labelled("there", 0)).select([*before, "label"])
    pq.write_table(table, old)
    out = tmp_path / "rows"
    facts = FactSets(tmp_path / "facts", log).snapshot()
    facts = replace(facts, log=replace(facts.log, files=(*facts.log.files, str(old))))
    assert write_training_rows(spark, facts, out, cutoff_us=START + 9 * DAY_US) == 3
    rows = {(row["tenant"], row["recipient"]): row for row in spark.read.parquet(str(out)).collect()}
    row = rows["here", "v@own.example"]
    assert [row[fact] for fact in FACTS] == [getattr(message, fact) for fact in FACTS] and row["weight"] == 0.5
    for fact in MEMBERS:
        assert tuple(row[f"own__{fact}"]) == members_of(message, fact), fact
    row = rows["there", "u@own.example"]
    assert (row["display_name"], row["thread"], row["own__structure"], row["sender"]) == ("", "", [], "a@far.example")
