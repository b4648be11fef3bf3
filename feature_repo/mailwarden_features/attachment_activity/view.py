"""attachment_activity: where else the very file went that a message brings."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import ActivityView, Age, Feature, History, Match, Total
from mailwarden.domain.aggregates.windows import W_30D, W_ALL
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.attachment_activity.transform import DISTINCTS, EXTREMES, MEASURES, RECENTS

_NEVER = "never: whichever file was seen was attached"

VIEW = ActivityView(
    name="attachment_activity",
    version=1,
    owner="campaign-intelligence",
    description="For how long, how often and by whom a file of just this content was attached.",
    keys=("attachment",),
    emission="facts",
    measures=MEASURES,
    extremes=EXTREMES,
    distincts=DISTINCTS,
    recents=RECENTS,
    features=(
        Feature("history", History(), "The file was attached before.", "0 or 1"),
        Feature("messages_30d", Total("messages", W_30D), "Messages with the file.", "messages"),
        Feature("messages_all", Total("messages", W_ALL), "Messages ever with the file.", "messages"),
        Feature("outbound_all", Total("outbound", W_ALL), "Messages with it that the tenant sent outside.",
                "messages"),
        Feature("days_known", Age("first_seen"), "Since the first message with the file.", "days", _NEVER),
        Feature("distinct_senders_all", Total("senders", W_ALL), "Different addresses that sent it.",
                "addresses, estimated with a standard error of 1.6%"),
        Feature("sender_match", Match("senders_of_late", W_ALL), "The sender is among the 8 that sent it last.",
                "0 or 1", "the message has no readable sender, or nobody who sent it had one"),
        Feature("labelled_bad_all", Total("labelled_bad", W_ALL), "Messages with it labelled bad, as known.",
                "messages"),
        Feature("labelled_attack_all", Total("labelled_attack", W_ALL),
                "Messages with it labelled an attack, as known.", "messages"),
        Feature("labelled_good_all", Total("labelled_good", W_ALL), "Messages with it labelled good, as known.",
                "messages"),
    ),
)  # fmt: skip

feature_view = feature_view_of(VIEW)
