"""docs/feast.md run block by block over served messages, and what it gives held against the logged vectors."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from pydantic import SecretStr

from mailwarden.materialize.content import materialize_content
from mailwarden.settings import Settings
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.lake.tables import table
from mailwarden.stores.online.client import open_client
from mailwarden.stores.online.server import RedisServer
from mailwarden_features.feature_services import feast_objects
from mailwarden_services.bootstrap import Platform
from mailwarden_services.cli import application
from mailwarden_services.loop import Loop, TenantParser

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "docs" / "feast.md").read_text(), re.MULTILINE | re.DOTALL)
MESSAGES = 36
CONTENT_READER = "mailwarden_features.content_reader.open_reader"
KEYS = ["tenant", "message_id", "recipient"]


@dataclass
class Served:
    """A home with served messages, and the folder that the page is run in."""

    settings: Settings
    folder: Path
    messages: int

    @cached_property
    def vectors(self) -> pd.DataFrame:
        """The logged vectors, in order of seq and recipient."""
        return table(self.settings, "vectors").to_pandas().sort_values(["seq", "recipient"]).reset_index(drop=True)

    @cached_property
    def features(self) -> dict[str, str]:
        """Logged columns of features, with the features' types."""
        repository = Platform(self.settings).features
        logged = set(table(self.settings, "vectors").schema.names)
        named = {
            f"{view.name}__{feature.name}": feature.dtype for view in repository.views for feature in view.features
        }
        return {column: dtype for column, dtype in named.items() if column in logged}


