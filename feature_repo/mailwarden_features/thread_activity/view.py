"""thread_activity: what went before in the thread that a message says it belongs to."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import ActivityView, Age, Feature, History, Match, Total
from mailwarden.domain.aggregates.windows import W_ALL
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.thread_activity.transform import DISTINCTS, EXTREMES, MEASURES, RECENTS

_NEVER = "never: whoever was seen was written to"

VIEW = ActivityView(
    name="thread_activity",
    version=1,
    owner="relationship-intelligence",
    description="Who took part in a thread so far, and whether the tenant did: a message may claim any thread.",
    keys=("thread",),
    emission="facts",
    measures=MEASURES,
    extremes=EXTREMES,
    distincts=DISTINCTS,
    recents=RECENTS,
    features=(
        Feature("history", History(), "The thread was seen before.", "0 or 1"),
        Feature("messages_all", Total("messages", W_ALL), "Messages in it so far.", "messages"),
        Feature("outbound_all", Total("own", W_ALL), "Messages in it that the tenant sent outside.", "messages"),
        Feature("internal_all", Total("internal", W_ALL), "Messages in it from within to within the tenant.",
                "messages"),
        Feature("days_known", Age("first_written"), "Since its first message.", "days", _NEVER),
        Feature("days_since_last", Age("last_written"), "Since its latest message.", "days", _NEVER),
        Feature("days_since_outbound", Age("last_own"), "Since the tenant last wrote outside in it.", "days",
                "the tenant never wrote outside in it"),
        Feature("distinct_senders_all", Total("senders", W_ALL), "Different addresses that wrote in it.",
                "addresses, estimated with a standard error of 1.6%"),
        Feature("sender_match", Match("writers", W_ALL), "The sender is among the 16 that wrote in it last.",
                "0 or 1", "the message has no readable sender, or no message in the thread had one"),
        Feature("sender_domain_match", Match("writing_domains", W_ALL),
                "The sender's registrable domain is among the 8 that wrote in it last.", "0 or 1",
                "the sender has no registrable domain, or nobody in the thread had one"),
        Feature("display_name_match", Match("writing_names", W_ALL),
                "The sender's display name is among the 16 that were used in it last, by whichever address.",
                "0 or 1", "the message has no display name, or none was used in the thread"),
        Feature("recipient_set_jaccard", Match("audiences", W_ALL),
                "Overlap of the message's recipients with the nearest of the 4 latest sets of recipients in it.",
                "0..1", "the message has no recipient, or no message in the thread had one"),
        Feature("labelled_bad_all", Total("labelled_bad", W_ALL), "Messages in it labelled bad, as known.",
                "messages"),
    ),
)  # fmt: skip

feature_view = feature_view_of(VIEW)
