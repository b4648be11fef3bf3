"""Redis clients that fail fast, and Redis errors in Mailwarden's words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mailwarden.errors import ConfigError, StoreError, StoreTimeout, StoreUnavailable

Client = redis.Redis
"""Client of the online store; replies are bytes."""


def open_client(url: str, *, timeout_seconds: float = 0.25) -> Client:
    """A client of one Redis database: redis://, rediss:// or unix://.

    timeout_seconds: of connecting and of each reply. A connection that the server dropped is opened again once;
    a timeout is not tried again, since the caller's own deadline is shorter than two. Raises ConfigError on a URL
    that cannot be read; nothing is connected yet.
    """
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
    except ValueError as exc:
        raise ConfigError(
            f"MAILWARDEN_REDIS_URL cannot be read ({exc}); write redis://host:6379/0 or unix:///path/to/socket"
        ) from exc


def round_trip(client: Client, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Replies to commands sent together, in their order; not a transaction, so that a cluster may split them."""
    with client.pipeline(transaction=False) as pipeline:
        queue: Any = pipeline
        for command in commands:
            queue.execute_command(*command)
        return pipeline.execute()


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise Redis errors as StoreTimeout, StoreUnavailable or StoreError, naming what was being done."""
    try:
        yield
    except redis.TimeoutError as exc:
        raise StoreTimeout(
            f"Redis did not answer in time while {doing}; look at its load, or raise MAILWARDEN_REDIS_TIMEOUT_SECONDS"
        ) from exc
    except redis.ConnectionError as exc:
        raise StoreUnavailable(
            f"Redis cannot be reached while {doing}; start it, or correct MAILWARDEN_REDIS_URL"
        ) from exc
    except redis.RedisError as exc:
        raise StoreError(f"Redis refused while {doing}: {exc}") from exc
