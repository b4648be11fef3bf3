"""Every detector that is there keeps every rule of the contract; each rule is a test of its own."""

from __future__ import annotations

from functools import lru_cache

import pytest

from mailwarden.testing.check_detector import CHECKS, Conformance
from mailwarden_detectors import discover
from mailwarden_features import discover as discover_features

DETECTORS = discover()


@lru_cache
def conformance(name: str) -> Conformance:
    return Conformance(DETECTORS[name], discover_features().feature_names())


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", DETECTORS)
def test_detector_keeps_its_contract(name: str, check: str) -> None:
    barred = conformance(name).barred(check)
    if barred:
        pytest.skip(f"cannot be tried while {barred} is broken")
    assert [str(finding) for finding in conformance(name).findings(check)] == []


def test_the_three_detectors_are_there() -> None:
    assert {"behaviour", "header_rules", "message_text"} <= set(DETECTORS)
