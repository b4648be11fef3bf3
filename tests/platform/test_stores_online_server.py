"""The Redis server of our own: it starts, answers, keeps data when told to, and stops."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest

from mailwarden.errors import ConfigError, StoreUnavailable
from mailwarden.stores.online.client import open_client, round_trip, translated
from mailwarden.stores.online.server import RedisServer


def test_without_redis_server_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="install it"):
        RedisServer(tmp_path).start()


def test_too_long_a_socket_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too long"):
        RedisServer(tmp_path / ("x" * 120)).start()


def test_a_second_server_on_the_same_socket_is_refused(redis_server: RedisServer) -> None:
    with pytest.raises(ConfigError, match="already listens"):
        RedisServer(redis_server.folder).start()
    with open_client(redis_server.url) as client:
        assert client.ping()


def test_data_outlives_a_restart_where_append_only() -> None:
    with tempfile.TemporaryDirectory(prefix="mailwarden-redis-") as folder:
        for expected in (None, b"1"):
            with RedisServer(Path(folder), append_only=True) as server, open_client(server.url) as client:
                assert client.get("kept") == expected
                client.set("kept", "1")


def test_a_stopped_server_is_unavailable_at_once_and_found_again_after_a_restart() -> None:
    with tempfile.TemporaryDirectory(prefix="mailwarden-redis-") as folder:
        server = RedisServer(Path(folder)).start()
        with open_client(server.url) as client:
            client.ping()
            server.stop()
            before = time.perf_counter()
            with pytest.raises(StoreUnavailable, match="while asking"), translated("asking"):
                round_trip(client, [("PING",)])
            # Far below what the timeouts of a server that hangs would take.
            assert time.perf_counter() - before < 2.0
            with server.start():
                assert round_trip(client, [("PING",)]) in ([True], [b"PONG"])


def test_a_url_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ConfigError, match="MAILWARDEN_REDIS_URL"):
        open_client("http://localhost")
