from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from mailwarden.errors import ConfigError, DataError, StoreError, StoreTimeout, StoreUnavailable
from mailwarden.stores.sql import Decisions, Tenants, open_engine
from mailwarden.stores.sql.engine import reading, serialise, translating, writing


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("not a url", "cannot be read"),
        ("mysql://host/db", "only sqlite and postgresql"),
        ("nosuch+driver://host/db", "only sqlite and postgresql"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("postgresql+nosuchdriver://host/db", "cannot be read|not installed"),
    ],
)
def test_a_wrong_url_fails_at_start(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_engine(url)


def test_a_url_that_cannot_be_read_does_not_show_its_password() -> None:
    with pytest.raises(ConfigError) as caught:
        open_engine("postgresql://me:hunter2@host:port/db")
    assert "hunter2" not in str(caught.value)


def test_a_database_that_is_away_is_unavailable(tmp_path: Path) -> None:
    engine = open_engine(f"postgresql://me:hunter2@/db?host={tmp_path}")
    with pytest.raises(StoreUnavailable) as caught:
        Tenants(engine).list()
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"this is plain text, long enough to be looked at " * 100)
    with pytest.raises(StoreError, match=r"a\.db"):
        Tenants(open_engine(f"sqlite:///{path}")).list()


_INSERT = (
    "INSERT INTO tenants (name, domains, trusted_authserv_ids, policy, created_us) VALUES ('acme', '[]', '[]', '{}', 1)"
)


def test_missing_tables_name_the_mend(sql_url: str) -> None:
    engine = open_engine(sql_url)
    with pytest.raises(StoreError, match="Migrate it first"):
        Decisions(engine).count("acme")
    engine.dispose()


def test_waiting_too_long_is_a_timeout(sql_engine: sa.Engine) -> None:
    insert = sa.text(_INSERT)
    limits = {"sqlite": "PRAGMA busy_timeout = 50", "postgresql": "SET LOCAL statement_timeout = 50"}
    with writing(sql_engine) as first, sql_engine.connect() as second:
        first.execute(insert)
        second.exec_driver_sql(limits[sql_engine.dialect.name])
        with pytest.raises(StoreTimeout, match="did not answer"), translating(sql_engine):
            second.execute(insert)


def test_an_error_never_shows_the_values(sql_engine: sa.Engine) -> None:
    with pytest.raises(DataError) as caught, writing(sql_engine) as connection:
        for _ in range(2):
            connection.execute(sa.text(_INSERT.replace("'acme'", ":name")), {"name": "secret-name"})
    assert "secret-name" not in str(caught.value)


def test_a_transaction_that_fails_leaves_nothing(sql_engine: sa.Engine) -> None:
    with pytest.raises(RuntimeError), writing(sql_engine) as connection:
        connection.execute(sa.text(_INSERT))
        raise RuntimeError
    assert Tenants(sql_engine).list() == ()


def test_writers_that_read_first_wait_for_each_other(sql_engine: sa.Engine) -> None:
    with writing(sql_engine) as connection:
        connection.execute(sa.text("CREATE TABLE counter (n INTEGER)"))
        connection.execute(sa.text("INSERT INTO counter VALUES (0)"))

    def increment() -> None:
        for _ in range(25):
            with writing(sql_engine) as connection:
                serialise(connection, "counter")
                value = connection.execute(sa.text("SELECT n FROM counter")).scalar_one()
                connection.execute(sa.text("UPDATE counter SET n = :n"), {"n": value + 1})

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(sql_engine) as connection:
        assert connection.execute(sa.text("SELECT n FROM counter")).scalar_one() == 100


def test_sqlite_keeps_a_write_ahead_log_and_foreign_keys(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'a.db'}")
    with reading(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
    engine.dispose()
