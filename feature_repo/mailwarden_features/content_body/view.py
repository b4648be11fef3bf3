"""content_body: how the text that a reader sees is put into the message."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentView, count, flag
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.content_body.transform import compute

_NO_CALENDAR = "not computable: no calendar part"
_NO_ORGANIZER = "not computable: no calendar part that names an organizer, or no sender"

VIEW = ContentView(
    name="content_body",
    version=1,
    owner="content-analysis",
    description="How the text that a reader sees is put into the message, and what of that honest mailers do not do.",
    features=(
        count("body_part_count", "Parts whose text is shown.", "parts"),
        flag("body_begins_as_file", "A text that is shown begins with the mark of a file format."),
        flag("body_is_binary", "A part declared as text is a file that cannot be shown as text."),
        flag("body_beside_text", "The only words stand in parts that readers do not show as the body."),
        flag("alternatives_repeated", "Several forms of one kind in one multipart/alternative: readers differ."),
        flag("charset_guessed", "Text in another character set than it declares, or in none that it declares."),
        flag("charset_unknown", "A character set that no reader knows."),
        flag("charset_utf7", "Text in UTF-7, which few readers still decode."),
        flag("encoding_repaired", "A transfer encoding that is broken, unknown, or not what the content is in."),
        flag("base64_in_pieces", "Base 64 goes on behind its padding, where some readers end."),
        flag("multipart_encoded", "A multipart with a transfer encoding, which RFC 2045 forbids."),
        flag("boundary_guessed", "A multipart whose boundary is none that it declares."),
        flag("boundary_not_closed", "A multipart that does not end."),
        flag("content_header_repeated", "A part says twice of what type or in which encoding it is."),
        flag("parameter_repeated", "A Content- field says one parameter twice."),
        flag("comment_in_parameters", "A Content- field holds a comment."),
        flag("content_type_unreadable", "A part whose type cannot be read."),
        flag("content_elsewhere", "A part that stands for content outside of it, or for a piece of a message."),
        count("outside_text_len", "Letters before and behind the parts, which no reader shows.", "characters"),
        count("outside_link_count", "Links among those letters.", "links"),
        count("calendar_count", "Calendar parts.", "parts"),
        flag("calendar_is_request", "A calendar part asks to attend.", _NO_CALENDAR),
        count("calendar_attendee_count", "Attendees that calendar parts name.", "people", _NO_CALENDAR),
        flag(
            "calendar_organizer_differs",
            "The organizer's registrable domain is not the sender's.",
            _NO_ORGANIZER,
        ),
    ),
    compute=compute,
    reads=("text",),
    cost_us=7,
)

feature_view = feature_view_of(VIEW)
