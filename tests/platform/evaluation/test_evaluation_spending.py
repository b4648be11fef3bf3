"""Beside each budget by category stands the good mail of that tenant that is held back as that category."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mailwarden.domain.detection.tenant_budget import GoodNamed, TenantBudget
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.evaluation.scored import Scored
from mailwarden.evaluation.spending import spending

Table = Callable[..., Scored]


@pytest.fixture
def table(scored: Table, mail: Callable[..., Any]) -> Scored:
    held = [
        ("acme", "ham", "BE"),
        ("acme", "ham", "BE"),
        ("acme", "ham", "SP"),
        ("acme", "BE", "BE"),
        ("b", "ham", "BE"),
    ]
    rows = [mail(label, 4.0, tenant=tenant, category=category) for tenant, label, category in held]
    rows += [mail("ham", -4.0) for _ in range(7)]
    return scored(rows)


def test_good_mail_held_back_is_counted_by_what_it_was_held_back_as(table: Scored) -> None:
    named = GoodNamed(dict.fromkeys(CATEGORIES, 1 / len(CATEGORIES)), 0.01)
    known = replace(table.bundle, whole=replace(table.bundle.whole, named=named))
    nobody = TenantBudget.of(None, {"BE": 0.1})
    budgets = {"acme": TenantBudget.of(None, {"BE": 0.004, "VF": 0.001}), "b": TenantBudget(0.1), "c": nobody}
    found = spending(replace(table, bundle=known, budgets=budgets))
    assert [(one.tenant, one.category, one.held_back.hits, one.held_back.n) for one in found] == [
        ("acme", "BE", 2, 10), ("acme", "VF", 0, 10), ("acme", "", 1, 10),
    ]  # fmt: skip
    assert [one.budget for one in found] == pytest.approx([0.004, 0.001, 0.005])
    # Models that do not know what good mail is called do not go by these budgets.
    assert spending(replace(table, budgets=budgets)) == ()
