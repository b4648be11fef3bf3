"""Whom the tenant's directory knows in a message, as it said when the message was accepted."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.directory_answer import DirectoryAnswer
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Message

_UNKNOWN = DirectoryAnswer()


def compute(message: Message, lists: Lists) -> dict[str, ContentValue]:
    """What the directory and the tenant's own domains said; null where nobody asked them, or there is no directory."""
    said = message.directory
    known = said is not None
    said = said or _UNKNOWN
    borrowed = bool(said.named) and not said.named_theirs
    of_domains = {"own_domain": said.own_domain, "own_domain_unproven": said.own_unproven}
    of_entries = {
        "sender_listed": said.sender_there,
        "sender_vip": said.sender_vip,
        "recipient_finance": said.recipient_duty == "finance",
        "recipient_hr": said.recipient_duty == "hr",
        "recipient_executive": said.recipient_duty == "executive",
        "recipient_vip": said.recipient_vip,
    }
    of_names = {
        "name_listed": bool(said.named),
        "name_theirs": said.named_theirs,
        "name_borrowed": borrowed and said.named == "name",
        "initials_borrowed": borrowed and said.named == "initials",
        "name_vip_borrowed": borrowed and said.named_vip,
        "name_executive_borrowed": borrowed and said.named_duty == "executive",
        "name_finance_borrowed": borrowed and said.named_duty == "finance",
        "name_partner_borrowed": borrowed and said.named_duty == "partner",
        "name_manager_borrowed": borrowed and said.named_manager,
    }
    there = message.sender.display_name and message.sender.address
    return {
        **{name: int(value) if known else None for name, value in of_domains.items()},
        "directory_given": int(said.listed) if known else None,
        **{name: int(value) if said.listed else None for name, value in of_entries.items()},
        **{name: int(value) if said.listed and there else None for name, value in of_names.items()},
        "name_duty": said.named_duty or None,
        "name_usual_address": said.named_usual or None,
    }
