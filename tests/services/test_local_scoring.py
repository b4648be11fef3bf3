"""Local scoring asks the campaigns of the facts in force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mailwarden.domain.mail.campaigns import name_of
from mailwarden.domain.mail.events import Event
from mailwarden.stores.lake.event_log import EventLog, events_to_table
from mailwarden.stores.lake.fact_sets import FACT_SCHEMA, FactSets, TenantFacts
from mailwarden_services.local_scoring import local_campaigns

FORMER, NOW = "A" * 128, "B" * 128


def message(signature: str) -> Event:
    event = Event("acme", 1, "message", "m1", 1, 1, "envelope", "inbound", "", "", (), ())
    return replace(event, signature=signature, campaign=name_of(signature))


def test_a_message_is_asked_of_the_campaigns_of_the_newest_fact_set(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    log.append([message(FORMER)])
    facts = FactSets(tmp_path / "facts", log)
    rows = events_to_table([message(NOW)]).append_column(FACT_SCHEMA.field("kept"), [[False]])
    with facts.writing():
        begun = facts.begin({"acme": TenantFacts(0, 1, 2, "")})
        facts.add(begun, "acme", rows.to_batches)
        facts.publish(begun, 1)
    platform: Any = SimpleNamespace(
        settings=SimpleNamespace(campaigns_path=tmp_path / "campaigns"), facts=facts, events=log
    )
    tenant: Any = SimpleNamespace(name="acme")
    campaigns = local_campaigns(platform, tenant)
    assert campaigns._known["acme"].clusters.founders()[0] == [name_of(NOW)]
