"""sender_display_name: for how long an address has borne the display name that a message shows."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import ActivityView, Age, Feature, History, Total
from mailwarden.domain.aggregates.windows import W_ALL
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.sender_display_name.transform import EXTREMES, MEASURES

_NEVER = "never: whichever pair was seen wrote"

VIEW = ActivityView(
    name="sender_display_name",
    version=1,
    owner="sender-intelligence",
    description="How an address and a display name go together: readers see the name, mail systems the address.",
    keys=("sender", "display_name"),
    emission="facts",
    measures=MEASURES,
    extremes=EXTREMES,
    distincts=(),
    features=(
        Feature("history", History(), "The address used the name before.", "0 or 1"),
        Feature("messages_all", Total("messages", W_ALL), "Messages ever by the address under the name.", "messages"),
        Feature("name_addr_days", Age("first_used"), "Since the address first used the name.", "days", _NEVER),
        Feature("days_since_last", Age("last_used"), "Since the address last used the name.", "days", _NEVER),
        Feature("labelled_bad_all", Total("labelled_bad", W_ALL), "Such messages labelled bad, as known.",
                "messages"),
    ),
)  # fmt: skip

feature_view = feature_view_of(VIEW)
