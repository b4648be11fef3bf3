"""Facts of who says to write, to whom, and where an answer or a bounce would go."""

from __future__ import annotations

import re
from functools import lru_cache

from mailwarden.domain.mail.address_marks import addresses_in, has_lookalike_mark
from mailwarden.domain.mail.addresses import normalise_host, registrable_domain
from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import AuthorMark, Message

_DIGIT = re.compile(r"\d")


def compute(message: Message, lists: Lists) -> dict[str, ContentValue]:
    """What the addresses show; pure, bounded, never raising."""
    sender = message.sender
    return {
        "sender_freemail": int(lists.holds("free_mail", sender.domain)) if sender.domain else None,
        "sender_local_digits": len(_DIGIT.findall(sender.address.partition("@")[0])) if sender.address else None,
        "sender_domain_len": len(sender.domain) if sender.domain else None,
        "sender_domain_digits": len(_DIGIT.findall(sender.domain)) if sender.domain else None,
        "sender_domain_hyphens": sender.domain.count("-") if sender.domain else None,
        "display_name_missing": int(not sender.display_name) if sender.address else None,
        **_names(message),
        **_writing(message),
        **_addressing(message, lists),
    }


def _addressing(message: Message, lists: Lists) -> dict[str, ContentValue]:
    sender = message.sender
    named = {box.address for box in message.to} | {box.address for box in message.cc}
    recipients = message.recipients
    reply_domains = [box.domain for box in message.reply_to if box.domain]
    return_domain = _address_domain(message.return_path) if message.return_path else ""
    return {
        "recipient_count": len(recipients),
        "to_count": len(message.to),
        "cc_count": len(message.cc),
        "all_bcc": int(named.isdisjoint(recipients)) if recipients else None,
        "self_addressed": int(sender.address in named or sender.address in recipients) if sender.address else None,
        "reply_to_differs": int(any(domain != sender.domain for domain in reply_domains)) if reply_domains else None,
        "reply_to_freemail": int(any(lists.holds("free_mail", domain) for domain in reply_domains))
        if reply_domains
        else None,
        "return_path_empty": None if message.return_path is None else int(not message.return_path),
        "return_path_differs": int(return_domain != sender.domain) if return_domain and sender.domain else None,
    }


def _address_domain(address: str) -> str:
    return _host_domain(address.rpartition("@")[2])


@lru_cache(maxsize=16_384)
def _host_domain(host: str) -> str:
    return registrable_domain(normalise_host(host))


def _writing(message: Message) -> dict[str, ContentValue]:
    """How From is written, of which mail programs show different things."""
    marks = message.author_marks
    values: dict[str, ContentValue] = {feature: int(mark in marks) for feature, mark in _MARKS.items()}
    authors = message.authors
    fields = 1 if len(authors) == 1 else sum(len(name) == 4 and name.lower() == "from" for name, _ in message.headers)
    return {
        **values,
        "author_count": len(authors),
        "author_domain_count": len({box.domain for box in authors if box.domain}) if len(authors) > 1 else len(authors),
        "from_field_count": fields,
    }


_MARKS: dict[str, AuthorMark] = {
    "from_comment_in_address": "comment_in_address",
    "from_several_angles": "several_angles",
    "from_route": "route",
    "from_encoded_address": "encoded_address",
    "from_lookalike_mark": "lookalike_mark",
}


def _names(message: Message) -> dict[str, ContentValue]:
    """Whether the name that a reader sees holds an address, and what kind of."""
    name = message.sender.display_name
    if not name:
        return {"display_name_other_address": None, "display_name_lookalike_mark": None}
    if name.isascii() and "@" not in name and "at" not in name:
        return {"display_name_other_address": 0, "display_name_lookalike_mark": 0}
    others = (_host_domain(host) != message.sender.domain for host in addresses_in(name))
    return {
        "display_name_other_address": int(any(others)),
        "display_name_lookalike_mark": int(has_lookalike_mark(name)),
    }
