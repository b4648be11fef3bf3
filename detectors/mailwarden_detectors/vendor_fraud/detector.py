"""A payment led elsewhere: a false invoice, new bank details, often in a thread that was stolen."""

from __future__ import annotations

from typing import ClassVar

from mailwarden_detectors._trees import groups
from mailwarden_detectors._trees.by_category import ByCategory
from mailwarden_detectors._trees.reading import Reading

_BUSINESS = (
    *groups.of(
        "content_text", "payment_terms", "money_count", "bank_details", "quoted_bank_details", "quoted_ask_terms"
    ),
    *groups.of("content_inner", "inner_payment_terms", "inner_money_count"),
    *groups.of("content_attachments", "attachment_count"),
)
_READING = Reading.of(
    *_BUSINESS,
    *groups.CLAIMS,
    *groups.NAMES,
    *groups.DEALINGS,
    *groups.REQUESTS,
    *groups.WORDING,
    *groups.HIDING,
    *groups.THREAD,
    *groups.FILES,
    *groups.INSIDE,
    *groups.CAMPAIGN,
    *groups.FORM,
    *groups.of("content_links", "url_count"),
)


class VendorFraud(ByCategory):
    """Reads what is to be paid, to whom, and whether whoever asks is who always asked."""

    name: ClassVar[str] = "vendor_fraud"
    owner: ClassVar[str] = "impersonation"
    description: ClassVar[str] = "Judges whether a payment is led to somebody else."
    features: ClassVar[tuple[str, ...]] = _READING.features
    categories: ClassVar[tuple[str, ...]] = ("VF",)
    reading: ClassVar[Reading] = _READING
    business: ClassVar[tuple[str, ...]] = _BUSINESS
