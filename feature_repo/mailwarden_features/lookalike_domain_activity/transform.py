"""What is folded for all domains that pass for one another: which there are, and since when."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import Distinct, Extreme, Measure, Recent

MEASURES = (
    Measure("messages"),
    Measure("own", where=("outbound",)),
    Measure("internal", where=("internal",)),
    Measure("labelled_bad", of="labelled_bad", on="label"),
)

EXTREMES = (Extreme("first_sent", "first"), Extreme("last_sent", "last"))

DISTINCTS = (Distinct("domains", of="sender_domain"),)

RECENTS = (Recent("domains_used", of="sender_domain", keep=8),)
