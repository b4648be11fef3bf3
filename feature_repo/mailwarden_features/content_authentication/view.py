"""content_authentication: what trusted hosts found of it."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentFeature, ContentView, flag
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.content_authentication.transform import compute


def _verdict(method: str) -> tuple[ContentFeature, ...]:
    silent = f"not computable: no trusted header speaks of {method.upper()}"
    return (
        ContentFeature(method, "string", f"Trusted {method.upper()} verdict.", "a word of RFC 8601", silent),
        flag(f"{method}_pass", f"Trusted {method.upper()} verdict is pass.", silent),
        flag(f"{method}_fail", f"Trusted {method.upper()} verdict is fail or softfail.", silent),
    )


VIEW = ContentView(
    name="content_authentication",
    version=1,
    owner="content-analysis",
    description="Verdicts of SPF, DKIM, DMARC and ARC that a trusted host wrote.",
    features=(
        *(feature for method in ("spf", "dkim", "dmarc", "arc") for feature in _verdict(method)),
        flag(
            "dkim_aligned",
            "A passing DKIM signature is by the sender's registrable domain.",
            "not computable: no trusted header speaks of DKIM",
        ),
    ),
    compute=compute,
    reads=("headers",),
    cost_us=10,
)

feature_view = feature_view_of(VIEW)
