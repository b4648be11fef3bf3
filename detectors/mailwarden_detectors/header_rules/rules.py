"""The rules: what must hold, what it adds in log-odds, of which attack it speaks, and its words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Comparison = Literal[">=", "<=", "==", "null"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One feature against a value; a null feature meets "null" alone."""

    feature: str
    comparison: Comparison
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Rule:
    """All conditions must hold. weight: log-odds added, below 0 for a brake. category: "" where it tells none."""

    name: str
    weight: float
    words: str
    conditions: tuple[Condition, ...]
    category: str = ""


def _at_least(feature: str, value: float = 1.0) -> Condition:
    return Condition(feature, ">=", value)


def _at_most(feature: str, value: float = 0.0) -> Condition:
    return Condition(feature, "<=", value)


def _is(feature: str, value: float = 1.0) -> Condition:
    return Condition(feature, "==", value)


def _null(feature: str) -> Condition:
    return Condition(feature, "null")


_T, _H, _I = "content_text:", "content_headers:", "content_identity:"
_A, _L, _F = "content_authentication:", "content_links:", "content_attachments:"
_S, _D, _P = "sender_activity:", "sender_domain_activity:", "relationship:"
# Never seen is a history of 0; where the history could not be read it is null, and no rule may take that for new.
_NEW_SENDER, _NEW_DOMAIN = _is(f"{_S}history", 0.0), _is(f"{_D}history", 0.0)
_NOT_WRITTEN_TO = (_at_least(f"{_S}history", 0.0), _null(f"{_S}days_since_outbound"))

