"""recipient_activity: what an address is sent, and how much of it was unwanted."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import ActivityView, Age, Feature, History, Ratio, Surge, Total
from mailwarden.domain.aggregates.windows import W_1D, W_7D, W_30D, W_30D_COARSE, W_ALL, W_MATURED
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.recipient_activity.transform import (
    ATTACK_RATE_PRIOR,
    BAD_RATE_PRIOR,
    DISTINCTS,
    EXTREMES,
    MEASURES,
    SAFE_RATE_PRIOR,
    W_90D_MATURED_WEEKLY,
)

_NONE_IN_30D = "was sent nothing in the window"
_LABEL_ONLY = "never: whoever was seen was sent a message"

VIEW = ActivityView(
    name="recipient_activity",
    version=2,
    owner="recipient-intelligence",
    description="What a recipient's address is sent, by how many, and how much of it was labelled bad.",
    keys=("recipient",),
    emission="recipients",
    measures=MEASURES,
    extremes=EXTREMES,
    distincts=DISTINCTS,
    features=(
        Feature("history", History(), "The address was seen before.", "0 or 1"),
        Feature("messages_1d", Total("messages", W_1D), "Messages that it was sent.", "messages"),
        Feature("messages_7d", Total("messages", W_7D), "Messages that it was sent.", "messages"),
        Feature("messages_30d", Total("messages", W_30D), "Messages that it was sent.", "messages"),
        Feature("messages_all", Total("messages", W_ALL), "Messages that it was ever sent.", "messages"),
        Feature("volume_surge_1d", Surge("messages", W_1D, W_30D, "first_received"),
                "Messages of a day against what its last 30 days let expect.", "standard deviations",
                "was sent nothing a day ago or earlier, so that there is no baseline"),
        Feature("inbound_1d", Total("inbound", W_1D), "Messages to it from outside the tenant.", "messages"),
        Feature("first_contacts_1d", Total("first_contacts", W_1D),
                "Messages by senders who had not written to it before.", "messages"),
        Feature("first_contact_share_30d", Ratio("first_contacts", "messages", W_30D),
                "Share of what it was sent by senders who had not written to it before.", "0..1", _NONE_IN_30D),
        Feature("days_known", Age("first_received"), "Since the first message to it.", "days", _LABEL_ONLY),
        Feature("days_since_last", Age("last_received"), "Since the latest message to it.", "days", _LABEL_ONLY),
        Feature("distinct_senders_30d", Total("senders", W_30D_COARSE), "Different addresses that wrote to it.",
                "addresses, estimated with a standard error of 1.6%"),
        Feature("inbound_share_30d", Ratio("inbound", "messages", W_30D),
                "Share of what it was sent that came from outside the tenant.", "0..1", _NONE_IN_30D),
        Feature("link_share_30d", Ratio("with_link", "messages", W_30D), "Share of what it was sent with a link.",
                "0..1", _NONE_IN_30D),
        Feature("attachment_share_30d", Ratio("with_attachment", "messages", W_30D),
                "Share of what it was sent with an attachment.", "0..1", _NONE_IN_30D),
        Feature("unauthenticated_share_30d", Ratio("unauthenticated", "messages", W_30D),
                "Share of what it was sent that failed authentication.", "0..1", _NONE_IN_30D),
        Feature("bad_rate", Ratio("labelled_bad", "messages", W_MATURED, BAD_RATE_PRIOR),
                "Share of its messages of at least 7 days that are labelled bad, drawn to 0.1 while they are few.",
                "0..1"),
        Feature("safe_rate", Ratio("labelled_good", "messages", W_MATURED, SAFE_RATE_PRIOR),
                "Share of its messages of at least 7 days that are labelled good, drawn to 0.9 while they are few.",
                "0..1"),
        Feature("attack_rate_90d", Ratio("labelled_attack", "messages", W_90D_MATURED_WEEKLY, ATTACK_RATE_PRIOR),
                "Share of its messages of 7 to 90 days that are labelled an attack, drawn to 0.01 while they are few.",
                "0..1"),
    ),
)  # fmt: skip

feature_view = feature_view_of(VIEW)
