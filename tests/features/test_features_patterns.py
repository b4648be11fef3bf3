"""No regular expression over sender's text costs more than its length, whatever the text."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from random import Random
from types import ModuleType
from typing import Any

import pytest

import mailwarden.domain.mail
import mailwarden.ingest
import mailwarden_features
from mailwarden.testing.hostile.patterns import attack_pattern, patterns_of

TRIES = 12


def modules() -> Iterator[ModuleType]:
    for package in (mailwarden.domain.mail, mailwarden.ingest, mailwarden_features):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


KEPT = {f"{kept.name} {number}": kept for module in modules() for number, kept in enumerate(patterns_of(module))}


@pytest.mark.parametrize("name", KEPT)
def test_a_pattern_is_linear(name: str) -> None:
    kept = KEPT[name]
    slow = attack_pattern(kept.pattern, Random(name), TRIES, anchored=kept.anchored)
    assert slow is None, f"{name} goes back in its text: {slow}"


@pytest.mark.parametrize(
    "pattern",
    [
        r"a+a+b",
        r"\s*([^\s;=]+)[\s,]+(?=[\w*-]+\s*=)",
        r"([a-z]+)\s*\.\s*([a-z_-]+)\s*=",
        r"font-size:0\s*(?:px)?\s*;",
        r"a*a*$",
    ],
)
def test_one_that_is_not_is_found(pattern: str) -> None:
    compiled: re.Pattern[Any] = re.compile(pattern)
    assert any(attack_pattern(compiled, Random(seed), TRIES) is not None for seed in range(24))
