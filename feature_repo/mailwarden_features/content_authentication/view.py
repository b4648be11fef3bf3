"""content_authentication: what is known of who sent it."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentFeature, ContentView, count, flag
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.content_authentication.transform import compute


def _verdict(method: str) -> tuple[ContentFeature, ...]:
    silent = f"not computable: nothing that is believed speaks of {method.upper()}"
    return (
        ContentFeature(method, "string", f"{method.upper()} verdict that is believed.", "a word of RFC 8601", silent),
        flag(f"{method}_pass", f"{method.upper()} verdict is pass.", silent),
        flag(f"{method}_fail", f"{method.upper()} verdict is fail or softfail.", silent),
    )


VIEW = ContentView(
    name="content_authentication",
    version=1,
    owner="content-analysis",
    description="Verdicts of SPF, DKIM, DMARC and ARC that a trusted host wrote, or that were verified here.",
    features=(
        *(feature for method in ("spf", "dkim", "dmarc", "arc") for feature in _verdict(method)),
        flag(
            "dkim_aligned",
            "A passing DKIM signature is by the sender's registrable domain.",
            "not computable: nothing that is believed speaks of DKIM",
        ),
        flag(
            "spf_aligned",
            "SPF passes for the sender's registrable domain.",
            "not computable: nothing that is believed speaks of SPF, or no sender's domain",
        ),
        flag(
            "authenticated",
            "The sender's domain is proven: DMARC, aligned DKIM or SPF, or a trusted sealer's word.",
            "not computable: nothing that is believed speaks of it",
        ),
        ContentFeature(
            "said_by",
            "string",
            "Who says so: a trusted header, or own verification.",
            "header or own",
            "not computable: nobody",
        ),
        count(
            "dkim_signatures",
            "DKIM signatures of which there is a result.",
            "signatures",
            "not computable: nothing that is believed speaks of DKIM",
        ),
        ContentFeature(
            "dmarc_policy",
            "string",
            "What the sender's domain asks for where DMARC fails.",
            "none, quarantine or reject",
            "not computable: not looked up, or no DMARC record",
        ),
        flag(
            "sealer_vouches",
            "The sender's domain was proven when the message came to a trusted ARC sealer.",
            "not computable: no passing chain of a trusted sealer",
        ),
        count(
            "forged_results",
            "Results in a trusted host's name where only a sender can have put them.",
            "header fields",
            "not computable: the tenant trusts no authserv-id",
        ),
    ),
    compute=compute,
    reads=("headers", "authentication"),
    cost_us=12,
)

feature_view = feature_view_of(VIEW)
