"""Scoring a file in this process, as the API would with `observe=false`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mailwarden.errors import DataError
from mailwarden.ingest.sources import open_source
from mailwarden.scoring.scorer import Scorer
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.draft import ending
from mailwarden.stores.online.watermark import Watermark
from mailwarden.stores.sql import Tenant
from mailwarden_services.bootstrap import Platform, ServingChampion, resolver_of
from mailwarden_services.reading.read import Reader
from mailwarden_services.scoring_api.answers import answer_of, policy_of, site_of


def local_scorer(platform: Platform) -> Scorer:
    """A scorer over the champion that serves now."""
    champions = ServingChampion(platform.champion)
    share = platform.settings.costly_share
    return Scorer(champions, platform.online_reader, platform.activity, platform.content, costly_share=share)


def local_campaigns(platform: Platform, tenant: Tenant) -> Campaigns:
    """The tenant's campaigns as the facts in force have them, to be asked and not to be written."""
    campaigns = Campaigns(platform.settings.campaigns_path, platform.facts)
    campaigns.prepare(tenant.name, platform.events.view())
    return campaigns


def score_file(
    platform: Platform,
    tenant: Tenant,
    file: Path,
    scorer: Scorer | None = None,
    campaigns: Campaigns | None = None,
    *,
    explained: bool = False,
) -> dict[str, Any]:
    """The API's answer for the one message in a file, leaving no trace; raises DataError where it is no message.

    explained: say what would have changed the verdict. scorer, campaigns: of this module; made anew for each file where
    they are not given.
    """
    messages = list(open_source(file))
    if len(messages) != 1:
        raise DataError(f"{file} holds {len(messages)} messages; give one message a file, or use `mailwarden replay`")
    found = messages[0]
    site = site_of(tenant, platform.directories.get(tenant.name))
    reading = Reader(platform.content, resolver_of(platform.settings)).whole(found.raw, found.envelope, site)
    event = reading.event
    if reading.received_at_us is None:
        raise DataError(f"{file} bears no time: no Received, no Date; give it one, as the mail system would")
    campaigns = campaigns or local_campaigns(platform, tenant)
    event = replace(event, campaign=campaigns.find(tenant.name, event.signature))
    scorer = scorer or local_scorer(platform)
    scored = scorer.score(
        reading.content,
        event,
        policy_of(tenant),
        rules=scorer.readable(tenant.rules),
        failed=reading.failed,
        explained=explained,
    )
    age_seconds = _age_seconds(platform, scored.watermark, tenant)
    decision = scored.decision
    end = ending(
        event.message_id,
        None,
        as_of=scored.watermark,
        age_seconds=age_seconds,
        degraded=decision.degraded,
        flags=list(decision.flags),
    )
    return {**answer_of(scored, event, reading, tenant, platform.starter()), **end}


def _age_seconds(platform: Platform, watermark: Watermark | None, tenant: Tenant) -> float | None:
    if watermark is None:
        return None
    logged = platform.events.view()
    if watermark.seq >= logged.last_seq(tenant.name):
        return 0.0
    return max(0.0, (logged.newest_us(tenant.name) - watermark.time_us) / 1e6)
