"""Redis clients that fail fast, over one server, Sentinel or Cluster, and Redis errors in Mailwarden's words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.exceptions import ClusterDownError, RedisClusterException, SlotNotCoveredError
from redis.retry import Retry
from redis.sentinel import Sentinel

from mailwarden.errors import ConfigError, StoreError, StoreTimeout, StoreUnavailable

Client: TypeAlias = redis.Redis
"""Client of the online store; replies are bytes. Of a cluster it is a `RedisCluster`, which has the same methods."""

FORMS = (
    "redis://host:6379/0, rediss://host:6379/0 (TLS), unix:///path/to/socket, "
    "redis+sentinel://host:26379,host:26379/service/0 or redis+cluster://host:6379,host:6379"
)
"""What MAILWARDEN_REDIS_URL may be; see `open_client`."""


def open_client(url: str, *, timeout_seconds: float = 0.25) -> Client:
    """A client of the online store behind a URL.

    redis://, rediss:// and unix:// are one server. redis+sentinel://[user:password@]host:port,.../service/db names
    the Sentinels and the service whose master they know; `?sentinel_password=` is theirs. redis+cluster://
    [user:password@]host:port,... names some nodes of a cluster, which has one database. rediss+sentinel:// and
    rediss+cluster:// speak TLS. User and password are percent-encoded.

    timeout_seconds: of connecting and of each reply. A connection that the server dropped is opened again once;
    a timeout is not tried again, since the caller's own deadline is shorter than two. Raises ConfigError on a URL
    that cannot be read; nothing is connected yet, but to a cluster, and then StoreUnavailable where no node answers.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    }
    try:
        scheme, _, topology = url.partition(":")[0].lower().partition("+")
        if not topology:
            return redis.Redis.from_url(url, **options)
        if scheme not in ("redis", "rediss") or topology not in ("sentinel", "cluster"):
            raise ValueError(f"unknown scheme {scheme}+{topology}")
        if scheme == "rediss":
            options["ssl"] = True
        return _sentinel(url, options) if topology == "sentinel" else _cluster(url, options)
    except ValueError as exc:
        raise ConfigError(f"MAILWARDEN_REDIS_URL cannot be read ({exc}); write {FORMS}") from exc


def _sentinel(url: str, options: dict[str, Any]) -> Client:
    parts = _split(url)
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("no service is named behind the Sentinels")
    nodes = _nodes(parts.netloc, 26379)
    sentinel_options = dict(options)
    password = parse_qs(parts.query, strict_parsing=bool(parts.query)).get("sentinel_password")
    if password:
        sentinel_options["password"] = password[-1]
    sentinel: Any = Sentinel(nodes, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
    master: Client = sentinel.master_for(service, db=int(database or 0), **options, **_login(parts.netloc))
    return master


def _cluster(url: str, options: dict[str, Any]) -> Client:
    parts = _split(url)
    if parts.path.strip("/") not in ("", "0"):
        raise ValueError("a cluster has database 0 alone")
    nodes = [ClusterNode(host, port) for host, port in _nodes(parts.netloc, 6379)]  # type: ignore[no-untyped-call]
    # What a node that went away costs: the slots are asked for again, and the command is sent to the new one.
    options["retry"] = Retry(NoBackoff(), 3)
    try:
        client: Any = RedisCluster(startup_nodes=nodes, **options, **_login(parts.netloc))
    except (RedisClusterException, redis.RedisError) as exc:
        raise StoreUnavailable(
            f"no node of the Redis cluster answers ({exc}); start it, or correct MAILWARDEN_REDIS_URL"
        ) from exc
    return client  # type: ignore[no-any-return]


def _split(url: str) -> SplitResult:
    """As `urlsplit` does, which in some releases of Python refuses several hosts where one is an IPv6 address."""
    scheme, _, rest = url.partition("://")
    netloc = re.split(r"[/?#]", rest, maxsplit=1)[0]
    return urlsplit(f"{scheme}://host{rest[len(netloc) :]}")._replace(netloc=netloc)


def _nodes(netloc: str, port: int) -> list[tuple[str, int]]:
    found = []
    for one in netloc.rpartition("@")[2].split(","):
        parts = urlsplit(f"//{one}")
        if not parts.hostname:
            raise ValueError("a host is missing")
        found.append((parts.hostname, parts.port or port))
    return found


def _login(netloc: str) -> dict[str, Any]:
    user, _, password = netloc.rpartition("@")[0].partition(":")
    given = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in given.items() if value}


