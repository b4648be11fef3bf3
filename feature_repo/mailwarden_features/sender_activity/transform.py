"""What is folded for each sender address: what it sent, and what the tenant wrote to it."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import Distinct, Extreme, Measure, Peak, Recent, profile_of
from mailwarden.domain.aggregates.windows import DAY_US, HOUR_US, Window

MEASURES = (
    Measure("messages", where=("forward",)),
    Measure("written_to", where=("reverse",)),
    Measure("with_link", where=("forward", "has_link")),
    Measure("with_attachment", where=("forward", "has_attachment")),
    Measure("authenticated", where=("forward", "authenticated")),
    Measure("reply_to_differs", where=("forward", "reply_to_differs")),
    Measure("replies", where=("forward", "reply")),
    Measure("addressed", of="recipient_count", where=("forward",)),
    Measure("newly_addressed", of="new_recipient_count", where=("forward",)),
    Measure("bytes", of="size_bytes", where=("forward",)),
    Measure("labelled_bad", of="labelled_bad", where=("forward",), on="label"),
    Measure("labelled_good", of="labelled_good", where=("forward",), on="label"),
    *profile_of("sent", "hour", where=("forward",)),
    *profile_of("sent", "weekday", where=("forward",)),
)

PEAKS = (Peak("largest", "max", "size_bytes", where=("forward",)),)

EXTREMES = (
    Extreme("first_sent", "first", where=("forward",)),
    Extreme("last_sent", "last", where=("forward",), of="authentication"),
    Extreme("last_authenticated", "last", where=("forward", "authenticated")),
    Extreme("last_written_to", "last", where=("reverse",)),
)

DISTINCTS = (Distinct("recipients", of="recipients", where=("forward",)),)

RECENTS = (
    Recent("recipient_sets", of="recipients", keep=8, where=("forward",)),
    Recent("display_names", of="display_name", keep=8, where=("forward",)),
    Recent("structures", of="structure", keep=8, where=("forward",)),
    Recent("paths", of="path", keep=8, where=("forward",)),
    Recent("link_domains", of="link_domain", keep=16, where=("forward",)),
)

W_1H_QUARTERS = Window("1h_quarters", HOUR_US, HOUR_US // 4)
W_1D_QUARTERS = Window("1d_quarters", DAY_US, HOUR_US // 4)
W_7D_DAYS = Window("7d_days", 7 * DAY_US, DAY_US)
"""Windows share hops: a state keeps rows for each hop, and a writer folds into each."""

W_1D_COARSE = Window("1d_coarse", DAY_US, 8 * HOUR_US)
"""For a distinct count: in three steps a day there are seven sketches to keep, in hours there would be fifty."""

HALF_LIFE_US = 7 * DAY_US
"""Of the decayed count: mail of a week ago counts half."""

BAD_RATE_PRIOR = (0.2, 1.8)
"""As two messages of which a tenth was bad: a sender needs more than one label to be judged by its labels."""
