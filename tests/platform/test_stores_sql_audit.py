"""The audit log: what was written stays, is listed by tenant, and cannot be changed."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from mailwarden.errors import MailwardenError
from mailwarden.stores.sql import Audit
from mailwarden.stores.sql.engine import writing


def test_acts_are_listed_by_tenant_the_newest_first(sql_engine: sa.Engine) -> None:
    audit = Audit(sql_engine)
    for number in range(5):
        audit.add(at_us=number, tenant="acme", who="key:tests", what="label.give", target=f"m{number}")
    audit.add(at_us=9, tenant="other", who="cli:root", what="labels", details={"n": 1, "to": ["a"]})
    audit.add(at_us=10, tenant="", who="cli:\x00", what="model.promote", target="\ud800")
    first = audit.page("acme", limit=2)
    assert [entry.target for entry in first] == ["m4", "m3"]
    assert [entry.target for entry in audit.page("acme", before=first[-1].number)] == ["m2", "m1", "m0"]
    assert [(entry.what, entry.details) for entry in audit.page("other")] == [("labels", {"n": 1, "to": ["a"]})]
    assert [entry.tenant for entry in audit.page(None, limit=3)] == ["", "other", "acme"]
    assert len(audit.page(None, what="label")) == 5


@pytest.mark.parametrize("act", ["UPDATE audit SET who = 'nobody'", "DELETE FROM audit"])
def test_what_was_written_cannot_be_changed(sql_engine: sa.Engine, act: str) -> None:
    audit = Audit(sql_engine)
    audit.add(at_us=1, tenant="acme", who="key:tests", what="content.read", target="m1")
    with pytest.raises(MailwardenError, match="append-only"), writing(sql_engine) as connection:
        connection.execute(sa.text(act))
    assert [entry.who for entry in audit.page("acme")] == ["key:tests"]
