"""URLs of the online store: one server, Sentinels or a cluster, and what a wrong one says."""

from __future__ import annotations

import pytest
import redis
from redis.sentinel import SentinelConnectionPool

from mailwarden.errors import ConfigError, StoreUnavailable
from mailwarden.stores.online.client import open_client, round_trip, translated


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "redis+sentinel://host:26379",
        "redis+sentinel://,/mail",
        "redis+sentinel://host:port/mail/0",
        "redis+sentinel://host/mail/first",
        "redis+cluster://host:6379/3",
        "redis+cluster://",
        "unix+cluster://host:6379",
        "redis+ring://host:6379",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_with_the_forms_that_can(url: str) -> None:
    with pytest.raises(ConfigError, match=r"MAILWARDEN_REDIS_URL .*redis\+sentinel://host:26379"):
        open_client(url)


def test_sentinels_service_database_and_passwords_are_taken_from_the_url() -> None:
    url = "rediss+sentinel://us%40er:p%2Css@one:1,two,[::1]:3/mail/5?sentinel_password=other"
    client = open_client(url, timeout_seconds=0.5)
    pool = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "mail"
    options = pool.connection_kwargs
    assert (options["db"], options["username"], options["password"]) == (5, "us@er", "p,ss")
    assert issubclass(pool.connection_class, redis.SSLConnection)
    nodes = [node.connection_pool.connection_kwargs for node in pool.sentinel_manager.sentinels]
    assert [(node["host"], node["port"]) for node in nodes] == [("one", 1), ("two", 26379), ("::1", 3)]
    assert {(node["password"], node["socket_timeout"]) for node in nodes} == {("other", 0.5)}


def test_sentinels_that_are_away_are_said_to_be() -> None:
    client = open_client("redis+sentinel://127.0.0.1:1/mail/0", timeout_seconds=0.2)
    with pytest.raises(StoreUnavailable, match="while asking"), translated("asking"):
        round_trip(client, [("PING",)])


def test_a_cluster_that_is_away_is_said_to_be_when_it_is_opened() -> None:
    with pytest.raises(StoreUnavailable, match="no node of the Redis cluster answers"):
        open_client("redis+cluster://user:secret@127.0.0.1:1,127.0.0.1:2", timeout_seconds=0.2)
