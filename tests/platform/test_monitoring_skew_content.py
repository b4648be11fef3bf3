"""Skew of content: logged values against what the serving code makes of raw mail, each kind of wrong found as such."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from mailwarden.domain.mail.content import ContentSet, ContentValue, ContentView
from mailwarden.domain.mail.events import message_identity
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Envelope, Message
from mailwarden.domain.status import Status
from mailwarden.ingest.parse import parse_message
from mailwarden.monitoring.skew import read_vectors
from mailwarden.monitoring.skew_content import measure_content_skew, read_raw
from mailwarden.monitoring.skew_report import SkewReport
from mailwarden.stores.content_code import content_set
from mailwarden.stores.lake.raw_mail import RawMail, RawRow
from mailwarden.stores.lake.vector_log import VectorLog
from mailwarden.stores.lists import load_lists
from mailwarden_features import discover

CONTENT = content_set(discover().content, load_lists())
AT_US = 1_709_640_000_000_000
N = 6
RCPT = ("lee@corp.example", "kim@corp.example")
LINKS, TEXT, AUTH = "content_links", "content_text", "content_authentication"
NUMBERS = [(view, feature) for view in CONTENT.views for feature in view.features if not feature.text]


def raw_of(number: int) -> RawRow:
    raw = (
        f"From: Ann <ann{number}@parts.example>\r\nSubject: RE: invoice {number}\r\n"
        f"Authentication-Results: mx.corp.example; spf=pass smtp.mailfrom=parts.example\r\n\r\n"
        f"Please pay https://bit.ly/{number} now, {'urgently ' * number}\r\n"
    ).encode()
    sha, at = hashlib.sha256(raw).hexdigest(), AT_US + number * 1_000_000
    return RawRow("acme", sha, message_identity("acme", sha, at, None, RCPT), at, None, RCPT, "envelope", raw)


def fail(view: ContentView, exc: Exception) -> None:
    raise exc


def logged(row: RawRow, seq: int) -> list[dict[str, Any]]:
    """What scoring logs of a message: a row a recipient, alike but for the recipient."""
    envelope = Envelope(row.received_at_us, None, RCPT)
    parsed = parse_message(row.raw, envelope, trusted_authserv_ids=frozenset({"mx.corp.example"}))
    found = CONTENT.values_of(parsed, fail)
    one: dict[str, Any] = {
        "tenant": "acme", "seq": seq, "message_id": row.message_id, "sender": "", "sender_domain": "",
        "received_at": row.received_at_us, "decision_id": f"d{seq}",
    }  # fmt: skip
    for view in CONTENT.views:
        one |= {
            f"{view.name}__status": found.status[view.name].value, f"{view.name}__version": view.version,
            f"{view.name}__fingerprint": CONTENT.fingerprints[view.name],
        }  # fmt: skip
        for feature, value in zip(view.features, found.values[view.name], strict=True):
            if not feature.text:
                one[f"{view.name}__{feature.name}"] = value
    return [one | {"recipient": name} for name in RCPT]


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    types = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}
    kinds = {f"{view.name}__{feature.name}": types[feature.dtype] for view, feature in NUMBERS}
    kinds |= {"seq": pa.int64(), "received_at": pa.timestamp("us", tz="UTC")}
    kinds |= {f"{view.name}__{name}": pa.int64() for view in CONTENT.views for name in ("version", "fingerprint")}
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: pa.array([row.get(name) for row in rows], kinds.get(name, pa.string())) for name in names})


Measure = Callable[..., SkewReport]
ROWS = [raw_of(number) for number in range(N)]


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    return [row for seq, raw in enumerate(ROWS, 1) for row in logged(raw, seq)]


@pytest.fixture
def measure(spark: SparkSession, tmp_path: Path) -> Measure:
    # Nested, so that it travels to the workers by value.
    def by_value(tenant: str, raw: bytes, envelope: Envelope) -> Message:
        return parse_message(raw, envelope, trusted_authserv_ids=frozenset({"mx.corp.example"}))

    def run(*parts: list[dict[str, Any]], content: ContentSet = CONTENT, raw: list[RawRow] = ROWS) -> SkewReport:
        mail, log = RawMail(tmp_path / "raw"), VectorLog(tmp_path / "vectors")
        mail.append(raw)
        for part in parts:
            log.append(table_of(part))
        vectors = read_vectors(spark, log.snapshot())
        return measure_content_skew(read_raw(spark, mail.snapshot()), vectors, content, by_value, tmp_path / "run")

    return run


def test_what_was_logged_is_what_the_raw_mail_gives(measure: Measure, rows: list[dict[str, Any]]) -> None:
    report = measure(rows[:5], rows[5:])
    assert report.examples == ()
    assert (report.mismatches, report.status_mismatches, report.changed, report.gone) == (0, 0, 0, 0)
    assert report.agrees and report.vectors == 2 * N
    assert {(line.view, line.feature) for line in report.features} == {(v.name, f.name) for v, f in NUMBERS}
    assert {line.compared for line in report.features} == {2 * N}
    assert {line.view: line.statuses for line in report.views}[LINKS] == {"present": 2 * N}


def test_each_kind_of_wrong_is_counted_as_what_it_is(measure: Measure, rows: list[dict[str, Any]]) -> None:
    rows[0][f"{LINKS}__url_count"] += 1
    rows[1][f"{LINKS}__url_count"] = None
    rows[2][f"{LINKS}__url_path_entropy_max"] += 2**-50  # one bit
    rows[3][f"{AUTH}__dmarc"] = "pass"
    rows[4][f"{AUTH}__spf"] = "fail"
    rows[5][f"{TEXT}__status"] = "damaged"
    # What the clock ended has its own values, which nothing makes again; that it was ended is not doubted.
    rows[6][f"{TEXT}__status"], rows[6][f"{TEXT}__urgency_terms"] = "deadline", 77
    report = measure(rows)
    by_name = {(line.view, line.feature): line for line in report.features}
    count = by_name[LINKS, "url_count"]
    assert (count.mismatches, count.null_logged, count.null_recomputed) == (2, 1, 0)
    assert by_name[LINKS, "url_path_entropy_max"].mismatches == 1
    assert (by_name[AUTH, "dmarc"].null_recomputed, by_name[AUTH, "spf"].mismatches) == (1, 1)
    assert report.mismatches == 5 and report.status_mismatches == 1 and not report.agrees
    assert by_name[TEXT, "urgency_terms"].compared == 2 * N - 1
    assert {view.view: view.status_mismatches for view in report.views}[TEXT] == 1
    shown = {(example["view"], example["feature"], example["seq"]) for example in report.examples}
    assert {(AUTH, "spf", 3), (LINKS, "url_count", 1)} <= shown


def test_rows_of_other_code_lists_or_versions_are_flagged_and_not_compared(
    measure: Measure, rows: list[dict[str, Any]]
) -> None:
    for row in rows[:3]:
        row[f"{LINKS}__fingerprint"] = 5
        row[f"{LINKS}__url_count"] = 99
    for row in rows[3:5]:
        row[f"{LINKS}__version"] = 7
        row[f"{LINKS}__url_count"] = 99
    # Logged before content was: the columns are not there at all.
    bare = [{name: value for name, value in row.items() if "__" not in name} for row in rows[:4]]
    report = measure(bare, rows)
    line = {view.view: view for view in report.views}[LINKS]
    assert (line.changed, line.other_versions, line.compared) == (3, {0: 4, 7: 2}, 2 * N - 5)
    assert line.rows == report.vectors == 2 * N + 4
    assert report.mismatches == 0 and report.agrees and report.changed == 3
    assert report.as_json()["changed"] == 3


def test_changed_code_is_flagged_by_its_fingerprint_whatever_it_gives(
    measure: Measure, rows: list[dict[str, Any]]
) -> None:
    other = ContentSet(CONTENT.views, load_lists(), CONTENT.fingerprints | {TEXT: 1})
    report = measure(rows, content=other)
    lines = {view.view: view for view in report.views}
    assert (lines[TEXT].changed, lines[TEXT].compared, lines[LINKS].compared) == (2 * N, 0, 2 * N)


def test_mail_that_is_gone_is_counted_apart(measure: Measure, rows: list[dict[str, Any]]) -> None:
    report = measure(rows, raw=ROWS[2:])
    assert {(view.gone, view.compared) for view in report.views} == {(4, 2 * N - 4)}
    assert report.gone == 4 and report.agrees
    assert all(view.rows == view.compared + view.gone for view in report.views)


def test_with_no_raw_mail_at_all_nothing_is_compared_and_nothing_agreed(
    measure: Measure, rows: list[dict[str, Any]]
) -> None:
    report = measure(rows, raw=[])
    assert report.gone == 2 * N and not report.agrees and report.features == ()


def test_a_view_that_fails_fails_again_and_agrees(measure: Measure, rows: list[dict[str, Any]]) -> None:
    def failing(message: Message, lists: Lists) -> dict[str, ContentValue]:
        raise ValueError("no")

    views = tuple(replace(view, compute=failing) if view.name == LINKS else view for view in CONTENT.views)
    for row in rows:
        row[f"{LINKS}__status"] = Status.DAMAGED.value
        row |= {f"{view.name}__{feature.name}": None for view, feature in NUMBERS if view.name == LINKS}
    report = measure(rows, content=ContentSet(views, load_lists(), CONTENT.fingerprints))
    assert report.agrees and {view.view: view.statuses for view in report.views}[LINKS] == {"damaged": 2 * N}
