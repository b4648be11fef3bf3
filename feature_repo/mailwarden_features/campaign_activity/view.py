"""campaign_activity: where else near copies of a message went, and what was said of it."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import ActivityView, Age, Feature, History, Match, Ratio, Total
from mailwarden.domain.aggregates.windows import W_ALL
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.campaign_activity.transform import (
    DISTINCTS,
    EXTREMES,
    MEASURES,
    RECENTS,
    W_1D_QUARTERS,
    W_1H_QUARTERS,
)

_NEVER = "never: whichever campaign was seen was sent"
_ADDRESSES = "addresses, estimated with a standard error of 1.6%"

VIEW = ActivityView(
    name="campaign_activity",
    version=2,
    owner="campaign-intelligence",
    description="How widely and how fast near copies of one text spread through the tenant.",
    keys=("campaign",),
    emission="facts",
    measures=MEASURES,
    extremes=EXTREMES,
    distincts=DISTINCTS,
    recents=RECENTS,
    features=(
        Feature("history", History(), "A near copy was seen before.", "0 or 1"),
        Feature("messages_1h", Total("messages", W_1H_QUARTERS), "Messages of the campaign.", "messages"),
        Feature("messages_1d", Total("messages", W_1D_QUARTERS), "Messages of the campaign.", "messages"),
        Feature("messages_all", Total("messages", W_ALL), "Messages ever of the campaign.", "messages"),
        Feature("days_known", Age("first_seen"), "Since the first message of the campaign.", "days", _NEVER),
        Feature("distinct_senders_all", Total("senders", W_ALL), "Different addresses that sent it.", _ADDRESSES),
        Feature("distinct_recipients_all", Total("recipients", W_ALL), "Different addresses that it was sent to.",
                _ADDRESSES),
        Feature("sender_match", Match("senders_of_late", W_ALL), "The sender is among the 8 that sent it last.",
                "0 or 1", "the message has no readable sender, or nobody who sent it had one"),
        Feature("first_contact_share_all", Ratio("first_contacts", "messages", W_ALL),
                "Share of its messages to somebody whom the sender had not written to before.", "0..1",
                _NEVER),
        Feature("labelled_bad_all", Total("labelled_bad", W_ALL), "Its messages labelled bad, as known.", "messages"),
        Feature("labelled_attack_all", Total("labelled_attack", W_ALL), "Its messages labelled an attack, as known.",
                "messages"),
        Feature("labelled_good_all", Total("labelled_good", W_ALL), "Its messages labelled good, as known.",
                "messages"),
    ),
)  # fmt: skip

feature_view = feature_view_of(VIEW)
