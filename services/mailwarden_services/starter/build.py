"""A starter: models of the simulated world alone, and a home's own mail as history.

1. Detectors learn from the simulated world (`world`), in which every message is labelled; no mail of anybody is in it.
2. The home's own mail, labelled or not, is materialised: histories of senders and partners, which the detectors read.
3. Of the home's mail that bears a label, the good raises thresholds (`training.own_good`); no detector learns from it:
   beside simulated attacks it would teach them to tell real mail from simulated mail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import Any

from mailwarden.domain.detection.detector import Detector
from mailwarden.errors import DataError
from mailwarden.settings import Settings
from mailwarden.training.own_good import raised_by
from mailwarden.training.prepare import TrainingInput
from mailwarden.training.register import BUNDLE, register
from mailwarden.training.train import Trained, TrainingOptions, train
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import with_redis
from mailwarden_services.loop import Loop, Progress, code_revision
from mailwarden_services.starter.kinds import SIMULATION, starter_of
from mailwarden_services.starter.world import World, WorldRows, world_rows
from mailwarden_services.teams.content_changes import read_by
from mailwarden_services.teams.retiring import read_by_bundle

ALIKE = 1e9
"""Ridge by which each detector weighs the same: what tells the world's mail apart best says how the world was made."""

OWN_MOST = 5_000
"""Rows of the home's labelled mail that are looked at, at most."""

Ticker = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
Stages = Callable[[str], AbstractContextManager[Progress]]


def build_starter(
    settings: Settings,
    world: World,
    *,
    now_us: int,
    seed: int,
    force: bool,
    ticker: Ticker,
    stages: Stages,
) -> dict[str, Any]:
    """Build a starter, register it and have it serve; what was done, as plain JSON values.

    now_us: the time of building. ticker, stages: bars over things and over stages, as context managers. force: also
    where the home's own training serves. Raises DataError where it does and force is not given.
    """
    platform = Platform(settings)
    champion = platform.registry.champion(BUNDLE)
    if champion is not None and starter_of(champion.record.parameters) is None and not force:
        raise DataError(
            f"bundle {champion.version}, which serves, was trained on this home's own mail; a starter would take its "
            "place. Give --force to have it so."
        )
    detectors = platform.detectors
    with ticker(f"a simulated company's mail (seed {world.seed})", world.days * world.messages_per_day) as tick:
        found = world_rows(platform, world, detectors, tick)
    with stages("learning from the simulated world") as begins:
        trained = _learned(platform, found, detectors, seed, begins)
    own, inputs = _own(settings, detectors, now_us, stages)
    if own is not None:
        trained = raised_by(trained, detectors, own, TrainingOptions().budgets)
    inputs |= {
        "starter": SIMULATION,
        "world": {**asdict(world), "sha256": found.sha256, "messages": found.messages},
        "own_good": trained.bundle.record.get("own_good", 0),
        **read_by_bundle(platform.features.views, detectors, list(trained.bundle.members)),
    }
    marked = replace(trained.bundle, record={**trained.bundle.record, "starter": SIMULATION, "world": inputs["world"]})
    records = register(
        replace(trained, bundle=marked),
        platform.registry,
        platform.artefacts,
        code_revision=code_revision(),
        created_us=now_us,
        event_log_version=inputs["event_log_version"],
        inputs=inputs,
        promote="mailwarden starter",
    )
    return {
        "version": records[BUNDLE].version,
        "starter": SIMULATION,
        "world": inputs["world"],
        "event_log_version": inputs["event_log_version"],
        "fact_set": inputs["fact_set"],
        "history": inputs["history"],
        "own_good": inputs["own_good"],
        "not_learned": trained.not_learned,
        "thresholds": list(trained.threshold_words),
        "shared": trained.evaluations["fused"].shared,
        "held_out_of_the_world": {name: one.as_json() for name, one in trained.evaluations.items()},
    }


def _learned(
    platform: Platform, found: WorldRows, detectors: Mapping[str, type[Detector]], seed: int, progress: Progress
) -> Trained:
    read = platform.content.only(read_by(detectors, platform.content))
    return train(
        found.found.rows,
        found.found.features,
        detectors,
        TrainingOptions(seed=seed, ridge=ALIKE, own=False),
        history=[view.name for view in platform.activity],
        content={view.name: [view.version, read.fingerprints[view.name]] for view in read.views},
        progress=progress,
    )


def _own(
    settings: Settings, detectors: Mapping[str, type[Detector]], now_us: int, stages: Stages
) -> tuple[TrainingInput | None, dict[str, Any]]:
    """The home's labelled mail, None where there is none; with what of the home was taken, for the record."""
    platform = Platform(settings)
    log = platform.events.snapshot()
    taken: dict[str, Any] = {"event_log_version": None, "fact_set": None, "history": 0}
    if not log.files:
        return None, taken
    taken |= {"event_log_version": log.version, "history": platform.events.count()}
    with with_redis(settings) as named, stages("this home's own mail") as progress:
        loop = Loop(Platform(named))
        loop.materialize(progress)
        if not any(platform.labels.count(tenant) for tenant in platform.events.tenants()):
            return None, taken
        try:
            own, facts, _ = loop.labelled(detectors, now_us, limit=OWN_MOST, to_train=False, progress=progress)
        except DataError:
            # No label is known yet, or every one was withdrawn.
            return None, taken
    return own, taken | {"event_log_version": facts.log.version, "fact_set": facts.number}
