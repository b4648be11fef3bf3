"""What is folded for each person's name as a reader takes it: which addresses use it, the tenant's own apart."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import Distinct, Extreme, Measure, Recent

MEASURES = (
    Measure("messages"),
    Measure("outbound", where=("outbound",)),
    Measure("internal", where=("internal",)),
    Measure("labelled_bad", of="labelled_bad", on="label"),
)

EXTREMES = (Extreme("first_used", "first"), Extreme("last_used", "last"))

DISTINCTS = (Distinct("senders", of="sender"),)

# Those of the tenant's own side are kept apart: an impostor's mail comes from outside, and cannot push them out.
RECENTS = (
    Recent("users", of="sender", keep=16),
    Recent("outbound_users", of="sender", keep=8, where=("outbound",)),
    Recent("internal_users", of="sender", keep=8, where=("internal",)),
)
