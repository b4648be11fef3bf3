from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from mailwarden.errors import ConfigError, StoreError
from mailwarden.stores.sql import Tenants, open_engine, upgrade
from mailwarden.stores.sql.engine import writing
from mailwarden.stores.sql.migrate import alembic_config
from mailwarden.stores.sql.tables import metadata


def test_upgrade_makes_every_table_and_repeating_it_keeps_the_rows(sql_url: str) -> None:
    upgrade(sql_url)
    engine = open_engine(sql_url)
    Tenants(engine).create("acme", domains=["acme.example"], created_us=1)
    upgrade(sql_url)
    assert set(sa.inspect(engine).get_table_names()) == {*metadata.tables, "alembic_version"}
    assert Tenants(engine).get("acme").domains == ("acme.example",)
    engine.dispose()


def test_migrations_leave_what_the_tables_say(sql_engine: sa.Engine) -> None:
    with writing(sql_engine) as connection:
        command.check(alembic_config(connection))


def test_the_check_sees_a_table_that_migrations_lack(sql_engine: sa.Engine) -> None:
    with writing(sql_engine) as connection:
        connection.execute(sa.text("DROP INDEX ix_decisions_tenant_received_at_us_seq_message_id"))
        with pytest.raises(Exception, match="New upgrade operations detected"):
            command.check(alembic_config(connection))


def test_downgrade_takes_every_table_away(sql_engine: sa.Engine) -> None:
    with writing(sql_engine) as connection:
        command.downgrade(alembic_config(connection), "base")
    assert sa.inspect(sql_engine).get_table_names() == ["alembic_version"]


def test_processes_that_start_together_all_succeed(sql_url: str) -> None:
    program = "import sys; from mailwarden.stores.sql.migrate import upgrade; upgrade(sys.argv[1])"
    running = [subprocess.Popen([sys.executable, "-c", program, sql_url], stderr=subprocess.PIPE) for _ in range(4)]
    errors = [process.communicate(timeout=300)[1].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0, 0], errors
    engine = open_engine(sql_url)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).all() == [("0007",)]
    engine.dispose()


def test_a_failing_step_leaves_the_schema_as_it_was(sql_url: str) -> None:
    engine = open_engine(sql_url)
    with writing(engine) as connection:
        connection.execute(sa.text("CREATE TABLE promotions (in_the_way INTEGER)"))
    with pytest.raises(StoreError, match="promotions"):
        upgrade(sql_url)
    assert sa.inspect(engine).get_table_names() == ["promotions"]
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused_with_the_mend(sql_url: str) -> None:
    upgrade(sql_url)
    engine = open_engine(sql_url)
    with writing(engine) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(ConfigError, match="newer Mailwarden"):
        upgrade(sql_url)


def test_a_folder_with_a_percent_sign_does_not_matter(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / '100%s' / 'made' / 'a.db'}"
    upgrade(url)
    engine = open_engine(url)
    assert "tenants" in sa.inspect(engine).get_table_names()
    engine.dispose()
