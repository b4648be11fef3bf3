"""Facts of who says to write, to whom, and where an answer or a bounce would go."""

from __future__ import annotations

import re
from functools import lru_cache

from mailwarden.domain.mail.addresses import normalise_host, registrable_domain
from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Message

_ADDRESS_IN_NAME = re.compile(r"[\w.+-]{1,64}@([\w-]{1,63}(?:\.[\w-]{1,63}){1,8})")
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
        "display_name_other_address": _name_has_other_address(message),
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


def _name_has_other_address(message: Message) -> int | None:
    name = message.sender.display_name
    if not name:
        return None
    if "@" not in name:
        return 0
    found = _ADDRESS_IN_NAME.search(name[:500])
    return int(found is not None and _host_domain(found[1]) != message.sender.domain)
