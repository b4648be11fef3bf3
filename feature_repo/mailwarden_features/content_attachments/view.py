"""content_attachments: how it is built, and the files beside it."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentView, count, flag, real
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.content_attachments.transform import compute

_NO_HTML = "not computable: no HTML body"
_NO_ATTACHMENT = "not computable: no attachment"

VIEW = ContentView(
    name="content_attachments",
    version=1,
    owner="content-analysis",
    description="How the message is built, what is malformed in it, and the files beside its text.",
    features=(
        count("size_bytes", "Size of the raw message.", "bytes"),
        count("part_count", "MIME parts.", "parts"),
        count("image_count", "Parts declared as images.", "parts"),
        count("defect_count", "Different kinds of what is malformed, its event time apart.", "kinds"),
        flag("html", "There is an HTML body."),
        flag("html_without_text", "The HTML body has no plain text beside it.", _NO_HTML),
        count("html_chars", "Length of the HTML with its mark-up.", "characters", _NO_HTML),
        real(
            "text_html_ratio",
            "Readable text to HTML with its mark-up.",
            "ratio",
            "not computable: no HTML body, or an empty one",
        ),
        flag(
            "image_only_body", "Images with fewer than 50 characters of text.", "not computable: no body and no image"
        ),
        flag(
            "legacy_charset",
            "A body in a character set other than Unicode or Western European.",
            "not computable: no character set declared",
        ),
        count("attachment_count", "Attachments.", "files"),
        count("attachment_executable", "Attachments that run, by content or by name.", "files", _NO_ATTACHMENT),
        count("attachment_archive", "Archives and disk images, by content.", "files", _NO_ATTACHMENT),
        count("attachment_office", "Office documents, by content.", "files", _NO_ATTACHMENT),
        count("attachment_macro_capable", "Office documents of a kind that may hold macros.", "files", _NO_ATTACHMENT),
        count("attachment_html", "HTML and SVG attachments, by content.", "files", _NO_ATTACHMENT),
        count("attachment_pdf", "PDF attachments, by content.", "files", _NO_ATTACHMENT),
        count("attachment_image", "Image attachments, by content.", "files", _NO_ATTACHMENT),
        count(
            "attachment_double_extension", "Names with a document's extension before another.", "files", _NO_ATTACHMENT
        ),
        count(
            "attachment_disguised_name",
            "Names turned round, padded, or ending so that the kind is not seen.",
            "files",
            _NO_ATTACHMENT,
        ),
        count(
            "attachment_type_differs", "Attachments whose bytes are not what the name says.", "files", _NO_ATTACHMENT
        ),
        count("attachment_bytes_max", "Size of the largest attachment.", "bytes", _NO_ATTACHMENT),
    ),
    compute=compute,
    reads=("text", "attachments"),
    cost_us=15,
)

feature_view = feature_view_of(VIEW)
