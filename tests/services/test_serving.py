"""`mailwarden serve` as a process: its Redis, its feature writer, and that it ends what it started."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from mailwarden.errors import StoreUnavailable
from mailwarden.settings import Settings
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.lake.event_log import table_to_events
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import ChildProcess, environment_of, wait_until, with_redis
from mailwarden_services.replay.live import live_service, rfc3339

Mail = list[SimulatedMessage]


@pytest.fixture
def short_home(model_home: Any) -> Iterator[Settings]:
    """A home whose path leaves room for sockets, without a Redis named."""
    folder = Path(tempfile.mkdtemp(prefix="mw-serve-"))
    shutil.copytree(model_home.folder, folder / "h")
    yield Settings(home=folder / "h", spool_fsync=False)
    shutil.rmtree(folder)


def started_by(pid: int) -> list[int]:
    """Every process below one, however far."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(folder.name))
    found, left = [], [pid]
    while left:
        below = parents.get(left.pop(), [])
        found += below
        left += below
    return found


def alive(pid: int) -> bool:
    try:
        return (Path(f"/proc/{pid}") / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_ended(pids: list[int]) -> None:
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "processes outlive the one that they were started by"
        time.sleep(0.05)


def test_a_mail_flow_over_a_socket_end_to_end_and_everything_ends_with_it(
    short_home: Settings, model_home: Any, simulated: Mail
) -> None:
    home = short_home
    with (
        with_redis(home, keep=False) as settings,
        live_service(settings, model_home.keys["acme"], settings.run_path) as service,
    ):
        below = started_by(service.process.pid)
        answers = []
        for message in simulated[:12]:
            answer, seconds = service.score(message.raw, message.envelope)
            assert seconds > 0
            service.wait_folded("acme", answer["seq"])
            answers.append(answer)
        assert [a["features"]["as_of_seq"] for a in answers] == [None, *range(1, 12)]
        seqs = service.label(
            [{"message_id": answers[0]["message_id"], "label": "SP", "known_at": "2026-03-30T10:00:00Z"}]
        )
        assert seqs == [13]
        service.wait_folded("acme", 13)
        assert "mailwarden_decisions_total" in service.metrics()
        status, problem = service.call("POST", "/v1/score", b"", {"Authorization": "Bearer none"})
        assert status == 401 and problem["status"] == 401
        # The feature writer, the signal worker, and those that read mail with the server that they are forked off.
        assert len(below) >= 3 and service.process.cpu_seconds() > 0
        assert (settings.run_path / "api.sock").exists()
        pid = service.process.pid
    wait_ended([pid, *below])
    events = sorted(table_to_events(Platform(home).events.scan().read_all()), key=lambda e: e.seq)
    assert [e.seq for e in events] == list(range(1, 14))
    assert Platform(home).decisions.count("acme") == 12
    assert not (home.run_path / "redis" / "redis.sock").exists()


def test_serve_starts_its_own_redis_and_stops_it_on_sigterm(
    short_home: Settings, model_home: Any, simulated: Mail
) -> None:
    with live_service_of_its_own(short_home, model_home.keys["acme"]) as (process, call):
        below = started_by(process.pid)
        assert len(below) >= 4
        assert (short_home.run_path / "redis" / "redis.sock").exists()
        assert call(simulated[0])["degraded"] is False
        with with_redis(short_home) as named:
            reader = Platform(named).online_reader
            wait_until(lambda: reader.watermark("acme") is not None, process, seconds=30, what="folding")
        process._process.send_signal(signal.SIGTERM)
        assert process._process.wait(30) == 0
        wait_ended(below)
    assert Platform(short_home).events.last_seq("acme") == 1
    # A second serving over the same home knows what the first one folded.
    with live_service_of_its_own(short_home, model_home.keys["acme"]) as (process, call):
        answer = call(simulated[1])
        assert (answer["seq"], answer["features"]["as_of_seq"]) == (2, 1)
        process.stop()


@contextlib.contextmanager
def live_service_of_its_own(settings: Settings, key: str) -> Iterator[tuple[ChildProcess, Any]]:
    """`serve` with the Redis that it starts itself, and a function that scores a message."""
    import httpx

    path = settings.run_path / "api.sock"
    path.unlink(missing_ok=True)
    process = ChildProcess(
        "mailwarden_services.cli", ["serve", "--socket", str(path)], environment_of(settings), settings.run_path / "log"
    )
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(path)), base_url="http://mailwarden", timeout=20.0,
        headers={"Authorization": f"Bearer {key}"},
    ) as client:  # fmt: skip

        def ready() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return client.get("/readyz").status_code == 200
            return False

        def call(message: SimulatedMessage) -> Any:
            assert message.envelope.received_at_us is not None
            sent = {"X-Mailwarden-Received-At": rfc3339(message.envelope.received_at_us)}
            return client.post("/v1/score", content=message.raw, headers=sent).json()

        try:
            wait_until(ready, process, seconds=120, what="the start")
            yield process, call
        finally:
            process.stop()


def test_a_process_that_ends_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = ChildProcess("no_such_module_at_all", [], {"PATH": "/usr/bin:/bin"}, tmp_path / "log")
    with pytest.raises(StoreUnavailable, match="no_such_module_at_all"):
        wait_until(lambda: False, child, seconds=20, what="nothing")
    child.stop()


def test_a_wait_ends(tmp_path: Path) -> None:
    child = ChildProcess("http.server", ["--help"], {"PATH": "/usr/bin:/bin"}, tmp_path / "log")
    child._process.wait(20)
    child._process.returncode = None
    child._process.poll = lambda: None  # type: ignore[method-assign]
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="the thing did not happen"):
        wait_until(lambda: False, child, seconds=0.1, what="the thing")
    assert time.monotonic() - started < 5


def test_a_named_redis_is_used_and_left_alone(redis_server: Any, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, redis_url=SecretStr(redis_server.url))
    with with_redis(settings) as named:
        assert named is settings
    assert alive(redis_server.pid)


def test_ours_is_shared_by_those_who_find_it_running(short_home: Settings) -> None:
    with with_redis(short_home) as first:
        with with_redis(short_home) as second:
            assert second.redis_url == first.redis_url
            assert Platform(second).redis.ping()
        assert Platform(first).redis.ping()
    assert not (short_home.run_path / "redis" / "redis.sock").exists()


def test_settings_reach_a_child_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAILWARDEN_PROJECT", "somebody_elses")
    settings = Settings(home=tmp_path / "x", project="mine", redis_url=SecretStr("unix:///a"), stale_after_seconds=3.5)
    environment = environment_of(settings)
    for name, value in environment.items():
        if name.startswith("MAILWARDEN_"):
            monkeypatch.setenv(name, value)
    assert Settings() == settings.model_copy(update={"home": settings.root})
