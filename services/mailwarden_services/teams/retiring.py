"""Who still reads a view, or a version of one: what must move before its states may go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.detection.detector import Detector
from mailwarden.errors import ContractError
from mailwarden.settings import Settings
from mailwarden.stores.feast.source import definition_of
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.sql.registry import ModelRecord
from mailwarden_services.teams.readers import readers_of, readers_of_view


def read_by_bundle(
    views: Sequence[Any], detectors: Mapping[str, type[Detector]], names: Sequence[str]
) -> dict[str, Any]:
    """What the registry keeps with a bundle of these detectors: the version of each view, and the features of each."""
    return {
        "views": {view.name: view.version for view in views},
        "features": {name: list(detectors[name].features) for name in sorted(names) if name in detectors},
    }


def readers_left(
    name: str,
    version: int | None,
    *,
    settings: Settings,
    views: Sequence[ActivityView],
    detectors: Mapping[str, type[Detector]],
    champion: ModelRecord | None,
) -> list[str]:
    """Who reads that version of a view, None for any, each in words with how it stops.

    views, detectors: those of this code. champion: the bundle that serves. Detectors read what this code has, services
    what was applied to Feast's registry, the bundle what it was trained on.
    """
    here = {view.name: view.version for view in views}

    def meant(read: int | None) -> bool:
        """Whether a reader means this version; one that does not say, where the code has no other to read."""
        return name not in here if read is None else version in (None, read)

    found: list[str] = []
    if meant(here.get(name)):
        readers = readers_of_view(name, readers_of(detectors))
        found += [f"detector {reader} (name other features in its `features`)" for reader in readers]
    found += [
        f"FeatureService {service} of Feast's registry (feast -c feature_repo apply)"
        for service, read in _services(settings, name)
        if meant(read)
    ]
    if champion is not None and _reads(champion, name, detectors) and meant(_trained_on(champion, name)):
        found.append(f"the bundle that serves, version {champion.version} (mailwarden train)")
    return found


def _services(settings: Settings, name: str) -> list[tuple[str, int | None]]:
    store = open_feature_store(settings)
    applied: dict[str, int | None] = {}
    for view in store.list_feature_views():
        try:
            applied[view.name] = definition_of(view).version
        except ContractError:
            applied[view.name] = None
    return [
        (service.name, applied.get(name))
        for service in store.list_feature_services()
        if any(projection.name == name for projection in service.feature_view_projections)
    ]


def _trained_on(champion: ModelRecord, name: str) -> int | None:
    found = champion.record.parameters.get("views", {}).get(name)
    return None if found is None else int(found)


def _reads(champion: ModelRecord, name: str, detectors: Mapping[str, type[Detector]]) -> bool:
    parameters = champion.record.parameters
    if name in parameters.get("options", {}).get("ablate", ()):
        return False
    features: Mapping[str, Sequence[str]] | None = parameters.get("features")
    if features is None:
        # Registered before features were kept with a bundle: what its detectors read now is the best there is.
        members = champion.record.feature_service.split(",")
        features = {member: detectors[member].features for member in members if member in detectors}
    return any(feature.startswith(f"{name}:") for names in features.values() for feature in names)
