"""The socket that an API listens on, bound before anything else is started: what is in use is said at once."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from mailwarden.errors import ConfigError

BACKLOG = 2048


def bound_socket(host: str, port: int, uds: Path | None = None) -> socket.socket:
    """A socket that listens on a host and port, or on a unix socket's path where one is given; close it when done.

    host: a name or an address, IPv4 or IPv6; port: 0 for one that is free. A socket file that nobody listens on any
    more, as a process that was killed leaves it, is replaced; one in use, and a file of another kind, are not. The
    socket file can be opened by the user and the group alone. Raises ConfigError, in words, where it cannot be bound.
    """
    return _tcp(host, port) if uds is None else _unix(uds)


def place_of(listening: socket.socket) -> str:
    """Where a socket listens, for people: `http://127.0.0.1:8080`, or a unix socket's path."""
    if listening.family == socket.AF_UNIX:
        return str(listening.getsockname())
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if listening.family == socket.AF_INET6 else f"http://{host}:{port}"


def _tcp(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65_535:
        raise ConfigError(f"--port {port} is none; ports are 1 to 65535, and 0 for any that is free")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host {host} is no address of this machine ({error}); give one, as 127.0.0.1") from error
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigError(_why(error, host, port)) from error
    listening.setblocking(False)
    listening.set_inheritable(True)
    return listening


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is in use by another process (`ss -ltnp` names it); stop that one, or give --port"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine; give one that is, as 127.0.0.1, in --host"
    if error.errno == errno.EACCES:
        return f"port {port} of {host} may not be bound by this user; give a --port from 1024 on"
    return f"port {port} of {host} cannot be bound: {error.strerror}; give another --host or --port"


def _unix(path: Path) -> socket.socket:
    path = path.expanduser()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        listening.bind(str(path))
        path.chmod(0o660)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        why = "its path is too long" if error.errno is None else (error.strerror or str(error))
        raise ConfigError(f"unix socket {path} cannot be made: {why}; give another --socket") from error
    except ConfigError:
        listening.close()
        raise
    listening.setblocking(False)
    listening.set_inheritable(True)
    return listening


def _clear(path: Path) -> None:
    """Remove a socket file that nobody listens on; raises ConfigError on one in use, or of another kind."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"{path} is there and is no socket; give another --socket, or remove it")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as asking:
        asking.settimeout(1.0)
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except TimeoutError:
            pass
    raise ConfigError(f"unix socket {path} is in use by another process; stop that one, or give another --socket")
