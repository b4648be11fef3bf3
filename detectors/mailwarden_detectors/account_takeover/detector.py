"""Mail from an account that somebody else has taken: a colleague's, or a partner's."""

from __future__ import annotations

from typing import ClassVar

from mailwarden_detectors._trees import groups
from mailwarden_detectors._trees.by_category import ByCategory
from mailwarden_detectors._trees.reading import Reading

_BUSINESS = ("sender_activity:history", "sender_domain_activity:history")
_READING = Reading.of(
    *_BUSINESS,
    *groups.CLAIMS,
    *groups.DEALINGS,
    *groups.REQUESTS,
    *groups.WORDING,
    *groups.THREAD,
    *groups.LINKS,
    *groups.FILES,
    *groups.CAMPAIGN,
    *groups.of("content_inner", "inner_url_count", "inner_password_field", "inner_smuggling", "inner_redirect"),
    *groups.of("content_directory", "sender_listed", "sender_vip", "name_theirs", "own_domain"),
    *groups.of(
        "sender_activity", "messages_1h", "messages_1d", "volume_surge_1d", "distinct_recipients_1d",
        "recipient_set_jaccard_30d", "new_recipients_1d", "new_recipient_share_30d", "link_share_30d",
        "attachment_share_30d", "reply_to_differs_share_30d", "reply_share_30d", "mean_size_30d", "largest_size_90d",
        "last_authentication", "authenticated_share_90d", "display_name_match", "unusual_hour_90d",
        "unusual_weekday_90d", "days_since_last",
    ),
    *groups.of("person_activity", "outbound_sender_match", "internal_sender_match"),
    *groups.of("content_attachments", "size_bytes", "html"),
    *groups.of("content_identity", "recipient_count", "to_count", "cc_count"),
)  # fmt: skip


class AccountTakeover(ByCategory):
    """Reads a message against the past of the account that it comes from."""

    name: ClassVar[str] = "account_takeover"
    owner: ClassVar[str] = "identity"
    description: ClassVar[str] = "Judges whether an account does what its owner never did."
    features: ClassVar[tuple[str, ...]] = _READING.features
    categories: ClassVar[tuple[str, ...]] = ("LA", "EA")
    reading: ClassVar[Reading] = _READING
    business: ClassVar[tuple[str, ...]] = _BUSINESS
