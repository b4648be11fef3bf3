"""A detector that does not load leaves the others serving: named in /readyz, flagged in answers."""

from __future__ import annotations

from typing import Any

import pytest

from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.training.train import Trained

Mail = list[SimulatedMessage]


def test_one_detector_away_leaves_the_others_serving(warden: Any, trained_bundle: Trained, simulated: Mail) -> None:
    warden.promote(trained_bundle, of_other_code=["message_text"])
    with warden.api() as api:
        ready = api.client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert "message_text" in ready.json()["detectors_away"]
        answer = api.send(simulated[0])
        assert {"header_rules", "behaviour"} <= set(answer["detectors"])
        assert "message_text" not in answer["detectors"]
        assert answer["degraded"] is True and answer["flags"] == ["detector message_text is away"]
        # Attacks that the others see are still held back.
        verdicts = {api.send(message)["verdict"] for message in simulated[1:60] if message.label != "ham"}
        assert verdicts & {"junk", "quarantine"}


@pytest.mark.parametrize("names", [["message_text", "behaviour"], ["message_text", "behaviour", "header_rules"]])
def test_with_too_few_nothing_stronger_than_a_banner_is_given(
    warden: Any, trained_bundle: Trained, simulated: Mail, names: list[str]
) -> None:
    warden.promote(trained_bundle, of_other_code=names)
    with warden.api() as api:
        assert set(api.client.get("/readyz").json()["detectors_away"]) == set(names)
        answers = [api.send(message) for message in simulated[:40]]
    assert {answer["verdict"] for answer in answers} <= {"deliver", "banner"}
    assert all("too much is away: nothing stronger than a banner" in answer["flags"] for answer in answers)
