"""Training on little: what can be trained is, and all else is one sentence with what is there and the mend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.errors import DataError
from mailwarden.training.dataset import LabelledRows, labelled_rows
from mailwarden.training.prepare import check_rows
from mailwarden.training.split import split_by_time
from mailwarden.training.train import Trained, TrainingOptions, train
from mailwarden_detectors import discover

DETECTORS = discover()
GOOD, BAD = "ham", "CP"


def _mail(
    labels: Sequence[str], *, at_one_time: bool = False, words: bool = True
) -> tuple[LabelledRows, dict[str, FeatureTable]]:
    """A message of one recipient a label, in order of arrival."""
    n = len(labels)
    rows, order = labelled_rows(
        tenant=["acme"] * n,
        message_id=[f"{number:032x}" for number in range(n)],
        recipient=["u@acme.example"] * n,
        seq=np.arange(1, n + 1),
        at_us=np.zeros(n, dtype=np.int64) if at_one_time else np.arange(n, dtype=np.int64) * 60_000_000,
        labels=labels,
        weight=np.ones(n),
    )
    texts = [f"{'verify account' if label != GOOD else 'minutes meeting'} number{i}" for i, label in enumerate(labels)]
    tables = {}
    for name, kind in DETECTORS.items():
        columns: dict[str, Any] = {feature: np.full(n, np.nan) for feature in kind.features}
        for feature in ("content_text:subject", "content_text:new_text"):
            if feature in columns:
                columns[feature] = np.array([text if words else None for text in texts], dtype=object)
        tables[name] = FeatureTable(columns, n).take(order)
    return rows, tables


def _trained(labels: Sequence[str], **given: bool) -> Trained:
    return train(*_mail(labels, **given), DETECTORS, TrainingOptions(refit=False))


@pytest.mark.parametrize("labels", [
    [GOOD, BAD] * 2, [GOOD, BAD, GOOD, BAD, GOOD], [GOOD, BAD] * 5, [GOOD, GOOD, GOOD, BAD] * 4, [GOOD, BAD] * 25,
    [BAD, *[GOOD] * 48, BAD], [GOOD] * 20 + [BAD] * 3 + [GOOD, BAD], [GOOD, "EX", *[GOOD, BAD] * 6],
    [*[GOOD, BAD] * 6, GOOD, "EX"],
])  # fmt: skip
def test_a_few_of_both_kinds_can_be_trained_on_and_are_said_to_be_few(labels: list[str]) -> None:
    trained = _trained(labels)
    assert trained.evaluations["fused"].shared and trained.evaluations["fused"].as_json()["shared"]
    assert all(found["shared"] for found in trained.bundle.record["without"].values())
    if len(labels) < 50:
        assert trained.bundle.thresholds.banner == np.inf
        assert all("never, since there are" in words for words in trained.threshold_words)


def test_messages_of_one_time_are_taken_in_the_order_that_they_were_numbered() -> None:
    assert _trained([GOOD, BAD] * 10, at_one_time=True).bundle.record["messages"] == 20


def test_enough_messages_share_nothing() -> None:
    assert not _trained([GOOD, GOOD, BAD] * 100).evaluations["fused"].shared


@pytest.mark.parametrize(("labels", "words"), [
    ([], "No message has a label; training needs good and bad mail"),
    ([GOOD], "1 good and 0 bad messages have a label.*two of each at least. Label bad mail"),
    ([GOOD, BAD], "1 good and 1 bad messages"),
    ([GOOD, BAD, GOOD], "2 good and 1 bad messages.*Label bad mail"),
    ([GOOD] * 50, "50 good and 0 bad messages.*Label bad mail"),
    ([BAD] * 50, "0 good and 50 bad messages.*Label good mail"),
    ([BAD] * 10 + [GOOD] * 40, "40 good and 10 bad messages have a label, all bad ones before all others"),
    ([GOOD] * 40 + [BAD] * 10, "all good ones before all others.*Label both kinds over the same time"),
])  # fmt: skip
def test_what_cannot_be_trained_on_is_one_sentence_with_the_mend(labels: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words) as raised:
        _trained(labels)
    assert "`mailwarden starter` builds models that need no labels" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_class_that_is_rare_is_cut_where_both_sides_have_some() -> None:
    """None of the usual shares leaves a bad message behind the cut."""
    bad = np.array([True, False] * 3 + [False] * 60)
    split = split_by_time(bad)
    assert bad[split.fit].any() and bad[split.held_out].any()


def test_mail_whose_features_were_never_computed_is_no_traceback() -> None:
    with pytest.raises(DataError, match=r"message_text needs words.*mailwarden materialize"):
        _trained([GOOD, GOOD, GOOD, BAD] * 4, words=False)


def test_rows_are_looked_at_before_their_features_are_asked_for(tmp_path: Path) -> None:
    def written(labels: Sequence[str]) -> Path:
        n = len(labels)
        path = tmp_path / f"{n}-{len(set(labels))}"
        path.mkdir()
        table = pa.table({
            "tenant": ["acme"] * n, "message_id": [f"{i:032x}" for i in range(n)], "recipient": ["u@acme.example"] * n,
            "seq": pa.array(range(1, n + 1), pa.int64()),
            "event_timestamp": pa.array([i * 60_000_000 for i in range(n)], pa.timestamp("us", "UTC")),
            "label": list(labels), "weight": [1.0] * n,
        })  # fmt: skip
        pq.write_table(table, path / "rows.parquet")
        return path

    check_rows(written([GOOD, BAD] * 3))
    with pytest.raises(DataError, match="5 good and 0 bad messages"):
        check_rows(written([GOOD] * 5))


def test_a_detector_that_fails_in_any_way_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("nothing to divide by")

    monkeypatch.setattr(DETECTORS["header_rules"], "fit", fail)
    with pytest.raises(DataError, match=r"header_rules cannot learn from \d+ messages \(nothing to divide by\)"):
        _trained([GOOD, BAD] * 5)
