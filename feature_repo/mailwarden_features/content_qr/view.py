"""content_qr: what the QR codes in its images hold, as far as they were read with it."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentView, count, flag
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.content_qr.transform import compute

_LATER = "not computable: its images are read after it was accepted"
_NO_LINK = "not computable: no QR code with a link was read with it"

VIEW = ContentView(
    name="content_qr",
    version=1,
    owner="content-analysis",
    description="What the QR codes in the message's images hold and where they lead, where they were read with it.",
    features=(
        flag("qr_pending", "It has images that are read only after it was accepted."),
        count("qr_code_count", "QR codes in its images.", "codes", _LATER),
        count("qr_url_count", "QR codes that hold a link.", "codes", _LATER),
        flag("qr_is_only_link", "QR codes lead somewhere, and nothing else in it does.", _LATER),
        count("qr_domain_count", "Different registrable domains that QR codes lead to.", "domains", _NO_LINK),
        flag("qr_leads_elsewhere", "A QR code leads to another registrable domain than the sender's.", _NO_LINK),
        flag("qr_leads_where_links_do_not", "A QR code leads to a domain that no link of the text does.", _NO_LINK),
        flag("qr_ip_host", "A QR code leads to an IP address.", _NO_LINK),
    ),
    compute=compute,
    reads=("inner",),
    cost_us=2,
)

feature_view = feature_view_of(VIEW)
