from __future__ import annotations

import numpy as np
import pytest

from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden_detectors.header_rules.detector import HeaderRules
from mailwarden_detectors.header_rules.rule import HABIT_BROKEN, PROOF, STRANGER, UNPROVEN
from mailwarden_detectors.header_rules.rules import RULES, Rule


def _table(values: dict[str, float]) -> FeatureTable:
    return FeatureTable({name: np.array([values.get(name, np.nan)]) for name in HeaderRules.features}, 1)


_WORKED_OUT_OF = {
    PROOF: {"content_authentication:authenticated": 1.0},
    STRANGER: {"sender_activity:history": 0.0},
    UNPROVEN: {"sender_activity:history": 1.0},
    HABIT_BROKEN: {"sender_activity:history": 1.0, "sender_activity:authenticated_share_90d": 0.95},
}


def _meeting(rule: Rule) -> dict[str, float]:
    found: dict[str, float] = {}
    for condition in rule.conditions:
        if condition.comparison != "null":
            found |= _WORKED_OUT_OF.get(condition.feature, {condition.feature: condition.value})
    return found


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


KNOWN = {"sender_activity:history": 1.0, "sender_activity:days_known": 90.0, "sender_activity:written_to_all": 5.0,
         "sender_activity:labelled_bad_all": 0.0, "sender_activity:authenticated_share_90d": 1.0}  # fmt: skip
ASKS = {"content_text:credential_terms": 3.0, "content_links:url_count": 1.0}


@pytest.mark.parametrize(
    "proof",
    [
        {"content_authentication:authenticated": 1.0},
        {"sender_activity:path_match_90d": 1.0},
        {"sender_activity:structure_match_90d": 1.0, "sender_activity:authenticated_share_90d": 0.0},
    ],
)
def test_a_known_name_is_a_brake_where_it_is_proven_and_a_stranger_where_it_is_not(proof: dict[str, float]) -> None:
    def names(values: dict[str, float]) -> set[str]:
        return {signal.name for signal in HeaderRules().explain(_table({**KNOWN, **ASKS, **values}), 0, limit=1000)}

    forged = HeaderRules().score(_table({**KNOWN, **ASKS})).raw[0]
    assert {"asks_credentials", "name_unproven", "breaks_habit"} <= names({})
    assert not names(proof) & {"asks_credentials", "name_unproven"}
    assert HeaderRules().score(_table({**KNOWN, **ASKS, **proof})).raw[0] < -2.0 < 1.0 < forged
    # As structure can be seen and imitated, it proves nothing of a sender whose mail is authenticated.
    imitated = {"sender_activity:structure_match_90d": 1.0}
    assert HeaderRules().score(_table({**KNOWN, **ASKS, **imitated})).raw[0] == forged


def test_weights_add_up() -> None:
    values = {
        "content_text:crypto_wallet": 1.0,
        "content_headers:has_list_id": 1.0,
        "content_authentication:authenticated": 1.0,
    }
    by_name = {rule.name: rule.weight for rule in RULES}
    assert HeaderRules().score(_table(values)).raw[0] == pytest.approx(by_name["pay_by_wallet"] + by_name["list_mail"])
