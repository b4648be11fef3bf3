"""What is folded for each pair of addresses: forward from sender to recipient, in reverse what came back."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import Extreme, Measure

MEASURES = (
    Measure("messages", where=("forward",)),
    Measure("reverse", where=("reverse",)),
    Measure("exchanged"),
    Measure("replies", where=("reverse", "reply")),
    Measure("with_link", where=("forward", "has_link")),
    Measure("with_attachment", where=("forward", "has_attachment")),
    Measure("authenticated", where=("forward", "authenticated")),
    Measure("labelled_bad", of="labelled_bad", where=("forward",), on="label"),
    Measure("labelled_good", of="labelled_good", where=("forward",), on="label"),
)

EXTREMES = (
    Extreme("first_sent", "first", where=("forward",)),
    Extreme("last_sent", "last", where=("forward",), of="authentication"),
    Extreme("last_reverse", "last", where=("reverse",)),
    Extreme("last_reply", "last", where=("reverse", "reply")),
)
