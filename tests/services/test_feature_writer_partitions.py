"""Several writer processes of one home, and what is told of streams that are behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from mailwarden.errors import ConfigError
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden_services.bootstrap import Platform
from mailwarden_services.feature_writer import __main__ as command
from mailwarden_services.feature_writer import logs as logs_module
from mailwarden_services.feature_writer import writer as writer_module
from mailwarden_services.feature_writer.writer import serve_partitions

Mail = list[SimulatedMessage]


def send(warden: Any, mail: Mail) -> None:
    with warden.api() as api:
        for message in mail:
            api.send(message)


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def folded(warden: Any) -> list[int]:
    marks = Platform(warden.settings).online_writer.generations.marks.folded_everywhere()
    return [mark["acme"].seq if mark else 0 for mark in marks]


def test_another_process_takes_partitions_over_and_gives_them_back(warden: Any, simulated: Mail) -> None:
    main = warden.writer()
    send(warden, simulated[:5])
    warden.drain(main)
    assert folded(warden) == [5] * 4
    half = Platform(warden.settings).partition_writers([0, 1])
    half.step()
    assert half.held == (0, 1)
    send(warden, simulated[5:10])
    main.writers._renewed = float("-inf")
    warden.drain(main)
    assert folded(warden) == [5, 5, 10, 10] and main.writers.held == (2, 3)
    stop = threading.Event()
    other = threading.Thread(target=serve_partitions, args=(half, stop))
    other.start()
    try:
        until(lambda: folded(warden) == [10] * 4)
    finally:
        stop.set()
        other.join(20)
    send(warden, simulated[10:15])
    main.writers._renewed = float("-inf")
    warden.drain(main)
    assert folded(warden) == [15] * 4 and main.writers.held == (0, 1, 2, 3)
    assert warden.states() == warden.folded(warden.events())


def test_a_stream_that_nobody_folds_is_named_and_measured(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "LATE_SECONDS", 0.2)
    monkeypatch.setattr(writer_module, "REPORT_SECONDS", 0.0)
    writer = warden.writer()
    writer.writers = Platform(warden.settings).partition_writers([0])
    send(warden, simulated[:6])
    warden.drain(writer)
    time.sleep(0.3)
    writer.step()
    with warden.api() as api:
        ready = api.client.get("/readyz").json()
        exposed = api.client.get("/metrics").text
    facts = ready["feature_writer"]
    assert ready["status"] == "degraded" and "process that serves this partition" in facts["words"][0]
    assert [stream["entries"] > 0 for stream in facts["streams"]] == [False, True, True, True]
    assert facts["oldest_not_folded_seconds"] > 0.2 and facts["records_not_logged"] == 0
    waiting = facts["streams"][2]["entries"]
    assert f'mailwarden_stream_entries{{partition="2"}} {waiting}.0' in exposed
    assert 'mailwarden_stream_oldest_seconds{partition="0"} 0.0' in exposed
    assert float(exposed.rpartition("mailwarden_feature_lag_seconds ")[2].split()[0]) > 0.2
    warden.drain(warden.writer())
    with warden.api() as api:
        assert api.client.get("/readyz").json()["status"] == "ready"


def test_the_spool_is_read_no_further_than_memory_reaches(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs_module, "HANDS_BYTES", 1)
    writer = warden.writer(batch_seconds=3600.0)
    poll = writer._reader.poll
    writer._reader.poll = lambda limit: poll(limit=2)
    send(warden, simulated[:6])
    for _ in range(5):
        writer.step()
    assert len(writer.batches) == 2 and warden.folded_up_to() == 2
    for _ in range(3):
        warden.drain(writer)
    assert [event.seq for event in warden.events()] == list(range(1, 7)) and warden.folded_up_to() == 6


def test_another_number_of_streams_is_refused_with_the_mend(warden: Any, simulated: Mail) -> None:
    send(warden, simulated[:2])
    warden.drain()
    other = Platform(warden.settings.model_copy(update={"streams": 5})).feature_writer()
    with pytest.raises(ConfigError, match="MAILWARDEN_STREAMS=4"):
        other.step()


@pytest.mark.parametrize("chosen", ["4", "x", "-1", "0,9", ","])
def test_partitions_that_are_none_are_refused(warden: Any, monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    for name, value in (("HOME", str(warden.settings.home)), ("REDIS_URL", "redis://nobody")):
        monkeypatch.setenv(f"MAILWARDEN_{name}", value)
    with pytest.raises(ConfigError, match="from 0 to 3"):
        command.main([f"--partitions={chosen}"])
