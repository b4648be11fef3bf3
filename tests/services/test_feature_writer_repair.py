"""What the feature writer does about gaps, refused records and unreadable states, and who looks after it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from mailwarden.domain.mail.events import Event
from mailwarden.settings import Settings
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.accepted import AcceptedLabel, decode_accepted, encode_accepted
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.online.client import open_client
from mailwarden.stores.online.keys import state_field
from mailwarden.stores.online.reader import ReadRequest
from mailwarden.stores.spool import Spool
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import ChildProcess, WatchedProcess, environment_of, own_redis
from mailwarden_services.feature_writer import writer as writer_module
from mailwarden_services.feature_writer.status import WriterStatus, read_lag, write_status

Mail = list[SimulatedMessage]


def send(warden: Any, mail: Mail, tenant: str = "acme") -> None:
    with warden.api(tenant) as api:
        for message in mail:
            api.send(message)


def ingested(warden: Any, after: Event, count: int) -> None:
    """Events that came into the log by another way than the spool."""
    warden.platform.events.append(
        [
            replace(after, seq=after.seq + n, message_id=f"{n:032x}", received_at_us=after.received_at_us + n)
            for n in range(1, count + 1)
        ]
    )


def check_whole(warden: Any, seqs: int) -> None:
    events = warden.events()
    assert [e.seq for e in events] == list(range(1, seqs + 1))
    assert warden.states() == warden.folded(events)
    assert warden.folded_up_to() == seqs


def flush(warden: Any) -> None:
    with open_client(warden.settings.redis_url.get_secret_value(), timeout_seconds=5) as client:
        client.flushall()


def test_events_ingested_meanwhile_are_folded_before_newer_ones(warden: Any, simulated: Mail) -> None:
    send(warden, simulated[:4])
    warden.drain()
    ingested(warden, warden.events()[-1], 7)
    send(warden, simulated[4:6])
    warden.drain()
    check_whole(warden, 13)


def test_a_gap_is_filled_at_the_start_without_any_mail(warden: Any, simulated: Mail) -> None:
    send(warden, simulated[:5])
    warden.drain()
    flush(warden)
    warden.writer().step()
    check_whole(warden, 5)


def test_redis_emptied_under_a_running_writer_is_filled_from_log_and_hands(warden: Any, simulated: Mail) -> None:
    writer = warden.writer(batch_seconds=3600.0)
    send(warden, simulated[:4])
    warden.drain(writer)
    send(warden, simulated[4:7])
    assert writer.step()  # folded, and in no log yet
    flush(warden)
    send(warden, simulated[7:9])
    warden.drain(writer)
    check_whole(warden, 9)


def test_redis_set_back_to_an_earlier_moment_is_brought_forward_without_mail(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "LOOK_SECONDS", 0.0)
    writer = warden.writer(batch_seconds=3600.0)
    send(warden, simulated[:4])
    warden.drain(writer)
    with open_client(warden.settings.redis_url.get_secret_value(), timeout_seconds=5) as client:
        earlier = {key: client.dump(key) for key in client.scan_iter()}
        send(warden, simulated[4:8])
        writer.step()
        writer.flush()
        send(warden, simulated[8:9])
        writer.step()  # in the writer's hands alone
        client.flushall()
        for key, value in earlier.items():
            client.restore(key, 60_000 if b"lease" in key else 0, value)
    warden.drain(writer)
    assert warden.folded_up_to() == 9
    check_whole(warden, 9)


def test_beyond_the_limit_a_tenant_waits_for_materialize_and_the_others_do_not(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "LOOK_SECONDS", 0.0)
    send(warden, simulated[:6])
    warden.drain()
    flush(warden)
    writer = warden.writer(batch_seconds=0.0)
    writer.dispatcher.limit = 3
    send(warden, simulated[6:8])
    send(warden, simulated[:2], tenant="other")
    warden.drain(writer)
    assert (warden.folded_up_to("acme"), warden.folded_up_to("other")) == (0, 2)
    with warden.api() as api:
        ready = api.client.get("/readyz").json()
        assert ready["status"] == "degraded"
        assert "mailwarden materialize" in ready["feature_writer"]["words"][0]
        assert "mailwarden_feature_writer_troubles 1.0" in api.client.get("/metrics").text
    # What `materialize` does, of a snapshot that lacks the last two.
    acme = [e for e in warden.events() if e.tenant == "acme"]
    assert [e.seq for e in acme] == list(range(1, 9))
    Platform(warden.settings).online_writer.fold(acme[:6])
    warden.drain(writer)
    assert warden.folded_up_to() == 8
    assert warden.states() == warden.folded(warden.events())
    with warden.api() as api:
        assert api.client.get("/readyz").json()["status"] == "ready"


def test_a_state_of_another_definition_stops_its_view_alone(warden: Any, simulated: Mail) -> None:
    send(warden, simulated[:20])
    warden.drain()
    view = next(view for view in warden.platform.activity if view.name == "sender_activity")
    with open_client(warden.settings.redis_url.get_secret_value(), timeout_seconds=5) as client:
        for key, values in warden.online().items():
            if state_field(view) in values:
                client.hset(key, state_field(view), b"\x07" * 8 + values[state_field(view)][8:])
    before = warden.states()
    send(warden, simulated[20:40])
    writer = warden.drain()
    assert list(writer.online.unreadable) == [view.name]
    expected = warden.folded(warden.events())
    for key, values in warden.states().items():
        for name, value in values.items():
            if name == state_field(view):
                assert key not in before or before[key].get(name) in (None, value)
            else:
                assert expected[key][name] == value
    event = warden.events()[-1]
    fresh = Platform(warden.settings)
    for sender in (event.sender, "never@seen.example"):
        (read,) = fresh.online_reader.read([ReadRequest(replace(event, sender=sender))])
        assert set(read.status[view.name]) == {"unavailable"}
        assert {s for n, statuses in read.status.items() if n != view.name for s in statuses} <= {
            "present", "never_seen", "none_in_window", "not_computable",
        }  # fmt: skip
    # A writer that starts later knows it before it folds anything.
    send(warden, simulated[40:50])
    after = {k: v.get(state_field(view)) for k, v in warden.states().items()}
    later = warden.drain()
    assert list(later.online.unreadable) == [view.name]
    assert {k: v.get(state_field(view)) for k, v in warden.states().items() if k in after} == after
    with warden.api() as api:
        words = api.client.get("/readyz").json()["feature_writer"]["words"]
    assert any(view.name in word and "materialize" in word for word in words)


def test_a_record_that_a_log_refuses_is_set_aside_and_the_others_are_logged(warden: Any, simulated: Mail) -> None:
    send(warden, simulated[:5])
    records = [decode_accepted(payload) for _, payload in warden.writer()._reader.poll()]
    refused = AcceptedLabel(replace(records[2].event, kind="label", label="SP"), "analyst", "a")  # another event's seq
    with Spool(warden.settings.spool_path, fsync=False) as spool:
        spool.append(encode_accepted(refused))
    send(warden, simulated[5:8])
    writer = warden.drain()
    assert [e.seq for e in warden.events()] == list(range(1, 9))
    assert Platform(warden.settings).decisions.count("acme") == 8
    assert Platform(warden.settings).vectors.scan().read_all().num_rows >= 8
    assert writer._reader.lag_bytes() == 0
    (kept,) = (warden.settings.spool_path / "rejected").glob("*.record")
    assert decode_accepted(kept.read_bytes()) == refused
    assert "seq 3" in kept.with_suffix(".reason").read_text()
    with warden.api() as api:
        facts = api.client.get("/readyz").json()["feature_writer"]
    assert facts["records_rejected"] == 1 and "rejected" in facts["words"][0]


def test_a_spool_that_cannot_be_read_for_a_while_stops_nothing(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.01)
    send(warden, simulated[:3])
    writer = warden.writer()
    segment = next(warden.settings.spool_path.glob("*.seg"))
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-5] + b"\x00" + whole[-4:])  # the last record is damaged
    thread = threading.Thread(target=writer.run)
    thread.start()
    try:
        until(lambda: warden.folded_up_to() == 2)
        until(lambda: any("damaged" in w for w in read_lag(warden.settings.spool_path, since=time.time()).words))
        segment.write_bytes(whole)
        until(lambda: warden.folded_up_to() == 3)
    finally:
        writer.stop()
        thread.join(20)
    check_whole(warden, 3)


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_log_hands_over_what_came_after_a_seq_in_order(warden: Any, simulated: Mail, tmp_path: Path) -> None:
    send(warden, simulated[:1])
    warden.drain()
    (event,) = warden.events()
    log = EventLog(tmp_path / "log")
    assert list(log.after("acme", 0)) == []
    made = [
        replace(event, seq=n, message_id=f"{n:032x}", received_at_us=event.received_at_us - n * 86_400_000_000)
        for n in range(1, 12)
    ]
    log.append(made[6:])
    log.append([*made[:6], replace(event, tenant="other")])
    parts = list(log.after("acme", 3, limit=3))
    assert [[e.seq for e in part] for part in parts] == [[4, 5, 6], [7, 8, 9], [10, 11]]
    assert [e for part in parts for e in part] == made[3:]


def test_a_writer_that_says_nothing_is_named_once_mail_waits_for_it(tmp_path: Path) -> None:
    with Spool(tmp_path, fsync=False) as spool:
        assert read_lag(tmp_path, since=0.0).words == ()
        spool.append(b"x")
        now = time.time()
        assert read_lag(tmp_path, since=now, now=now + 1).words == ()
        (silent,) = read_lag(tmp_path, since=now, now=now + 100).words
        assert "not been heard of for 100 s" in silent
        write_status(tmp_path, WriterStatus(1, 2, 3, ("slow",)))
        lag = read_lag(tmp_path, since=0.0)
    assert lag.status == WriterStatus(1, 2, 3, ("slow",)) and lag.words == ("slow",) and lag.lag_bytes == 9


def test_a_process_that_ends_is_started_again_and_named(tmp_path: Path) -> None:
    (tmp_path / "comes_and_goes.py").write_text("print('here')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    async def look() -> tuple[int, str]:
        watched = WatchedProcess(
            lambda: ChildProcess("comes_and_goes", [], environment, tmp_path / "log"),
            what="the thing",
            backoff_seconds=0.05,
        )
        watcher = asyncio.create_task(watched.watch())
        for _ in range(400):
            await asyncio.sleep(0.02)
            if watched.restarts >= 2:
                break
        watcher.cancel()
        watched.stop()
        return watched.restarts, watched.words

    restarts, words = asyncio.run(look())
    assert restarts >= 2 and "the thing ended" in words


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a socket."""
    with tempfile.TemporaryDirectory(prefix="mw-r-") as folder:
        yield Path(folder)


