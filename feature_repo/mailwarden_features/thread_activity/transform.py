"""What is folded for each thread: who took part in it, and from which side."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import Distinct, Extreme, Measure, Recent

MEASURES = (
    Measure("messages"),
    Measure("own", where=("outbound",)),
    Measure("internal", where=("internal",)),
    Measure("labelled_bad", of="labelled_bad", on="label"),
)

EXTREMES = (
    Extreme("first_written", "first"),
    Extreme("last_written", "last"),
    Extreme("last_own", "last", where=("outbound",)),
)

DISTINCTS = (Distinct("senders", of="sender"),)

RECENTS = (
    Recent("writers", of="sender", keep=16),
    Recent("writing_domains", of="sender_domain", keep=8),
    Recent("writing_names", of="display_name", keep=16),
    Recent("audiences", of="recipients", keep=4),
)
