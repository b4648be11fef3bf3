"""What is folded for each sender address: what it sent, and what the tenant wrote to it."""

from __future__ import annotations

from mailwarden.domain.views import Distinct, Extreme, Measure

MEASURES = (
    Measure("messages", where=("forward",)),
    Measure("written_to", where=("reverse",)),
    Measure("with_link", where=("forward", "has_link")),
    Measure("with_attachment", where=("forward", "has_attachment")),
    Measure("authenticated", where=("forward", "authenticated")),
    Measure("reply_to_differs", where=("forward", "reply_to_differs")),
    Measure("labelled_bad", of="labelled_bad", where=("forward",), on="label"),
    Measure("labelled_good", of="labelled_good", where=("forward",), on="label"),
)

EXTREMES = (
    Extreme("first_sent", "first", where=("forward",)),
    Extreme("last_sent", "last", where=("forward",)),
    Extreme("last_written_to", "last", where=("reverse",)),
)

DISTINCTS = (Distinct("recipients", of="recipients", where=("forward",)),)

BAD_RATE_PRIOR = (0.2, 1.8)
"""As two messages of which a tenth was bad: a sender needs more than one label to be judged by its labels."""
