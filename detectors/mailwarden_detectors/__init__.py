"""Detectors of attacks, one folder each; `discover()` finds them by being there."""

from mailwarden_detectors.discovery import absent, discover

__all__ = ["absent", "discover"]
