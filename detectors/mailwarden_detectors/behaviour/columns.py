"""The features that the trees read, and how each is called in a reason."""

from __future__ import annotations

from mailwarden_detectors.behaviour.build_only import BUILD_ONLY
from mailwarden_detectors.behaviour.carried_columns import CARRIED
from mailwarden_detectors.behaviour.content_columns import CONTENT
from mailwarden_detectors.behaviour.history_columns import HISTORY

__all__ = ["BUILD_ONLY", "COLUMNS"]

COLUMNS = (*CONTENT, *CARRIED, *HISTORY)
