"""content_headers: how the header is built."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentView, count, flag, real
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.content_headers.transform import compute

_NO_ID = "not computable: no Message-ID"
_NO_HOP = "not computable: no Received header that can be read"

VIEW = ContentView(
    name="content_headers",
    version=1,
    owner="content-analysis",
    description="Which header fields there are, when the message was written and which way it came.",
    features=(
        count("header_count", "Header fields.", "fields"),
        count("x_header_count", "Header fields whose name begins with X-.", "fields"),
        flag("has_list_unsubscribe", "List-Unsubscribe is there."),
        flag("has_list_id", "List-Id is there."),
        flag("has_x_mailer", "X-Mailer is there."),
        flag("has_user_agent", "User-Agent is there."),
        flag("precedence_bulk", "Precedence is bulk, list or junk."),
        flag("auto_submitted", "Auto-Submitted is there and not 'no' (RFC 3834)."),
        flag("high_priority", "X-Priority 1 or 2, or Importance high."),
        flag("missing_date", "No Date header."),
        flag("missing_to", "No To header."),
        flag("missing_message_id", "No Message-ID header."),
        flag("has_references", "References or In-Reply-To names a message."),
        count("hop_count", "Received headers, at most 100.", "headers"),
        real(
            "hop_span_hours",
            "From the earliest to the latest Received.",
            "hours",
            "not computable: fewer than two Received dates",
        ),
        flag(
            "hop_order_broken",
            "A Received header is over 5 minutes later than the one above it.",
            "not computable: no Received date",
        ),
        flag("helo_unqualified", "Whoever handed the message over named itself without a domain.", _NO_HOP),
        real(
            "date_skew_hours",
            "Date less the time of receipt; positive lies in the future.",
            "hours",
            "not computable: no Date, or no time of receipt apart from it",
        ),
        flag("odd_time_zone", "The Date's zone is none that clocks on earth keep.", "not computable: no Date header"),
        count("message_id_len", "Length of the Message-ID.", "characters", _NO_ID),
        flag("message_id_malformed", "The Message-ID is not of the form left@right.", _NO_ID),
        flag(
            "message_id_domain_matches",
            "The Message-ID's registrable domain is the sender's.",
            "not computable: no Message-ID, or the sender has no registrable domain",
        ),
    ),
    compute=compute,
    reads=("headers",),
    cost_us=30,
)

feature_view = feature_view_of(VIEW)
