"""Rules: read with errors that mend, and computed for many rows as a naive reader computes one."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.detection import proof
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.rules.cases import failing_cases
from mailwarden.domain.detection.rules.conditions import MOST_PARTS
from mailwarden.domain.detection.rules.reading import parsed, read_rule, read_rules
from mailwarden.domain.detection.rules.rule import AllOf, AnyOf, Condition, IsNull, Matches, Not, Rule, Within
from mailwarden.domain.detection.rules.ruleset import RuleSet
from mailwarden.domain.detection.rules.tenant import MOST_RULES, KeptRule, checked_rules, own_verdict, tenant_rules
from mailwarden.errors import DataError

NUMBERS = ("links:count", "links:ip", "text:terms")
TEXT = "text:subject"
KINDS = {**dict.fromkeys((*NUMBERS, *proof.FEATURES), "int64"), TEXT: "string"}
GOOD = """
name: many_links
words: It has {links:count} links.
severity: low
weight: 1.5
category: CP
tactics: [T1566.002]
when:
  all:
    - links:count >= 3
    - links:ip is not null
cases:
  - fires: four links
    with: {links:count: 4, links:ip: 0}
  - silent: two links
    with: {links:count: 2, links:ip: 0}
"""

values = st.sampled_from([math.nan, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0])
leaf: st.SearchStrategy[Condition] = st.one_of(
    st.builds(
        Within,
        st.sampled_from([*NUMBERS, "stranger", "proof", "unproven", "habit_broken"]),
        st.sampled_from([-math.inf, 0.0, 1.0, 2.0]),
        st.sampled_from([math.inf, 2.0, 3.0]),
    ),
    st.builds(IsNull, st.sampled_from([*NUMBERS, "stranger"])),
    st.builds(Matches, st.just(TEXT), st.lists(st.sampled_from(["(?i)pay", "now$", "x"]), min_size=1).map(tuple)),
)
condition: st.SearchStrategy[Condition] = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: AllOf(tuple(parts))),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: AnyOf(tuple(parts))),
        inner.map(Not),
    ),
    max_leaves=5,
)


def naive(when: Condition, row: dict[str, Any]) -> bool | None:
    """Kleene's three values, one row, no arrays."""
    if isinstance(when, Not):
        found = naive(when.part, row)
        return None if found is None else not found
    if isinstance(when, AllOf | AnyOf):
        said = [naive(part, row) for part in when.parts]
        decides = isinstance(when, AnyOf)
        return decides if decides in said else (None if None in said else not decides)
    if isinstance(when, IsNull):
        return bool(math.isnan(signal(when.signal, row)))
    if isinstance(when, Matches):
        text = row[TEXT]
        return None if text is None else any(re.search(pattern, text) for pattern in when.patterns)
    value = signal(when.signal, row)
    return None if math.isnan(value) else when.low <= value <= when.high


def signal(name: str, row: dict[str, Any]) -> float:
    """A feature, or a derived signal by the words of `DERIVED`."""
    if name in row:
        return float(row[name])
    said, known, path, structure, share, _, domain_path, domain_share, own = (row[one] for one in proof.FEATURES)
    seen = known > 0
    by_path = (path if seen else domain_path) == 1 and not (said == 0 and (share if seen else domain_share) >= 0.8)
    proven = 3.0 if said == 1 else 2.0 if by_path else 0.0
    if not proven and seen and structure == 1 and own != 1 and not ((share if seen else domain_share) > 0):
        proven = 1.0
    if name == "proof":
        return math.nan if not proven and math.isnan(known) and math.isnan(row[proof.FEATURES[5]]) else proven
    if name == "habit_broken":
        return float((share >= 0.8 or (math.isnan(share) and domain_share >= 0.8)) and said != 1)
    if math.isnan(known):
        return math.nan
    real = signal("proof", row)
    unproven = float(real == 0.0 and seen)
    return 1.0 if name == "stranger" and known == 0 else unproven


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    row: dict[str, Any] = {name: draw(values) for name in (*NUMBERS, *proof.FEATURES)}
    return row | {TEXT: draw(st.sampled_from([None, "", "Pay now", "x pays", "pay NOW \ud800"]))}


def rule_of(when: Condition) -> Rule:
    return Rule("a_rule", "Words enough.", "low", when, ())


