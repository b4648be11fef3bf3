"""What the message itself answers is looked up for entity rows: own facts, keys, time and seq, one row for one row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from feast import FeatureService, FeatureStore
from pyspark.sql import SparkSession

from mailwarden.domain.aggregates.definitions import ActivityView, Feature, History, Match, Recent, Total
from mailwarden.domain.aggregates.windows import W_1H, W_ALL
from mailwarden.domain.mail.events import members_of
from mailwarden.errors import DataError
from mailwarden.settings import Settings
from mailwarden.stores.feast.objects import ENTITIES, feature_view_of
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.lake.event_log import EventLog

MATCHES = ["senders:recipient_set_jaccard", "senders:domain_match"]


@pytest.fixture(scope="module")
def events(histories: Any) -> Any:
    return histories.events(160, seed=5)


@pytest.fixture(scope="module")
def store(spark: SparkSession, histories: Any, events: Any, tmp_path_factory: Any) -> FeatureStore:
    settings = Settings(home=tmp_path_factory.mktemp("feast"))
    EventLog(settings.events_path).append(events)
    base = histories.view(distincts=False, name="senders")
    recents = (Recent("audiences", "recipients", 4), Recent("domains", "recipient_domains", 4))
    features = (
        Feature("seen", History(), "seen before", "flag"),
        Feature("got_1h", Total("got", W_1H), "received", "messages"),
        Feature("recipient_set_jaccard", Match("audiences", W_ALL), "overlap", "0..1", "no set"),
        Feature("domain_match", Match("domains", W_ALL), "overlap", "0..1", "no set"),
    )
    views: list[ActivityView] = [
        replace(base, recents=recents, features=features),
        histories.view("pairs", distincts=False, name="pair"),
    ]
    feature_views = [feature_view_of(view) for view in views]
    return open_feature_store(settings, [*ENTITIES, *feature_views, FeatureService(name="all", features=feature_views)])


@pytest.fixture(scope="module")
def whole(events: Any) -> pd.DataFrame:
    """Rows that say everything themselves."""
    rows = [
        {
            "tenant": e.tenant,
            "message_id": e.message_id,
            "recipient": recipient,
            "sender": e.sender,
            "event_timestamp": pd.Timestamp(e.received_at_us, unit="us", tz="UTC"),
            "seq": e.seq,
            "own__recipients": list(members_of(e, "recipients")),
            "own__recipient_domains": list(members_of(e, "recipient_domains")),
        }
        for e in events
        if e.kind == "message"
        for recipient in (e.recipients or ("",))
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def wanted(store: FeatureStore, whole: pd.DataFrame) -> pd.DataFrame:
    """What these rows give."""
    return store.get_historical_features(whole, store.get_feature_service("all"), full_feature_names=True).to_df()


def values(found: pd.DataFrame, whole: pd.DataFrame) -> pd.DataFrame:
    """The features' columns alone."""
    return found[[name for name in found.columns if name not in whole.columns]]


def test_own_facts_are_those_that_the_rows_would_have_given(
    store: FeatureStore, whole: pd.DataFrame, wanted: pd.DataFrame
) -> None:
    assert wanted["senders__recipient_set_jaccard"].notna().sum() > 20
    rows = whole.drop(columns="own__recipients")
    found = store.get_historical_features(rows, store.get_feature_service("all"), full_feature_names=True).to_df()
    assert [*found.columns[: len(rows.columns)]] == [*rows.columns]
    pd.testing.assert_frame_equal(values(found, whole), values(wanted, whole))


def test_keys_time_and_seq_may_be_left_to_the_message(
    store: FeatureStore, whole: pd.DataFrame, wanted: pd.DataFrame
) -> None:
    service = store.get_feature_service("all")
    asked = pd.concat([whole[["tenant", "message_id", "recipient"]]] * 2).assign(mark=range(2 * len(whole)))
    found = store.get_historical_features(asked, service, full_feature_names=True).to_df()
    assert len(found) == 2 * len(whole) and found["mark"].tolist() == list(range(2 * len(whole)))
    half = found.iloc[: len(whole)]
    pd.testing.assert_frame_equal(half[["sender", "seq"]], whole[["sender", "seq"]])
    assert (half["event_timestamp"] == whole["event_timestamp"]).all()
    pd.testing.assert_frame_equal(values(half.drop(columns="mark"), whole), values(wanted, whole))


def test_a_row_of_no_message_has_no_own_facts_and_stays_one_row(store: FeatureStore, whole: pd.DataFrame) -> None:
    rows = whole.drop(columns=["own__recipients", "own__recipient_domains"]).assign(message_id=None)
    found = store.get_historical_features(rows, ["senders:seen", *MATCHES]).to_df()
    assert len(found) == len(rows)
    assert found[["recipient_set_jaccard", "domain_match"]].isna().all(axis=None) and found["seen"].notna().any()


def test_a_message_that_the_log_does_not_hold_is_counted(store: FeatureStore, whole: pd.DataFrame) -> None:
    rows = whole[["tenant", "message_id"]].head(5).copy()
    rows.loc[[1, 3], "message_id"] = ["0" * 31 + "x", "nobody"]
    job = store.get_historical_features(rows, ["senders:seen"])
    with pytest.raises(DataError, match="2 rows name a message_id that the event log does not hold"):
        job.to_df()
    # Another tenant's message is no message of this one.
    others = {"t1": "t2", "t2": "t1"}
    rows = whole[["tenant", "message_id"]].head(5).assign(tenant=[others[t] for t in whole["tenant"].head(5)])
    with pytest.raises(DataError, match="5 rows"):
        store.get_historical_features(rows, ["senders:seen"]).to_df()


def test_features_that_need_own_facts_are_refused_without_them(store: FeatureStore, whole: pd.DataFrame) -> None:
    bare = whole.drop(columns=["message_id", "own__recipients"])
    with pytest.raises(DataError, match=r"senders:recipient_set_jaccard: what the message .* own__recipients, lists"):
        store.get_historical_features(bare, MATCHES)
    assert len(store.get_historical_features(bare, ["senders:seen", "senders:domain_match"]).to_df()) == len(bare)
    with pytest.raises(DataError, match=r"no column seq; .*With tenant and message_id"):
        store.get_historical_features(bare.drop(columns=["seq"]), ["pair:seen"])


def test_statuses_say_why_a_value_is_null(store: FeatureStore, whole: pd.DataFrame) -> None:
    rows = whole[["tenant", "message_id", "recipient"]]
    found = store.get_historical_features(rows, ["senders:seen", "pair:seen"], True).with_statuses().to_df()
    statuses = found["senders__status"]
    # The longest window of `senders` is an hour; names are kept without an end, and open none.
    assert set(statuses) == {"not_computable", "never_seen", "none_in_window", "present"}
    assert (found["senders__seen"].isna() == (statuses == "not_computable")).all()
    assert ((found["senders__as_of_seq"] > 0) == statuses.isin(["none_in_window", "present"])).all()
    assert (found["pair__status"] == "never_seen").sum() > 5
