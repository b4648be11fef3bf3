"""`/metrics` of a home with several shards: each series once, with the shard that it is of, whoever is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mailwarden.settings import Settings
from mailwarden.stores.online.streams import StreamLag
from mailwarden_services.feature_writer.status import WriterLag, WriterStatus
from mailwarden_services.observability import exposition
from mailwarden_services.observability.exposition import METHOD, Exposition
from mailwarden_services.scoring_api.intake import Answer
from mailwarden_services.scoring_api.metrics import Metrics
from mailwarden_services.sequencer.remote import answering

Series = dict[tuple[str, str, str], float]
"""Values by name, shard and one more label's value."""

ROUTE = "/v1/messages/{message_id}"


class Sequencing:
    """None of a sequencer's calls is made here."""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    # The paths of sockets are short.
    (home := tmp_path / "h").mkdir()
    monkeypatch.chdir(home)
    yield Settings(home=home, shards=2, streams=4)


def shard_of(settings: Settings, shard: int, messages: int) -> Exposition:
    """What a shard tells that has decided on so many messages; its writer sees the streams of all partitions."""
    metrics = Metrics()
    for _ in range(messages):
        metrics.scored(Answer(b"{}", "junk", "SP", False), 0.02)
    metrics.refused.labels(ROUTE, "404", "not-found").inc()
    streams = tuple(StreamLag(10 + partition, 1.0) for partition in range(settings.streams))
    lag = WriterLag(100 * messages, WriterStatus(1, 2, 0, ("slow",), streams), ("slow",))
    return Exposition(metrics, lambda: lag, settings.of_shard(shard))


def series_of(text: bytes) -> Series:
    found: Series = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            other = [value for name, value in sample.labels.items() if name in ("verdict", "partition", "route")]
            if sample.name.startswith("mailwarden_") and "le" not in sample.labels and "stage" not in sample.labels:
                key = sample.name, sample.labels.get("shard", ""), "".join(other)
                # Records in hand have a label of their own.
                assert key not in found or "waiting_for" in sample.labels, key
                found[key] = sample.value
    return found


def test_whoever_is_asked_tells_of_all_shards_each_once(settings: Settings) -> None:
    first, second = shard_of(settings, 0, 3), shard_of(settings, 1, 5)
    second.beside = lambda: ("the signal worker ended",)

    async def asked() -> list[Series]:
        async with AsyncExitStack() as stack:
            for shard, one in enumerate((first, second)):
                path = settings.sequencer_socket(shard)
                await stack.enter_async_context(answering(Sequencing(), path, {METHOD: one.own}))  # type: ignore[arg-type]
            return [series_of(await one.whole()) for one in (first, second)]

    one, other = asyncio.run(asyncio.wait_for(asked(), 30))
    timeless = {key for key in one if not key[0].endswith("_created")}
    assert {key: one[key] for key in timeless} == {key: other[key] for key in timeless}
    assert (one["mailwarden_shard_up", "0", ""], one["mailwarden_shard_up", "1", ""]) == (1.0, 1.0)
    decided = {shard: value for (name, shard, _), value in one.items() if name == "mailwarden_decisions_total"}
    assert decided == {"0": 3.0, "1": 5.0}
    assert one["mailwarden_refused_requests_total", "1", ROUTE] == 1.0
    lags = {shard: value for (name, shard, _), value in one.items() if name == "mailwarden_feature_writer_lag_bytes"}
    assert lags == {"0": 300.0, "1": 500.0}
    troubles = {shard: value for (name, shard, _), value in one.items() if name == "mailwarden_feature_writer_troubles"}
    assert troubles == {"0": 1.0, "1": 2.0}
    # A partition is told by the shard that folds it, so that sums over shards count it once.
    streams = {key[1:]: value for key, value in one.items() if key[0] == "mailwarden_stream_entries"}
    assert streams == {("0", "0"): 10.0, ("1", "1"): 11.0, ("0", "2"): 12.0, ("1", "3"): 13.0}


def test_a_shard_that_is_away_or_hangs_is_said_in_bounded_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposition, "ASK_SECONDS", 0.3)
    first = shard_of(settings, 0, 3)

    async def hangs() -> bytes:
        await asyncio.sleep(60)
        return b""

    async def asked() -> list[Series]:
        away = series_of(await first.whole())
        async with answering(Sequencing(), settings.sequencer_socket(1), {METHOD: hangs}):  # type: ignore[arg-type]
            return [away, series_of(await first.whole())]

    began = time.monotonic()
    for found in asyncio.run(asyncio.wait_for(asked(), 30)):
        assert (found["mailwarden_shard_up", "0", ""], found["mailwarden_shard_up", "1", ""]) == (1.0, 0.0)
        assert found["mailwarden_decisions_total", "0", "junk"] == 3.0
        assert {shard for _, shard, _ in found} == {"0", "1"}
        assert {name for name, shard, _ in found if shard == "1"} == {"mailwarden_shard_up"}
    assert time.monotonic() - began < 5.0


def test_one_process_tells_its_own_series_without_a_shard(settings: Settings) -> None:
    alone = settings.model_copy(update={"shards": 1})
    found = series_of(asyncio.run(shard_of(alone, 0, 2).whole()))
    assert {shard for _, shard, _ in found} == {""} and found["mailwarden_decisions_total", "", "junk"] == 2.0
    assert sum(name == "mailwarden_stream_entries" for name, _, _ in found) == 4
