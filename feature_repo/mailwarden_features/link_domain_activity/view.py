"""link_domain_activity: what the tenant knows of the domain that a message's links lead to."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import ActivityView, Age, Feature, History, Match, Ratio, Total
from mailwarden.domain.aggregates.windows import W_30D, W_ALL, W_MATURED
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.link_domain_activity.transform import BAD_RATE_PRIOR, DISTINCTS, EXTREMES, MEASURES, RECENTS

_BY_CODE = "only QR codes that were found after their messages were accepted led to it"

VIEW = ActivityView(
    name="link_domain_activity",
    version=2,
    owner="campaign-intelligence",
    description="For how long, how often and by whom a domain was linked to in the tenant's mail.",
    keys=("link_domain",),
    emission="facts",
    measures=MEASURES,
    extremes=EXTREMES,
    distincts=DISTINCTS,
    recents=RECENTS,
    features=(
        Feature("history", History(), "The domain was linked to before.", "0 or 1"),
        Feature("messages_30d", Total("messages", W_30D), "Messages that link to it.", "messages"),
        Feature("messages_all", Total("messages", W_ALL), "Messages that ever linked to it.", "messages"),
        Feature("outbound_all", Total("outbound", W_ALL), "Messages that the tenant sent outside with a link to it.",
                "messages"),
        Feature("days_known", Age("first_seen"), "Since the first message that linked to it.", "days", _BY_CODE),
        Feature("distinct_sender_domains_all", Total("sender_domains", W_ALL),
                "Different registrable domains whose mail linked to it.",
                "domains, estimated with a standard error of 1.6%"),
        Feature("sender_domain_match", Match("linking_domains", W_ALL),
                "The sender's registrable domain is among the 16 whose mail linked to it last.", "0 or 1",
                "the sender has no registrable domain, or nobody who linked to it had one"),
        Feature("first_contact_share_30d", Ratio("first_contacts", "messages", W_30D),
                "Share of such messages to somebody whom the sender had not written to before.", "0..1",
                "no message linked to it in the window"),
        Feature("bad_rate", Ratio("labelled_bad", "messages", W_MATURED, BAD_RATE_PRIOR),
                "Share of such messages of at least 7 days that are labelled bad, drawn to 0.1 while they are few.",
                "0..1"),
        Feature("labelled_attack_all", Total("labelled_attack", W_ALL), "Such messages labelled an attack, as known.",
                "messages"),
        Feature("labelled_good_all", Total("labelled_good", W_ALL), "Such messages labelled good, as known.",
                "messages"),
        Feature("qr_urls_later_30d", Total("qr_urls_later", W_30D),
                "Links in QR codes that were found after their messages were accepted, the first of a message leading "
                "to it.", "links"),
        Feature("qr_urls_later_all", Total("qr_urls_later", W_ALL), "The same, ever.", "links"),
    ),
)  # fmt: skip

feature_view = feature_view_of(VIEW)
