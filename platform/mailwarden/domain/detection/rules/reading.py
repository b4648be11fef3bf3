"""Rules as files: YAML in, a checked rule out, or one error that names file, field and mend."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mailwarden.domain.detection.decision import VERDICTS
from mailwarden.domain.detection.rules.conditions import clauses_of, leaves, read_condition
from mailwarden.domain.detection.rules.rule import SEVERITIES, Matches, Rule, RuleCase
from mailwarden.domain.detection.rules.ruleset import SHOWN
from mailwarden.domain.detection.rules.signals import DERIVED
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.errors import DataError, did_you_mean

LARGEST = 32_768
"""Characters of a rule's file."""

HEAVIEST = 5.0
"""Log-odds that a rule may add or take away."""

_OURS = ("name", "words", "severity", "weight", "category", "tactics", "references", "when", "cases")
_THEIRS = tuple("action" if field == "weight" else field for field in _OURS)
_OPTIONAL = ("category", "tactics", "references")
_RULE_NAME = re.compile(r"[a-z][a-z0-9_]{2,59}")
_FEATURE_NAME = re.compile(r"[a-z0-9_]+:[a-z0-9_]+")
_TACTIC = re.compile(r"T\d{4}(\.\d{3})?")

Kinds = Mapping[str, str]
"""By full name of a feature, its type; "string" for text."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Plain values alone; a field that is written twice is an error, where YAML takes the latter."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping of this node."""
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        if len(found) != len(node.value):
            names = [key.value for key, _ in node.value]
            twice = next((name for name in names if names.count(name) > 1), "a field")
            raise DataError(f"line {node.start_mark.line + 1}: {twice!r} is written twice; leave one out")
        return found


def read_rules(folder: Path, *, of_tenant: bool = False, kinds: Kinds | None = None) -> tuple[Rule, ...]:
    """Every rule of a folder and the folders below it, or of one file, by name.

    Raises DataError where a file is no rule, is not named after it, or two are of one name.
    """
    if not folder.exists():
        raise DataError(f"there is no {folder}; give a rule's file, or a folder of them")
    files = sorted(folder.rglob("*.yaml")) if folder.is_dir() else [folder]
    if not files:
        raise DataError(f"{folder} holds no rule; a rule is a file NAME.yaml")
    found: dict[str, tuple[Rule, Path]] = {}
    for file in files:
        rule = read_rule(_text(file), str(file), of_tenant=of_tenant, kinds=kinds)
        if rule.name != file.stem:
            raise DataError(f"{file}: name is {rule.name!r}; name the file {rule.name}.yaml, or the rule {file.stem!r}")
        if rule.name in found:
            raise DataError(f"{file}: {found[rule.name][1]} has the name {rule.name!r} already; choose another")
        found[rule.name] = rule, file
    return tuple(found[name][0] for name in sorted(found))


def read_rule(text: str, place: str, *, of_tenant: bool = False, kinds: Kinds | None = None) -> Rule:
    """One rule. place: its file, for errors. of_tenant: it has an `action` and no `weight`. kinds: features that there
    are; None to take any name, which discovery holds against them later.

    Raises DataError.
    """
    try:
        return rule_of(parsed(text), of_tenant=of_tenant, kinds=kinds)
    except DataError as error:
        raise DataError(f"{place}: {error}") from error


def parsed(text: str) -> Any:
    """What a rule's file holds, in plain values, not checked further; raises DataError where it is no YAML."""
    if len(text) > LARGEST:
        raise DataError(f"the file has {len(text):,} characters, and {LARGEST:,} are allowed; split it")
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"it is no YAML: {' '.join(str(error).split())}") from error


def rule_of(given: Any, *, of_tenant: bool = False, kinds: Kinds | None = None) -> Rule:
    """A rule of what its file holds, parsed; see `read_rule`, without the place."""
    fields = _THEIRS if of_tenant else _OURS
    if not isinstance(given, dict):
        raise DataError(f"a rule is a mapping of fields: {', '.join(fields)}")
    for field in given:
        if field not in fields:
            raise DataError(f"there is no field {field!r}.{_why_not(field)}{did_you_mean(str(field), fields)} Fields: "
                            f"{', '.join(fields)}.")  # fmt: skip
    for field in fields:
        if field not in given and field not in _OPTIONAL:
            raise DataError(f"{field} is missing; a rule has {', '.join(f for f in fields if f not in _OPTIONAL)}")
    when = read_condition(given["when"], "when")
    try:
        clauses_of(when)
    except DataError as error:
        raise DataError(f"when: {error}") from error
    rule = Rule(
        name=_checked(given, "name", lambda v: isinstance(v, str) and bool(_RULE_NAME.fullmatch(v)),
                      "write 3 to 60 of a-z, 0-9 and _, a letter first"),
        words=_checked(given, "words", lambda v: isinstance(v, str) and 10 <= len(v) <= 200 and v[-1] in ".!?",
                       "write one sentence for a help desk, of 10 to 200 characters, with its full stop"),
        severity=_checked(given, "severity", lambda v: v in SEVERITIES, f"write one of {', '.join(SEVERITIES)}"),
        when=when,
        cases=_cases(given["cases"]),
        weight=0.0 if of_tenant else float(_checked(
            given, "weight", _is_weight, f"write log-odds from -{HEAVIEST:g} to {HEAVIEST:g}, and not 0")),
        action=_checked(given, "action", lambda v: v in VERDICTS, f"write one of {', '.join(VERDICTS)}")
        if of_tenant else None,
        category=_checked(given, "category", lambda v: v in ("", *CATEGORIES), f"write one of {', '.join(CATEGORIES)}"),
        tactics=_texts(given, "tactics", lambda v: bool(_TACTIC.fullmatch(v)),
                       "write techniques of MITRE ATT&CK, as T1566.002"),
        references=_texts(given, "references", lambda v: 3 <= len(v) <= 300, "write sources, 3 to 300 characters each"),
    )  # fmt: skip
    _check_names(rule, kinds)
    return rule


