"""lookalike_domain_activity: the history of whatever domain the sender's passes for."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import ActivityView, Age, Feature, History, Match, Total
from mailwarden.domain.aggregates.windows import W_ALL
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.lookalike_domain_activity.transform import DISTINCTS, EXTREMES, MEASURES, RECENTS

_NEVER = "never: whichever was seen wrote"

VIEW = ActivityView(
    name="lookalike_domain_activity",
    version=1,
    owner="sender-intelligence",
    description="What came from whichever domains a reader takes for the sender's: itself and all that pass for it.",
    keys=("domain_skeleton",),
    emission="facts",
    measures=MEASURES,
    extremes=EXTREMES,
    distincts=DISTINCTS,
    recents=RECENTS,
    features=(
        Feature("history", History(), "The domain, or one that it passes for, wrote before.", "0 or 1"),
        Feature("messages_all", Total("messages", W_ALL), "Messages ever from any of them.", "messages"),
        Feature("outbound_all", Total("own", W_ALL), "Messages from them that the tenant sent outside.", "messages"),
        Feature("internal_all", Total("internal", W_ALL), "Messages from them from within to within the tenant.",
                "messages"),
        Feature("days_known", Age("first_sent"), "Since the first message from any of them.", "days", _NEVER),
        Feature("days_since_last", Age("last_sent"), "Since the latest message from any of them.", "days", _NEVER),
        Feature("distinct_domains_all", Total("domains", W_ALL), "Different domains among them that ever wrote.",
                "domains, estimated with a standard error of 1.6%"),
        Feature("domain_match", Match("domains_used", W_ALL),
                "The sender's own registrable domain is among the 8 of them that wrote last.", "0 or 1",
                "the sender has no registrable domain, or none of them was seen"),
        Feature("labelled_bad_all", Total("labelled_bad", W_ALL), "Messages from them labelled bad, as known.",
                "messages"),
    ),
)  # fmt: skip

feature_view = feature_view_of(VIEW)
