from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import pytest
from feast import FeatureService, FeatureStore
from pyspark.sql import SparkSession

from mailwarden.domain.aggregates.definitions import ActivityView, Age, Extreme, Feature, History, Measure, Total
from mailwarden.domain.aggregates.windows import DAY_US, W_ALL
from mailwarden.domain.mail.events import Event
from mailwarden.domain.status import CODES, Status
from mailwarden.errors import DataError
from mailwarden.settings import Settings
from mailwarden.stores.feast.objects import ENTITIES, feature_view_of
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets, FactSnapshot
from mailwarden.training.prepare import prepare, read_set
from mailwarden.training.rows import write_training_rows
from mailwarden_detectors.header_rules.detector import HeaderRules

START = 1_700_000_000_000_000

VIEW = ActivityView(
    "senders", 1, "tests", "", ("sender",), "participants",
    (Measure("messages", where=("forward",)), Measure("bad", of="labelled_bad", where=("forward",), on="label")),
    (Extreme("first", "first", where=("forward",)),),
    (),
    (
        Feature("history", History(), "seen before", "0 or 1"),
        Feature("messages_all", Total("messages", W_ALL), "messages", "messages"),
        Feature("bad_all", Total("bad", W_ALL), "labelled bad", "messages"),
        Feature("days_known", Age("first"), "age", "days"),
    ),
)  # fmt: skip


class _Counts(HeaderRules):
    name: ClassVar[str] = "counts"
    features: ClassVar[tuple[str, ...]] = ("senders:messages_all", "senders:bad_all", "senders:days_known")


class _Seen(HeaderRules):
    name: ClassVar[str] = "seen"
    features: ClassVar[tuple[str, ...]] = ("senders:history",)


def _message(seq: int, sender: str, day: float, recipients: tuple[str, ...], tenant: str = "acme") -> Event:
    at_us = START + int(day * DAY_US)
    return Event(tenant, seq, "message", f"{seq:032x}", at_us, at_us, "envelope", "inbound", sender, "far.example",
                 recipients, ("acme.example",))  # fmt: skip


def _label(seq: int, of: Event, day: float, label: str, change: int) -> Event:
    return Event(of.tenant, seq, "label", of.message_id, of.received_at_us, START + int(day * DAY_US), "given",
                 "inbound", of.sender, of.sender_domain, of.recipients, of.recipient_domains, label=label,
                 labelled_bad=change)  # fmt: skip


