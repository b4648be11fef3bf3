"""Features of how a message is built, which no reason names."""

from __future__ import annotations

BUILD_ONLY = frozenset(
    f"{view}:{name}"
    for view, names in {
        "content_headers": (
            "header_count",
            "x_header_count",
            "hop_count",
            "hop_span_hours",
            "message_id_len",
            "has_x_mailer",
            "has_user_agent",
            "precedence_bulk",
        ),
        "content_identity": ("sender_domain_len", "sender_domain_hyphens"),
        "content_text": (
            "subject_len",
            "new_text_len",
            "text_upper_share",
            "text_digit_share",
            "subject_punctuation_count",
            "preview_len",
        ),
        "content_body": (
            "body_part_count",
            "alternatives_repeated",
            "charset_guessed",
            "encoding_repaired",
            "boundary_guessed",
            "boundary_not_closed",
            "comment_in_parameters",
            "outside_text_len",
        ),
        "content_inner": (
            "nested_text_len",
            "inner_opened_count",
            "inner_file_count",
            "inner_depth_max",
            "inner_text_len",
        ),
        "content_links": ("url_path_entropy_max", "url_path_depth_max", "url_length_max", "url_subdomains_max"),
        "content_attachments": ("size_bytes", "part_count", "html_chars", "text_html_ratio", "defect_count"),
        "content_authentication": ("spf_pass", "dkim_pass", "dmarc_pass", "arc_pass"),
    }.items()
    for name in names
)
"""How a message is built, which tells the trees much and a reader nothing: never named as a reason."""
