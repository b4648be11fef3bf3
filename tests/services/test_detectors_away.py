"""A detector that does not load leaves the others serving: named in /readyz, flagged in answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.training.register import register
from mailwarden.training.train import Trained

Mail = list[SimulatedMessage]


def promote_other_versions(warden: Any, trained: Trained, names: Sequence[str]) -> None:
    """Have a bundle serve whose detectors of these names were fitted by classes that are not here."""
    members = {
        name: replace(member, code=99) if name in names else member for name, member in trained.bundle.members.items()
    }
    bundle = replace(trained.bundle, members=members)
    platform = warden.platform
    register(
        replace(trained, bundle=bundle),
        platform.registry,
        platform.artefacts,
        code_revision="tests",
        created_us=3,
        promote="tests",
    )


def test_one_detector_away_leaves_the_others_serving(warden: Any, trained_bundle: Trained, simulated: Mail) -> None:
    promote_other_versions(warden, trained_bundle, ["message_text"])
    with warden.api() as api:
        ready = api.client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert "message_text" in ready.json()["detectors_away"]
        answer = api.send(simulated[0])
        assert set(answer["detectors"]) == {"header_rules", "behaviour"}
        assert answer["degraded"] is True and answer["flags"] == ["detector message_text is away"]
        # Attacks that the others see are still held back.
        verdicts = {api.send(message)["verdict"] for message in simulated[1:60] if message.label != "ham"}
        assert verdicts & {"junk", "quarantine"}


@pytest.mark.parametrize("names", [["message_text", "behaviour"], ["message_text", "behaviour", "header_rules"]])
def test_with_too_few_nothing_stronger_than_a_banner_is_given(
    warden: Any, trained_bundle: Trained, simulated: Mail, names: list[str]
) -> None:
    promote_other_versions(warden, trained_bundle, names)
    with warden.api() as api:
        assert set(api.client.get("/readyz").json()["detectors_away"]) == set(names)
        answers = [api.send(message) for message in simulated[:40]]
    assert {answer["verdict"] for answer in answers} <= {"deliver", "banner"}
    assert all("too much is away: nothing stronger than a banner" in answer["flags"] for answer in answers)
