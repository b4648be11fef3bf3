"""Mail that nobody asked for, and that is no attack."""

from __future__ import annotations

from typing import ClassVar

from mailwarden_detectors._trees import groups
from mailwarden_detectors._trees.by_category import ByCategory
from mailwarden_detectors._trees.reading import Reading

_READING = Reading.of(
    *groups.CLAIMS,
    *groups.DEALINGS,
    *groups.REQUESTS,
    *groups.WORDING,
    *groups.HIDING,
    *groups.LINKS,
    *groups.CAMPAIGN,
    *groups.FORM,
    *groups.of("content_attachments", "attachment_count"),
)


class Spam(ByCategory):
    """Reads offers, how they are sent, and whether anybody wanted them."""

    name: ClassVar[str] = "spam"
    owner: ClassVar[str] = "content-detection"
    description: ClassVar[str] = "Judges whether a message is advertising that nobody asked for."
    features: ClassVar[tuple[str, ...]] = _READING.features
    categories: ClassVar[tuple[str, ...]] = ("SP",)
    reading: ClassVar[Reading] = _READING
