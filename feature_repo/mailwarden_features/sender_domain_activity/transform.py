"""What is folded for each sender's registrable domain: what came from it, and what the tenant wrote to it."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import Distinct, Extreme, Measure, Recent

MEASURES = (
    Measure("messages", where=("forward",)),
    Measure("written_to", where=("reverse",)),
    Measure("with_link", where=("forward", "has_link")),
    Measure("with_attachment", where=("forward", "has_attachment")),
    Measure("authenticated", where=("forward", "authenticated")),
    Measure("first_contacts", where=("forward", "first_contact")),
    Measure("labelled_bad", of="labelled_bad", where=("forward",), on="label"),
    Measure("labelled_attack", of="labelled_attack", where=("forward",), on="label"),
    Measure("labelled_good", of="labelled_good", where=("forward",), on="label"),
    Measure("qr_codes", of="qr_code_count", where=("forward",)),
    Measure("qr_codes_later", of="late_qr_code_count", where=("forward",), on="signal"),
)

EXTREMES = (
    Extreme("first_sent", "first", where=("forward",)),
    Extreme("last_sent", "last", where=("forward",), of="authentication"),
    Extreme("last_written_to", "last", where=("reverse",)),
)

DISTINCTS = (
    Distinct("senders", of="sender", where=("forward",)),
    Distinct("recipients", of="recipients", where=("forward",)),
)

RECENTS = (
    Recent("structures", of="structure", keep=16, where=("forward",)),
    Recent("paths", of="path", keep=16, where=("forward",)),
)

BAD_RATE_PRIOR = (0.2, 1.8)
"""As two messages of which a tenth was bad: a domain needs more than one label to be judged by its labels."""
