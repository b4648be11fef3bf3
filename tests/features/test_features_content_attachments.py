from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.message import Attachment, Message
from mailwarden.stores.lists import load_lists
from mailwarden.testing.messages import empty_message, message_of
from mailwarden_features.content_attachments.view import VIEW

LISTS = load_lists()


def computed(message: Message) -> Mapping[str, ContentValue]:
    return VIEW.compute(message, LISTS)


def value(name: str, **changes: Any) -> ContentValue:
    return computed(message_of(**changes))[name]


def attachment(filename: str, content_type: str, size: int = 100) -> Attachment:
    return Attachment(filename, "application/octet-stream", content_type, size, "0" * 64)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("attachment_executable", None), ("attachment_count", 0), ("html", 0)],
)
def test_of_nothing_what_cannot_be_computed_is_null_and_what_was_looked_for_is_0(
    name: str, expected: ContentValue
) -> None:
    assert computed(empty_message())[name] == expected


@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [
        ("attachment_executable", attachment("a.txt", "application/vnd.microsoft.portable-executable"), 1),
        ("attachment_executable", attachment("a.SCR", "application/octet-stream"), 1),
        ("attachment_executable", attachment("a.pdf", "application/pdf"), 0),
        ("attachment_double_extension", attachment("invoice.pdf.exe", "text/plain"), 1),
        ("attachment_double_extension", attachment("plan.pdf.p7m", "application/pkcs7-mime"), 0),
        ("attachment_executable", attachment("invoice.exe.", "text/plain"), 1),
        ("attachment_executable", attachment("invoice.exe. .", "text/plain"), 1),
        ("attachment_executable", attachment("invoice\u202efdp.scr", "text/plain"), 1),
        ("attachment_executable", attachment("invoice.exe::$DATA", "text/plain"), 1),
        ("attachment_executable", attachment("find.search-ms", "text/xml"), 1),
        ("attachment_disguised_name", attachment("invoice\u202efdp.scr", "text/plain"), 1),
        ("attachment_disguised_name", attachment("invoice.exe.", "text/plain"), 1),
        ("attachment_disguised_name", attachment("invoice.pdf", "application/pdf"), 0),
        ("attachment_double_extension", attachment("invoice.pdf          .exe", "text/plain"), 1),
        ("attachment_double_extension", attachment("backup.txt.gz", "application/gzip"), 0),
        ("attachment_double_extension", attachment("v1.2.pdf", "application/pdf"), 0),
        ("attachment_type_differs", attachment("photo.jpg", "application/vnd.microsoft.portable-executable"), 1),
        ("attachment_type_differs", attachment("photo.jpg", "image/png"), 0),
        ("attachment_type_differs", attachment("0001-Mend-the-list.txt", "message/rfc822"), 0),
        ("attachment_type_differs", attachment("plan.pdf", "message/rfc822"), 1),
        ("attachment_macro_capable", attachment("a.docm", "application/vnd.ms-word.document.macroenabled.12"), 1),
        ("attachment_office",
         attachment("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"), 1),
        ("attachment_archive", attachment("a.iso", "application/x-iso9660-image"), 1),
        ("attachment_html", attachment("a.shtml", "text/html"), 1),
        ("attachment_bytes_max", attachment("a", "text/plain", size=7), 7),
    ],
)  # fmt: skip
def test_attachments(name: str, file: Attachment, expected: int) -> None:
    assert value(name, attachments=(file,)) == expected
