"""Facts of MIME structure and attachments, by content rather than by name."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.file_kinds import ARCHIVE_TYPES, EXECUTABLE_TYPES
from mailwarden.domain.mail.file_names import EXECUTABLE_NAMES, extension_of, is_disguised, is_double
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Attachment, Message

_NULLABLE = (
    "attachment_executable", "attachment_archive", "attachment_office", "attachment_macro_capable",
    "attachment_html", "attachment_pdf", "attachment_image", "attachment_double_extension",
    "attachment_disguised_name", "attachment_type_differs", "attachment_bytes_max",
)  # fmt: skip

_OFFICE_PARTS = (
    "officedocument", "opendocument", "msword", "ms-excel", "ms-powerpoint", "macroenabled", "/rtf",
    "x-ole-encrypted-package", "onenote", "visio",
)  # fmt: skip
_MACRO_PARTS = ("macroenabled", "msword", "vnd.ms-excel", "vnd.ms-powerpoint", "x-ole-storage")
_TYPE_OF_NAME = {
    "pdf": ("application/pdf",),
    "png": ("image/",), "jpg": ("image/",), "jpeg": ("image/",), "gif": ("image/",), "bmp": ("image/",),
    "doc": ("application/msword", "application/x-ole", "application/rtf", "application/vnd"),
    "xls": ("application/vnd", "application/x-ole"),
    "docx": ("application/vnd", "application/x-ole"),
    "xlsx": ("application/vnd", "application/x-ole"),
    "zip": ("application/",),
    "txt": ("text/", "application/pgp", "application/x-pem-file", "message/rfc822"),  # a patch begins as a message
    "htm": ("text/",), "html": ("text/",),
}  # fmt: skip
_UNKNOWN_TYPES = frozenset({"application/octet-stream", "application/x-empty", "text/plain"})
_MODERN_CHARSETS = frozenset(
    "utf-8 utf8 us-ascii ascii iso-8859-1 iso-8859-15 windows-1252 latin1 cp1252 unicode-1-1-utf-7".split()  # noqa: SIM905
)
_OF_TIME = frozenset({"no_time", "mbox_time_unreadable", "envelope_time_absurd", "time_clamped"})
"""Defects of the time at hand-over, which are gone once the message is read with the time it was accepted with."""

_SHORT_TEXT = 50
MAX_ATTACHMENTS = 200


def compute(message: Message, lists: Lists) -> dict[str, ContentValue]:
    """How the message is built, its defects and its attachments."""
    types = message.part_types
    images = sum(kind.startswith("image/") for kind in types)
    has_body = bool(message.html or message.text_chars)
    seen = len(message.new_text) + len(message.quoted_text)
    values: dict[str, ContentValue] = {
        "size_bytes": message.size,
        "part_count": len(types),
        "image_count": images,
        "defect_count": len({defect.code for defect in message.defects} - _OF_TIME),
        "html": int(message.html),
        "html_without_text": int(not message.text_chars) if message.html else None,
        "text_html_ratio": seen / message.html_chars if message.html_chars else None,
        "html_chars": message.html_chars if message.html else None,
        "image_only_body": int(bool(images) and seen < _SHORT_TEXT) if has_body or images else None,
        "legacy_charset": (
            int(any(charset.lower() not in _MODERN_CHARSETS for charset in message.charsets))
            if message.charsets
            else None
        ),
        "attachment_count": len(message.attachments),
    }
    return values | _attachment_facts(message.attachments[:MAX_ATTACHMENTS])


def _attachment_facts(attachments: tuple[Attachment, ...]) -> dict[str, ContentValue]:
    if not attachments:
        return dict.fromkeys(_NULLABLE)
    kinds = [attachment.content_type.lower() for attachment in attachments]
    names = [attachment.filename for attachment in attachments]
    extensions = [extension_of(name) for name in names]
    both = list(zip(kinds, extensions, strict=True))
    return {
        "attachment_executable": sum(kind in EXECUTABLE_TYPES or end in EXECUTABLE_NAMES for kind, end in both),
        "attachment_archive": sum(kind in ARCHIVE_TYPES for kind in kinds),
        "attachment_office": sum(any(part in kind for part in _OFFICE_PARTS) for kind in kinds),
        "attachment_macro_capable": sum(any(part in kind for part in _MACRO_PARTS) for kind in kinds),
        "attachment_html": sum(kind in ("text/html", "image/svg+xml") for kind in kinds),
        "attachment_pdf": sum(kind == "application/pdf" for kind in kinds),
        "attachment_image": sum(kind.startswith("image/") for kind in kinds),
        "attachment_double_extension": sum(is_double(name) for name in names),
        "attachment_disguised_name": sum(map(is_disguised, names)),
        "attachment_type_differs": sum(_differs(kind, end) for kind, end in both),
        "attachment_bytes_max": max(attachment.size for attachment in attachments),
    }


def _differs(kind: str, extension: str) -> bool:
    """The bytes are known to be something else than the name says."""
    expected = _TYPE_OF_NAME.get(extension)
    return expected is not None and kind not in _UNKNOWN_TYPES and not kind.startswith(expected)
