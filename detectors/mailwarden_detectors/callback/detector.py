"""Mail that moves its reader to a telephone."""

from __future__ import annotations

from typing import ClassVar

from mailwarden_detectors._trees import groups
from mailwarden_detectors._trees.by_category import ByCategory
from mailwarden_detectors._trees.reading import Reading

_BUSINESS = (
    *groups.of("content_text", "phone_in_short_body", "callback_terms"),
    *groups.of("content_links", "url_phone"),
    *groups.of("content_attachments", "attachment_pdf", "attachment_image", "image_count"),
)
_READING = Reading.of(
    *_BUSINESS,
    *groups.CLAIMS,
    *groups.DEALINGS,
    *groups.REQUESTS,
    *groups.WORDING,
    *groups.HIDING,
    *groups.FILES,
    *groups.INSIDE,
    *groups.CAMPAIGN,
    *groups.FORM,
    *groups.of("content_links", "url_count", "url_phone", "url_sender_domain_share"),
)


class Callback(ByCategory):
    """Reads numbers to call, and why one should."""

    name: ClassVar[str] = "callback"
    owner: ClassVar[str] = "web-threats"
    description: ClassVar[str] = "Judges whether a message wants its reader to call a number."
    features: ClassVar[tuple[str, ...]] = _READING.features
    categories: ClassVar[tuple[str, ...]] = ("CB",)
    reading: ClassVar[Reading] = _READING
    business: ClassVar[tuple[str, ...]] = _BUSINESS
