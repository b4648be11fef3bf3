"""Answers of former releases and former modes, given again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mailwarden.domain.detection.action import ActionPolicy
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.accepted import AcceptedMessage, decode_accepted, encode_accepted, verdict_of
from mailwarden.stores.spool import Spool
from mailwarden.stores.spool_reader import SpoolReader
from mailwarden_services.scoring_api.answers import told_again

Mail = list[SimulatedMessage]


@pytest.mark.parametrize("former", [{"decision": "junk"}, {"verdict": "junk", "action": "accept"}])
def test_a_verdict_stands_and_what_is_asked_is_by_the_policy_of_now(former: dict[str, str]) -> None:
    answer = {**former, "direction": "outbound", "repeated": False}
    assert verdict_of(answer) == "junk"
    again = told_again(answer, ActionPolicy("enforce"), submitted=False)
    expected = {"verdict": "junk", "action": "junk", "authentication": None, "direction": "outbound", "repeated": True}
    # No release before starters had one answer.
    assert again == {**expected, "starter": None}
    assert told_again(answer, ActionPolicy("enforce"), submitted=True)["action"] == "accept"
    assert told_again(answer, ActionPolicy(), submitted=False)["action"] == "accept"


def test_a_spool_of_a_release_that_said_decision_is_logged_and_answered_from(warden: Any, simulated: Mail) -> None:
    message = simulated[-1]
    with warden.api() as api:
        answer = api.send(message)
    spool = warden.settings.spool_path
    reader = SpoolReader(spool, "former")
    ((_, payload),) = reader.poll()
    reader.close()
    record = decode_accepted(payload)
    assert isinstance(record, AcceptedMessage)
    former = {name: value for name, value in answer.items() if name not in ("verdict", "action", "authentication")}
    former["decision"] = answer["verdict"]
    for file in spool.iterdir():
        file.unlink()
    written = Spool(spool, fsync=False)
    written.append(encode_accepted(replace(record, answer=former)))
    written.close()
    with warden.api() as api:
        again = api.send(message)
        assert (again["verdict"], again["action"], again["repeated"]) == (answer["verdict"], "accept", True)
        assert "decision" not in again
    warden.drain()
    stored = warden.platform.decisions.by_message("acme", answer["message_id"])
    assert stored.decision == answer["verdict"]
    with warden.api() as api:
        assert api.send(message)["verdict"] == answer["verdict"]
