"""One Feast FeatureService a detector, named as the detector is and covering exactly the features that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from feast import FeatureService

from mailwarden.domain.detection.detector import Detector
from mailwarden.errors import ContractError, did_you_mean
from mailwarden.stores.feast.objects import ENTITIES
from mailwarden_detectors import discover as discover_detectors
from mailwarden_features.discovery import discover as discover_views


def feature_service_of(
    name: str,
    features: Sequence[str],
    views: Mapping[str, Any],
    *,
    description: str = "",
    owner: str = "",
) -> FeatureService:
    """A FeatureService over full names ("view:feature"), views and features in the order of first mention.

    views: Feast's feature views by name. Raises ContractError naming an unknown feature and the nearest known one.
    """
    if not features:
        raise ContractError(f"Detector {name} names no feature. List what it reads in its `features`.")
    known = {f"{view.name}:{field.name}" for view in views.values() for field in view.features}
    chosen: dict[str, list[str]] = {}
    for full_name in features:
        if full_name not in known:
            raise ContractError(f"Detector {name} reads {full_name!r}, which no view has.{_hint(full_name, known)}")
        view_name, _, feature = full_name.partition(":")
        names = chosen.setdefault(view_name, [])
        if feature in names:
            raise ContractError(f"Detector {name} names {full_name!r} twice. Name each feature once.")
        names.append(feature)
    return FeatureService(
        name=name,
        features=[views[view_name][names] for view_name, names in chosen.items()],
        description=description,
        owner=owner,
    )


def services_of(detectors: Mapping[str, type[Detector]], views: Mapping[str, Any]) -> dict[str, FeatureService]:
    """A service for each detector, by name; raises ContractError where one names an unknown feature."""
    return {
        name: feature_service_of(name, detector.features, views, description=detector.description, owner=detector.owner)
        for name, detector in detectors.items()
    }


def feast_objects() -> list[Any]:
    """Entities, feature views and feature services of all that is installed, as `FeatureStore.apply` takes them."""
    return [*ENTITIES, *_VIEWS.values(), *SERVICES.values()]


def _hint(full_name: str, known: set[str]) -> str:
    if ":" not in full_name:
        same = sorted(other for other in known if other.endswith(f":{full_name}"))
        if same:
            return f" Write the view too: {', '.join(map(repr, same[:3]))}."
    return did_you_mean(full_name, sorted(known))


_VIEWS = discover_views().feature_views

SERVICES = services_of(discover_detectors(every=True), _VIEWS)
"""The service of each detector that is installed, by name."""

# Feast registers what it finds as names of a module, not what stands in a dictionary.
globals().update(SERVICES)
