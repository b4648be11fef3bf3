"""What reading one message may cost, counted in work and never in time, so that values repeat wherever it is read."""

from __future__ import annotations

from dataclasses import dataclass

from mailwarden.domain.mail.message import Aspect


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """How much of one thing a whole message may hold, those inside it included.

    most: how many are read. what: the unit, in words. code: the defect of a message that has more. aspects: what of
    the message is then not read in full.
    """

    most: int
    what: str
    code: str
    aspects: tuple[Aspect, ...]


BODY: tuple[Aspect, ...] = ("text", "links", "attachments", "inner")
"""What is not read of a message whose parts are not."""

# Each lies above what honest mail holds (how many messages of the corpora are cut is in docs/adr/0011), and so
# low that all of them spent at once stay under a second.
HEADER_BYTES = Limit(1 << 20, "bytes of header fields", "headers_too_long", ("headers",))
FIELDS = Limit(10_000, "header fields", "too_many_headers", ("headers",))
MAILBOXES = Limit(2_000, "addresses in headers", "too_many_mailboxes", ("headers",))
HOPS = Limit(300, "Received fields", "too_many_hops", ("headers",))
HOST_LABELS = Limit(256, "labels of international host names", "too_many_international_hosts", ("links",))

PARTS = Limit(1_000, "MIME parts", "too_many_parts", BODY)
MESSAGES = Limit(200, "messages inside", "too_many_messages", ("inner",))
SCANNED = Limit(128 << 20, "bytes searched for boundaries", "boundaries_too_many", BODY)
NEAR_DELIMITERS = Limit(10_000, "lines that are almost a boundary", "boundaries_too_many", BODY)
SOFT_BREAKS = Limit(
    100_000, "soft line breaks with blanks", "quoted_printable_too_long", ("text", "links", "attachments")
)
CALENDAR_LINES = Limit(20_000, "lines of calendars", "calendar_too_long", ("text", "links"))
UU_LINES = Limit(300_000, "uuencoded lines", "uuencode_too_long", ("attachments",))
BASE64_PIECES = Limit(10_000, "base 64 texts behind another", "base64_pieces_too_many", ("text", "attachments"))
SNIFFED = Limit(2 << 20, "bytes of files looked at for their type", "too_many_files", ("attachments",))

TEXT_BYTES = Limit(4 << 20, "bytes of text", "text_too_long_to_decode", ("text", "links"))
QUOTED_CHARS = Limit(400_000, "characters searched for quotes", "text_too_long", ("text",))
LINKED_CHARS = Limit(2_000_000, "characters of plain text searched for links", "links_too_far", ("links",))
HTML_CHARS = Limit(1_000_000, "characters of HTML", "html_too_long", ("text", "links"))
TAGS = Limit(50_000, "HTML tags", "too_many_tags", ("text", "links"))
LOOKS = Limit(20_000, "elements of a look of their own", "too_many_styles", ("text",))
RULES = Limit(3_000, "rules of style sheets", "too_many_styles", ("text",))
MATCHES = Limit(100_000, "rules held against elements", "too_many_styles", ("text",))
ENTITIES = Limit(100_000, "HTML entities", "too_many_entities", ("text", "links"))

LINKS = Limit(1_000, "different links", "too_many_urls", ("links",))
LINKS_READ = Limit(5_000, "links", "too_many_urls", ("links",))
NAMES = Limit(50_000, "names that may be links", "too_many_urls", ("links",))
UNWRAPPED = Limit(4_000, "links taken out of others", "too_many_urls", ("links",))

ENVELOPES = Limit(8, "signed envelopes", "too_many_envelopes", BODY)
INNER_FILES = Limit(1_000, "files inside of files", "too_many_inner_files", ("inner",))
UNPACKED = Limit(24 << 20, "bytes out of files", "inner_too_long", ("inner",))
UNPACKED_SLOWLY = Limit(4 << 20, "bytes out of files that are packed closely", "inner_too_long", ("inner",))
INNER_TEXT = Limit(100_000, "characters of text in files", "inner_text_too_long", ())
INNER_LINKS = Limit(500, "links in files", "too_many_inner_links", ("inner",))
MACRO_BYTES = Limit(128 << 10, "bytes of macros", "macros_too_long", ("inner",))
DOCUMENT_OBJECTS = Limit(20_000, "objects of documents", "too_many_objects", ("inner",))
DOCUMENT_TOKENS = Limit(60_000, "words of document pages", "pages_too_long", ())
SIGNATURES = Limit(24, "signatures to verify", "too_many_signatures", ("authentication",))
LOOKUPS = Limit(60, "questions to the DNS", "too_many_lookups", ("authentication",))
HASHED = Limit(32 << 20, "bytes hashed for signatures", "signed_too_long", ("authentication",))

LIMITS = tuple(value for value in tuple(globals().values()) if isinstance(value, Limit))
"""Every limit, as the budget keeps it."""


class Budget:
    """What a message, with those inside it, may still cost of each limited thing."""

    def __init__(self) -> None:
        self._left = {limit: limit.most for limit in LIMITS}

    def left(self, limit: Limit) -> int:
        """How much of it may still be read."""
        return self._left[limit]

    def take(self, limit: Limit, wanted: int = 1) -> int:
        """Spend on `wanted` of a thing; how many of them may be read, the rest lies beyond the limit."""
        left = self._left[limit]
        if wanted > left:
            wanted = left
        self._left[limit] = left - wanted
        return wanted
