"""What is folded for each campaign of near copies: how fast, by whom, to how many, and how it was labelled."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import Distinct, Extreme, Measure, Recent
from mailwarden.domain.aggregates.windows import DAY_US, HOUR_US, Window

MEASURES = (
    Measure("messages"),
    Measure("first_contacts", where=("first_contact",)),
    Measure("labelled_bad", of="labelled_bad", on="label"),
    Measure("labelled_attack", of="labelled_attack", on="label"),
    Measure("labelled_good", of="labelled_good", on="label"),
)

EXTREMES = (Extreme("first_seen", "first"),)

DISTINCTS = (Distinct("senders", of="sender"), Distinct("recipients", of="recipients"))

RECENTS = (Recent("senders_of_late", of="sender", keep=8),)

W_1H_QUARTERS = Window("1h_quarters", HOUR_US, HOUR_US // 4)
W_1D_QUARTERS = Window("1d_quarters", DAY_US, HOUR_US // 4)
"""Both by quarters, so that one set of rows serves them."""
