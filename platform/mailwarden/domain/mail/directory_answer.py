"""What a tenant's directory and own domains said of a message when it was accepted, kept with it as DNS answers are."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

Duty = Literal["", "executive", "finance", "hr", "it", "legal", "partner", "other"]
"""What an entry's role and department come to; "" where neither is given."""

Named = Literal["", "name", "initials"]
"""How a display name names somebody of the directory: in full, or as initial and one name; "" where it names nobody."""


@dataclass(frozen=True, slots=True)
class DirectoryAnswer:
    """What was known of who wrote and who was written to.

    listed: a directory was given. own_domain: the sender's domain is the tenant's own; own_unproven: it is, and the
    message came from outside, or nothing proved it. own_near, partner_near: the tenant's domain, or one of a partner
    of the directory, that the sender's passes for, "" without; own_near_edits, partner_near_edits: by edits alone.
    sender_duty, sender_vip: of the entry whose address the sender's is; sender_there: there is one.
    named: whether the display name is that of an entry, and of the rest of these that entry's: its duty, whether it is
    a VIP, whether a recipient has it for a manager, its usual address, and whether the sender's is one of its own.
    recipient_duty, recipient_vip: of the recipients, the duty most asked for money or secrets first.
    """

    listed: bool = False
    own_domain: bool = False
    own_unproven: bool = False
    own_near: str = ""
    own_near_edits: bool = False
    partner_near: str = ""
    partner_near_edits: bool = False
    sender_there: bool = False
    sender_duty: Duty = ""
    sender_vip: bool = False
    named: Named = ""
    named_duty: Duty = ""
    named_vip: bool = False
    named_manager: bool = False
    named_theirs: bool = False
    named_usual: str = ""
    recipient_duty: Duty = ""
    recipient_vip: bool = False

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, what is not so left out."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name))}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> DirectoryAnswer:
        """What `to_json` gave; what a later release added is passed over."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})
