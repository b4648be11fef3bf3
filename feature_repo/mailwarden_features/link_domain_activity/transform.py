"""What is folded for each domain that links lead to: since when, by whom, and how that was labelled."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import Distinct, Extreme, Measure, Recent

MEASURES = (
    Measure("messages"),
    Measure("outbound", where=("outbound",)),
    Measure("first_contacts", where=("first_contact",)),
    Measure("labelled_bad", of="labelled_bad", on="label"),
    Measure("labelled_attack", of="labelled_attack", on="label"),
    Measure("labelled_good", of="labelled_good", on="label"),
    Measure("qr_urls_later", of="late_qr_url_count", on="signal"),
)

EXTREMES = (Extreme("first_seen", "first"),)

DISTINCTS = (Distinct("sender_domains", of="sender_domain"),)

RECENTS = (Recent("linking_domains", of="sender_domain", keep=16),)

BAD_RATE_PRIOR = (0.2, 1.8)
"""As two messages of which a tenth was bad."""