@settings(max_examples=300, deadline=None)
@given(st.lists(condition, min_size=1, max_size=4), st.lists(rows(), min_size=1, max_size=6))
def test_many_rows_at_once_hold_as_one_does_by_hand(conditions: list[Condition], drawn: list[dict[str, Any]]) -> None:
    rules = RuleSet([rule_of(when) for when in conditions])
    columns: dict[str, Any] = {name: np.array([row[name] for row in drawn]) for name in KINDS if name != TEXT}
    columns[TEXT] = np.array([*(row[TEXT] for row in drawn), None], dtype=object)[:-1]
    held = rules.held(FeatureTable(columns, len(drawn)))
    assert held.tolist() == [[naive(when, row) is True for when in conditions] for row in drawn]


def test_no_rules_hold_nowhere() -> None:
    assert RuleSet([]).held(FeatureTable({}, 3)).shape == (3, 0)


def test_a_rule_is_read_whole() -> None:
    rule = read_rule(GOOD, "many_links.yaml", kinds=KINDS)
    assert rule.when == AllOf((Within("links:count", 3.0), Not(IsNull("links:ip"))))
    assert (rule.weight, rule.category, rule.tactics, rule.action) == (1.5, "CP", ("T1566.002",), None)
    assert failing_cases(rule) == []
    one = RuleSet([rule])
    table = FeatureTable({"links:count": np.array([1200.0, math.nan]), "links:ip": np.zeros(2)}, 2)
    assert [one.words(rule, table, row) for row in (0, 1)] == ["It has 1,200 links.", "It has ? links."]


def test_cases_that_the_rule_does_the_contrary_of_are_named() -> None:
    rule = read_rule(GOOD.replace("links:count: 4", "links:count: 1"), "many_links.yaml")
    assert failing_cases(rule) == ["it is silent on the case 'four links'"]


@pytest.mark.parametrize(
    ("instead", "of", "words"),
    [
        ("links:cuont >= 3", "links:count >= 3", "when: there is no feature 'links:cuont'. Did you mean 'links:count'"),
        ("strangr", "links:count >= 3", "'strangr' is neither a feature nor a signal. Did you mean 'stranger'"),
        ("links:count => 3", "links:count >= 3", r"when.all[0]: 'links:count => 3' is no condition; write NAME"),
        ("links:count between 4 and 3", "links:count >= 3", "when.all[0]: nothing lies between 4 and 3"),
        ("text:subject >= 3", "links:count >= 3", "text:subject is text; look into it with `text`"),
        ("non: links:ip is null", "links:ip is not null", "when.all[1]: 'non' is no way to combine conditions"),
        ("T566", "T1566.002", "tactics[0] is 'T566'; write techniques of MITRE ATT&CK"),
        ("weight: 9", "weight: 1.5", "weight is 9; write log-odds from -5 to 5"),
        ("weight: true", "weight: 1.5", "weight is True"),
        ("severity: bad", "severity: low", "severity is 'bad'; write one of info, low"),
        ("category: XX", "category: CP", "category is 'XX'; write one of"),
        ("seviority: low", "severity: low", "no field 'seviority'. Did you mean 'severity'"),
        ("severity: low\nseverity: low", "severity: low", "'severity' is written twice"),
        ("action: junk", "weight: 1.5", "no field 'action'. What a rule of the platform adds is its `weight`"),
        ("words: no", "words: It has {links:count} links.", "words is False; write one sentence"),
        ("links:cuont: 4", "links:count: 4", "cases[0].with: there is no feature 'links:cuont'"),
        ("links:count: many", "links:count: 4", "cases[0].with: links:count is a number, and no text"),
        ("- fires: two", "- silent: two", "cases: none is `silent`"),
        ("name: Many", "name: many_links", "name is 'Many'; write 3 to 60"),
        ("weight: [", "weight: 1.5", "it is no YAML"),
    ],
)
def test_what_is_wrong_is_named_with_file_field_and_mend(instead: str, of: str, words: str) -> None:
    assert GOOD.count(of)
    with pytest.raises(DataError) as raised:
        read_rule(GOOD.replace(of, instead), "rules/many_links.yaml", kinds=KINDS)
    assert str(raised.value).startswith("rules/many_links.yaml: ") and words in str(raised.value)


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "(", "", "a" * 501])
def test_a_pattern_that_is_not_of_linear_time_is_refused(pattern: str) -> None:
    text = GOOD.replace("    - links:count >= 3", f"    - text: text:subject\n      matches: ['{pattern}']")
    with pytest.raises(DataError, match=r"when\.all\[0\]\.matches\[0\]: "):
        read_rule(text, "many_links.yaml", kinds=KINDS)


