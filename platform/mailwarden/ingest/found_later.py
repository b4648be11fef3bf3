"""What is found out about a message after it was accepted, since it takes too long before."""

from __future__ import annotations

from dataclasses import dataclass

from mailwarden.domain.mail.facts import SignalFacts
from mailwarden.domain.mail.fingerprints import leads_to
from mailwarden.domain.mail.message import Envelope, Message
from mailwarden.domain.status import Status
from mailwarden.ingest.parse import parse_with_images
from mailwarden.ingest.qr import read_codes


@dataclass(frozen=True, slots=True)
class FoundLater:
    """A signal's facts, and status: present, or why not all images were read."""

    facts: SignalFacts
    status: Status


def find_later(raw: bytes, mail_from: str | None) -> FoundLater | None:
    """Read a raw message's images that were left for later; None where they hold no QR code. Raises nothing."""
    return found_in(*parse_with_images(raw, Envelope(mail_from=mail_from)))


def found_in(message: Message, later: tuple[bytes, ...]) -> FoundLater | None:
    """The same of a message that was parsed, with the images that `parse_with_images` left."""
    codes = read_codes(later)
    if not codes.found:
        return None
    urls = [code.url for code in codes.found if code.url is not None]
    return FoundLater(SignalFacts("qr", len(codes.found), len(urls), leads_to(urls, message)), codes.status)
