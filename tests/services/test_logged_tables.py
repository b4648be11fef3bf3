"""Accepted messages as rows of the logs: content alike for all recipients, texts apart, older records without."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.dataset as ds

from mailwarden.domain.mail.content import ContentFeature, ContentSet, ContentView
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.lists import NO_LISTS
from mailwarden.stores.accepted import NO_CONTENT, AcceptedMessage, LoggedContent, LoggedRow
from mailwarden.stores.lake.texts import Texts
from mailwarden.stores.lake.vector_log import VectorLog
from mailwarden.testing.messages import message_of
from mailwarden_features.discovery import discover
from mailwarden_services.feature_writer.logged_tables import text_table, vector_table

VIEW = ContentView(
    "content_words", 2, "tests", "",
    (ContentFeature("subject", "string", "", "", "", text=True), ContentFeature("verdict", "string", "", "", ""),
     ContentFeature("length", "int64", "", "", ""), ContentFeature("share", "float64", "", "", "")),
    lambda message, lists: {"subject": message.subject, "verdict": "pass", "length": 2**53 + 1, "share": None},
    ("text",), 1.0,
)  # fmt: skip
VIEWS = {view.name: view for view in discover().activity}
CONTENT = ContentSet((VIEW,), NO_LISTS, {VIEW.name: 77})
DAY_US = 86_400_000_000


def accepted(seq: int, subject: str = "hello") -> AcceptedMessage:
    event = Event("acme", seq, "message", f"m{seq}", seq * DAY_US, seq * DAY_US, "envelope", "inbound", "", "", (), ())
    found = CONTENT.values_of(message_of(subject=subject), lambda view, exc: None)
    rows = tuple(LoggedRow(name, {}, {}, {}, {}) for name in ("a@x.example", "b@x.example"))
    return AcceptedMessage(
        event, b"", None, (), rows, {"decision_id": f"d{seq}"}, None, LoggedContent.of(CONTENT, found)
    )


def test_content_is_logged_with_every_row_in_its_own_type_and_texts_apart(tmp_path: Path) -> None:
    log = VectorLog(tmp_path / "vectors")
    log.append(vector_table([accepted(1)], (), (VIEW,)))
    table = log.scan().read_all()
    assert table.num_rows == 2 and "content_words__subject" not in table.column_names
    expected = {"verdict": "pass", "length": 2**53 + 1, "share": None, "status": "present", "version": 2,
                "fingerprint": 77, "texts": 1}  # fmt: skip
    for row in table.to_pylist():
        assert {name: row[f"content_words__{name}"] for name in expected} == expected
    assert table.schema.field("content_words__length").type == pa.int64()
    assert table.schema.field("content_words__share").type == pa.float64()


def test_records_and_logs_from_before_content_are_read_on(tmp_path: Path) -> None:
    log = VectorLog(tmp_path / "vectors")
    log.append(vector_table([replace(accepted(1), content=NO_CONTENT)], (), ()))
    log.append(vector_table([replace(accepted(2), content=NO_CONTENT), accepted(3)], (), (VIEW,)))
    found = {(row["seq"], row["content_words__version"], row["content_words__verdict"]) for row in rows_of(log)}
    assert found == {(1, None, None), (2, None, None), (3, 2, "pass")}


def rows_of(log: VectorLog) -> list[dict[str, object]]:
    return [dict(row) for row in log.scan().read_all().to_pylist()]


def test_values_of_another_version_are_not_given_this_ones_names(tmp_path: Path) -> None:
    newer = replace(VIEW, version=3, features=VIEW.features[1:])
    (row, _) = vector_table([accepted(1)], (), (newer,)).to_pylist()
    assert (row["content_words__version"], row["content_words__fingerprint"]) == (2, 77)
    assert row["content_words__verdict"] is None and row["content_words__length"] is None
    assert "content_words__texts" not in row
    (row, _) = vector_table([accepted(1)], (), (replace(VIEW, version=3),)).to_pylist()
    assert row["content_words__texts"] is None
    assert text_table([accepted(1)], (replace(VIEW, version=3),)).num_rows == 0


def test_history_that_a_former_release_served_is_logged_under_the_version_that_it_had(tmp_path: Path) -> None:
    grown, come = VIEWS["sender_domain_activity"], VIEWS["campaign_activity"]
    former = LoggedRow(
        "a@x.example", {grown.name: [1.0, 2.0]}, {grown.name: 7}, {grown.name: "present"}, {grown.name: 2}
    )
    record = replace(accepted(8), rows=(former,))
    (row,) = vector_table([record], (grown, come), ()).to_pylist()
    assert (row[f"{grown.name}__version"], row[f"{grown.name}__as_of_seq"], row[f"{grown.name}__facts"]) == (2, 7, 0)
    assert {row[f"{grown.name}__{feature.name}"] for feature in grown.features} == {None}
    assert row[f"{come.name}__version"] is row[f"{come.name}__status"] is None
    assert VectorLog(tmp_path / "vectors").append(vector_table([record], (grown, come), ())) == 1


def test_texts_are_a_row_a_message_and_go_when_raw_mail_does(tmp_path: Path) -> None:
    path = tmp_path / "texts"
    texts = Texts(path)
    messages = [accepted(1, "first"), accepted(2, ""), accepted(3, "third")]
    assert texts.append(text_table(messages, (VIEW,)), batch_id=("writer", 5)) == 3
    assert texts.append(text_table(messages, (VIEW,)), batch_id=("writer", 5)) == 0
    assert texts.last_batch("writer") == 5
    kept = deltalake.DeltaTable(path).to_pyarrow_dataset().to_table(filter=ds.field("seq") != 2).to_pylist()
    said = {(row["seq"], row["view"], row["feature"], row["value"], row["version"], row["fingerprint"]) for row in kept}
    assert said == {(1, "content_words", "subject", "first", 2, 77), (3, "content_words", "subject", "third", 2, 77)}
    wanted = {
        (row["message_id"], row["value"]) for row in texts.scan("content_words", "subject").read_all().to_pylist()
    }
    assert wanted == {("m1", "first"), ("m2", ""), ("m3", "third")}
    assert texts.scan("content_words", "length").read_all().num_rows == 0
    assert Texts(tmp_path / "none").scan("content_words", "subject").read_all().num_rows == 0
    texts.drop_before(datetime.date(1970, 1, 4))
    assert {row["seq"] for row in deltalake.DeltaTable(path).to_pyarrow_table().to_pylist()} == {3}