def round_trip(client: Client, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Replies to commands sent together, in their order; not a transaction: a cluster splits them by node."""
    with client.pipeline(transaction=False) as pipeline:
        queue: Any = pipeline
        for command in commands:
            queue.execute_command(*command)
        return pipeline.execute()


def pack(*words: bytes) -> bytes:
    """A command as it is sent, for `exchange`."""
    # Its stub knows a command of one word alone.
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]
    return packed


def exchange(client: Client, commands: Sequence[tuple[bytes, bytes]]) -> list[Any]:
    """Replies to packed commands sent together, in their order: what `round_trip` does, with less work for each.

    commands: the key that each is about, which a cluster finds its node by, and the command as `pack` makes it. Only
    reads and what may be done twice, since what a dropped connection may have answered is asked again.
    """
    if not isinstance(client, RedisCluster):
        packed = b"".join([command for _, command in commands])
        try:
            return _ask([(client, packed, len(commands))])[0]
        except redis.ConnectionError:
            # The server may have closed a connection that lay idle, or be another one now.
            return _ask([(client, packed, len(commands))])[0]
    try:
        return _by_node(client, commands)
    except (redis.ConnectionError, redis.ResponseError, RedisClusterException):
        # A slot has moved or a node is gone: the library finds out where to, and asks again.
        return round_trip(client, [_unpacked(command) for _, command in commands])


def _by_node(client: RedisCluster, commands: Sequence[tuple[bytes, bytes]]) -> list[Any]:
    parts: dict[str, tuple[Any, list[int]]] = {}
    for index, (key, _) in enumerate(commands):
        node = client.nodes_manager.get_node_from_slot(key_slot(key))
        parts.setdefault(node.name, (node, []))[1].append(index)
    replies: list[Any] = [None] * len(commands)
    asked = [
        (client.get_redis_connection(node), b"".join([commands[i][1] for i in places]), len(places))
        for node, places in parts.values()
    ]
    for (_, places), found in zip(parts.values(), _ask(asked), strict=True):
        for place, reply in zip(places, found, strict=True):
            replies[place] = reply
    return replies


def _ask(asked: Sequence[tuple[Any, bytes, int]]) -> list[list[Any]]:
    """Send packed commands to several servers, then read how many replies each owes; raises the first error reply."""
    connections: list[tuple[Any, Any]] = []
    try:
        for client, packed, _ in asked:
            pool = client.connection_pool
            connection = pool.get_connection()
            connections.append((pool, connection))
            connection.send_packed_command([packed])
        found = []
        for (_, connection), (_, _, n) in zip(connections, asked, strict=True):
            read = connection.read_response
            found.append([read() for _ in range(n)])
        return found
    except BaseException:
        # Replies that were not read must not be taken for those of the next command.
        for _, connection in connections:
            connection.disconnect()
        raise
    finally:
        for pool, connection in connections:
            pool.release(connection)


def _unpacked(command: bytes) -> tuple[str | bytes, ...]:
    reader = hiredis.Reader()
    reader.feed(command)
    name, *words = reader.gets()
    return name.decode(), *words


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise Redis errors as StoreTimeout, StoreUnavailable or StoreError, naming what was being done."""
    try:
        yield
    except redis.TimeoutError as exc:
        raise StoreTimeout(
            f"Redis did not answer in time while {doing}; look at its load, or raise MAILWARDEN_REDIS_TIMEOUT_SECONDS"
        ) from exc
    except (redis.ConnectionError, ClusterDownError, SlotNotCoveredError, RedisClusterException) as exc:
        raise StoreUnavailable(
            f"Redis cannot be reached while {doing}; start it, or correct MAILWARDEN_REDIS_URL"
        ) from exc
    except redis.RedisError as exc:
        raise StoreError(f"Redis refused while {doing}: {exc}") from exc