@pytest.fixture(scope="module")
def served(
    model_home: Any,
    redis_server: RedisServer,
    simulated: list[SimulatedMessage],
    tmp_path_factory: pytest.TempPathFactory,
    warden_type: Any,
) -> Iterator[Served]:
    """Messages that went through the API, each folded before the next came, some labelled."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(model_home.folder, folder / "home")
    with open_client(redis_server.url, timeout_seconds=10) as client:
        client.flushall()
    settings = Settings(
        home=folder / "home",
        redis_url=SecretStr(redis_server.url),
        redis_timeout_seconds=2.0,
        spool_fsync=False,
        spark_shuffle_partitions=2,
        spark_driver_memory="1g",
    )
    warden = warden_type(settings, model_home.keys)
    writer = warden.writer()
    with warden.api() as api:
        for number, message in enumerate(simulated[:MESSAGES]):
            answer = api.send(message)
            if number % 3 == 0:
                known_at = "2026-06-01T00:00:00Z"
                response = api.label(message_id=answer["message_id"], label=message.label, known_at=known_at)
                assert response.status_code < 300, response.text
            warden.drain(writer)
    yield Served(settings, folder, MESSAGES)


@pytest.fixture(scope="module")
def materialised(served: Served) -> Served:
    """The same with content computed offline."""
    platform = Platform(served.settings)
    trusted = {tenant.name: tenant.trusts for tenant in platform.tenants.list()}
    materialize_content(Loop(platform).spark, served.settings, platform.content, TenantParser(trusted))
    return served


@pytest.fixture(scope="module")
def page(materialised: Served) -> Iterator[dict[str, Any]]:
    """The names that the page's blocks define, after all of them ran."""
    served = materialised
    environment = {"MAILWARDEN_HOME": str(served.settings.root), "COLUMNS": "200",
                   "MAILWARDEN_REDIS_URL": served.settings.redis_url.get_secret_value(),
                   "MAILWARDEN_SPARK_SHUFFLE_PARTITIONS": "2"}  # fmt: skip
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(served.folder):
        for name in [name for name in os.environ if name.startswith("MAILWARDEN_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        for language, block in BLOCKS:
            if language == "bash":
                for line in block.replace("\\\n", " ").splitlines():
                    _run(shlex.split(line), patch)
            else:
                assert language == "python"
                exec(
                    compile(block.replace('"feature_repo"', repr(str(ROOT / "feature_repo"))), "feast.md", "exec"),
                    names,
                )
        yield names


def _run(words: list[str], patch: pytest.MonkeyPatch) -> None:
    if words[0] == "feast":
        words = [str(ROOT / "feature_repo") if word == "feature_repo" else word for word in words[1:]]
        # In a process of its own, as a reader has it: importing Feast's command line changes what Prometheus counts.
        subprocess.run([str(Path(sys.executable).with_name("feast")), *words], check=True)
        return
    assert words[0] == "mailwarden"
    patch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        application.main()
    assert not end.value.code, words


def assert_equal(found: pd.DataFrame, served: Served) -> None:
    """Rows with values, in any order, against the logged vectors, value by value; a null is a null."""
    vectors = served.vectors
    found = found.sort_values(["seq", "recipient"]).reset_index(drop=True)
    assert len(found) == len(vectors) >= served.messages
    assert found["message_id"].tolist() == vectors["message_id"].tolist()
    compared = 0
    for column, dtype in served.features.items():
        if column not in found:
            continue
        compared += 1
        if dtype == "string":
            assert found[column].fillna("").tolist() == vectors[column].fillna("").tolist(), column
            continue
        left, right = (frame[column].astype("float64").to_numpy() for frame in (found, vectors))
        np.testing.assert_array_equal(left, right, err_msg=column)
    assert compared > 100
    for view in {column.partition("__")[0] for column in served.features}:
        for column in (f"{view}__status", f"{view}__as_of_seq"):
            if column in found and column in vectors:
                assert found[column].tolist() == vectors[column].tolist(), column


def assert_texts(found: pd.DataFrame, served: Served) -> None:
    """Texts, which lie in a table of their own, against those that were logged with the vectors."""
    texts = table(served.settings, "texts").to_pandas()
    assert texts["message_id"].nunique() == served.messages
    logged = {(row.message_id, f"{row.view}__{row.feature}"): row.value for row in texts.itertuples()}
    for column in texts["view"].str.cat(texts["feature"], sep="__").unique():
        held = [logged.get((message_id, column)) for message_id in found["message_id"]]
        assert [None if pd.isna(value) else value for value in found[column]] == held, column


def test_what_is_read_online_by_message_equals_what_was_logged(served: Served) -> None:
    """Content and own facts; states have folded later messages since, so that only what they say of is compared."""
    store = open_feature_store(served.settings, feast_objects(), content_reader=CONTENT_READER)
    content = [view for view in Platform(served.settings).features.content]
    refs = [f"{view.name}:{feature.name}" for view in content for feature in view.features]
    refs += ["sender_activity:link_domain_match_90d", "sender_activity:history"]
    rows = served.vectors[KEYS].to_dict("records")
    found = store.get_online_features(refs, rows, full_feature_names=True).to_df()
    found["message_id"] = served.vectors["message_id"]
    assert found["sender_activity__history"].eq(1).any()
    assert_texts(found, served)
    for column, dtype in served.features.items():
        if column.partition("__")[0] in {view.name for view in content}:
            left, right = found[column], served.vectors[column]
            if dtype == "string":
                assert left.fillna("").tolist() == right.fillna("").tolist(), column
            else:
                np.testing.assert_array_equal(left.astype("float64"), right.astype("float64"), err_msg=column)


def test_a_plain_training_set_equals_the_logged_vectors(materialised: Served) -> None:
    served = materialised
    store = open_feature_store(served.settings, feast_objects())
    entity_df = served.vectors[[*KEYS, "received_at", "seq"]].rename(columns={"received_at": "event_timestamp"})
    features = Platform(served.settings).features.feature_names()
    found = store.get_historical_features(entity_df, list(features), full_feature_names=True).with_statuses().to_df()
    assert_equal(found, served)
    assert_texts(found, served)
    # What needs to know the message is there: the last messages of a month have links and recipients seen before.
    for column in ("sender_activity__recipient_set_jaccard_30d", "thread_activity__sender_match"):
        assert found[column].notna().any(), column


def test_the_page_runs_and_its_export_equals_the_logged_vectors(page: dict[str, Any], served: Served) -> None:
    assert_equal(page["data"], served)
    assert_equal(
        duckdb.connect().execute(f"SELECT * FROM '{served.folder}/sets/behaviour/data/*.parquet'").df(), served
    )
    assert not [name for name in page["data"].columns if name.startswith("own__")]
    card = page["card"]
    assert card["splits"]["all"]["messages"] == served.messages
    assert sum(n for label, n in card["splits"]["all"]["labels"].items() if label != "none") == served.messages // 3
    assert len(card["content_unavailable"]) > 3 and not any(card["content_unavailable"].values())
    assert {feature["column"] for feature in card["features"]} <= set(page["data"].columns)
