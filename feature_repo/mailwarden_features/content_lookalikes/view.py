"""content_lookalikes: whose domain the sender's passes for."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentView, flag
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.content_lookalikes.transform import compute

_NO_DOMAIN = "not computable: the sender has no registrable domain"
_NOBODY_ASKED = f"{_NO_DOMAIN}, or it was accepted before this was asked"

VIEW = ContentView(
    name="content_lookalikes",
    version=1,
    owner="sender-intelligence",
    description="Whose domain the sender's passes for: letters drawn alike, hyphens, words beside a name, few edits.",
    features=(
        flag("own_lookalike", "The sender's domain passes for one of the tenant's own.", _NOBODY_ASKED),
        flag("own_lookalike_edits", "It does so by one or two edits, and not by how it is drawn.", _NOBODY_ASKED),
        flag(
            "partner_lookalike",
            "The sender's domain passes for that of a partner in the tenant's directory.",
            f"{_NOBODY_ASKED}, or there is no directory",
        ),
        flag("brand_lookalike", "The sender's domain passes for a well-known brand's.", _NO_DOMAIN),
        flag("brand_lookalike_edits", "It does so by one edit, and not by how it is drawn.", _NO_DOMAIN),
        flag(
            "reply_to_brand_lookalike",
            "Reply-To leads to a domain that passes for a well-known brand's.",
            "not computable: no Reply-To to another registrable domain",
        ),
    ),
    compute=compute,
    reads=("headers",),
    cost_us=10,
    lists=("brands", "popular", "free_mail"),
)

feature_view = feature_view_of(VIEW)
