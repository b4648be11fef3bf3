"""sender_activity: how an address has written to this tenant, and the tenant to it."""

from __future__ import annotations

from mailwarden.domain.views import ActivityView, Age, Feature, History, Ratio, Total
from mailwarden.domain.windows import W_1D, W_7D, W_30D, W_30D_COARSE, W_ALL, W_MATURED
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.sender_activity.transform import BAD_RATE_PRIOR, DISTINCTS, EXTREMES, MEASURES

_NOT_SENT = "never sent anything: the tenant only wrote to it"
_NONE_IN_30D = "sent nothing in the window"

VIEW = ActivityView(
    name="sender_activity",
    version=1,
    owner="sender-intelligence",
    description="How a sender's address has written to the tenant, and whether the tenant ever wrote to it.",
    keys=("sender",),
    emission="participants",
    measures=MEASURES,
    extremes=EXTREMES,
    distincts=DISTINCTS,
    features=(
        Feature("history", History(), "The address was seen before.", "0 or 1"),
        Feature("messages_1d", Total("messages", W_1D), "Messages that it sent.", "messages"),
        Feature("messages_7d", Total("messages", W_7D), "Messages that it sent.", "messages"),
        Feature("messages_30d", Total("messages", W_30D), "Messages that it sent.", "messages"),
        Feature("messages_all", Total("messages", W_ALL), "Messages that it ever sent.", "messages"),
        Feature("written_to_all", Total("written_to", W_ALL), "Messages that the tenant ever wrote to it.", "messages"),
        Feature("days_known", Age("first_sent"), "Since its first message.", "days", _NOT_SENT),
        Feature("days_since_last", Age("last_sent"), "Since its latest message.", "days", _NOT_SENT),
        Feature("days_since_outbound", Age("last_written_to"), "Since the tenant last wrote to it.", "days",
                "the tenant never wrote to it"),
        Feature("distinct_recipients_30d", Total("recipients", W_30D_COARSE), "Different recipients that it wrote to.",
                "addresses, estimated with a standard error of 1.6%"),
        Feature("distinct_recipients_all", Total("recipients", W_ALL), "Different recipients that it ever wrote to.",
                "addresses, estimated with a standard error of 1.6%"),
        Feature("link_share_30d", Ratio("with_link", "messages", W_30D), "Share of its messages with a link.",
                "0..1", _NONE_IN_30D),
        Feature("attachment_share_30d", Ratio("with_attachment", "messages", W_30D),
                "Share of its messages with an attachment.", "0..1", _NONE_IN_30D),
        Feature("authenticated_share_30d", Ratio("authenticated", "messages", W_30D),
                "Share of its messages that a trusted authserv-id authenticated.", "0..1", _NONE_IN_30D),
        Feature("reply_to_differs_share_30d", Ratio("reply_to_differs", "messages", W_30D),
                "Share of its messages whose Reply-To leads to another registrable domain.", "0..1", _NONE_IN_30D),
        Feature("bad_rate", Ratio("labelled_bad", "messages", W_MATURED, BAD_RATE_PRIOR),
                "Share of its messages of at least 7 days that are labelled bad, drawn to 0.1 while they are few.",
                "0..1"),
        Feature("labelled_bad_all", Total("labelled_bad", W_ALL), "Its messages labelled bad, as known.", "messages"),
        Feature("labelled_good_all", Total("labelled_good", W_ALL), "Its messages labelled good, as known.",
                "messages"),
    ),
)  # fmt: skip

feature_view = feature_view_of(VIEW)
