"""Facts of how the body is encoded and built; most are defects that the parser notes."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Message

_FLAGS: dict[str, frozenset[str]] = {
    "body_begins_as_file": frozenset(("text_begins_as_file",)),
    "body_is_binary": frozenset(("text_is_binary",)),
    "body_beside_text": frozenset(("text_beside_body",)),
    "alternatives_repeated": frozenset(("alternatives_repeated",)),
    "charset_guessed": frozenset(("charset_guessed", "charset_mismatch")),
    "charset_unknown": frozenset(("charset_unknown",)),
    "charset_utf7": frozenset(("charset_utf7",)),
    "encoding_repaired": frozenset(
        (
            "encoding_mismatch",
            "transfer_encoding_unknown",
            "base64_broken",
            "quoted_printable_broken",
            "uuencode_broken",
        )
    ),
    "base64_in_pieces": frozenset(("base64_goes_on",)),
    "multipart_encoded": frozenset(("multipart_encoded",)),
    "boundary_guessed": frozenset(("boundary_guessed", "boundary_not_found", "multipart_without_boundary")),
    "boundary_not_closed": frozenset(("boundary_not_closed",)),
    "content_header_repeated": frozenset(("content_header_repeated",)),
    "parameter_repeated": frozenset(("parameter_repeated",)),
    "comment_in_parameters": frozenset(("comment_in_parameters",)),
    "content_type_unreadable": frozenset(("content_type_unreadable",)),
    "content_elsewhere": frozenset(("message_partial", "message_elsewhere")),
}
_NONE = dict.fromkeys(_FLAGS, 0)
_OF_CALENDARS = ("calendar_is_request", "calendar_attendee_count", "calendar_organizer_differs")


def compute(message: Message, lists: Lists) -> dict[str, ContentValue]:
    """How the body is built; pure, bounded, never raising."""
    codes = {defect.code for defect in message.defects}
    found: dict[str, ContentValue] = {
        "body_part_count": message.body_parts,
        "outside_text_len": message.outside_chars,
        "outside_link_count": message.outside_links,
        "calendar_count": len(message.invitations),
    }
    found |= {name: int(not codes.isdisjoint(wanted)) for name, wanted in _FLAGS.items()} if codes else _NONE
    if not message.invitations:
        return found | dict.fromkeys(_OF_CALENDARS)
    organizers = {invitation.organizer_domain for invitation in message.invitations if invitation.organizer}
    found["calendar_is_request"] = int(any(invitation.method == "REQUEST" for invitation in message.invitations))
    found["calendar_attendee_count"] = sum(invitation.attendees for invitation in message.invitations)
    found["calendar_organizer_differs"] = (
        int(organizers != {message.sender.domain}) if organizers and message.sender.address else None
    )
    return found
