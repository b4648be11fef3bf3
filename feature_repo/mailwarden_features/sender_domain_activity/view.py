"""sender_domain_activity: how a registrable domain has written to this tenant, and the tenant to it."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import (
    ActivityView,
    Age,
    Feature,
    Held,
    History,
    Match,
    Ratio,
    Surge,
    Total,
)
from mailwarden.domain.aggregates.windows import W_1D, W_7D, W_30D, W_30D_COARSE, W_90D, W_90D_COARSE, W_ALL, W_MATURED
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.sender_domain_activity.transform import BAD_RATE_PRIOR, DISTINCTS, EXTREMES, MEASURES, RECENTS

_NOT_SENT = "nothing ever came from it: the tenant only wrote to it"
_NONE_CAME = "nothing came from it in the window"
_ADDRESSES = "addresses, estimated with a standard error of 1.6%"

VIEW = ActivityView(
    name="sender_domain_activity",
    version=4,
    owner="sender-intelligence",
    description="How a sender's registrable domain has written to the tenant, and whether the tenant wrote to it.",
    keys=("sender_domain",),
    emission="participant_domains",
    measures=MEASURES,
    extremes=EXTREMES,
    distincts=DISTINCTS,
    recents=RECENTS,
    features=(
        Feature("history", History(), "The domain was seen before.", "0 or 1"),
        Feature("messages_1d", Total("messages", W_1D), "Messages from it.", "messages"),
        Feature("messages_7d", Total("messages", W_7D), "Messages from it.", "messages"),
        Feature("messages_30d", Total("messages", W_30D), "Messages from it.", "messages"),
        Feature("messages_all", Total("messages", W_ALL), "Messages that ever came from it.", "messages"),
        Feature("volume_surge_1d", Surge("messages", W_1D, W_30D, "first_sent"),
                "Messages of a day against what its last 30 days let expect.", "standard deviations",
                "nothing came from it a day ago or earlier, so that there is no baseline"),
        Feature("written_to_all", Total("written_to", W_ALL), "Messages that the tenant ever wrote to it.", "messages"),
        Feature("days_known", Age("first_sent"), "Since the first message from it.", "days", _NOT_SENT),
        Feature("days_since_last", Age("last_sent"), "Since the latest message from it.", "days", _NOT_SENT),
        Feature("days_since_outbound", Age("last_written_to"), "Since the tenant last wrote to it.", "days",
                "the tenant never wrote to it"),
        Feature("distinct_senders_30d", Total("senders", W_30D_COARSE), "Different addresses at it that wrote.",
                _ADDRESSES),
        Feature("distinct_recipients_30d", Total("recipients", W_30D_COARSE), "Different recipients that it wrote to.",
                _ADDRESSES),
        Feature("first_contact_share_30d", Ratio("first_contacts", "messages", W_30D),
                "Share of its messages to somebody whom the sending address had not written to before.", "0..1",
                _NONE_CAME),
        Feature("link_share_30d", Ratio("with_link", "messages", W_30D), "Share of its messages with a link.",
                "0..1", _NONE_CAME),
        Feature("attachment_share_30d", Ratio("with_attachment", "messages", W_30D),
                "Share of its messages with an attachment.", "0..1", _NONE_CAME),
        Feature("authenticated_share_30d", Ratio("authenticated", "messages", W_30D),
                "Share of its messages that a trusted authserv-id authenticated.", "0..1", _NONE_CAME),
        Feature("authenticated_share_90d", Ratio("authenticated", "messages", W_90D_COARSE),
                "Share of its messages that a trusted authserv-id authenticated.", "0..1", _NONE_CAME),
        Feature("last_authentication", Held("last_sent"),
                "How the latest message from it fared: 1 authenticated, -1 failed, 0 nothing trusted spoke.",
                "-1, 0 or 1", _NOT_SENT),
        Feature("structure_match_90d", Match("structures", W_90D),
                "Header order, mailer and form of Message-ID are those of one of its 16 latest kinds of message.",
                "0 or 1", _NONE_CAME),
        Feature("path_match_90d", Match("paths", W_90D),
                "The network that handed the message over is one of the 16 that its mail came by last.", "0 or 1",
                "nobody says by which network the message came, or nothing came from it in the window"),
        Feature("bad_rate", Ratio("labelled_bad", "messages", W_MATURED, BAD_RATE_PRIOR),
                "Share of its messages of at least 7 days that are labelled bad, drawn to 0.1 while they are few.",
                "0..1"),
        Feature("labelled_bad_all", Total("labelled_bad", W_ALL), "Its messages labelled bad, as known.", "messages"),
        Feature("labelled_attack_all", Total("labelled_attack", W_ALL), "Its messages labelled an attack, as known.",
                "messages"),
        Feature("labelled_good_all", Total("labelled_good", W_ALL), "Its messages labelled good, as known.",
                "messages"),
        Feature("qr_codes_30d", Total("qr_codes", W_30D), "QR codes in messages from it that were read with them.",
                "codes"),
        Feature("qr_codes_later_30d", Total("qr_codes_later", W_30D),
                "QR codes in messages from it that were found after these were accepted.", "codes"),
    ),
)  # fmt: skip

feature_view = feature_view_of(VIEW)
