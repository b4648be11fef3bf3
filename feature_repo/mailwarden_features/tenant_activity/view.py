"""tenant_activity: what mail the tenant as a whole sees now, against what it is used to."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import ActivityView, Age, Feature, History, Ratio, Surge, Total
from mailwarden.domain.aggregates.windows import W_1D, W_7D
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.tenant_activity.transform import EXTREMES, MEASURES, W_1H_COARSE

_NONE_IN_1D = "no message in the window"

VIEW = ActivityView(
    name="tenant_activity",
    version=1,
    owner="recipient-intelligence",
    description="How much mail the tenant has these hours, how much of it is new to it, and for how long it is known.",
    keys=(),
    emission="facts",
    measures=MEASURES,
    extremes=EXTREMES,
    distincts=(),
    features=(
        Feature("history", History(), "The tenant had mail before.", "0 or 1"),
        Feature("days_known", Age("first_seen"), "Since its first message: how cold the start is.", "days",
                "never: whoever has history had a message"),
        Feature("messages_1h", Total("messages", W_1H_COARSE), "Messages of any direction.", "messages"),
        Feature("messages_1d", Total("messages", W_1D), "Messages of any direction.", "messages"),
        Feature("volume_surge_1h", Surge("messages", W_1H_COARSE, W_7D, "first_seen"),
                "Messages of an hour against what the last 7 days let expect.", "standard deviations",
                "its first message is less than an hour old, so that there is no baseline"),
        Feature("inbound_share_1d", Ratio("inbound", "messages", W_1D), "Share of mail from outside.", "0..1",
                _NONE_IN_1D),
        Feature("first_contact_share_1d", Ratio("first_contacts", "messages", W_1D),
                "Share of mail to somebody whom the sender had not written to before.", "0..1", _NONE_IN_1D),
        Feature("unauthenticated_share_1d", Ratio("unauthenticated", "messages", W_1D),
                "Share of mail that failed authentication.", "0..1", _NONE_IN_1D),
        Feature("link_share_1d", Ratio("with_link", "messages", W_1D), "Share of mail with a link.", "0..1",
                _NONE_IN_1D),
    ),
)  # fmt: skip

feature_view = feature_view_of(VIEW)
