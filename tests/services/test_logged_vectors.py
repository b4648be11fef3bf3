"""What detectors read of a logged vector is what they read when it was served, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.aggregates.definitions import ActivityView, Feature, History
from mailwarden.domain.detection.rows import FeatureTable, MatrixColumns
from mailwarden.domain.mail.content import ContentFeature, ContentSet, ContentValues, ContentView
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.lists import NO_LISTS
from mailwarden.domain.status import CODES, Status
from mailwarden.errors import DataError
from mailwarden.scoring.logged import LoggedPlan, starts_of
from mailwarden.scoring.rescore import whole_messages, with_texts
from mailwarden.scoring.scorer import RowPlan, logged_rows
from mailwarden.stores.accepted import AcceptedMessage, LoggedContent, decode_accepted, encode_accepted
from mailwarden.stores.online.reader import VectorSet
from mailwarden_services.feature_writer.logged_tables import text_table, vector_table


def view(name: str, features: int) -> ActivityView:
    return ActivityView(
        name, 3, "tests", "", ("sender",), "participants", (), (), (),
        tuple(Feature(f"f{number}", History(), "", "") for number in range(features)),
    )  # fmt: skip


HISTORY = (view("sender_activity", 3), view("relationship", 1))
CONTENT = (
    ContentView(
        "content_words", 2, "tests", "",
        (ContentFeature("subject", "string", "", "", "", text=True), ContentFeature("verdict", "string", "", "", ""),
         ContentFeature("length", "int64", "", "", ""), ContentFeature("share", "float64", "", "", ""),
         ContentFeature("text", "string", "", "", "", text=True)),
        dict, ("text",), 1.0,
    ),
    ContentView("content_links", 5, "tests", "", (ContentFeature("urls", "int64", "", "", ""),), dict, ("links",), 1.0),
)  # fmt: skip
VIEWS = ContentSet(CONTENT, NO_LISTS, {"content_words": 7, "content_links": 8})

floats = st.floats(allow_infinity=False)
words = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
numbers = st.none() | st.integers(-(2**63), 2**63 - 1)


@st.composite
def served(draw: Any) -> list[tuple[ContentValues, VectorSet]]:
    found = []
    for _ in range(draw(st.integers(1, 5))):
        n = draw(st.integers(1, 4))
        recipients = tuple(f"r{number}@own.example" for number in range(n)) if draw(st.booleans()) else ("",) * (n == 1)
        recipients = recipients or ("a@own.example",)
        n = len(recipients)
        content = ContentValues(
            {
                "content_words": (draw(words), draw(words), draw(numbers), draw(st.none() | floats.filter(np.isfinite)),
                                  draw(words)),
                "content_links": (draw(numbers),),
            },
            {name: draw(st.sampled_from(Status)) for name in ("content_words", "content_links")},
        )  # fmt: skip
        values = {
            one.name: np.array([[draw(floats) for _ in one.features] for _ in recipients]).reshape(n, -1)
            for one in HISTORY
        }
        status = {one.name: tuple(draw(st.sampled_from(Status)) for _ in recipients) for one in HISTORY}
        seqs = {one.name: np.zeros(n, dtype=np.int64) for one in HISTORY}
        found.append((content, VectorSet(recipients, values, seqs, {}, status, None)))
    return found


def accepted(seq: int, content: ContentValues, vectors: VectorSet) -> AcceptedMessage:
    """As the spool gives it back."""
    event = Event("acme", seq, "message", f"m{seq}", seq, seq, "envelope", "inbound", "", "", vectors.recipients, ())
    record = AcceptedMessage(
        event, b"", None, (), logged_rows(vectors, HISTORY), {"decision_id": f"d{seq}"}, None,
        LoggedContent.of(VIEWS, content),
    )  # fmt: skip
    back = decode_accepted(encode_accepted(record))
    assert isinstance(back, AcceptedMessage)
    return back


def logged(messages: list[AcceptedMessage], texts: tuple[str, ...]) -> pa.Table:
    """Rows of the vector log as they lie beside texts in a Spark worker: sorted, texts in rows of their own."""
    vectors, said = vector_table(messages, HISTORY, CONTENT), text_table(messages, CONTENT)
    names = [f"{row['view']}__{row['feature']}" for row in said.to_pylist()]
    beside = said.select(["tenant", "seq"])
    beside = beside.append_column("text__column", pa.array(names, pa.string())).append_column(
        "text__value", said["value"]
    )
    rows = pa.concat_tables([vectors, beside], promote_options="default")
    return rows.sort_by([("tenant", "ascending"), ("seq", "ascending")])


def same(one: FeatureTable, other: FeatureTable) -> None:
    assert isinstance(one.columns, MatrixColumns) and isinstance(other.columns, MatrixColumns)
    assert one.columns.places.numeric == other.columns.places.numeric
    assert one.columns.places.texts == other.columns.places.texts
    # Of what is no number the bits say nothing.
    here, there = (np.where(np.isnan(t.columns.matrix), np.nan, t.columns.matrix) for t in (one, other))
    assert here.tobytes() == there.tobytes()
    assert one.columns.texts.tolist() == other.columns.texts.tolist()
    assert one.statuses.keys() == other.statuses.keys()
    for name in one.statuses:
        assert one.statuses[name].dtype == other.statuses[name].dtype == np.uint8
        assert one.statuses[name].tolist() == other.statuses[name].tolist()


@settings(max_examples=150, deadline=None)
@given(served(), st.integers(1, 7))
def test_detectors_read_of_the_log_what_they_read_when_it_was_served(
    drawn: list[tuple[ContentValues, VectorSet]], size: int
) -> None:
    plan = LoggedPlan(HISTORY, CONTENT)
    messages = [accepted(seq, content, vectors) for seq, (content, vectors) in enumerate(drawn, 1)]
    batches = logged(messages, plan.texts).combine_chunks().to_batches(max_chunksize=size)
    tables = [with_texts(rows, plan.texts) for rows in whole_messages(iter(batches))]
    number = 0
    for rows in tables:
        starts = starts_of(rows)
        table = plan.table(rows.combine_chunks())
        for start, stop in pairwise(starts):
            same(table.take(np.arange(start, stop)), RowPlan(HISTORY, VIEWS).table(*drawn[number]))
            number += 1
        assert not any(mark.any() for mark in (*plan.texts_gone(rows).values(), *plan.other_version(rows).values()))
    assert number == len(drawn)


@pytest.fixture
def one() -> AcceptedMessage:
    content = ContentValues(
        {"content_words": ("hi", "pass", 2**53 + 1, None, ""), "content_links": (3,)},
        {"content_words": Status.PRESENT, "content_links": Status.PRESENT},
    )
    values = {one.name: np.ones((1, len(one.features))) for one in HISTORY}
    status = {one.name: (Status.PRESENT,) for one in HISTORY}
    seqs = {one.name: np.zeros(1, dtype=np.int64) for one in HISTORY}
    return accepted(1, content, VectorSet(("a@own.example",), values, seqs, {}, status, None))


def rows_of(messages: list[AcceptedMessage]) -> pa.Table:
    plan = LoggedPlan(HISTORY, CONTENT)
    return with_texts(logged(messages, plan.texts), plan.texts).combine_chunks()


def test_a_view_that_a_row_is_older_than_is_unavailable_and_no_other_version(one: AcceptedMessage) -> None:
    rows = rows_of([one])
    older = rows.drop_columns(
        [name for name in rows.column_names if name.startswith(("relationship", "content_words"))]
    )
    plan = LoggedPlan(HISTORY, CONTENT)
    table = plan.table(older)
    hidden = CODES[Status.UNAVAILABLE]
    assert {name: codes.tolist() for name, codes in table.statuses.items()} == {
        "content_words": [hidden], "content_links": [0], "sender_activity": [0], "relationship": [hidden],
    }  # fmt: skip
    assert np.isnan(table.columns["relationship:f0"]).all() and table.columns["content_words:verdict"].tolist() == [
        None
    ]
    assert table.columns["content_links:urls"].tolist() == [3.0]
    assert not any(mark.any() for mark in plan.other_version(older).values())
    assert not plan.texts_gone(older)["content_words"].any()


def test_booleans_and_dictionaries_are_read_as_what_they_stand_for(one: AcceptedMessage) -> None:
    rows = rows_of([one])
    at = rows.schema.get_field_index("content_links__urls")
    rows = rows.set_column(at, "content_links__urls", pa.array([True]))
    at = rows.schema.get_field_index("content_links__status")
    rows = rows.set_column(at, "content_links__status", pa.array(["damaged"]).dictionary_encode())
    table = LoggedPlan(HISTORY, CONTENT).table(rows)
    assert table.columns["content_links:urls"].tolist() == [1.0]
    assert table.statuses["content_links"].tolist() == [CODES[Status.DAMAGED]]
    strange = rows.set_column(at, "content_links__status", pa.array(["unheard_of"]))
    with pytest.raises(DataError, match=r"content_links__status .*unheard_of"):
        LoggedPlan(HISTORY, CONTENT).table(strange)


def test_texts_that_are_kept_no_longer_are_told_from_texts_that_never_were(one: AcceptedMessage) -> None:
    plan = LoggedPlan(HISTORY, CONTENT)
    none = replace(one, event=replace(one.event, seq=2))
    none = replace(none, content=replace(one.content, values={**one.content.values, "content_words": [None] * 5}))
    rows = logged([one, none], plan.texts)
    there = with_texts(rows, plan.texts)
    assert plan.texts_gone(there)["content_words"].tolist() == [False, False]
    kept = rows.filter(pa.array([value is None for value in rows["text__value"].to_pylist()]))
    gone = with_texts(kept, plan.texts)
    assert plan.texts_gone(gone)["content_words"].tolist() == [True, False]
    # One of two is too few; and a row of a release that did not count had some.
    some = rows.filter(pa.array([name != "content_words__text" for name in rows["text__column"].to_pylist()]))
    assert plan.texts_gone(with_texts(some, plan.texts))["content_words"].tolist() == [True, False]
    uncounted = gone.drop_columns(["content_words__texts"])
    assert plan.texts_gone(uncounted)["content_words"].tolist() == [True, True]


def test_rows_of_other_versions_are_told_by_view(one: AcceptedMessage) -> None:
    rows = rows_of([one])
    newer = LoggedPlan((replace(HISTORY[0], version=4), HISTORY[1]), CONTENT)
    assert {name for name, mark in newer.other_version(rows).items() if mark.any()} == {"sender_activity"}
    learned = LoggedPlan(HISTORY, CONTENT, learned={"content_links": 4, "relationship": 3, "elsewhere": 1})
    assert {name for name, mark in learned.other_version(rows).items() if mark.any()} == {"content_links"}


def test_a_plan_of_some_features_reads_their_columns_alone() -> None:
    plan = LoggedPlan(HISTORY, CONTENT, features={"content_words:subject", "relationship:f0"})
    assert set(plan.columns) == {
        "content_words__status", "content_words__version", "content_words__texts", "relationship__status",
        "relationship__version", "relationship__f0",
    }  # fmt: skip
    # Whether texts are gone is told by all of a view's.
    assert plan.texts == ("content_words__subject", "content_words__text")
    assert plan.features == {"content_words:subject", "relationship:f0"}
