"""Whether the sender's domain passes for one of the tenant's, of a partner's, or of a brand's."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.domain_lookalikes import KnownDomains, Near
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Mailbox, Message

_COUNTRY = 2
_BRANDS: dict[str, KnownDomains] = {}


def compute(message: Message, lists: Lists) -> dict[str, ContentValue]:
    """What sender and Reply-To pass for; pure, of bounded work, never raising."""
    said, domain = message.directory, message.sender.domain
    asked = said is not None and bool(domain)
    near = _brand(domain, lists) if domain else None
    replies = [box for box in message.reply_to if box.domain and box.domain != domain]
    return {
        "own_lookalike": int(bool(said.own_near)) if asked and said is not None else None,
        "own_lookalike_edits": int(said.own_near_edits) if asked and said is not None else None,
        "partner_lookalike": int(bool(said.partner_near)) if asked and said is not None and said.listed else None,
        "brand_lookalike": int(near is not None) if domain else None,
        "brand_lookalike_edits": int(near is not None and near.how == "edit") if domain else None,
        "reply_to_brand_lookalike": _replies(replies, lists),
    }


def _replies(replies: list[Mailbox], lists: Lists) -> int | None:
    return int(any(_brand(box.domain, lists) is not None for box in replies)) if replies else None


def _brand(domain: str, lists: Lists) -> Near | None:
    """The brand's domain that another passes for; None for one that is well known by itself."""
    if lists.rank_of(domain) is not None or lists.holds("free_mail", domain):
        return None
    near = _known(lists).near(domain)
    if near is None or not _is_abroad(domain, near.domain):
        return near
    return None


def _is_abroad(domain: str, brand: str) -> bool:
    """Whether it is the brand's very name in a country's top-level domain, where its branch is as a rule."""
    name, _, suffix = domain.partition(".")
    return name == brand.partition(".")[0] and len(suffix.rpartition(".")[2]) == _COUNTRY


def _known(lists: Lists) -> KnownDomains:
    """The brands' domains, made ready once a list."""
    fingerprint = lists.fingerprint_of(("brands",))
    if fingerprint not in _BRANDS:
        _BRANDS.clear()
        _BRANDS[fingerprint] = KnownDomains(domain for owned in lists.brands.values() for domain in owned)
    return _BRANDS[fingerprint]
