"""content_inner: what messages inside of it hold."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentView, count
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.content_inner.transform import compute

_NO_NESTED = "not computable: no nested message"

VIEW = ContentView(
    name="content_inner",
    version=1,
    owner="content-analysis",
    description="What the messages inside of the message hold, at whatever depth.",
    features=(
        count("nested_count", "Messages inside the message.", "messages"),
        count("nested_url_count", "Links of nested messages.", "links", _NO_NESTED),
        count("nested_attachment_count", "Attachments of nested messages.", "files", _NO_NESTED),
        count("nested_text_len", "Length of the text of nested messages.", "characters", _NO_NESTED),
    ),
    compute=compute,
    reads=("inner",),
    cost_us=3,
)

feature_view = feature_view_of(VIEW)
