from __future__ import annotations

import numpy as np
import pytest

from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.rules.cases import failing_cases
from mailwarden.domain.detection.rules.reading import read_rules
from mailwarden.domain.detection.rules.rule import Rule
from mailwarden_detectors.header_rules.detector import FOLDER, RULES, HeaderRules
from mailwarden_features import discover


def _table(values: dict[str, float]) -> FeatureTable:
    return FeatureTable({name: np.array([values.get(name, np.nan)]) for name in HeaderRules.features}, 1)


def _names(values: dict[str, float]) -> set[str]:
    return {signal.name for signal in HeaderRules().explain(_table(values), 0, limit=1000)}


@pytest.mark.parametrize("rule", RULES.rules, ids=lambda rule: rule.name)
def test_each_rule_does_what_its_cases_say(rule: Rule) -> None:
    assert failing_cases(rule) == []


@pytest.mark.parametrize("rule", RULES.rules, ids=lambda rule: rule.name)
def test_each_rule_is_a_reason_where_it_adds_and_none_where_it_takes_away(rule: Rule) -> None:
    fires = next(case for case in rule.cases if case.fires)
    assert (rule.name in _names({**fires.features})) == (rule.weight > 0.0)  # type: ignore[dict-item]


def test_rules_name_features_that_there_are() -> None:
    found = discover()
    kinds = {name: found.dtype(name) for name in found.feature_names()}
    assert read_rules(FOLDER, kinds=kinds) == RULES.rules


def test_no_rule_holds_on_nulls() -> None:
    assert not RULES.held(_table({})).any()


def test_no_two_rules_say_or_ask_the_same() -> None:
    assert len({rule.words for rule in RULES.rules}) == len(RULES.rules)
    assert len({rule.when for rule in RULES.rules}) == len(RULES.rules)


def test_what_a_sender_can_add_takes_away_only_where_it_is_proven() -> None:
    for rule in RULES.rules:
        if rule.weight < 0.0:
            for case in (case for case in rule.cases if case.fires):
                assert (
                    case.features.get("content_authentication:authenticated") == 1
                    or case.features.get("content_authentication:dmarc_pass") == 1
                ), rule.name


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
    forged = HeaderRules().score(_table({**KNOWN, **ASKS})).raw[0]
    assert {"asks_credentials", "name_unproven", "breaks_habit"} <= _names({**KNOWN, **ASKS})
    assert not _names({**KNOWN, **ASKS, **proof}) & {"asks_credentials", "name_unproven"}
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
    by_name = {rule.name: rule.weight for rule in RULES.rules}
    assert HeaderRules().score(_table(values)).raw[0] == pytest.approx(by_name["pay_by_wallet"] + by_name["list_mail"])
    off = HeaderRules().amount(_table(values), ["pay_by_wallet", "no_such_rule"])
    assert off is not None and off.tolist() == [by_name["pay_by_wallet"]]
    assert HeaderRules().amount(_table(values), ["no_such_rule"]) is None


def test_bytes_of_other_rules_are_refused() -> None:
    from mailwarden.errors import DataError

    data = HeaderRules().to_bytes()
    assert HeaderRules.from_bytes(data).to_bytes() == data
    with pytest.raises(DataError, match="other rules"):
        HeaderRules.from_bytes(b'{"rules": "0", "hits": {}}')
