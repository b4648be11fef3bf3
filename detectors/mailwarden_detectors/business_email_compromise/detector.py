"""A request in the name of somebody whom the reader obeys: wages, gift cards, a favour in secret."""

from __future__ import annotations

from typing import ClassVar

from mailwarden_detectors._trees import groups
from mailwarden_detectors._trees.by_category import ByCategory
from mailwarden_detectors._trees.reading import Reading

_BUSINESS = (*groups.of("content_text", "new_text_len", "subject_len"),)
_READING = Reading.of(
    *_BUSINESS,
    *groups.CLAIMS,
    *groups.NAMES,
    *groups.DEALINGS,
    *groups.REQUESTS,
    *groups.WORDING,
    *groups.HIDING,
    *groups.THREAD,
    *groups.CAMPAIGN,
    *groups.FORM,
    *groups.of("content_links", "url_count"),
    *groups.of("content_attachments", "attachment_count"),
)


class BusinessEmailCompromise(ByCategory):
    """Reads whose name a message bears, whether it is theirs, and what is asked."""

    name: ClassVar[str] = "business_email_compromise"
    owner: ClassVar[str] = "impersonation"
    description: ClassVar[str] = "Judges whether somebody borrows a name that the reader obeys."
    features: ClassVar[tuple[str, ...]] = _READING.features
    categories: ClassVar[tuple[str, ...]] = ("BE",)
    reading: ClassVar[Reading] = _READING
    business: ClassVar[tuple[str, ...]] = _BUSINESS
