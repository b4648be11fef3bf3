"""The features that the trees read, and how each is called in a reason."""

from __future__ import annotations

from mailwarden_detectors._trees.build_only import BUILD_ONLY
from mailwarden_detectors._trees.carried_columns import CARRIED
from mailwarden_detectors._trees.column import Column
from mailwarden_detectors._trees.content_columns import CONTENT
from mailwarden_detectors._trees.history_columns import HISTORY

__all__ = ["BUILD_ONLY", "COLUMNS", "OTHERS"]

COLUMNS = (*CONTENT, *CARRIED, *HISTORY)
"""What `behaviour` reads, in its order."""

OTHERS = (
    Column(
        "content_directory:own_domain", "The sender's address is at one of the organisation's own domains", flag=True
    ),
)
"""What other detectors read beside."""
