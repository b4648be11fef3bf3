"""What is folded for each attachment by its content: since when, by whom, to how many, and how it was labelled."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import Distinct, Extreme, Measure, Recent

MEASURES = (
    Measure("messages"),
    Measure("outbound", where=("outbound",)),
    Measure("labelled_bad", of="labelled_bad", on="label"),
    Measure("labelled_attack", of="labelled_attack", on="label"),
    Measure("labelled_good", of="labelled_good", on="label"),
)

EXTREMES = (Extreme("first_seen", "first"),)

DISTINCTS = (Distinct("senders", of="sender"),)

RECENTS = (Recent("senders_of_late", of="sender", keep=8),)
