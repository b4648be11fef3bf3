"""person_activity: who else writes under a name that a reader takes for the message's."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import ActivityView, Age, Feature, History, Match, Total
from mailwarden.domain.aggregates.windows import W_ALL
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.person_activity.transform import DISTINCTS, EXTREMES, MEASURES, RECENTS

_NEVER = "never: whichever name was seen was used"

VIEW = ActivityView(
    name="person_activity",
    version=1,
    owner="sender-intelligence",
    description="Which addresses write under a person's name, however it is spelt: staff is who writes it from within.",
    keys=("person",),
    emission="facts",
    measures=MEASURES,
    extremes=EXTREMES,
    distincts=DISTINCTS,
    recents=RECENTS,
    features=(
        Feature("history", History(), "The name was seen before, in whichever spelling.", "0 or 1"),
        Feature("messages_all", Total("messages", W_ALL), "Messages ever under it.", "messages"),
        Feature("outbound_all", Total("outbound", W_ALL), "Messages under it that the tenant sent outside.",
                "messages"),
        Feature("internal_all", Total("internal", W_ALL), "Messages under it from within to within the tenant.",
                "messages"),
        Feature("days_known", Age("first_used"), "Since the first message under it.", "days", _NEVER),
        Feature("days_since_last", Age("last_used"), "Since the latest message under it.", "days", _NEVER),
        Feature("distinct_senders_all", Total("senders", W_ALL), "Different addresses that ever used it.",
                "addresses, estimated with a standard error of 1.6%"),
        Feature("sender_match", Match("users", W_ALL), "The sender is among the 16 addresses that used it last.",
                "0 or 1", "the message has no readable sender, or nobody who used it had one"),
        Feature("outbound_sender_match", Match("outbound_users", W_ALL),
                "The sender is among the 8 addresses under which the tenant's own people wrote outside by it.",
                "0 or 1", "the message has no readable sender, or nobody wrote outside from here under the name"),
        Feature("internal_sender_match", Match("internal_users", W_ALL),
                "The sender is among the 8 addresses under which the tenant's own people wrote to others of it.",
                "0 or 1", "the message has no readable sender, or nobody wrote within under the name"),
        Feature("labelled_bad_all", Total("labelled_bad", W_ALL), "Messages under it labelled bad, as known.",
                "messages"),
    ),
)  # fmt: skip

feature_view = feature_view_of(VIEW)
