"""`mailwarden models`: which bundle serves, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mailwarden.training.train import Trained
from mailwarden_services.bootstrap import Platform

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def three(warden: Any, trained_bundle: Trained) -> Platform:
    """Three bundles, of which the third serves; of the second a detector is of other code."""
    warden.promote(trained_bundle, of_other_code=["message_text"])
    warden.promote(trained_bundle, of_other_code=["header_rules", "behaviour"])
    return Platform(warden.settings)


def test_a_bundle_is_promoted_and_rolled_back_and_all_of_it_is_on_record(run: Run, three: Platform) -> None:
    versions = [record.version for record in three.registry.versions("bundle")]
    assert versions == [1, 2, 3] and three.serving_version() == 3
    code, text, errors = run("models", "list")
    assert code == 0, errors
    serving = [line for line in text.splitlines() if "serves" in line]
    assert len(serving) == 1 and " 3 " in serving[0] and "% of " in serving[0]
    code, text, errors = run("models", "promote", "1", "--reason", "fewer false alarms")
    assert code == 0 and "bundle 1 serves in place of 3" in text, errors
    assert three.serving_version() == 1
    code, text, _ = run("models", "history")
    rows = [line for line in text.splitlines() if "promote" in line]
    assert code == 0 and "fewer false alarms" in rows[0] and " 1 " in rows[0] and len(rows) == 4
    # The one before it has detectors that do not load.
    code, _, errors = run("models", "rollback")
    assert code != 0 and "2 detectors of bundle 3 do not load" in errors and "--force" in errors
    assert three.serving_version() == 1
    code, text, errors = run("models", "rollback", "--force", "--reason", "by drill")
    assert code == 0 and "bundle 3 serves again in place of 1" in text, errors
    assert three.serving_version() == 3 and three.registry.history("bundle")[-1].action == "rollback"
    acts = [(entry.what, entry.target) for entry in three.audit.page(tenant="")]
    assert ("model.promote", "1") in acts and ("model.rollback", "3") in acts


def test_what_cannot_serve_is_refused_in_words(run: Run, three: Platform) -> None:
    code, _, errors = run("models", "promote", "9")
    assert code != 0 and "no version 9" in errors and "1, 2, 3" in errors
    code, _, errors = run("models", "promote", "2")
    assert code != 0 and "1 detectors of bundle 2 do not load" in errors and "message_text" in errors
    assert three.serving_version() == 3 and len(three.registry.history("bundle")) == 3


def test_a_bundle_says_what_it_is(run: Run, three: Platform) -> None:
    code, text, errors = run("models", "show", "2")
    assert code == 0, errors
    (line,) = [line for line in text.splitlines() if " message_text " in line]
    assert "Train again" in " ".join(text.split()) and "yes" not in line
    assert "learned from" in text and "seed" in text


def test_where_there_was_but_one_there_is_no_way_back(run: Run, warden: Any) -> None:
    code, _, errors = run("models", "rollback")
    assert code != 0 and "no earlier champion" in errors
