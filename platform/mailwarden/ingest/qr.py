"""QR codes in a message's images: which images are read at once, which later, and what is in them.

Every limit is a count of pixels, images, codes or characters of the whole message, so that the same codes are found
wherever and whenever it is read.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import zxingcpp
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from mailwarden.domain.mail.message import QrCode
from mailwarden.domain.status import Status, worst
from mailwarden.ingest.bare_images import TooManyPieces, bare_image
from mailwarden.ingest.budget import Budget
from mailwarden.ingest.charsets import clean
from mailwarden.ingest.images import ImageHead, image_head
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.text_links import plain_urls
from mailwarden.ingest.urls import read_url

MAX_INLINE_TEXT = 200
"""A message with as many characters of text, or more, is read without its images: they are read later."""

MAX_INLINE_PIXELS = 1_000_000
"""Pixels of an image that is read at once, and of all of them together."""

MAX_PIXELS = 20_000_000
"""Pixels of a message's images that are read later, all together."""

MAX_SEARCHED_PIXELS = 2_500_000
"""Pixels of an image that are searched for codes, a larger one being made smaller: the search is quadratic in the
corners of codes that an image shows, and a sender may fill it with them."""

MAX_IMAGES = 50
"""Images of a message that are looked at, the first ones."""

MAX_PASSES = 32
"""Times that a decoder may have to go over an image: an encoder makes ten scans, an attacker a hundred thousand."""

MAX_CODES = 16
"""Codes of an image that are kept."""

MAX_CODE = 2_000
"""Characters of a code that are kept; the largest code that fits on a page holds 4,296 letters or digits."""

_DECODERS = (BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin)
"""Loaded by their import, so that the first image of a process takes no longer than the next."""

_LEAST_SIDE = 21
"""Modules of the smallest QR code's side (ISO/IEC 18004): an image with fewer pixels holds none."""


@dataclass(frozen=True, slots=True)
class Codes:
    """What images held. status: present, or the worst reason why not all of it was read."""

    found: tuple[QrCode, ...] = ()
    status: Status = Status.PRESENT


@dataclass(frozen=True, slots=True)
class Shelves:
    """A message's images, sorted into those to be read at once and those to be read later.

    status: present, or why some are on neither shelf: damaged or over budget.
    """

    now: tuple[bytes, ...] = ()
    later: tuple[bytes, ...] = ()
    status: Status = Status.PRESENT


def sort_images(own: Sequence[bytes], nested: Sequence[bytes], text_chars: int) -> Shelves:
    """Sort a message's images by their heads alone; nothing is unpacked.

    own, nested: the image files of a message, and of those inside of it. text_chars: of the text that a reader sees.
    An image that stands in the message several times is read once.
    """
    now: list[bytes] = []
    later: list[bytes] = []
    reasons: list[Status] = []
    left_now, left_later = MAX_INLINE_PIXELS, MAX_PIXELS
    seen: set[bytes] = set()
    looked_at = 0
    for data, is_own in (*((image, True) for image in own), *((image, False) for image in nested)):
        head = image_head(data)
        if head is None or data in seen:
            continue
        if not head.pixels:
            reasons.append(Status.DAMAGED)
            continue
        if min(head.width, head.height) < _LEAST_SIDE:
            continue
        looked_at += 1
        if head.passes > MAX_PASSES or looked_at > MAX_IMAGES:
            reasons.append(Status.OVER_BUDGET)
            continue
        seen.add(data)
        if is_own and text_chars < MAX_INLINE_TEXT and head.pixels * head.passes <= left_now:
            left_now -= head.pixels * head.passes
            now.append(data)
        elif head.pixels <= left_later:
            left_later -= head.pixels
            later.append(data)
        else:
            reasons.append(Status.OVER_BUDGET)
    return Shelves(tuple(now), tuple(later), worst(reasons))


def read_codes(images: Iterable[bytes]) -> Codes:
    """The QR codes of images that `sort_images` put on a shelf, each text once, in order. Raises nothing."""
    # Their own budget: what the rest of the message took does not decide which link a code holds.
    reading = Reading(Budget())
    found: dict[str, QrCode] = {}
    reasons: list[Status] = []
    for data in images:
        head = image_head(data)
        try:
            texts = [] if head is None else _decode(data, head)
        except TooManyPieces:
            reasons.append(Status.OVER_BUDGET)
            continue
        except Exception:
            # The decoders are given strangers' bytes, and each has errors of its own for what it cannot read.
            reasons.append(Status.DAMAGED)
            continue
        if len(texts) > MAX_CODES or any(len(text) > MAX_CODE for text in texts):
            reasons.append(Status.OVER_BUDGET)
        for text in texts[:MAX_CODES]:
            kept = clean(text[:MAX_CODE])
            if kept not in found:
                found[kept] = _code(kept, reading)
    return Codes(tuple(found.values()), worst(reasons))


def _code(text: str, reading: Reading) -> QrCode:
    for url in plain_urls(text, reading)[:1]:
        read = read_url(url, "", "qr", reading)
        return QrCode(text, read if read is not None and read.host else None)
    return QrCode(text, None)


def _decode(data: bytes, head: ImageHead) -> list[str]:
    """The texts of the codes in an image, from top to bottom and left to right."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(bare_image(data, head.format)), formats=(head.format,)) as image:
            if image.size != (head.width, head.height):
                raise ValueError("the image is of another size than its head says")
            if head.format == "JPEG":
                # Its brightness stands in the file by itself: colours are not unpacked.
                image.draft("L", image.size)
            if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
                # As it is seen, on a white page.
                seen = image.convert("RGBA")
                grey = Image.new("L", seen.size, 255)
                grey.paste(seen.convert("L"), mask=seen.getchannel("A"))
            else:
                grey = image.convert("L")
    smaller = math.isqrt((head.pixels - 1) // MAX_SEARCHED_PIXELS) + 1
    if smaller > 1:
        grey = grey.reduce(smaller)
    formats = zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCode])
    barcodes = zxingcpp.read_barcodes(grey, formats=formats, text_mode=zxingcpp.TextMode.Plain)
    placed = sorted(barcodes, key=lambda code: (code.position.top_left.y, code.position.top_left.x, code.text))
    return [code.text for code in placed]
