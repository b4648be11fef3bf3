"""Facts of the QR codes that were read with a message."""

from __future__ import annotations

from mailwarden.domain.mail.addresses import is_ip_literal
from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Message


def compute(message: Message, lists: Lists) -> dict[str, ContentValue]:
    """What the codes in a message's images hold and where they lead; pure, bounded by the parser, never raising."""
    waits = "qr" in message.pending
    found: dict[str, ContentValue] = {"qr_pending": int(waits)}
    if waits and not message.qr_codes:
        # Nobody knows yet: none found is another thing.
        return found | dict.fromkeys(_OF_CODES + _OF_LINKS)
    urls = [code.url for code in message.qr_codes if code.url is not None]
    found["qr_code_count"] = len(message.qr_codes)
    found["qr_url_count"] = len(urls)
    found["qr_is_only_link"] = int(bool(urls) and not message.urls)
    if not urls:
        return found | dict.fromkeys(_OF_LINKS)
    domains = {url.domain for url in urls}
    found["qr_domain_count"] = len(domains)
    found["qr_leads_elsewhere"] = int(domains != {message.sender.domain})
    found["qr_leads_where_links_do_not"] = int(not domains <= {url.domain for url in message.urls})
    found["qr_ip_host"] = int(any(is_ip_literal(url.host) for url in urls))
    return found


_OF_CODES = ("qr_code_count", "qr_url_count", "qr_is_only_link")
_OF_LINKS = ("qr_domain_count", "qr_leads_elsewhere", "qr_leads_where_links_do_not", "qr_ip_host")
