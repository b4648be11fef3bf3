"""message_content: what one message says, without history."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentFeature, ContentView
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.message_content.lexicon import INTENTS
from mailwarden_features.message_content.transform import compute

_NEVER = "never: always a value"
_NO_BODY = "not computable: no text and no HTML body"
_NO_HTML = "not computable: no HTML body"
_NO_SUBJECT = "not computable: no Subject header"
_NO_SENDER = "not computable: no readable sender address"
_NO_DOMAIN = "not computable: the sender has no registrable domain"
_NO_URL = "not computable: no link"
_NO_ATTACHMENT = "not computable: no attachment"
_NO_ID = "not computable: no Message-ID"
_NO_REPLY_TO = "not computable: no Reply-To with a registrable domain"
_NO_HOP = "not computable: no Received header that can be read"


def _flag(name: str, description: str, null: str = _NEVER) -> ContentFeature:
    return ContentFeature(name, "int64", description, "0 or 1", null)


def _count(name: str, description: str, unit: str, null: str = _NEVER) -> ContentFeature:
    return ContentFeature(name, "int64", description, unit, null)


def _real(name: str, description: str, unit: str, null: str) -> ContentFeature:
    return ContentFeature(name, "float64", description, unit, null)


_SUBJECT = (
    ContentFeature("subject", "string", "Subject as a reader sees it, at most 1,000 characters.", "text", _NO_SUBJECT),
    _count("subject_len", "Length of the subject.", "characters", _NO_SUBJECT),
    _flag("subject_is_reply", "The subject begins with RE: or its like in other languages.", _NO_SUBJECT),
    _flag("subject_is_forward", "The subject begins with FW: or its like in other languages.", _NO_SUBJECT),
    _real("subject_upper_share", "Capitals among the subject's ASCII letters.", "0..1",
          "not computable: no Subject header, or no ASCII letter in it"),
    _count("subject_digit_count", "Digits in the subject.", "characters", _NO_SUBJECT),
    _count("subject_punctuation_count", "Of ! ? $ in the subject.", "characters", _NO_SUBJECT),
    _real("subject_non_ascii_share", "Characters beyond ASCII in the subject.", "0..1",
          "not computable: no Subject header, or an empty one"),
)  # fmt: skip

_INTENTS = tuple(
    _count(f"{intent}_terms", f"Different {intent.replace('_', ' ')} terms in subject and newest text.", "terms")
    for intent in INTENTS
)

_TEXT = (
    ContentFeature("new_text", "string", "The newest text, at most 6,000 characters.", "text", _NO_BODY),
    _count("new_text_len", "Length of the newest text, quotes apart.", "characters", _NO_BODY),
    _count("quoted_text_len", "Length of the quoted text.", "characters", _NO_BODY),
    _real("text_upper_share", "Capitals among the newest text's ASCII letters.", "0..1",
          "not computable: no body, or no ASCII letter in it"),
    _real("text_digit_share", "Digits among the newest text's bytes in UTF-8.", "0..1",
          "not computable: no newest text"),
    _real("text_non_ascii_share", "Characters beyond ASCII in the newest text.", "0..1",
          "not computable: no newest text"),
    _count("exclamation_count", "Exclamation marks in the newest text.", "characters", _NO_BODY),
    _count("money_count", "Currency signs and words in subject and newest text.", "occurrences", _NO_BODY),
    _flag("generic_greeting", "The text opens with 'Dear customer' or its like.", _NO_BODY),
    _flag("phone_in_short_body", "A telephone number in a newest text of 75 to 1,750 characters.", _NO_BODY),
    _flag("bank_details", "An IBAN with a right checksum in the newest text.", _NO_BODY),
    _flag("crypto_wallet", "A Bitcoin-like address with a right checksum in the newest text.", _NO_BODY),
    _count("zero_width_count", "Invisible and direction-changing characters in name, subject and text.", "characters"),
    _real("confusable_ratio", "Words of name, subject and text that mix scripts or only look Latin.", "0..1",
          "not computable: no name, subject or text"),
    _real("hidden_text_ratio", "HTML text that a reader does not see, of all text.", "0..1", _NO_HTML),
    _flag("fake_thread", "Looks like a reply or forward, without References and In-Reply-To."),
)  # fmt: skip

_HEADERS = (
    _count("header_count", "Header fields.", "fields"),
    _count("x_header_count", "Header fields whose name begins with X-.", "fields"),
    _flag("has_list_unsubscribe", "List-Unsubscribe is there."),
    _flag("has_list_id", "List-Id is there."),
    _flag("has_x_mailer", "X-Mailer is there."),
    _flag("has_user_agent", "User-Agent is there."),
    _flag("precedence_bulk", "Precedence is bulk, list or junk."),
    _flag("auto_submitted", "Auto-Submitted is there and not 'no' (RFC 3834)."),
    _flag("high_priority", "X-Priority 1 or 2, or Importance high."),
    _flag("missing_date", "No Date header."),
    _flag("missing_to", "No To header."),
    _flag("missing_message_id", "No Message-ID header."),
    _flag("has_references", "References or In-Reply-To names a message."),
    _count("hop_count", "Received headers, at most 100.", "headers"),
    _real("hop_span_hours", "From the earliest to the latest Received.", "hours",
          "not computable: fewer than two Received dates"),
    _flag("hop_order_broken", "A Received header is over 5 minutes later than the one above it.",
          "not computable: no Received date"),
    _flag("helo_unqualified", "Whoever handed the message over named itself without a domain.", _NO_HOP),
    _real("date_skew_hours", "Date less the time of receipt; positive lies in the future.", "hours",
          "not computable: no Date, or no time of receipt apart from it"),
    _flag("odd_time_zone", "The Date's zone is none that clocks on earth keep.", "not computable: no Date header"),
    _count("message_id_len", "Length of the Message-ID.", "characters", _NO_ID),
    _flag("message_id_malformed", "The Message-ID is not of the form left@right.", _NO_ID),
    _flag("message_id_domain_matches", "The Message-ID's registrable domain is the sender's.",
          "not computable: no Message-ID, or the sender has no registrable domain"),
)  # fmt: skip

_ADDRESSING = (
    _flag("sender_freemail", "Anyone may open a mailbox at the sender's domain.", _NO_DOMAIN),
    _count("sender_local_digits", "Digits before the @ of the sender.", "characters", _NO_SENDER),
    _count("sender_domain_len", "Length of the sender's registrable domain.", "characters", _NO_DOMAIN),
    _count("sender_domain_digits", "Digits in the sender's registrable domain.", "characters", _NO_DOMAIN),
    _count("sender_domain_hyphens", "Hyphens in the sender's registrable domain.", "characters", _NO_DOMAIN),
    _flag("display_name_missing", "The sender has no display name.", _NO_SENDER),
    _flag("display_name_other_address", "The display name holds an address at another domain.",
          "not computable: no display name"),
    _count("recipient_count", "Recipients of the envelope, or as near as the message tells.", "addresses"),
    _count("to_count", "Addresses in To.", "addresses"),
    _count("cc_count", "Addresses in Cc.", "addresses"),
    _flag("all_bcc", "No recipient stands in To or Cc.", "not computable: no recipient known"),
    _flag("self_addressed", "The sender is among the recipients, To or Cc.", _NO_SENDER),
    _flag("reply_to_differs", "Reply-To leads to another registrable domain than the sender's.", _NO_REPLY_TO),
    _flag("reply_to_freemail", "Reply-To leads to a free-mail domain.", _NO_REPLY_TO),
    _flag("return_path_empty", "The reverse path is empty, as of bounces.", "not computable: no reverse path known"),
    _flag("return_path_differs", "The reverse path's registrable domain is not the sender's.",
          "not computable: no reverse path, or a domain that cannot be read"),
)  # fmt: skip


def _verdict(method: str) -> tuple[ContentFeature, ...]:
    silent = f"not computable: no trusted header speaks of {method.upper()}"
    return (
        ContentFeature(method, "string", f"Trusted {method.upper()} verdict.", "a word of RFC 8601", silent),
        _flag(f"{method}_pass", f"Trusted {method.upper()} verdict is pass.", silent),
        _flag(f"{method}_fail", f"Trusted {method.upper()} verdict is fail or softfail.", silent),
    )


_AUTHENTICATION = (
    *(feature for method in ("spf", "dkim", "dmarc", "arc") for feature in _verdict(method)),
    _flag("dkim_aligned", "A passing DKIM signature is by the sender's registrable domain.",
          "not computable: no trusted header speaks of DKIM"),
)  # fmt: skip

_URLS = (
    _count("url_count", "Different links with their texts.", "links"),
    _count("url_domain_count", "Different registrable domains among the links.", "domains", _NO_URL),
    _count("url_text_differs", "Links whose text names another registrable domain.", "links", _NO_URL),
    _count("url_ip_host", "Links to an IP address.", "links", _NO_URL),
    _count("url_punycode", "Links to a host beyond ASCII.", "links", _NO_URL),
    _count("url_shortener", "Links through a shortener.", "links", _NO_URL),
    _count("url_free_host", "Links to where anyone may host pages or files.", "links", _NO_URL),
    _count("url_open_redirect", "Links that carry another site's address.", "links", _NO_URL),
    _flag("url_has_recipient", "A recipient's address stands in a link, plain or in base 64.",
          "not computable: no link, or no recipient known"),
    _count("url_userinfo", "Links with a name before the host.", "links", _NO_URL),
    _count("url_port", "Links to a port other than 80 and 443.", "links", _NO_URL),
    _real("url_plain_http_share", "Links without TLS.", "0..1", _NO_URL),
    _real("url_sender_domain_share", "Links to the sender's registrable domain.", "0..1",
          "not computable: no link, or the sender has no registrable domain"),
    _count("url_length_max", "Length of the longest link.", "characters", _NO_URL),
    _count("url_path_depth_max", "Slashes in the deepest path.", "characters", _NO_URL),
    _real("url_path_entropy_max", "Entropy of the least regular path.", "bits a character", _NO_URL),
    _count("url_subdomains_max", "Labels before the registrable domain, at most over links.", "labels", _NO_URL),
    _count("url_executable", "Links to a file that runs, or holds what runs.", "links", _NO_URL),
)  # fmt: skip

_PARTS = (
    _count("size_bytes", "Size of the raw message.", "bytes"),
    _count("part_count", "MIME parts.", "parts"),
    _count("image_count", "Parts declared as images.", "parts"),
    _count("nested_count", "Messages inside the message.", "messages"),
    _count("defect_count", "Different kinds of what is malformed, its event time apart.", "kinds"),
    _flag("html", "There is an HTML body."),
    _flag("html_without_text", "The HTML body has no plain text beside it.", _NO_HTML),
    _count("html_chars", "Length of the HTML with its mark-up.", "characters", _NO_HTML),
    _real("text_html_ratio", "Readable text to HTML with its mark-up.", "ratio",
          "not computable: no HTML body, or an empty one"),
    _flag("image_only_body", "Images with fewer than 50 characters of text.",
          "not computable: no body and no image"),
    _flag("legacy_charset", "A body in a character set other than Unicode or Western European.",
          "not computable: no character set declared"),
)  # fmt: skip

_ATTACHMENTS = (
    _count("attachment_count", "Attachments.", "files"),
    _count("attachment_executable", "Attachments that run, by content or by name.", "files", _NO_ATTACHMENT),
    _count("attachment_archive", "Archives and disk images, by content.", "files", _NO_ATTACHMENT),
    _count("attachment_office", "Office documents, by content.", "files", _NO_ATTACHMENT),
    _count("attachment_macro_capable", "Office documents of a kind that may hold macros.", "files", _NO_ATTACHMENT),
    _count("attachment_html", "HTML and SVG attachments, by content.", "files", _NO_ATTACHMENT),
    _count("attachment_pdf", "PDF attachments, by content.", "files", _NO_ATTACHMENT),
    _count("attachment_image", "Image attachments, by content.", "files", _NO_ATTACHMENT),
    _count("attachment_double_extension", "Names with a document's extension before another.", "files", _NO_ATTACHMENT),
    _count("attachment_type_differs", "Attachments whose bytes are not what the name says.", "files", _NO_ATTACHMENT),
    _count("attachment_bytes_max", "Size of the largest attachment.", "bytes", _NO_ATTACHMENT),
)

VIEW = ContentView(
    name="message_content",
    version=1,
    owner="content-analysis",
    description="What one message says and how it is built, computed from its raw bytes alone.",
    features=(
        *_SUBJECT, *_INTENTS, *_TEXT, *_HEADERS, *_ADDRESSING, *_AUTHENTICATION, *_URLS, *_PARTS, *_ATTACHMENTS,
    ),
    compute=compute,
)  # fmt: skip

feature_view = feature_view_of(VIEW)
