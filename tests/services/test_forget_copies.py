"""What is forgotten where a further copy is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.facts import SignalFacts, signal_event_of, tombstone_of
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden_services.scoring_api.forgetting import Logged

EVENING = 1_772_409_540_000_000  # 2026-03-01 23:59 UTC
MORNING = EVENING + 120_000_000


class NoDecisions:
    """Of mail that was ingested."""

    def by_message(self, tenant: str, message_id: str) -> None:
        return None


def test_a_further_copy_is_found_by_the_day_on_which_it_came(tmp_path: Path) -> None:
    """It has the time of its message, which came on the day before; without a time all days are searched."""
    log = EventLog(tmp_path / "events")
    first = Event(
        "acme", 1, "message", "m1", EVENING, EVENING, "received", "inbound", "ann@far.example", "far.example",
        ("bob@acme.example",), ("acme.example",),
    )  # fmt: skip
    further = replace(first, seq=2, message_id="m2", recipients=("eve@acme.example",), copy_of="m1")
    other = replace(first, seq=3, message_id="m3", received_at_us=MORNING, known_at_us=MORNING)
    log.append([first, further, other])
    facts, decisions = FactSets(tmp_path / "facts", log), NoDecisions()

    def find(message_id: str, received_at_us: int | None) -> Logged | None:
        known: Any = decisions
        return Logged.find(facts, known, "acme", message_id, received_at_us)

    for asked in (("m1", EVENING), ("m2", EVENING), ("m2", MORNING), ("m2", None)):
        found = find(*asked)
        assert found is not None and (found.message, found.copies) == (first, (further,)), asked
        assert found.left() == [first, further]
    assert find("m4", MORNING) is None
    log.append([tombstone_of(first, seq=4, known_at_us=MORNING)])
    found = find("m2", MORNING)
    assert found is not None and found.is_gone and found.left() == [further]


def test_a_signal_with_a_link_gets_a_tombstone_of_its_own_whatever_its_message_links_to(tmp_path: Path) -> None:
    """Under facts that are derived anew the message may link elsewhere, and the signal does not."""
    log = EventLog(tmp_path / "events")
    first = Event(
        "acme", 1, "message", "m1", EVENING, EVENING, "received", "inbound", "ann@far.example", "far.example",
        ("bob@acme.example",), ("acme.example",), link_domain="pay.example",
    )  # fmt: skip
    found = SignalFacts("qr", 1, 1, "pay.example")
    log.append([first, signal_event_of(first, found, seq=2, known_at_us=EVENING)])
    known: Any = NoDecisions()
    logged = Logged.find(FactSets(tmp_path / "facts", log), known, "acme", "m1", EVENING)
    assert logged is not None and [event.kind for event in logged.left()] == ["message", "signal"]