def _events() -> list[Event]:
    a1 = _message(1, "a@far.example", 0.0, ("u@acme.example",))
    b1 = _message(2, "b@far.example", 0.5, ())
    a2 = _message(4, "a@far.example", 2.0, ("u@acme.example", "v@acme.example"))
    a3 = _message(7, "a@far.example", 4.0, ("u@acme.example",))
    never = _message(9, "c@far.example", 5.0, ("u@acme.example",))
    other = _message(1, "a@far.example", 0.0, ("x@other.example",), tenant="other")
    return [
        a1, b1, _label(3, a1, 1.0, "spam", 1), a2, _label(5, b1, 2.5, "ham", 0), _label(6, a2, 3.0, "CP", 1), a3,
        _label(8, a3, 4.5, "SP", 1), never, _label(10, a1, 6.0, "ham", -1), _label(11, never, 9.0, "SP", 1),
        other, _label(2, other, 1.0, "ham", 0),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def settings(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    found = Settings(home=tmp_path_factory.mktemp("training"))
    EventLog(found.events_path).append(_events())
    return found


@pytest.fixture(scope="module")
def store(settings: Settings) -> FeatureStore:
    view = feature_view_of(VIEW)
    services = [
        FeatureService(name=kind.name, features=[view[[name.partition(":")[2] for name in kind.features]]])
        for kind in (_Counts, _Seen)
    ]
    return open_feature_store(settings, [*ENTITIES, view, *services])


def _facts(settings: Settings) -> FactSnapshot:
    return FactSets(settings.facts_path, EventLog(settings.events_path)).snapshot()


def test_labels_known_by_the_cutoff_give_rows_one_a_recipient(
    spark: SparkSession, settings: Settings, tmp_path: Path
) -> None:
    n = write_training_rows(spark, _facts(settings), tmp_path / "rows", cutoff_us=START + 5 * DAY_US, tenant="acme")
    found = pd.read_parquet(tmp_path / "rows").sort_values(["seq", "recipient"])
    rows = list(zip(found["seq"], found["recipient"], found["label"], found["weight"], strict=True))
    assert n == 5
    assert rows == [
        (1, "u@acme.example", "spam", 1.0),
        (2, "", "ham", 1.0),
        (4, "u@acme.example", "CP", 0.5),
        (4, "v@acme.example", "CP", 0.5),
        (7, "u@acme.example", "SP", 1.0),
    ]


def test_a_correction_known_by_the_cutoff_wins_and_other_tenants_count_where_asked(
    spark: SparkSession, settings: Settings, tmp_path: Path
) -> None:
    n = write_training_rows(spark, _facts(settings), tmp_path / "rows", cutoff_us=START + 6 * DAY_US)
    found = pd.read_parquet(tmp_path / "rows")
    assert n == 6
    assert found[(found["tenant"] == "acme") & (found["seq"] == 1)]["label"].tolist() == ["ham"]
    assert found[found["tenant"] == "other"]["label"].tolist() == ["ham"]


def test_a_limit_draws_the_same_whole_messages_each_time(spark: SparkSession, tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    mail = [_message(seq, "a@far.example", 0.0, ("u@acme.example", "v@acme.example")) for seq in range(1, 201)]
    log.append([*mail, *(_label(of.seq + 200, of, 1.0, "ham", 0) for of in mail)])
    drawn = []
    for name in ("first", "second"):
        facts = FactSets(tmp_path / "facts", log).snapshot()
        n = write_training_rows(spark, facts, tmp_path / name, cutoff_us=START + 2 * DAY_US, limit=200)
        found = pd.read_parquet(tmp_path / name)
        assert 140 < n < 260
        assert (found.groupby("message_id").size() == 2).all()
        drawn.append(set(found["message_id"]))
    assert drawn[0] == drawn[1]


def test_no_label_by_the_cutoff_is_said(spark: SparkSession, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="known by the cut-off"):
        write_training_rows(spark, _facts(settings), tmp_path / "rows", cutoff_us=START)
    with pytest.raises(DataError, match="event log is empty"):
        nothing = FactSets(tmp_path / "facts", EventLog(tmp_path / "nothing")).snapshot()
        write_training_rows(spark, nothing, tmp_path / "none", cutoff_us=START)


def test_sets_hold_what_was_known_when_each_message_came(
    spark: SparkSession, settings: Settings, store: FeatureStore, tmp_path: Path
) -> None:
    kinds: dict[str, Any] = {"counts": _Counts, "seen": _Seen}
    write_training_rows(spark, _facts(settings), tmp_path / "rows", cutoff_us=START + 5 * DAY_US, tenant="acme")
    found = prepare(store, tmp_path / "rows", kinds, tmp_path / "sets")
    rows, counts = found.rows, found.features["counts"]
    assert rows.seq.tolist() == [1, 2, 4, 4, 7]
    assert rows.at_us.tolist() == [START + int(day * DAY_US) for day in (0.0, 0.5, 2.0, 2.0, 4.0)]
    assert rows.labels == ("spam", "ham", "CP", "CP", "SP")
    assert rows.weight.tolist() == [1.0, 1.0, 0.5, 0.5, 1.0]
    assert rows.message.tolist() == [0, 1, 2, 2, 3]
    nan = np.nan
    # Labels of seq 3 and 6 were known to the messages behind them; neither the correction nor the message itself was.
    np.testing.assert_array_equal(counts.columns["senders:messages_all"], [nan, nan, 1, 1, 2])
    np.testing.assert_array_equal(counts.columns["senders:bad_all"], [nan, nan, 1, 1, 2])
    np.testing.assert_array_equal(counts.columns["senders:days_known"], [nan, nan, 2, 2, 4])
    assert found.features["seen"].columns["senders:history"].tolist() == [0, 0, 1, 1, 1]


class _Told:
    """A store that answers from a file and keeps what it was asked."""

    def __init__(self, store: FeatureStore, answer: Path) -> None:
        self.get_feature_service = store.get_feature_service
        self._answer = answer
        self.asked: list[list[str]] = []

    def get_historical_features(self, *, entity_df: str, features: list[str], full_feature_names: bool) -> Any:
        assert full_feature_names
        self.asked.append(features)
        return self

    def with_statuses(self) -> Self:
        return self

    def to_parquet(self, path: str) -> None:
        Path(path).mkdir(parents=True)
        (Path(path) / "part.parquet").write_bytes(self._answer.read_bytes())


def test_all_detectors_are_asked_for_at_once_and_other_rows_back_are_refused(
    store: FeatureStore, tmp_path: Path
) -> None:
    kinds: dict[str, Any] = {"counts": _Counts, "seen": _Seen}
    columns: dict[str, Any] = {
        f"senders__{name}": [1.0, 2.0, 3.0] for name in ("history", "messages_all", "bad_all", "days_known")
    }
    columns["senders__status"] = ["present", "stale", "unavailable"]
    answer = _set(tmp_path / "answer.parquet", **columns)
    told = _Told(store, answer)
    found = prepare(told, answer, kinds, tmp_path / "sets")
    assert told.asked == [[f"senders:{name}" for name in ("messages_all", "bad_all", "days_known", "history")]]
    assert found.features["seen"].columns["senders:history"].tolist() == [3.0, 2.0, 1.0]
    codes = [CODES[status] for status in (Status.UNAVAILABLE, Status.STALE, Status.PRESENT)]
    assert found.features["seen"].status("senders").tolist() == codes
    fewer = pd.read_parquet(answer).iloc[:2]
    fewer.to_parquet(tmp_path / "fewer.parquet")
    with pytest.raises(DataError, match="gave 2 rows for 3"):
        prepare(_Told(store, tmp_path / "fewer.parquet"), answer, kinds, tmp_path / "other")
    with pytest.raises(DataError, match="No detector"):
        prepare(told, answer, {}, tmp_path / "none")


def _set(path: Path, **columns: Any) -> Path:
    n = 3
    frame = {
        "tenant": ["acme"] * n, "message_id": ["c", "b", "a"], "recipient": ["u", None, "u"], "seq": [3, 2, 1],
        "event_timestamp": pd.to_datetime([30, 20, 10], unit="us", utc=True), "label": ["SP", "ham", "ham"],
        "weight": [1.0] * n,
    }  # fmt: skip
    pd.DataFrame({**frame, **columns}).to_parquet(path)
    return path


def test_a_set_is_read_in_order_of_arrival_with_nulls_as_they_are(tmp_path: Path) -> None:
    path = _set(
        tmp_path / "set.parquet",
        v__text=["x", None, "z"],
        v__count=pd.array([9_007_199_254_740_993, None, 1], dtype="Int64"),
        v__none=[None, None, None],
        v__status=["present"] * 3,
    )
    rows, table = read_set(path, ("v:text", "v:count", "v:none"))
    assert rows.message_id.tolist() == ["a", "b", "c"]
    assert rows.recipient.tolist() == ["u", "", "u"]
    assert rows.at_us.tolist() == [10, 20, 30]
    assert table.columns["v:text"].tolist() == ["z", None, "x"]
    np.testing.assert_array_equal(table.columns["v:count"], [1.0, np.nan, 9_007_199_254_740_992.0])
    assert np.isnan(table.columns["v:none"]).all()


def test_an_absent_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column v__other"):
        read_set(
            _set(tmp_path / "set.parquet", v__text=["x", "y", "z"], v__status=["present"] * 3), ("v:text", "v:other")
        )


@pytest.mark.parametrize("statuses", [["present", "gone", "present"], ["present", None, "present"]])
def test_a_status_that_is_none_is_refused(tmp_path: Path, statuses: list[str | None]) -> None:
    path = _set(tmp_path / "set.parquet", v__text=["x", "y", "z"], v__status=statuses)
    with pytest.raises(DataError, match="status"):
        read_set(path, ("v:text",))
