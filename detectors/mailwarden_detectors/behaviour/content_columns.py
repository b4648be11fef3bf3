"""What the trees read of the message itself."""

from __future__ import annotations

from mailwarden_detectors.behaviour.column import Column

CONTENT: tuple[Column, ...] = (
    Column("message_content:subject_len", "Length of the subject"),
    Column("message_content:subject_is_reply", "The subject begins with RE: or its like in other languages", flag=True),
    Column(
        "message_content:subject_is_forward", "The subject begins with FW: or its like in other languages", flag=True
    ),
    Column("message_content:subject_upper_share", "Capitals among the subject's ASCII letters"),
    Column("message_content:subject_digit_count", "Digits in the subject"),
    Column("message_content:subject_punctuation_count", "Of ! ? $ in the subject"),
    Column("message_content:subject_non_ascii_share", "Characters beyond ASCII in the subject"),
    Column("message_content:urgency_terms", "Different urgency terms in subject and newest text"),
    Column("message_content:credential_terms", "Different credential terms in subject and newest text"),
    Column("message_content:payment_terms", "Different payment terms in subject and newest text"),
    Column("message_content:payroll_terms", "Different payroll terms in subject and newest text"),
    Column("message_content:gift_card_terms", "Different gift card terms in subject and newest text"),
    Column("message_content:callback_terms", "Different callback terms in subject and newest text"),
    Column("message_content:threat_terms", "Different threat terms in subject and newest text"),
    Column("message_content:job_terms", "Different job terms in subject and newest text"),
    Column("message_content:secrecy_terms", "Different secrecy terms in subject and newest text"),
    Column("message_content:scam_terms", "Different scam terms in subject and newest text"),
    Column("message_content:offer_terms", "Different offer terms in subject and newest text"),
    Column("message_content:new_text_len", "Length of the newest text, quotes apart"),
    Column("message_content:quoted_text_len", "Length of the quoted text"),
    Column("message_content:text_upper_share", "Capitals among the newest text's ASCII letters"),
    Column("message_content:text_digit_share", "Digits among the newest text's bytes in UTF-8"),
    Column("message_content:text_non_ascii_share", "Characters beyond ASCII in the newest text"),
    Column("message_content:exclamation_count", "Exclamation marks in the newest text"),
    Column("message_content:money_count", "Currency signs and words in subject and newest text"),
    Column("message_content:generic_greeting", "The text opens with 'Dear customer' or its like", flag=True),
    Column(
        "message_content:phone_in_short_body",
        "A telephone number in a newest text of 75 to 1,750 characters",
        flag=True,
    ),
    Column("message_content:bank_details", "An IBAN with a right checksum in the newest text", flag=True),
    Column(
        "message_content:crypto_wallet", "A Bitcoin-like address with a right checksum in the newest text", flag=True
    ),
    Column("message_content:zero_width_count", "Invisible and direction-changing characters in name, subject and text"),
    Column("message_content:confusable_ratio", "Words of name, subject and text that mix scripts or only look Latin"),
    Column("message_content:hidden_text_ratio", "HTML text that a reader does not see, of all text"),
    Column(
        "message_content:fake_thread", "Looks like a reply or forward, without References and In-Reply-To", flag=True
    ),
    Column("message_content:header_count", "Header fields"),
    Column("message_content:x_header_count", "Header fields whose name begins with X-"),
    Column("message_content:has_list_unsubscribe", "List-Unsubscribe is there", flag=True),
    Column("message_content:has_list_id", "List-Id is there", flag=True),
    Column("message_content:has_x_mailer", "X-Mailer is there", flag=True),
    Column("message_content:has_user_agent", "User-Agent is there", flag=True),
    Column("message_content:precedence_bulk", "Precedence is bulk, list or junk", flag=True),
    Column("message_content:auto_submitted", "Auto-Submitted is there and not 'no' (RFC 3834)", flag=True),
    Column("message_content:high_priority", "X-Priority 1 or 2, or Importance high", flag=True),
    Column("message_content:missing_date", "No Date header", flag=True),
    Column("message_content:missing_to", "No To header", flag=True),
    Column("message_content:missing_message_id", "No Message-ID header", flag=True),
    Column("message_content:has_references", "References or In-Reply-To names a message", flag=True),
    Column("message_content:hop_count", "Received headers, at most 100"),
    Column("message_content:hop_span_hours", "From the earliest to the latest Received"),
    Column("message_content:hop_order_broken", "A Received header is later than the one above it", flag=True),
    Column(
        "message_content:helo_unqualified", "Whoever handed the message over named itself without a domain", flag=True
    ),
    Column("message_content:date_skew_hours", "Date less the time of receipt; positive lies in the future"),
    Column("message_content:odd_time_zone", "The Date's zone is none that clocks on earth keep", flag=True),
    Column("message_content:message_id_len", "Length of the Message-ID"),
    Column("message_content:message_id_malformed", "The Message-ID is not of the form left@right", flag=True),
    Column(
        "message_content:message_id_domain_matches", "The Message-ID's registrable domain is the sender's", flag=True
    ),
    Column("message_content:sender_freemail", "Anyone may open a mailbox at the sender's domain", flag=True),
    Column("message_content:sender_local_digits", "Digits before the @ of the sender"),
    Column("message_content:sender_domain_len", "Length of the sender's registrable domain"),
    Column("message_content:sender_domain_digits", "Digits in the sender's registrable domain"),
    Column("message_content:sender_domain_hyphens", "Hyphens in the sender's registrable domain"),
    Column("message_content:display_name_missing", "The sender has no display name", flag=True),
    Column(
        "message_content:display_name_other_address", "The display name holds an address at another domain", flag=True
    ),
    Column("message_content:recipient_count", "Recipients of the envelope, or as near as the message tells"),
    Column("message_content:to_count", "Addresses in To"),
    Column("message_content:cc_count", "Addresses in Cc"),
    Column("message_content:all_bcc", "No recipient stands in To or Cc", flag=True),
    Column("message_content:self_addressed", "The sender is among the recipients, To or Cc", flag=True),
    Column(
        "message_content:reply_to_differs", "Reply-To leads to another registrable domain than the sender's", flag=True
    ),
    Column("message_content:reply_to_freemail", "Reply-To leads to a free-mail domain", flag=True),
    Column("message_content:return_path_empty", "The reverse path is empty, as of bounces", flag=True),
    Column(
        "message_content:return_path_differs", "The reverse path's registrable domain is not the sender's", flag=True
    ),
    Column("message_content:spf_pass", "Trusted SPF verdict is pass", flag=True),
    Column("message_content:spf_fail", "Trusted SPF verdict is fail or softfail", flag=True),
    Column("message_content:dkim_pass", "Trusted DKIM verdict is pass", flag=True),
    Column("message_content:dkim_fail", "Trusted DKIM verdict is fail or softfail", flag=True),
    Column("message_content:dmarc_pass", "Trusted DMARC verdict is pass", flag=True),
    Column("message_content:dmarc_fail", "Trusted DMARC verdict is fail or softfail", flag=True),
    Column("message_content:arc_pass", "Trusted ARC verdict is pass", flag=True),
    Column("message_content:arc_fail", "Trusted ARC verdict is fail or softfail", flag=True),
    Column("message_content:dkim_aligned", "A passing DKIM signature is by the sender's registrable domain", flag=True),
    Column("message_content:url_count", "Different links with their texts"),
    Column("message_content:url_domain_count", "Different registrable domains among the links"),
    Column("message_content:url_text_differs", "Links whose text names another registrable domain"),
    Column("message_content:url_ip_host", "Links to an IP address"),
    Column("message_content:url_punycode", "Links to a host beyond ASCII"),
    Column("message_content:url_shortener", "Links through a shortener"),
    Column("message_content:url_free_host", "Links to where anyone may host pages or files"),
    Column("message_content:url_open_redirect", "Links that carry another site's address"),
    Column(
        "message_content:url_has_recipient", "A recipient's address stands in a link, plain or in base 64", flag=True
    ),
    Column("message_content:url_userinfo", "Links with a name before the host"),
    Column("message_content:url_port", "Links to a port other than 80 and 443"),
    Column("message_content:url_plain_http_share", "Links without TLS"),
    Column("message_content:url_sender_domain_share", "Links to the sender's registrable domain"),
    Column("message_content:url_length_max", "Length of the longest link"),
    Column("message_content:url_path_depth_max", "Slashes in the deepest path"),
    Column("message_content:url_path_entropy_max", "Entropy of the least regular path"),
    Column("message_content:url_subdomains_max", "Labels before the registrable domain, at most over links"),
    Column("message_content:url_executable", "Links to a file that runs, or holds what runs"),
    Column("message_content:size_bytes", "Size of the raw message"),
    Column("message_content:part_count", "MIME parts"),
    Column("message_content:image_count", "Parts declared as images"),
    Column("message_content:nested_count", "Messages inside the message"),
    Column("message_content:defect_count", "Different kinds of what is malformed"),
    Column("message_content:html", "There is an HTML body", flag=True),
    Column("message_content:html_without_text", "The HTML body has no plain text beside it", flag=True),
    Column("message_content:html_chars", "Length of the HTML with its mark-up"),
    Column("message_content:text_html_ratio", "Readable text to HTML with its mark-up"),
    Column("message_content:image_only_body", "Images with fewer than 50 characters of text", flag=True),
    Column(
        "message_content:legacy_charset", "A body in a character set other than Unicode or Western European", flag=True
    ),
    Column("message_content:attachment_count", "Attachments"),
    Column("message_content:attachment_executable", "Attachments that run, by content or by name"),
    Column("message_content:attachment_archive", "Archives and disk images, by content"),
    Column("message_content:attachment_office", "Office documents, by content"),
    Column("message_content:attachment_macro_capable", "Office documents of a kind that may hold macros"),
    Column("message_content:attachment_html", "HTML and SVG attachments, by content"),
    Column("message_content:attachment_pdf", "PDF attachments, by content"),
    Column("message_content:attachment_image", "Image attachments, by content"),
    Column("message_content:attachment_double_extension", "Names with a document's extension before another"),
    Column("message_content:attachment_type_differs", "Attachments whose bytes are not what the name says"),
    Column("message_content:attachment_bytes_max", "Size of the largest attachment"),
)

BUILD_ONLY = frozenset(
    f"message_content:{name}"
    for name in (
        "header_count", "x_header_count", "hop_count", "hop_span_hours", "message_id_len", "sender_domain_len",
        "sender_domain_hyphens", "subject_len", "new_text_len", "text_upper_share", "text_digit_share",
        "subject_punctuation_count", "url_path_entropy_max", "url_path_depth_max", "url_length_max",
        "url_subdomains_max", "size_bytes", "part_count", "html_chars", "text_html_ratio", "has_x_mailer",
        "has_user_agent", "precedence_bulk", "spf_pass", "dkim_pass", "dmarc_pass", "arc_pass", "defect_count",
    )
)  # fmt: skip
"""How a message is built, which tells the trees much and a reader nothing: never named as a reason."""