def test_a_redis_that_ended_with_its_command_is_taken_over(short: Path) -> None:
    settings = Settings(home=short)

    async def taken_over() -> bytes | None:
        with contextlib.ExitStack() as other:
            named, _ = other.enter_context(own_redis(settings))
            url = named.redis_url.get_secret_value()
            with open_client(url, timeout_seconds=2) as client:
                client.set("kept", b"1")
            with own_redis(settings) as (joined, redis):
                assert redis is not None and joined.redis_url == named.redis_url
                keeper = asyncio.create_task(redis.keep_up())
                other.close()
                try:
                    for _ in range(100):
                        await asyncio.sleep(0.1)
                        with contextlib.suppress(Exception), open_client(url, timeout_seconds=2) as client:
                            found: bytes | None = client.get("kept")
                            return found
                finally:
                    keeper.cancel()
        return None

    assert asyncio.run(taken_over()) == b"1"
    assert not (short / "run" / "redis" / "redis.sock").exists()


def test_serve_starts_without_redis_and_starts_its_writer_again(warden: Any, simulated: Mail, short: Path) -> None:
    settings = warden.settings.model_copy(
        update={"redis_url": SecretStr(f"unix://{short / 'none.sock'}"), "redis_timeout_seconds": 0.25}
    )
    send(warden, simulated[:2])
    warden.drain()
    path = short / "api.sock"
    process = ChildProcess(
        "mailwarden_services.cli", ["serve", "--socket", str(path)], environment_of(settings), short / "log"
    )
    headers = warden.headers()
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(path)), base_url="http://m", timeout=20, headers=headers
    ) as client:

        def ready() -> dict[str, Any]:
            with contextlib.suppress(httpx.TransportError):
                answer: dict[str, Any] = client.get("/readyz").json()
                return answer
            return {}

        try:
            until(lambda: bool(ready()), 60)
            assert ready()["status"] == "degraded"
            scored = client.post("/v1/score", content=simulated[2].raw)
            assert scored.status_code == 200 and scored.json()["degraded"] is True
            (child,) = children(process.pid)
            os.kill(child, signal.SIGKILL)
            until(lambda: any("the feature writer ended" in w for w in ready()["feature_writer"]["words"]))
            until(lambda: bool(children(process.pid)) and children(process.pid) != [child])
        finally:
            process.stop()
    assert process._process.returncode == 0, (short / "log").read_text()


def children(pid: int) -> list[int]:
    """Feature writers that a process started."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            is_writer = b"mailwarden_services.feature_writer" in (folder / "cmdline").read_bytes()
            if int(parent) == pid and state != "Z" and is_writer:
                found.append(int(folder.name))
    return found


STOPPED = """
import os, signal, threading
from mailwarden_services.ending import when_told_to_stop
lock, stopped = threading.Lock(), threading.Event()
def stop():
    with lock:
        stopped.set()
when_told_to_stop(stop)
with lock:
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):
        pass
assert stopped.wait(30)
"""


def test_a_process_that_is_told_to_stop_waits_for_no_lock_of_its_own() -> None:
    subprocess.run([sys.executable, "-c", STOPPED], check=True, timeout=60)
