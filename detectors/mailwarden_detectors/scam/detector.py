"""Fortunes, jobs and love that cost something first."""

from __future__ import annotations

from typing import ClassVar

from mailwarden_detectors._trees import groups
from mailwarden_detectors._trees.by_category import ByCategory
from mailwarden_detectors._trees.reading import Reading

_BUSINESS = (*groups.of("content_text", "new_text_len", "subject_len"),)
_READING = Reading.of(
    *_BUSINESS,
    *groups.CLAIMS,
    *groups.DEALINGS,
    *groups.REQUESTS,
    *groups.WORDING,
    *groups.HIDING,
    *groups.CAMPAIGN,
    *groups.FORM,
    *groups.of("content_links", "url_count", "url_free_host", "url_mail_elsewhere"),
    *groups.of("content_attachments", "attachment_count"),
)


class Scam(ByCategory):
    """Reads what is promised, and by whom."""

    name: ClassVar[str] = "scam"
    owner: ClassVar[str] = "content-detection"
    description: ClassVar[str] = "Judges whether a message promises what one has to pay for first."
    features: ClassVar[tuple[str, ...]] = _READING.features
    categories: ClassVar[tuple[str, ...]] = ("SC",)
    reading: ClassVar[Reading] = _READING
    business: ClassVar[tuple[str, ...]] = _BUSINESS
