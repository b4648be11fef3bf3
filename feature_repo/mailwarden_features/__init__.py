"""Feature views of mail, one folder each; `discover()` finds them by being there."""

from mailwarden_features.discovery import FeatureRepository, discover

__all__ = ["FeatureRepository", "discover"]
