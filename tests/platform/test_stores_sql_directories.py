"""Directories in SQL: whole, one a tenant, gone with it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from mailwarden.domain.mail.directory import Entry
from mailwarden.errors import NotFound
from mailwarden.stores.sql import Directories, Tenants

ENTRIES = (Entry("ann@acme.example", "Ann Lee", ("ann@home.example",), "CEO"), Entry("bob@acme.example", "Bob Stone"))


def test_a_directory_is_replaced_as_a_whole_and_its_tenant_names_it(sql_engine: sa.Engine) -> None:
    tenants, directories = Tenants(sql_engine), Directories(sql_engine)
    for name in ("acme", "other"):
        tenants.create(name, domains=[f"{name}.example"], created_us=1)
    first = directories.replace("acme", ENTRIES, 5)
    assert tenants.get("acme").directory == first.fingerprint != "" == tenants.get("other").directory
    assert directories.get("acme").entries == ENTRIES and len(directories.get("other")) == 0
    second = directories.replace("acme", ENTRIES[1:], 6)
    assert directories.get("acme").entries == ENTRIES[1:] and second.fingerprint != first.fingerprint
    record = directories.record("acme")
    assert record is not None and (record.fingerprint, record.entries, record.set_us) == (second.fingerprint, 1, 6)
    directories.replace("acme", (), 7)
    assert (directories.record("acme"), tenants.get("acme").directory) == (None, "")


def test_a_removed_tenant_has_no_directory_and_can_be_given_none(sql_engine: sa.Engine) -> None:
    tenants, directories = Tenants(sql_engine), Directories(sql_engine)
    tenants.create("acme", domains=["acme.example"], created_us=1)
    directories.replace("acme", ENTRIES, 5)
    tenants.remove("acme", 9)
    assert directories.record("acme") is None and len(directories.get("acme")) == 0
    with pytest.raises(NotFound, match="acme"):
        directories.replace("acme", ENTRIES, 10)
    assert directories.record("acme") is None
