from __future__ import annotations

import numpy as np
import pytest

from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden_detectors.header_rules.detector import HeaderRules
from mailwarden_detectors.header_rules.rules import RULES, Rule


def _table(values: dict[str, float]) -> FeatureTable:
    return FeatureTable({name: np.array([values.get(name, np.nan)]) for name in HeaderRules.features}, 1)


def _meeting(rule: Rule) -> dict[str, float]:
    return {c.feature: c.value for c in rule.conditions if c.comparison != "null"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_holds_where_its_conditions_do(rule: Rule) -> None:
    names = {signal.name for signal in HeaderRules().explain(_table(_meeting(rule)), 0, limit=1000)}
    assert (rule.name in names) == (rule.weight > 0.0)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_no_rule_holds_on_nulls(rule: Rule) -> None:
    assert HeaderRules().score(_table({})).raw[0] == 0.0
    assert any(condition.comparison != "null" for condition in rule.conditions)


def test_rules_are_well_formed() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.category in ("", *CATEGORIES) for rule in RULES)
    assert all(rule.words.endswith(".") and rule.weight != 0.0 for rule in RULES)


def test_a_sender_whose_history_is_unknown_is_not_called_new() -> None:
    values = {"content_text:credential_terms": 3.0, "content_links:url_count": 1.0}
    detector = HeaderRules()
    assert detector.score(_table(values)).raw[0] == 0.0
    assert detector.score(_table({**values, "sender_activity:history": 0.0})).raw[0] > 1.0


def test_weights_add_up() -> None:
    values = {"content_text:crypto_wallet": 1.0, "content_headers:has_list_id": 1.0}
    by_name = {rule.name: rule.weight for rule in RULES}
    assert HeaderRules().score(_table(values)).raw[0] == pytest.approx(by_name["pay_by_wallet"] + by_name["list_mail"])
