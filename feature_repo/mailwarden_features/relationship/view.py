"""relationship: what one address has sent another, and what came back."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import ActivityView, Age, Feature, Held, History, Ratio, Total
from mailwarden.domain.aggregates.windows import W_30D, W_180D, W_ALL
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.relationship.transform import EXTREMES, MEASURES

_NOT_SENT = "nothing was ever sent this way"
_NONE_IN_30D = "nothing was sent this way in the window"

VIEW = ActivityView(
    name="relationship",
    version=2,
    owner="relationship-intelligence",
    description="What a sender has sent a recipient, and whether the recipient ever wrote back.",
    keys=("sender", "recipient"),
    emission="pairs",
    measures=MEASURES,
    extremes=EXTREMES,
    distincts=(),
    features=(
        Feature("history", History(), "The two exchanged mail before, in whichever direction.", "0 or 1"),
        Feature("messages_30d", Total("messages", W_30D), "Messages from the sender to the recipient.", "messages"),
        Feature("messages_180d", Total("messages", W_180D), "Messages from the sender to the recipient.", "messages"),
        Feature("messages_all", Total("messages", W_ALL), "Messages ever from the sender to the recipient.",
                "messages"),
        Feature("reverse_30d", Total("reverse", W_30D), "Messages from the recipient to the sender.", "messages"),
        Feature("reverse_all", Total("reverse", W_ALL), "Messages ever from the recipient to the sender.",
                "messages"),
        Feature("replies_180d", Total("replies", W_180D), "Answers from the recipient to the sender.", "messages"),
        Feature("replies_all", Total("replies", W_ALL), "Answers ever from the recipient to the sender.", "messages"),
        Feature("days_known", Age("first_sent"), "Since the sender's first message to the recipient.", "days",
                _NOT_SENT),
        Feature("days_since_last", Age("last_sent"), "Since the sender's latest message to the recipient.", "days",
                _NOT_SENT),
        Feature("days_since_reverse", Age("last_reverse"), "Since the recipient last wrote to the sender.", "days",
                "the recipient never wrote to the sender"),
        Feature("days_since_reply", Age("last_reply"), "Since the recipient last answered the sender.", "days",
                "the recipient never answered the sender"),
        Feature("reverse_share_all", Ratio("reverse", "exchanged", W_ALL),
                "Share of the mail ever between the two that the recipient wrote.", "0..1",
                "never: whoever has history exchanged mail"),
        Feature("link_share_30d", Ratio("with_link", "messages", W_30D), "Share of the messages with a link.",
                "0..1", _NONE_IN_30D),
        Feature("attachment_share_30d", Ratio("with_attachment", "messages", W_30D),
                "Share of the messages with an attachment.", "0..1", _NONE_IN_30D),
        Feature("with_attachment_all", Total("with_attachment", W_ALL), "Messages ever with an attachment.",
                "messages"),
        Feature("last_authentication", Held("last_sent"),
                "How the latest message fared: 1 authenticated, -1 failed, 0 nothing trusted spoke.", "-1, 0 or 1",
                _NOT_SENT),
        Feature("authenticated_share_30d", Ratio("authenticated", "messages", W_30D),
                "Share of the messages that a trusted authserv-id authenticated.", "0..1", _NONE_IN_30D),
        Feature("labelled_bad_all", Total("labelled_bad", W_ALL), "Messages labelled bad, as known.", "messages"),
        Feature("labelled_good_all", Total("labelled_good", W_ALL), "Messages labelled good, as known.", "messages"),
    ),
)  # fmt: skip

feature_view = feature_view_of(VIEW)
