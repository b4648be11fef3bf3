"""Which detectors read which features: what tells when a view, or a version of one, can go."""

from __future__ import annotations

from collections.abc import Mapping

from mailwarden.domain.detection.detector import Detector


def readers_of(detectors: Mapping[str, type[Detector]]) -> dict[str, tuple[str, ...]]:
    """Detectors by the full name of each feature that any reads."""
    found: dict[str, list[str]] = {}
    for name, detector in detectors.items():
        for feature in detector.features:
            found.setdefault(feature, []).append(name)
    return {feature: tuple(sorted(names)) for feature, names in found.items()}


def readers_of_view(view: str, readers: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Detectors that read any feature of a view."""
    return tuple(
        sorted({name for feature, names in readers.items() if feature.startswith(f"{view}:") for name in names})
    )
