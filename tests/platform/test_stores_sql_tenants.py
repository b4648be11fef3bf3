from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from mailwarden.domain.detection.action import ActionPolicy
from mailwarden.domain.mail.trust import NO_TRUST, Trust
from mailwarden.errors import DataError, NotFound
from mailwarden.stores.sql import Principal, Tenant, TenantPolicy, Tenants, open_engine, upgrade
from mailwarden.stores.sql.engine import reading
from mailwarden.stores.sql.tables import metadata


@pytest.fixture
def tenants(sql_engine: sa.Engine) -> Tenants:
    return Tenants(sql_engine)


def test_a_tenant_is_read_back_as_it_was_created(tenants: Tenants) -> None:
    policy: TenantPolicy = {"block_senders": ["Bad.example"], "false_positive_budget": 0.001}
    created = tenants.create(
        "acme",
        domains=["Acme.example.", "acme.test"],
        trusted_authserv_ids=["mx.acme.test"],
        policy=policy,
        created_us=1_700_000_000_000_001,
    )
    assert created == Tenant(
        "acme",
        ("acme.example", "acme.test"),
        ("mx.acme.test",),
        {"block_senders": ["bad.example"], "false_positive_budget": 0.001},
        1_700_000_000_000_001,
    )
    assert tenants.get("acme") == created
    tenants.create("abc", domains=[], created_us=2)
    assert [tenant.name for tenant in tenants.list()] == ["abc", "acme"]


def test_a_name_that_is_taken_or_odd_is_refused(tenants: Tenants) -> None:
    tenants.create("acme", domains=[], created_us=1)
    with pytest.raises(DataError, match="exists already"):
        tenants.create("acme", domains=[], created_us=2)
    for name in ("", "Acme", "-acme", "a/b", "a" * 64, "acmé", "acme\n"):
        with pytest.raises(DataError, match="cannot be used"):
            tenants.create(name, domains=[], created_us=1)


def test_an_unknown_tenant_is_not_found_with_the_near_names(tenants: Tenants) -> None:
    tenants.create("northwind", domains=[], created_us=1)
    with pytest.raises(NotFound, match="did you mean 'northwind'"):
        tenants.get("northwin")
    with pytest.raises(NotFound):
        tenants.update("acme", domains=["x.example"])
    with pytest.raises(NotFound):
        tenants.issue_key("acme", "gateway", 1)


