"""content_identity: who says to write."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentView, count, flag
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.content_identity.transform import compute

_NO_SENDER = "not computable: no readable sender address"
_NO_DOMAIN = "not computable: the sender has no registrable domain"
_NO_REPLY_TO = "not computable: no Reply-To with a registrable domain"

VIEW = ContentView(
    name="content_identity",
    version=1,
    owner="content-analysis",
    description="Who says to write, to whom, and where an answer or a bounce would go.",
    features=(
        flag("sender_freemail", "Anyone may open a mailbox at the sender's domain.", _NO_DOMAIN),
        count("sender_local_digits", "Digits before the @ of the sender.", "characters", _NO_SENDER),
        count("sender_domain_len", "Length of the sender's registrable domain.", "characters", _NO_DOMAIN),
        count("sender_domain_digits", "Digits in the sender's registrable domain.", "characters", _NO_DOMAIN),
        count("sender_domain_hyphens", "Hyphens in the sender's registrable domain.", "characters", _NO_DOMAIN),
        flag("display_name_missing", "The sender has no display name.", _NO_SENDER),
        flag(
            "display_name_other_address",
            "The display name holds an address at another domain, with an @ and dots or what looks like them.",
            "not computable: no display name",
        ),
        flag(
            "display_name_lookalike_mark",
            "The display name holds an address whose @ or dots only look so, or are spelt.",
            "not computable: no display name",
        ),
        count("author_count", "Mailboxes in From, of all such fields.", "addresses"),
        count("author_domain_count", "Registrable domains of these.", "domains"),
        count("from_field_count", "From fields; a message has one.", "header fields"),
        flag("from_comment_in_address", "A comment stands inside of an address in From."),
        flag("from_several_angles", "One author has several addresses in angle brackets."),
        flag("from_route", "An address in From has a source route."),
        flag("from_encoded_address", "An address in From is written as an encoded word."),
        flag("from_lookalike_mark", "An address in From has an @ or dots that only look so."),
        count("recipient_count", "Recipients of the envelope, or as near as the message tells.", "addresses"),
        count("to_count", "Addresses in To.", "addresses"),
        count("cc_count", "Addresses in Cc.", "addresses"),
        flag("all_bcc", "No recipient stands in To or Cc.", "not computable: no recipient known"),
        flag("self_addressed", "The sender is among the recipients, To or Cc.", _NO_SENDER),
        flag("reply_to_differs", "Reply-To leads to another registrable domain than the sender's.", _NO_REPLY_TO),
        flag("reply_to_freemail", "Reply-To leads to a free-mail domain.", _NO_REPLY_TO),
        flag("return_path_empty", "The reverse path is empty, as of bounces.", "not computable: no reverse path known"),
        flag(
            "return_path_differs",
            "The reverse path's registrable domain is not the sender's.",
            "not computable: no reverse path, or a domain that cannot be read",
        ),
    ),
    compute=compute,
    reads=("headers",),
    cost_us=17,
    lists=("free_mail",),
)

feature_view = feature_view_of(VIEW)
