"""What is folded for each recipient address: what it was sent, and how that was labelled."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import Distinct, Extreme, Measure
from mailwarden.domain.aggregates.windows import DAY_US, Window

MEASURES = (
    Measure("messages"),
    Measure("inbound", where=("inbound",)),
    Measure("first_contacts", where=("first_contact",)),
    Measure("with_link", where=("has_link",)),
    Measure("with_attachment", where=("has_attachment",)),
    Measure("unauthenticated", where=("unauthenticated",)),
    Measure("labelled_bad", of="labelled_bad", on="label"),
    Measure("labelled_attack", of="labelled_attack", on="label"),
    Measure("labelled_good", of="labelled_good", on="label"),
)

EXTREMES = (Extreme("first_received", "first"), Extreme("last_received", "last"))

DISTINCTS = (Distinct("senders", of="sender"),)

W_90D_MATURED_WEEKLY = Window("90d_matured_weekly", 90 * DAY_US, 7 * DAY_US, until_us=7 * DAY_US)
"""In weekly steps: recipients are the busiest keys, and three months by day would triple their states."""

BAD_RATE_PRIOR = (0.2, 1.8)
"""As two messages of which a tenth was bad."""
SAFE_RATE_PRIOR = (1.8, 0.2)
"""As two messages of which nine tenths were good."""
ATTACK_RATE_PRIOR = (0.02, 1.98)
"""As two messages of which a hundredth was an attack."""
