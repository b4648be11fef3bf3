"""What a key may do: roles of tenants' keys, and of those above tenants."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic import command

from mailwarden.errors import DataError, NotFound
from mailwarden.stores.sql import PlatformKeys, Principal, Tenants
from mailwarden.stores.sql.engine import writing
from mailwarden.stores.sql.keys import digest
from mailwarden.stores.sql.migrate import alembic_config


@pytest.fixture
def tenants(sql_engine: sa.Engine) -> Tenants:
    made = Tenants(sql_engine)
    made.create("acme", domains=[], created_us=1)
    return made


def test_a_key_has_the_roles_that_it_was_issued_with(tenants: Tenants) -> None:
    key = tenants.issue_key("acme", "analyst", 1, ["content", "read", "read"])
    assert tenants.authenticate(key) == Principal("acme", "analyst", frozenset({"read", "content"}))
    assert [(k.label, k.roles) for k in tenants.keys("acme")] == [("analyst", ("read", "content"))]
    for wrong in (["operator"], ["gateway", "read"], ["Read"], []):
        with pytest.raises(DataError, match="one or more of score, label, read, content, admin"):
            tenants.issue_key("acme", "odd", 1, wrong)


def test_a_key_above_tenants_works_until_it_is_revoked(sql_engine: sa.Engine, tenants: Tenants) -> None:
    keys = PlatformKeys(sql_engine)
    key = keys.issue("ops", 3, ["operator"])
    assert tenants.authenticate(key) == Principal(None, "ops", frozenset({"operator"}))
    with pytest.raises(DataError, match="Revoke it"):
        keys.issue("ops", 4, ["gateway"])
    with pytest.raises(DataError, match="operator, gateway, content"):
        keys.issue("odd", 4, ["score"])
    keys.revoke("ops", 5)
    assert tenants.authenticate(key) is None
    with pytest.raises(NotFound, match="No working key"):
        keys.revoke("ops", 6)
    again = keys.issue("ops", 7, ["gateway"])
    assert tenants.authenticate(again) == Principal(None, "ops", frozenset({"gateway"}))
    assert [(k.tenant, k.label, k.revoked_us, k.roles) for k in keys.list()] == [
        (None, "ops", 5, ("operator",)), (None, "ops", None, ("gateway",))
    ]  # fmt: skip


def test_keys_from_before_there_were_roles_go_on_working(sql_engine: sa.Engine) -> None:
    with writing(sql_engine) as connection:
        command.downgrade(alembic_config(connection), "0002")
        connection.execute(sa.text("INSERT INTO tenants VALUES ('old', '[]', '[]', '{}', 1, '{}')"))
    key = "mw_" + "a" * 43
    with writing(sql_engine) as connection:
        row = {"key": digest(key)}
        connection.execute(sa.text("INSERT INTO api_keys VALUES (:key, 'old', 'first', 1, NULL)"), row)
        command.upgrade(alembic_config(connection), "head")
    assert Tenants(sql_engine).authenticate(key) == Principal("old", "first", frozenset({"score", "label", "read"}))
