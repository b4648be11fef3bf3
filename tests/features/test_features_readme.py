"""The examples of the features' README are code that runs, and none of the kinds there are is left out."""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args

import pytest

import mailwarden_features
from mailwarden.domain.aggregates import definitions, windows
from mailwarden.domain.aggregates.definitions import Distinct, Expression, Extreme, Measure, Peak, Recent
from mailwarden_features import discover

README = (Path(mailwarden_features.__file__).parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"^\| [^|]+ \| `(\*?\w+\(.*?\))` \|", README, re.MULTILINE)
NAMES = {**vars(windows), **vars(definitions)}


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_what_it_is_said_to_be(example: str) -> None:
    made = eval(f"[{example}]", dict(NAMES))
    assert made and all(is_dataclass(part) for part in made)


def test_every_kind_of_aggregate_and_expression_has_an_example() -> None:
    shown = {example.split("(")[0].strip("*") for example in EXAMPLES}
    kinds = [*get_args(Expression), Measure, Peak, Extreme, Distinct, Recent]
    assert shown >= {kind.__name__ for kind in kinds}


def test_every_view_is_told_of() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", README, re.MULTILINE))
    for view in discover().activity:
        assert told[view.name].strip().split(", ") == list(view.keys or ("(tenant)",))
