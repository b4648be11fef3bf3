"""Mail that leads its reader to give away an account: by a link, a code, a form or a page attached."""

from __future__ import annotations

from typing import ClassVar

from mailwarden_detectors._trees import groups
from mailwarden_detectors._trees.by_category import ByCategory
from mailwarden_detectors._trees.reading import Reading

_BUSINESS = (
    *groups.of("content_links", "url_count", "url_form", "url_mail"),
    *groups.of("content_qr", "qr_code_count", "qr_pending"),
    *groups.of("content_attachments", "attachment_count", "image_count"),
    *groups.of("content_inner", "nested_count", "inner_url_count"),
    *groups.of("content_text", "credential_terms"),
)
_READING = Reading.of(
    *_BUSINESS,
    *groups.CLAIMS,
    *groups.NAMES,
    *groups.DEALINGS,
    *groups.REQUESTS,
    *groups.WORDING,
    *groups.HIDING,
    *groups.LINKS,
    *groups.CODES,
    *groups.FILES,
    *groups.INSIDE,
    *groups.CAMPAIGN,
    *groups.FORM,
)


class CredentialPhishing(ByCategory):
    """Reads where a message leads and in whose name it asks."""

    name: ClassVar[str] = "credential_phishing"
    owner: ClassVar[str] = "web-threats"
    description: ClassVar[str] = "Judges whether a message leads its reader to give away an account."
    features: ClassVar[tuple[str, ...]] = _READING.features
    categories: ClassVar[tuple[str, ...]] = ("CP",)
    reading: ClassVar[Reading] = _READING
    business: ClassVar[tuple[str, ...]] = _BUSINESS
