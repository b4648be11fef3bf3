"""What `serve` listens on is bound before anything starts, or refused in words."""

from __future__ import annotations

import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from mailwarden.errors import ConfigError
from mailwarden_services.listening import bound_socket, place_of


def answers(listening: socket.socket) -> bool:
    family = listening.family
    with closing(socket.socket(family, socket.SOCK_STREAM)) as client:
        client.settimeout(5)
        client.connect(listening.getsockname()[: 2 if family != socket.AF_UNIX else None])
    return True


def test_a_free_port_listens_and_says_where() -> None:
    with closing(bound_socket("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert place_of(listening) == f"http://127.0.0.1:{port}" and answers(listening)


def test_a_port_in_use_is_said() -> None:
    with closing(bound_socket("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is in use"):
            bound_socket("127.0.0.1", port)
    # Free again at once: nothing was left behind.
    bound_socket("127.0.0.1", port).close()


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("192.0.2.7", 0, "no address of this machine"),
        ("no such host.invalid", 0, "no address of this machine"),
        ("127.0.0.1", 70_000, "ports are 1 to 65535"),
        ("127.0.0.1", -1, "ports are 1 to 65535"),
    ],
)
def test_what_cannot_be_bound_is_said(host: str, port: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        bound_socket(host, port)


def test_ipv6_is_bound_where_there_is_any() -> None:
    try:
        listening = bound_socket("::1", 0)
    except ConfigError:
        pytest.skip("no IPv6 here")
    with closing(listening):
        assert place_of(listening).startswith("http://[::1]:") and answers(listening)


def test_a_unix_socket_is_the_groups_and_one_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    first = bound_socket("", 0, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660 and place_of(first) == str(path) and answers(first)
    with pytest.raises(ConfigError, match="in use by another process"):
        bound_socket("", 0, path)
    # As a process that was killed leaves it.
    first.close()
    assert path.exists()
    with closing(bound_socket("", 0, path)) as second:
        assert answers(second)


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="no socket"):
        bound_socket("", 0, path)
    assert path.read_text() == "mine"
    with pytest.raises(ConfigError, match="cannot be made"):
        bound_socket("", 0, tmp_path / "nowhere" / "api.sock")
    with pytest.raises(ConfigError, match="cannot be made"):
        bound_socket("", 0, tmp_path / ("x" * 200))
