"""What is folded for each display name: which addresses use it, and whether the tenant's own people do."""

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

RECENTS = (Recent("users", of="sender", keep=16), Recent("using_domains", of="sender_domain", keep=8))