def test_update_replaces_what_is_given_and_keeps_the_rest(tenants: Tenants) -> None:
    tenants.create("acme", domains=["a.example"], policy={"allow_senders": ["x.example"]}, created_us=1)
    assert tenants.update("acme", domains=["b.example"]).policy == {"allow_senders": ["x.example"]}
    changed = tenants.update("acme", policy={"false_positive_budget": 0.01})
    assert changed.policy == {"false_positive_budget": 0.01}
    assert changed.domains == ("b.example",)
    assert tenants.update("acme") == changed == tenants.get("acme")
    spent: TenantPolicy = {"category_budgets": {"VF": 0.004, "BE": 0.006}, "false_positive_budget": 0.01}
    assert tenants.update("acme", policy=spent).policy == tenants.get("acme").policy == spent


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"block_sender": ["x.example"]}, "did you mean 'block_senders'"),
        ({"block_senders": "x.example"}, "Expected a list"),
        ({"allow_senders": [""]}, "empty name"),
        ({"false_positive_budget": 0}, "write a share"),
        ({"false_positive_budget": 1.0}, "write a share"),
        ({"false_positive_budget": float("nan")}, "write a share"),
        ({"false_positive_budget": True}, "write a share"),
        ({"category_budgets": {"BE": 0.002}}, "more than the 0.001"),
        ({"category_budgets": {"BE": 0.002}, "false_positive_budget": 0.0015}, "more than the 0.0015"),
        ({"category_budgets": {"SPAM": 0.0001}}, "no category 'SPAM'"),
        ({"unread": "reject"}, "deliver, banner, junk, quarantine"),
        ({"mode": "watch"}, "monitor, enforce"),
        ({"reject": "deliver"}, "banner, junk, quarantine, or null"),
        ({"headers_in_monitor": 1}, "write true or false"),
        ({"act_on_outbound": "no"}, "write true or false"),
    ],
)
def test_a_policy_that_would_not_do_what_it_says_is_refused(
    tenants: Tenants, policy: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        tenants.create("acme", domains=[], policy=cast(TenantPolicy, policy), created_us=1)
    assert tenants.list() == ()


def test_what_a_tenant_lets_its_verdicts_do_is_nothing_until_it_says_so(tenants: Tenants) -> None:
    assert tenants.create("acme", domains=[], created_us=1).actions == ActionPolicy("monitor", None, False, False)
    policy: TenantPolicy = {"mode": "enforce", "reject": "junk", "headers_in_monitor": True, "act_on_outbound": True}
    assert tenants.update("acme", policy=policy).actions == ActionPolicy("enforce", "junk", True, True)
    assert tenants.get("acme").policy == policy


def test_a_domain_is_one_tenants(tenants: Tenants) -> None:
    tenants.create("acme", domains=["acme.example", "*.bücher.example"], created_us=1)
    assert tenants.get("acme").domains == ("acme.example", ".xn--bcher-kva.example")
    for claimed in ("ACME.example.", "shop.bücher.example"):
        with pytest.raises(DataError, match="claimed by tenant 'acme' already"):
            tenants.create("other", domains=["fine.test", claimed], created_us=2)
    assert [tenant.name for tenant in tenants.list()] == ["acme"]
    tenants.create("other", domains=["bücher.example", ".acme.example"], created_us=2)
    with pytest.raises(DataError, match="claimed by tenant 'acme' already"):
        tenants.update("other", domains=["acme.example"])
    assert tenants.update("other", domains=["bücher.example"]).domains == ("xn--bcher-kva.example",)
    tenants.update("acme", domains=[])
    assert tenants.update("other", domains=["acme.example"]).domains == ("acme.example",)


def test_lists_and_domains_have_one_form_or_are_refused(tenants: Tenants) -> None:
    policy: TenantPolicy = {
        "allow_senders": ["Ann <ann@Bücher.example>", "@partner.example", "partner.example"],
        "block_senders": ["*@Bad.example."],
    }
    made = tenants.create("acme", domains=["@Größe.example"], policy=policy, created_us=1)
    assert made.domains == ("xn--gre-6ka8i.example",)
    assert made.policy == {
        "allow_senders": ["ann@xn--bcher-kva.example", "partner.example"],
        "block_senders": ["bad.example"],
    }
    for wrong in ("*.*.bad.example", "com", "https://bad.example/"):
        with pytest.raises(DataError):
            tenants.update("acme", policy={"block_senders": [wrong]})
        with pytest.raises(DataError):
            tenants.update("acme", domains=[wrong])
    assert tenants.get("acme") == made


def test_a_key_opens_its_own_tenant_until_revoked(tenants: Tenants) -> None:
    for name in ("acme", "other"):
        tenants.create(name, domains=[], created_us=1)
    key, others = tenants.issue_key("acme", "gateway", 5), tenants.issue_key("other", "gateway", 6)
    assert key.startswith("mw_") and len(key) == 46 and key != others
    assert tenants.authenticate(key) == Principal("acme", "gateway", frozenset({"score", "label", "read"}))
    assert tenants.authenticate(others) == Principal("other", "gateway", frozenset({"score", "label", "read"}))
    tenants.revoke_key("acme", "gateway", 9)
    assert tenants.authenticate(key) is None
    assert tenants.authenticate(others) == Principal("other", "gateway", frozenset({"score", "label", "read"}))
    assert [(k.label, k.created_us, k.revoked_us) for k in tenants.keys("acme")] == [("gateway", 5, 9)]
    with pytest.raises(NotFound, match="no working key"):
        tenants.revoke_key("acme", "gateway", 10)


def test_a_label_names_one_working_key_and_is_free_again_once_revoked(tenants: Tenants) -> None:
    tenants.create("acme", domains=[], created_us=1)
    first = tenants.issue_key("acme", "gateway", 1)
    with pytest.raises(DataError, match="Revoke it"):
        tenants.issue_key("acme", "gateway", 2)
    tenants.revoke_key("acme", "gateway", 3)
    second = tenants.issue_key("acme", "gateway", 4)
    assert tenants.authenticate(first) is None
    assert tenants.authenticate(second) == Principal("acme", "gateway", frozenset({"score", "label", "read"}))
    assert [key.revoked_us for key in tenants.keys("acme")] == [3, None]


@pytest.mark.parametrize("key", ["", "mw_", "mw_" + "A" * 43, "mw_" + "é" * 43, "x" * 10_000, "mw_\ud800", "\0"])
def test_what_is_no_key_opens_nothing(tenants: Tenants, key: str) -> None:
    tenants.create("acme", domains=[], created_us=1)
    tenants.issue_key("acme", "gateway", 1)
    assert tenants.authenticate(key) is None


def test_the_stored_hash_is_no_key(tenants: Tenants, sql_engine: sa.Engine) -> None:
    tenants.create("acme", domains=[], created_us=1)
    tenants.issue_key("acme", "gateway", 1)
    with reading(sql_engine) as connection:
        stored = connection.execute(sa.text("SELECT key_sha256 FROM api_keys")).scalar_one()
    assert tenants.authenticate(stored) is None


def test_the_key_is_in_no_column(tenants: Tenants, sql_engine: sa.Engine) -> None:
    tenants.create("acme", domains=[], created_us=1)
    secret = tenants.issue_key("acme", "gateway", 1).removeprefix("mw_")
    with reading(sql_engine) as connection:
        for table in metadata.sorted_tables:
            assert secret not in repr(connection.execute(sa.select(table)).all())


def test_the_key_is_nowhere_in_the_bytes_of_the_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    upgrade(url)
    engine = open_engine(url)
    tenants = Tenants(engine)
    tenants.create("acme", domains=["acme.example"], created_us=1)
    key = tenants.issue_key("acme", "gateway", 1)
    tenants.authenticate(key)
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"acme.example" in files  # the write-ahead log was read too
    assert key.removeprefix("mw_").encode() not in files
    engine.dispose()


def test_whom_a_tenant_trusts_is_kept_in_its_one_form(tenants: Tenants) -> None:
    wanted = Trust(hops=frozenset({"*.Mail.Cloud.Example"}), topmost=1, sealers=frozenset({"list.example."}))
    made = tenants.create("acme", domains=[], trusted_authserv_ids=["mx.acme.test"], trust=wanted, created_us=1)
    assert made.trust == Trust(hops=frozenset({".mail.cloud.example"}), topmost=1, sealers=frozenset({"list.example"}))
    assert made.trusts == made.trust.and_ids(["mx.acme.test"])
    assert tenants.get("acme") == made
    assert tenants.create("other", domains=[], created_us=1).trusts == NO_TRUST
    assert tenants.update("acme", trust=Trust(topmost=2, behind=1)).trusts == Trust(
        frozenset({"mx.acme.test"}), topmost=2, behind=1
    )
    with pytest.raises(DataError, match="behind"):
        tenants.update("acme", trust=Trust(behind=1))


def test_a_tenant_that_something_names_is_not_discarded(tenants: Tenants) -> None:
    tenants.create("t1", domains=[], created_us=1)
    tenants.issue_key("t1", "gateway", 1)
    with pytest.raises(DataError):
        tenants.discard("t1")
    tenants.create("t2", domains=[], created_us=1)
    tenants.discard("t2")
    assert [tenant.name for tenant in tenants.list()] == ["t1"]
