"""What is folded for each tenant as a whole; its key is the busiest of all, so that it has few columns."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import Extreme, Measure
from mailwarden.domain.aggregates.windows import HOUR_US, Window

MEASURES = (
    Measure("messages"),
    Measure("inbound", where=("inbound",)),
    Measure("first_contacts", where=("first_contact",)),
    Measure("unauthenticated", where=("unauthenticated",)),
    Measure("with_link", where=("has_link",)),
)

EXTREMES = (Extreme("first_seen", "first"),)

W_1H_COARSE = Window("1h_coarse", HOUR_US, HOUR_US // 4)
"""By quarters: every message of the tenant writes this state anew."""
