"""Why a message was decided on as it was, to a help desk and to an engineer, over the API and on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.detection.decision import VERDICTS
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden_services.scoring_api.answer_models import ScoreAnswer

FULL = "/v1/score?observe=false&explain=full"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def answer(warden: Any, barely_quarantined: SimulatedMessage) -> dict[str, Any]:
    with warden.api() as api:
        response = api.score(barely_quarantined.raw, barely_quarantined.envelope, path=FULL)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    ScoreAnswer.model_validate(found)
    assert warden.events() == []
    return found


def test_what_is_held_back_has_two_to_five_reasons_with_values_and_what_is_usual(answer: dict[str, Any]) -> None:
    assert answer["verdict"] == "quarantine"
    assert 2 <= len(answer["signals"]) <= 5
    known = 0
    for signal in answer["signals"]:
        evidence = signal["evidence"]
        assert evidence, signal
        assert all(one["usual"] is None or one["usual"] == sorted(one["usual"]) for one in evidence)
        known += any(one["value"] is not None and one["usual"] is not None for one in evidence)
        assert not signal["words"].endswith((": not known.", ": no."))
    assert known


def test_an_explanation_adds_up_and_says_what_would_have_changed_the_verdict(answer: dict[str, Any]) -> None:
    found = answer["explanation"]
    assert found["verdict"] == "quarantine" and found["log_odds"] == answer["log_odds"]
    assert found["log_odds"] >= found["thresholds"]["quarantine"] >= found["thresholds"]["junk"]
    parts = [said["adds"] for said in found["detectors"].values() if said["why_silent"] is None]
    spoke = {name for name, said in found["detectors"].items() if said["why_silent"] is None}
    assert spoke == set(answer["detectors"]) and parts
    assert found["intercept"] + sum(parts) == pytest.approx(found["log_odds"])
    for name, said in found["detectors"].items():
        assert said["without"]["changed"] == [name]
    falling = [change["log_odds"] for change in found["views"]]
    assert falling == sorted(falling) and max(falling) < found["log_odds"]
    enough = found["enough"]
    assert VERDICTS.index(enough["verdict"]) < VERDICTS.index("quarantine")
    # The strongest ones, and no more of them than it takes.
    assert enough["changed"] == [change["changed"][0] for change in found["views"]][: len(enough["changed"])]
    backing = {one["feature"] for signal in answer["signals"] for one in signal["evidence"]}
    assert backing <= {change["changed"][0] for change in found["features"]}


def test_what_is_not_asked_for_is_not_there(warden: Any, seen_through: SimulatedMessage) -> None:
    with warden.api() as api:
        plain = api.score(seen_through.raw, seen_through.envelope, path="/v1/score?observe=false").json()
        kept = api.score(seen_through.raw, seen_through.envelope, path="/v1/score?explain=full")
        odd = api.score(seen_through.raw, seen_through.envelope, path="/v1/score?observe=false&explain=some")
    assert "explanation" not in plain
    assert (kept.status_code, odd.status_code) == (422, 422)
    assert "observe=false" in kept.text and "write full" in odd.text
    assert warden.events() == []


def test_the_command_explains_as_the_api_does(
    run: Run, warden: Any, barely_quarantined: SimulatedMessage, tmp_path: Path
) -> None:
    (tmp_path / "one.eml").write_bytes(barely_quarantined.raw)
    words = ("score", str(tmp_path / "one.eml"), "--tenant", "acme", "--explain")
    code, text, errors = run(*words, "--json")
    assert code == 0, errors
    plain = text
    explanation = json.loads(text)["explanation"]
    code, text, errors = run(*words)
    assert code == 0, errors
    assert f"enough for {explanation['enough']['verdict']}: " in text.replace("\n", " ")
    for name, said in explanation["detectors"].items():
        assert f"{name} {said['why_silent'] or 'adds '}" in text
    words = explanation["category"]
    assert max(words, key=lambda code: sum(words[code].values())) == json.loads(plain)["category"]
    assert f"category {next(iter(words))} " in text
