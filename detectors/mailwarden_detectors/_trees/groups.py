"""Groups of columns that detectors of several kinds of attack read, by full name."""

from __future__ import annotations


def of(view: str, *names: str) -> tuple[str, ...]:
    """Features of one view by full name.

    >>> of("content_links", "url_count")
    ('content_links:url_count',)
    """
    return tuple(f"{view}:{name}" for name in names)


CLAIMS = (
    *of("content_identity", "sender_freemail", "display_name_other_address", "display_name_missing",
        "reply_to_differs", "reply_to_freemail", "return_path_differs", "self_addressed", "all_bcc",
        "author_domain_count", "from_several_angles", "display_name_lookalike_mark"),
    *of("content_authentication", "authenticated", "spf_fail", "dkim_fail", "dmarc_fail", "forged_results"),
    *of("content_standing", "sender_disposable", "reply_to_disposable", "brand_named", "brand_borrowed"),
    *of("content_lookalikes", "own_lookalike", "partner_lookalike", "brand_lookalike", "reply_to_brand_lookalike"),
    *of("content_directory", "own_domain_unproven"),
)  # fmt: skip
"""Who a message says that it is from, and what speaks against it."""

NAMES = (
    *of("content_directory", "name_borrowed", "initials_borrowed", "name_vip_borrowed", "name_executive_borrowed",
        "name_finance_borrowed", "name_partner_borrowed", "name_manager_borrowed", "sender_listed",
        "recipient_finance", "recipient_hr", "recipient_executive", "recipient_vip"),
    *of("person_activity", "history", "distinct_senders_all", "sender_match", "outbound_sender_match",
        "internal_sender_match"),
    *of("display_name_activity", "history", "distinct_senders_all", "sender_match", "sender_domain_match"),
)  # fmt: skip
"""Whose name a message bears, and whether it is theirs."""

DEALINGS = (
    *of("sender_activity", "history", "messages_30d", "messages_all", "written_to_all", "days_known",
        "days_since_outbound", "labelled_bad_all", "labelled_good_all", "path_match_90d", "structure_match_90d",
        "link_domain_match_90d"),
    *of("sender_domain_activity", "history", "messages_all", "written_to_all", "days_known", "labelled_bad_all",
        "labelled_good_all", "path_match_90d", "structure_match_90d"),
    *of("relationship", "history", "messages_all", "reverse_all", "replies_all", "days_known"),
)  # fmt: skip
"""What is known of sender, domain and pair."""

REQUESTS = of(
    "content_text", "urgency_terms", "credential_terms", "payment_terms", "payroll_terms", "gift_card_terms",
    "callback_terms", "threat_terms", "job_terms", "secrecy_terms", "scam_terms", "offer_terms", "money_count",
    "generic_greeting", "bank_details", "crypto_wallet", "phone_in_short_body",
)  # fmt: skip
"""What a message asks for."""

WORDING = of(
    "content_text", "subject_upper_share", "subject_digit_count", "subject_punctuation_count", "exclamation_count",
    "new_text_len", "text_digit_share", "text_upper_share", "text_non_ascii_share", "fake_thread", "subject_is_reply",
)  # fmt: skip
"""How it is written."""

HIDING = of(
    "content_text", "zero_width_count", "confusable_ratio", "hidden_text_ratio", "split_words", "confusable_words",
    "name_confusable",
)  # fmt: skip
"""What is hidden from readers, or looks like something else."""

THREAD = (
    *of("content_text", "quoted_text_len", "quoted_ask_terms", "quoted_bank_details"),
    *of("content_headers", "has_references"),
    *of("thread_activity", "history", "messages_all", "sender_match", "sender_domain_match", "display_name_match",
        "recipient_set_jaccard"),
)  # fmt: skip
"""What it answers."""

LINKS = (
    *of("content_links", "url_count", "url_domain_count", "url_text_differs", "url_ip_host", "url_punycode",
        "url_shortener", "url_free_host", "url_open_redirect", "url_has_recipient", "url_userinfo", "url_port",
        "url_plain_http_share", "url_sender_domain_share", "url_length_max", "url_path_depth_max",
        "url_path_entropy_max", "url_subdomains_max", "url_executable", "url_rewritten", "url_redirected",
        "url_form", "url_script", "url_mixed_script", "url_encoded_host", "url_mail_elsewhere"),
    *of("content_standing", "url_brand_borrowed"),
    *of("link_domain_activity", "history", "messages_all", "distinct_sender_domains_all", "sender_domain_match",
        "days_known", "labelled_attack_all", "labelled_good_all"),
)  # fmt: skip
"""Where it leads."""

CODES = of(
    "content_qr", "qr_code_count", "qr_is_only_link", "qr_leads_elsewhere", "qr_url_count",
    "qr_leads_where_links_do_not",
)  # fmt: skip
"""What QR codes hold."""

FILES = (
    *of("content_attachments", "attachment_count", "attachment_executable", "attachment_archive", "attachment_office",
        "attachment_macro_capable", "attachment_html", "attachment_pdf", "attachment_image",
        "attachment_double_extension", "attachment_type_differs", "attachment_bytes_max",
        "attachment_disguised_name"),
    *of("attachment_activity", "history", "messages_all", "distinct_senders_all", "sender_match",
        "labelled_attack_all", "labelled_good_all"),
)  # fmt: skip
"""What is attached."""

INSIDE = of(
    "content_inner", "nested_count", "nested_url_count", "nested_attachment_count", "inner_file_count",
    "inner_depth_max", "inner_executable", "inner_script", "inner_archive", "inner_disguised_name", "inner_macro",
    "inner_auto_macro", "inner_macro_call", "inner_remote_template", "inner_external_link", "inner_dde",
    "inner_embedded_file", "inner_javascript", "inner_auto_action", "inner_form", "inner_password_field",
    "inner_smuggling", "inner_obscured_script", "inner_redirect", "inner_image_only", "inner_encrypted",
    "inner_unread", "inner_password_given", "inner_credential_terms", "inner_payment_terms", "inner_urgency_terms",
    "inner_money_count", "inner_url_count", "inner_url_elsewhere", "inner_url_unseen", "inner_url_free_host",
)  # fmt: skip
"""What stands inside of what is attached."""

CAMPAIGN = of(
    "campaign_activity", "history", "messages_1d", "messages_all", "distinct_senders_all", "distinct_recipients_all",
    "sender_match", "labelled_bad_all", "labelled_attack_all", "labelled_good_all",
)  # fmt: skip
"""Who else got nearly the same text."""

FORM = (
    *of("content_attachments", "html", "html_without_text", "image_count", "image_only_body", "text_html_ratio",
        "size_bytes"),
    *of("content_headers", "has_list_unsubscribe", "has_list_id", "precedence_bulk", "high_priority",
        "missing_message_id", "message_id_domain_matches", "hop_count", "date_skew_hours", "helo_unqualified"),
    *of("content_identity", "recipient_count", "to_count", "cc_count"),
)  # fmt: skip
"""How it is built."""
