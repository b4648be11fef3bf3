"""A demand for money under a threat."""

from __future__ import annotations

from typing import ClassVar

from mailwarden_detectors._trees import groups
from mailwarden_detectors._trees.by_category import ByCategory
from mailwarden_detectors._trees.reading import Reading

_BUSINESS = (
    *groups.of("content_text", "threat_terms", "crypto_wallet", "money_count", "secrecy_terms", "urgency_terms"),
    *groups.of("content_inner", "inner_money_count", "inner_urgency_terms"),
)
_READING = Reading.of(
    *_BUSINESS,
    *groups.CLAIMS,
    *groups.DEALINGS,
    *groups.REQUESTS,
    *groups.WORDING,
    *groups.HIDING,
    *groups.CAMPAIGN,
    *groups.FORM,
    *groups.of("content_links", "url_count"),
    *groups.of("content_attachments", "attachment_count"),
    *groups.of("content_inner", "inner_urgency_terms", "inner_money_count"),
)


class Extortion(ByCategory):
    """Reads threats, wallets and haste."""

    name: ClassVar[str] = "extortion"
    owner: ClassVar[str] = "content-detection"
    description: ClassVar[str] = "Judges whether a message threatens its reader for money."
    features: ClassVar[tuple[str, ...]] = _READING.features
    categories: ClassVar[tuple[str, ...]] = ("EX",)
    reading: ClassVar[Reading] = _READING
    business: ClassVar[tuple[str, ...]] = _BUSINESS
