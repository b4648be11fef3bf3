"""What lists know of the names in a message."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailwarden.domain.mail.addresses import address_domain
from mailwarden.domain.mail.characters import drawn_like
from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.lists import Lists, brand_name
from mailwarden.domain.mail.message import Message, Url

MAX_URLS = 60
"""Different links that are looked up; a message with more says no more with the rest."""

_MAX_NAME = 200
_WORDS_A_BRAND = 3
_LEAST_IN_HOST = 4
"""Letters that a brand needs to be looked for in hosts: `box` and `ups` are parts of too many words."""

_EDGE = ".,:;!?\"'()[]<>|*"
_HOST_PART = re.compile(r"[.\-_]")
_MAX_LABEL = 63


def compute(message: Message, lists: Lists) -> dict[str, ContentValue]:
    """Look-ups of the sender, of Reply-To and of links; pure, bounded, never raising."""
    sender = message.sender
    replies = [host for box in message.reply_to if (host := address_domain(box.address))]
    named = list(_brands_in(sender.display_name, lists)) if sender.display_name and sender.address else None
    return {
        "sender_disposable": _is_disposable(address_domain(sender.address), lists) if sender.domain else None,
        "reply_to_disposable": max(_is_disposable(host, lists) for host in replies) if replies else None,
        "sender_rank": lists.rank_of(sender.domain),
        "brand_named": None if named is None else int(bool(named)),
        "brand_borrowed": None
        if named is None
        else int(any(not lists.owns(brand, address_domain(sender.address)) for brand in named)),
        **_links(message, lists),
    }


def _links(message: Message, lists: Lists) -> dict[str, ContentValue]:
    links = list({link.url: link for link in message.urls[:MAX_URLS]}.values())
    if not links:
        return {"url_brand_borrowed": None, "url_unranked_share": None}
    return {
        "url_brand_borrowed": sum(_borrows(link, lists) for link in links),
        "url_unranked_share": sum(lists.rank_of(link.domain) is None for link in links) / len(links),
    }


def _is_disposable(host: str, lists: Lists) -> int:
    return int(lists.holds("disposable", host))


def _brands_in(name: str, lists: Lists) -> Iterator[str]:
    for read in drawn_like(name[:_MAX_NAME]):
        words = [word for part in brand_name(read).split() if (word := part.strip(_EDGE))]
        for start in range(len(words)):
            for stop in range(start + 1, min(start + _WORDS_A_BRAND, len(words)) + 1):
                brand = " ".join(words[start:stop])
                if lists.is_brand(brand):
                    yield brand


def _borrows(link: Url, lists: Lists) -> bool:
    for part in _parts_of(link.host):
        if len(part) >= _LEAST_IN_HOST and lists.is_brand(part) and not lists.owns(part, link.host):
            # Where a carrier's customers have their mail is the carrier's host, though its senders are anybody.
            return not lists.holds("free_mail", link.host)
    return False


def _parts_of(host: str) -> Iterator[str]:
    """What labels and hyphens part a host's name into; of an international label as it may be read."""
    if "xn--" not in host:
        yield from _HOST_PART.split(host)
        return
    for label in host.split("."):
        if not label.startswith("xn--"):
            yield from _HOST_PART.split(label)
            continue
        try:
            written = label[4:_MAX_LABEL].encode("ascii").decode("punycode")
        except ValueError:
            continue
        for read in drawn_like(written):
            yield from _HOST_PART.split(read.casefold())