def names_of(rule: Rule) -> list[tuple[str, str, bool]]:
    """Where a rule names what: field, name, and whether it must be text."""
    found = [("when", _named(leaf), isinstance(leaf, Matches)) for leaf in leaves(rule.when)]
    found += [("words", name, False) for name in SHOWN.findall(rule.words)]
    for at, case in enumerate(rule.cases):
        found += [(f"cases[{at}].with", name, isinstance(value, str)) for name, value in case.features.items()]
    return found


def _check_names(rule: Rule, kinds: Kinds | None) -> None:
    for place, name, is_text in names_of(rule):
        if ":" not in name:
            if name not in DERIVED or place != "when":
                raise DataError(f"{place}: {name!r} is neither a feature nor a signal.{did_you_mean(name, DERIVED)} "
                                f"Features are written view:feature; signals: {', '.join(DERIVED)}.")  # fmt: skip
        elif kinds is not None:
            if name not in kinds:
                raise DataError(f"{place}: there is no feature {name!r}.{did_you_mean(name, kinds)} "
                                "`mailwarden features list` has them all.")  # fmt: skip
            if (kinds[name] == "string") != is_text:
                what = "is text; look into it with `text` and `matches`" if not is_text else "is a number, and no text"
                raise DataError(f"{place}: {name} {what}")


def _named(leaf: Any) -> str:
    return str(leaf.feature if isinstance(leaf, Matches) else leaf.signal)


def _cases(given: Any) -> tuple[RuleCase, ...]:
    if not isinstance(given, list):
        raise DataError("cases must be a list of messages, each `fires:` or `silent:` with its words, and `with:`")
    found = []
    for at, one in enumerate(given):
        said = [key for key in ("fires", "silent") if isinstance(one, dict) and key in one]
        if len(said) != 1 or set(one) - {"with", *said} or not isinstance(one[said[0]], str):
            raise DataError(f"cases[{at}] must have `fires:` or `silent:`, with words for it, and `with:` its features")
        features = one.get("with") or {}
        if not isinstance(features, dict):
            raise DataError(f"cases[{at}].with must be features and their values, as content_links:url_count: 2")
        for name, value in features.items():
            if not isinstance(name, str) or not _FEATURE_NAME.fullmatch(name):
                raise DataError(f"cases[{at}].with: {name!r} is no feature; write view:feature")
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number and not isinstance(value, str):
                raise DataError(f"cases[{at}].with: {name} is {value!r}; write a number, 0 or 1 for a flag, or a text")
        found.append(RuleCase(one[said[0]], said[0] == "fires", dict(features)))
    for fires, word in ((True, "fires"), (False, "silent")):
        if not any(case.fires is fires for case in found):
            raise DataError(f"cases: none is `{word}`; write one message at least that the rule {word} on")
    return tuple(found)


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.001 <= abs(value) <= HEAVIEST


def _checked(given: Mapping[str, Any], field: str, good: Callable[[Any], bool], mend: str) -> Any:
    value = given.get(field, "")
    if not good(value):
        raise DataError(f"{field} is {value!r}; {mend}")
    return value


def _texts(given: Mapping[str, Any], field: str, good: Callable[[str], bool], mend: str) -> tuple[str, ...]:
    values: Sequence[Any] = given.get(field, [])
    if not isinstance(values, list):
        raise DataError(f"{field} is {values!r}; write a list: {mend}")
    for at, value in enumerate(values):
        if not isinstance(value, str) or not good(value):
            raise DataError(f"{field}[{at}] is {value!r}; {mend}")
    return tuple(values)


def _why_not(field: Any) -> str:
    if field == "weight":
        return " A tenant's rule acts by its `action`, since the fusion was fitted without it."
    return " What a rule of the platform adds is its `weight`; actions are tenants'." if field == "action" else ""


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read ({error}); a rule is a text in UTF-8") from error
