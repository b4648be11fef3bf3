"""content_directory: whom the tenant's directory knows in a message."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentFeature, ContentView, flag
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.content_directory.transform import compute

_NOBODY_ASKED = "not computable: accepted before directories were asked, or the directory could not be had"
_NO_DIRECTORY = "not computable: the tenant gave no directory, or it could not be had"
_NO_NAME = "not computable: no directory, no display name, or no readable sender address"
_NOBODY = "not computable: the display name is nobody's in the directory"

VIEW = ContentView(
    name="content_directory",
    version=1,
    owner="sender-intelligence",
    description="Whom the tenant's directory and own domains name in a message, as they stood when it was accepted.",
    features=(
        flag("own_domain", "The sender's domain is the tenant's own.", _NOBODY_ASKED),
        flag(
            "own_domain_unproven",
            "It is, and nothing proves that the message is from there: it came from outside, or results deny it.",
            _NOBODY_ASKED,
        ),
        flag("directory_given", "The tenant gave a directory.", _NOBODY_ASKED),
        flag("sender_listed", "The sender's address is somebody's in the directory, private ones too.", _NO_DIRECTORY),
        flag("sender_vip", "It is a VIP's.", _NO_DIRECTORY),
        flag("recipient_finance", "A recipient works in finance.", _NO_DIRECTORY),
        flag("recipient_hr", "A recipient works in personnel, and none in finance.", _NO_DIRECTORY),
        flag("recipient_executive", "A recipient leads, and none works in finance or personnel.", _NO_DIRECTORY),
        flag("recipient_vip", "A recipient is a VIP.", _NO_DIRECTORY),
        flag("name_listed", "The display name is somebody's in the directory, as a reader takes it.", _NO_NAME),
        flag("name_theirs", "It is, and the address is one of theirs.", _NO_NAME),
        flag("name_borrowed", "It is in full, and the address is none of theirs.", _NO_NAME),
        flag("initials_borrowed", "It is by an initial and one name, and the address is none of theirs.", _NO_NAME),
        flag("name_vip_borrowed", "It is a VIP's, and the address is none of theirs.", _NO_NAME),
        flag("name_executive_borrowed", "It is that of someone who leads, at an address that is not theirs.", _NO_NAME),
        flag("name_finance_borrowed", "It is that of someone in finance, at an address that is not theirs.", _NO_NAME),
        flag("name_partner_borrowed", "It is that of a partner, at an address that is not theirs.", _NO_NAME),
        flag("name_manager_borrowed", "It is a recipient's manager's, at an address that is not theirs.", _NO_NAME),
        ContentFeature(
            "name_duty",
            "string",
            "What whoever bears the display name does: executive, finance, hr, it, legal, partner or other.",
            "a word",
            "not computable: the name is nobody's in the directory, or no role is given",
        ),
        ContentFeature(
            "name_usual_address", "string", "The address of whoever bears it.", "address", _NOBODY, text=True
        ),
    ),
    compute=compute,
    reads=("headers",),
    cost_us=10,
)

feature_view = feature_view_of(VIEW)
