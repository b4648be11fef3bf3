"""The features that the trees read, and how each is called in a reason."""

from __future__ import annotations

import math

from mailwarden_detectors.behaviour.build_only import BUILD_ONLY
from mailwarden_detectors.behaviour.carried_columns import CARRIED
from mailwarden_detectors.behaviour.content_columns import CONTENT
from mailwarden_detectors.behaviour.history_columns import HISTORY

__all__ = ["BUILD_ONLY", "COLUMNS", "words_of"]

COLUMNS = (*CONTENT, *CARRIED, *HISTORY)

_BY_NAME = {column.name: column for column in COLUMNS}


def words_of(name: str, value: float) -> str:
    """A sentence on one value, NaN for null; raises KeyError on a feature that is not read.

    >>> words_of("content_links:url_ip_host", 2.0)
    'Links to an IP address: 2.'
    >>> words_of("sender_activity:days_known", math.nan)
    'Days since the first message from the sender: not known.'
    """
    column = _BY_NAME[name]
    if math.isnan(value):
        return f"{column.words}: not known."
    if column.flag:
        return f"{column.words}: {'yes' if value else 'no'}."
    return f"{column.words}: {value:,.0f}." if value == int(value) else f"{column.words}: {value:,.2f}."
