"""Where a gateway listens and where it hands mail on, as an operator writes it."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mailwarden.errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_INET = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:\[\]]+)):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class Place:
    """A TCP address (`host` and `port`) or a unix socket (`path`)."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"inet:[{self.host}]:{self.port}" if ":" in self.host else f"inet:{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it: a socket, or the loopback address."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where mail goes on to, and what is spoken there."""

    place: Place
    protocol: Literal["smtp", "lmtp"] = "smtp"

    def __str__(self) -> str:
        return f"{self.protocol}:{self.place}"


def read_place(text: str) -> Place:
    """The place of `inet:HOST:PORT`, `HOST:PORT`, `inet:[IPV6]:PORT` or `unix:PATH`; raises ConfigError."""
    if text.startswith("unix:") and text != "unix:":
        return Place(path=Path(text.removeprefix("unix:")))
    found = _INET.fullmatch(text.removeprefix("inet:"))
    if found is None or int(found["port"]) > 65535:
        raise ConfigError(f"{text!r} is no place; write inet:HOST:PORT, inet:[IPV6]:PORT or unix:PATH")
    return Place(found["six"] or found["host"], int(found["port"]))


def read_next_hop(text: str) -> NextHop:
    """The next hop of a place, with `smtp:` or `lmtp:` before it; SMTP where neither stands. Raises ConfigError."""
    protocol, _, rest = text.partition(":")
    if protocol == "lmtp":
        return NextHop(read_place(rest), "lmtp")
    return NextHop(read_place(rest if protocol == "smtp" else text))


def read_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """The networks of addresses or CIDR blocks; raises ConfigError on one that cannot be read."""
    try:
        return tuple(ipaddress.ip_network(text.strip(), strict=False) for text in texts)
    except ValueError as error:
        raise ConfigError(f"--allow-from: {error}; write an address or a block as 192.0.2.0/24") from error


def check_listener(place: Place, *, allow_remote: bool, networks: Sequence[Network], tls: bool) -> None:
    """Refuse a listener that strangers could reach; raises ConfigError with what would make it right."""
    if place.is_local:
        return
    if not allow_remote:
        raise ConfigError(
            f"{place} can be reached from other machines; listen on 127.0.0.1 or a unix socket, or add --allow-remote "
            "with --allow-from NETWORK or TLS"
        )
    if not networks and not tls:
        raise ConfigError(f"{place} would take mail from anybody; say with --allow-from NETWORK who may, or give TLS")


def may_connect(peer: object, networks: Sequence[Network]) -> bool:
    """Whether a peer, as a socket names it, is of this machine or of one of the networks; all may where none is set."""
    if not networks or not isinstance(peer, tuple):
        return True
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or any(address in network for network in networks)


def bound_socket(place: Place) -> socket.socket:
    """A socket that listens at the place; raises ConfigError where it is taken or cannot be bound.

    A unix socket that nobody listens on any more is replaced; its mode lets its owner and group connect.
    """
    if place.path is not None:
        return _bound_path(place.path)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"{place} cannot be listened on: {error.strerror or error}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(256)
    except OSError as error:
        bound.close()
        raise ConfigError(f"{place} cannot be listened on: {error.strerror}; is another gateway running?") from error
    return bound


def _bound_path(path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if path.exists() and probe.connect_ex(str(path)) == 0:
                raise ConfigError(f"unix:{path}: another gateway listens there; stop it, or choose another path")
        if path.is_socket():
            path.unlink()
        bound.bind(str(path))
        path.chmod(0o660)
        bound.listen(256)
    except OSError as error:
        bound.close()
        raise ConfigError(f"unix:{path} cannot be listened on: {error.strerror or error}") from error
    except ConfigError:
        bound.close()
        raise
    return bound