RULES: tuple[Rule, ...] = (
    # Authentication
    Rule("dmarc_fails", 1.8, "The sender's domain disowns this message (DMARC fails).",
         (_is(f"{_A}dmarc_fail"),), "CP"),
    Rule("spf_and_dkim_fail", 1.0, "Neither SPF nor DKIM vouches for the sender.",
         (_is(f"{_A}spf_fail"), _is(f"{_A}dkim_pass", 0.0))),
    Rule("known_domain_unauthenticated", 2.0,
         "The domain's mail was authenticated before, and this message is not.",
         (_at_least(f"{_D}authenticated_share_30d", 0.9), _is(f"{_A}dmarc_fail")), "VF"),
    # Who it claims to be from, and where an answer goes
    Rule("display_name_other_address", 1.5, "The display name shows an address at another domain than the sender's.",
         (_is(f"{_I}display_name_other_address"),), "CP"),
    Rule("reply_to_elsewhere_new_sender", 1.2, "A sender never seen before wants answers sent to another domain.",
         (_is(f"{_I}reply_to_differs"), _NEW_SENDER), "BE"),
    Rule("reply_to_freemail", 1.2, "Answers go to a free-mail address that the sender's domain is not.",
         (_is(f"{_I}reply_to_freemail"), _is(f"{_I}reply_to_differs")), "BE"),
    Rule("self_addressed", 1.0, "The message pretends to come from its own recipient.",
         (_is(f"{_I}self_addressed"), _NEW_SENDER), "EX"),
    Rule("no_recipient_named", 0.6, "The recipient stands neither in To nor in Cc.", (_is(f"{_I}all_bcc"),), "SP"),
    Rule("fake_thread", 1.3, "It looks like a reply, but belongs to no thread.",
         (_is(f"{_T}fake_thread"), _NEW_SENDER), "BE"),
    Rule("confusable_letters", 1.5, "Letters of another alphabet stand in for Latin ones.",
         (_at_least(f"{_T}confusable_ratio", 0.02), _at_most(f"{_T}text_non_ascii_share", 0.2)), "CP"),
    Rule("hidden_characters", 0.8, "The text holds several invisible characters.",
         (_at_least(f"{_T}zero_width_count", 4),), "CP"),
    Rule("hidden_text", 0.8, "Much of the HTML's text is hidden from its reader.",
         (_at_least(f"{_T}hidden_text_ratio", 0.3),), "SP"),
    # What it asks for
    Rule("asks_credentials", 1.4, "A sender never seen before asks to sign in or to confirm an account, with a link.",
         (_at_least(f"{_T}credential_terms", 2), _at_least(f"{_L}url_count"), _NEW_SENDER), "CP"),
    Rule("asks_payroll", 1.8, "A sender never seen before speaks of payroll or direct deposit.",
         (_at_least(f"{_T}payroll_terms"), _NEW_SENDER), "BE"),
    Rule("asks_gift_cards", 2.0, "It asks for gift cards.",
         (_at_least(f"{_T}gift_card_terms"), _at_most(f"{_L}url_count")), "BE"),
    Rule("payment_to_new_account", 1.6, "Bank details come from someone who never wrote before.",
         (_is(f"{_T}bank_details"), _NEW_SENDER), "VF"),
    Rule("urgent_payment", 1.0, "An urgent payment is asked for by someone whom nobody here ever wrote to.",
         (_at_least(f"{_T}payment_terms", 2), _at_least(f"{_T}urgency_terms"), *_NOT_WRITTEN_TO), "VF"),
    Rule("secret_request", 1.2, "It asks for discretion, and nobody here ever wrote to its sender.",
         (_at_least(f"{_T}secrecy_terms"), *_NOT_WRITTEN_TO), "BE"),
    Rule("call_this_number", 1.4, "A short text from a new sender wants a telephone call about a charge.",
         (_is(f"{_T}phone_in_short_body"), _at_least(f"{_T}callback_terms"), _NEW_SENDER), "CB"),
    Rule("pay_by_wallet", 2.2, "It names a crypto-currency wallet.", (_is(f"{_T}crypto_wallet"),), "EX"),
    Rule("threat", 1.4, "It threatens, and comes from a sender never seen before.",
         (_at_least(f"{_T}threat_terms", 2), _NEW_SENDER), "EX"),
    Rule("scam_terms", 1.5, "It tells of an inheritance, a lottery or a fortune to share.",
         (_at_least(f"{_T}scam_terms", 2), _NEW_SENDER), "SC"),
    Rule("job_offer", 1.0, "A sender never seen before offers easy work.",
         (_at_least(f"{_T}job_terms", 2), _NEW_SENDER), "SC"),
    Rule("bare_probe", 0.9, "A few words without a link from a sender never seen before, to see who answers.",
         (_at_most(f"{_T}new_text_len", 60), _at_most(f"{_L}url_count"), _at_most(f"{_F}attachment_count"),
          _NEW_SENDER, _NEW_DOMAIN), "RC"),
    Rule("offers", 1.0, "It advertises, and comes from a sender never seen before.",
         (_at_least(f"{_T}offer_terms", 2), _NEW_SENDER), "SP"),
    # Links
    Rule("link_text_differs", 1.4, "A link shows another site's address than the one it opens.",
         (_at_least(f"{_L}url_text_differs"), *_NOT_WRITTEN_TO), "CP"),
    Rule("link_to_ip", 1.6, "A link leads to a bare IP address.", (_at_least(f"{_L}url_ip_host"),), "CP"),
    Rule("link_userinfo", 1.6, "A link hides its site behind a name and an @.",
         (_at_least(f"{_L}url_userinfo"),), "CP"),
    Rule("link_punycode", 1.2, "A link's site is spelt with foreign letters.", (_at_least(f"{_L}url_punycode"),), "CP"),
    Rule("link_to_free_host", 1.1, "A sender never seen before links to a page that anyone may put up.",
         (_at_least(f"{_L}url_free_host"), _NEW_SENDER), "CP"),
    Rule("link_redirects", 1.0, "A link passes through another site to hide where it ends.",
         (_at_least(f"{_L}url_open_redirect"), _NEW_SENDER), "CP"),
    Rule("link_names_recipient", 1.0, "A link carries the recipient's own address, from a sender never seen before.",
         (_is(f"{_L}url_has_recipient"), _NEW_SENDER), "CP"),
    Rule("link_to_program", 2.0, "A link leads to a file that can run.", (_at_least(f"{_L}url_executable"),), "MW"),
    # Attachments
    Rule("program_attached", 3.0, "An attachment is a program.", (_at_least(f"{_F}attachment_executable"),), "MW"),
    Rule("double_extension", 2.5, "An attachment's name hides what kind of file it is.",
         (_at_least(f"{_F}attachment_double_extension"),), "MW"),
    Rule("type_disguised", 1.5, "An attachment is not the kind of file that its name says.",
         (_at_least(f"{_F}attachment_type_differs"),), "MW"),
    Rule("page_attached", 1.5, "A web page is attached, from a sender never seen before.",
         (_at_least(f"{_F}attachment_html"), _NEW_SENDER), "CP"),
    Rule("macro_document", 1.2, "A document that may hold macros comes from a sender never seen before.",
         (_at_least(f"{_F}attachment_macro_capable"), _NEW_SENDER), "MW"),
    Rule("archive_attached", 1.2, "An archive comes from a sender never seen before.",
         (_at_least(f"{_F}attachment_archive"), _NEW_SENDER), "MW"),
    Rule("image_only", 1.0, "The message is a picture instead of text.", (_is(f"{_F}image_only_body"),), "SP"),
    # How it was sent
    Rule("no_message_id", 0.9, "It has no Message-ID, as mail programs give.", (_is(f"{_H}missing_message_id"),), "SP"),
    Rule("date_far_off", 1.0, "Its Date lies more than two days from when it came.",
         (_at_least(f"{_H}date_skew_hours", 48.0),), "SP"),
    Rule("impossible_time_zone", 1.2, "Its Date has a time zone that no place keeps.",
         (_is(f"{_H}odd_time_zone"),), "SP"),
    Rule("unqualified_host", 0.7, "The host that delivered it did not give a proper name.",
         (_is(f"{_H}helo_unqualified"), _NEW_SENDER), "SP"),
    Rule("shouting", 0.8, "The subject is all capitals.",
         (_at_least(f"{_T}subject_upper_share", 0.8), _at_least(f"{_T}subject_len", 10), _NEW_SENDER), "SP"),
    # History
    Rule("new_sender", 0.7, "Nobody here ever had mail from this sender.", (_NEW_SENDER,)),
    Rule("new_domain", 0.7, "Nobody here ever had mail from this sender's domain.", (_NEW_DOMAIN,)),
    Rule("sender_labelled_bad", 2.5, "Earlier mail from this sender was labelled bad.",
         (_at_least(f"{_S}labelled_bad_all"), _at_most(f"{_S}labelled_good_all"))),
    Rule("burst", 1.0, "The sender is new and writes to many here today.",
         (_at_least(f"{_S}messages_1d", 20), _at_most(f"{_S}days_known", 1.0)), "SP"),
    # Brakes
    Rule("answers_us", -2.5, "Someone here wrote to this sender before.", (_at_least(f"{_S}written_to_all"),)),
    Rule("in_conversation", -1.5, "Sender and recipient write to each other.", (_at_least(f"{_P}reverse_all"),)),
    Rule("known_sender", -1.5, "The sender has been known for more than four weeks.",
         (_at_least(f"{_S}days_known", 28.0), _at_most(f"{_S}labelled_bad_all"))),
    Rule("known_domain", -0.8, "The sender's domain has been known for more than four weeks.",
         (_at_least(f"{_D}days_known", 28.0), _at_most(f"{_D}labelled_bad_all"))),
    Rule("labelled_good", -2.0, "Earlier mail from this sender was labelled good.",
         (_at_least(f"{_S}labelled_good_all", 2), _at_most(f"{_S}labelled_bad_all"))),
    Rule("list_mail", -0.5, "It came over a mailing list.", (_is(f"{_H}has_list_id"),)),
    Rule("thread", -0.7, "It continues a thread.", (_is(f"{_H}has_references"), _is(f"{_T}fake_thread", 0.0))),
    Rule("dmarc_passes", -0.5, "The sender's domain vouches for the message (DMARC passes).",
         (_is(f"{_A}dmarc_pass"),)),
)  # fmt: skip
"""Weights are set by hand, from how much each fact told in the field's public rule sets; they are never learnt."""
