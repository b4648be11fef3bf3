"""Content views whose code, lists or parser changed under the version that they have: what was made by the former."""

from __future__ import annotations

from collections.abc import Mapping

from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.mail.content import ContentSet
from mailwarden.errors import DataError
from mailwarden.settings import Settings
from mailwarden.stores.bundle import Bundle
from mailwarden.stores.spark.offline_table import Manifest, OfflineTable


def read_by(detectors: Mapping[str, type[Detector]], content: ContentSet) -> frozenset[str]:
    """Names of the content views that some detectors read."""
    read = {feature.partition(":")[0] for kind in detectors.values() for feature in kind.features}
    return frozenset(view.name for view in content.views if view.name in read)


def made_by_others(settings: Settings, content: ContentSet) -> dict[str, Manifest]:
    """By view, the offline values that other code or lists made than are there now; views without any are left out."""
    found = {}
    for view in content.views:
        manifest = OfflineTable(settings.offline_path, view.name, view.version).manifest()
        if manifest is not None and manifest.fingerprint != content.fingerprints[view.name]:
            found[view.name] = manifest
    return found


def content_for_training(settings: Settings, content: ContentSet) -> dict[str, list[int]]:
    """Version and fingerprint of each view that a training set is to be read from.

    Raises DataError where a view's offline values were made by other code, lists or parser than scoring runs: models
    would learn from values that they never meet.
    """
    stale = sorted(made_by_others(settings, content))
    if stale:
        raise DataError(
            f"offline values of {', '.join(stale)} were made by other code, lists or parser than are installed; run "
            "`mailwarden materialize`, then train"
        )
    return {view.name: [view.version, content.fingerprints[view.name]] for view in content.views}


def changed_since_training(bundle: Bundle, content: ContentSet) -> tuple[str, ...]:
    """Content views that the bundle's detectors learned from and whose values are made otherwise now."""
    return content.changed_since(bundle.record.get("content", {}))
