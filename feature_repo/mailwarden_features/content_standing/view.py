"""content_standing: what lists know of the names in a message."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentView, count, flag, real
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.content_standing.transform import compute

_NO_DOMAIN = "not computable: the sender has no registrable domain"
_NO_NAME = "not computable: no display name, or no readable sender address"
_NO_URL = "not computable: no link"

VIEW = ContentView(
    name="content_standing",
    version=1,
    owner="content-analysis",
    description="What lists know of the names in a message: throw-away addresses, well-known domains, borrowed brands.",
    features=(
        flag("sender_disposable", "The sender's address is at a host of throw-away addresses.", _NO_DOMAIN),
        flag(
            "reply_to_disposable",
            "Reply-To leads to a throw-away address.",
            "not computable: no Reply-To with a readable address",
        ),
        count(
            "sender_rank",
            "Place of the sender's domain among popular ones, 1 the most popular.",
            "rank",
            "not computable: the domain is not on the list, or there is none",
        ),
        flag("brand_named", "The display name holds a brand's name, or what is drawn like one.", _NO_NAME),
        flag("brand_borrowed", "It does, and the sender's domain is not of that brand.", _NO_NAME),
        count(
            "url_brand_borrowed",
            "Links to hosts with such a name in them that are neither of the brand nor of mail for all.",
            "links",
            _NO_URL,
        ),
        real("url_unranked_share", "Links to domains that are not among the popular ones.", "0..1", _NO_URL),
    ),
    compute=compute,
    reads=("headers", "links"),
    cost_us=15,
    lists=("disposable", "free_mail", "brands", "popular"),
)

feature_view = feature_view_of(VIEW)