def test_a_rule_that_multiplies_out_is_refused() -> None:
    pair = "{all: [links:count >= 1, links:ip >= 1]}"
    text = GOOD.replace("    - links:count >= 3", "    - any: [" + ", ".join([pair] * 7) + "]")
    with pytest.raises(DataError, match="multiplied out it has more than 64"):
        read_rule(text, "many_links.yaml")
    many = GOOD.replace("    - links:count >= 3", "\n".join(["    - links:count >= 3"] * MOST_PARTS))
    with pytest.raises(DataError, match="at most 64 conditions"):
        read_rule(many, "many_links.yaml")


def test_a_folder_is_read_by_name_and_names_are_of_one_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "many_links.yaml").write_text(GOOD)
    assert [rule.name for rule in read_rules(tmp_path)] == ["many_links"]
    (tmp_path / "b" / "other.yaml").write_text(GOOD)
    with pytest.raises(DataError, match=r"other\.yaml: name is 'many_links'; name the file many_links\.yaml"):
        read_rules(tmp_path)
    (tmp_path / "b" / "other.yaml").rename(tmp_path / "b" / "many_links.yaml")
    with pytest.raises(DataError, match=r"a/many_links\.yaml has the name 'many_links' already"):
        read_rules(tmp_path)
    with pytest.raises(DataError, match="there is no "):
        read_rules(tmp_path / "none")


def test_a_tenants_rule_acts_and_weighs_nothing() -> None:
    rule = read_rule(GOOD.replace("weight: 1.5", "action: junk"), "many_links.yaml", of_tenant=True)
    assert (rule.action, rule.weight) == ("junk", 0.0)
    with pytest.raises(DataError, match=r"no field 'weight'\. A tenant's rule acts by its `action`"):
        read_rule(GOOD, "many_links.yaml", of_tenant=True)


def kept(name: str, **more: Any) -> KeptRule:
    given = parsed(GOOD.replace("weight: 1.5", "action: junk").replace("many_links", name))
    return {"name": name, "mode": "on", "rule": {**given, **more}}


def test_a_tenants_rules_are_bounded_and_of_one_name_each() -> None:
    assert [one["name"] for one in checked_rules([kept("second"), kept("first")])] == ["first", "second"]
    with pytest.raises(DataError, match="of one name"):
        checked_rules([kept("first"), kept("first")])
    with pytest.raises(DataError, match="at most 100 rules"):
        checked_rules([kept(f"rule_{n}") for n in range(MOST_RULES + 1)])
    many = {"text": TEXT, "matches": ["a"] * 26}
    with pytest.raises(DataError, match="at most 50 patterns, and these 52"):
        checked_rules([kept("first", when=many), kept("second", when=many)])


def test_the_strictest_of_a_tenants_rules_counts_and_none_in_shadow() -> None:
    rules = [
        kept("to_junk", when="links:count >= 1", category="SP"),
        kept("to_hold", when="links:count >= 2", action="quarantine", category="MW"),
        kept("to_free", when="links:ip == 0", action="deliver"),
        {**kept("to_see", when="links:count >= 1", action="quarantine"), "mode": "shadow"},
        {**kept("to_skip"), "mode": "off"},
        {"name": "new_sender", "mode": "off", "rule": None},
    ]
    ready = tenant_rules(rules, NUMBERS)  # type: ignore[arg-type]
    assert (ready.silenced, ready.unreadable) == ({"new_sender"}, ())

    def said(*counts: float) -> tuple[str, bool, str, list[str]]:
        n = len(counts)
        table = FeatureTable({"links:count": np.array(counts), "links:ip": np.zeros(n)}, n)
        own = own_verdict(ready, table)
        assert "to_skip" not in own.held and "new_sender" not in own.held
        assert ("to_see" in own.held) == (max(counts) >= 1.0)
        return own.least, own.deliver, own.category, [signal.name for signal in own.signals]

    assert said(0.0) == ("deliver", True, "", ["to_free"])
    assert said(1.0) == ("junk", False, "SP", ["to_junk"])
    # One recipient's row is enough.
    assert said(0.0, 2.0) == ("quarantine", False, "MW", ["to_hold", "to_junk"])
    assert tenant_rules([kept("first")], ["links:ip"]).unreadable == ("first",)
