"""Facts of the links of a message; null where it has none."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from urllib.parse import unquote

from mailwarden.domain.mail.addresses import is_ip_literal, normalise_host, registrable_domain
from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Message, Url

MAX_URLS = 60
"""Different links that are read; a message with more says no more with the rest."""

_NULLABLE = (
    "url_domain_count", "url_text_differs", "url_ip_host", "url_punycode", "url_shortener", "url_free_host",
    "url_open_redirect", "url_has_recipient", "url_userinfo", "url_port", "url_plain_http_share",
    "url_sender_domain_share", "url_length_max", "url_path_depth_max", "url_path_entropy_max", "url_subdomains_max",
    "url_executable",
)  # fmt: skip

_EXECUTABLE_PATH = re.compile(
    r"\.(?:exe|scr|pif|com|bat|cmd|msi|jar|js|jse|vbs|vbe|wsf|hta|lnk|iso|img|apk|ps1)\Z", re.IGNORECASE
)
_TARGET_IN_QUERY = re.compile(
    r"[?&/=](?:https?(?::|%3a)(?:/|%2f){2}|(?:%2f|/){2}www\.)([^&/%?#\s]{3,253})", re.IGNORECASE
)
_LOOKS_LIKE_URL = re.compile(
    r"\s*(?:https?://)?(?:[\w.%+-]{1,64}@)?((?:[a-z0-9-]{1,63}\.){1,6}[a-z]{2,24})(?:[:/?#]\S*)?\s*", re.IGNORECASE
)
_AUTHORITY = re.compile(r"[a-z]{3,5}:[/\\]{2}([^/\\?#]*)", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+_-]{12,400}")


def compute(message: Message, lists: Lists) -> dict[str, ContentValue]:
    """Counts over different links, at most `MAX_URLS` of them, and the worst of each measure."""
    links = message.urls
    if not links:
        return {"url_count": 0, **dict.fromkeys(_NULLABLE)}
    read = links[:MAX_URLS]
    different = list({link.url: link for link in read}.values())
    domains = {link.domain or link.host for link in links}
    sender_domain = message.sender.domain
    addresses = frozenset(message.recipients[:20])
    authorities = [found[1] if (found := _AUTHORITY.match(link.url)) else "" for link in different]
    paths = [_path(link) for link in different]
    own = sum(link.domain == sender_domain for link in different)
    return {
        "url_count": len(links),
        "url_domain_count": len(domains),
        "url_text_differs": sum(_text_differs(link) for link in read),
        "url_ip_host": sum(is_ip_literal(link.host) for link in different),
        "url_punycode": sum("xn--" in link.host or not link.host.isascii() for link in different),
        "url_shortener": sum(lists.holds("shorteners", link.domain) for link in different),
        "url_free_host": sum(lists.holds("free_hosts", link.host) for link in different),
        "url_open_redirect": sum(_redirects_elsewhere(link) for link in different),
        "url_has_recipient": int(any(_names(link.url, addresses) for link in different)) if addresses else None,
        "url_userinfo": sum("@" in authority for authority in authorities),
        "url_port": sum(_has_odd_port(authority) for authority in authorities),
        "url_plain_http_share": sum(link.url[:5].lower() == "http:" for link in different) / len(different),
        "url_sender_domain_share": own / len(different) if sender_domain else None,
        "url_length_max": max(len(link.url) for link in different),
        "url_path_depth_max": max(path.count("/") for path in paths),
        "url_path_entropy_max": max(map(_entropy, paths)),
        "url_subdomains_max": max(_subdomains(link) for link in different),
        "url_executable": sum(_EXECUTABLE_PATH.search(path.partition("?")[0][-8:]) is not None for path in paths),
    }


def _path(link: Url) -> str:
    rest = link.url.partition("://")[2] or link.url
    return rest.partition("/")[2][:300]


def _text_differs(link: Url) -> bool:
    """The reader sees the name of another registrable domain than the link leads to."""
    text = link.text
    if not text or "." not in text or len(text) > 300:
        return False
    shown = _LOOKS_LIKE_URL.fullmatch(text)
    if shown is None:
        return False
    domain = registrable_domain(normalise_host(shown[1]))
    return bool(domain) and domain != link.domain


def _redirects_elsewhere(link: Url) -> bool:
    """Another site's address stands inside the path or the query."""
    start = link.url.find("/", 8)
    found = _TARGET_IN_QUERY.search(link.url, max(start, 8), 2_000) if start > 0 or "?" in link.url else None
    return found is not None and registrable_domain(normalise_host(found[1].partition(":")[0])) not in ("", link.domain)


def _names(url: str, addresses: frozenset[str]) -> bool:
    """A recipient's address stands in the link, plain, percent-encoded, or in base 64."""
    text = unquote(url[:2_000]).lower() if "%" in url else url[:2_000].lower()
    if "@" in text and any(address in text for address in addresses):
        return True
    for match in _BASE64.finditer(url, 8, 2_000):
        piece = match[0]
        try:
            decoded = base64.b64decode(piece + "=" * (-len(piece) % 4), altchars=b"-_").lower()
        except binascii.Error:
            continue
        if b"@" in decoded and any(address.encode("utf-8", "replace") in decoded for address in addresses):
            return True
    return False


def _has_odd_port(authority: str) -> bool:
    host_and_port = authority.rpartition("@")[2]
    if host_and_port.startswith("["):
        return False
    port = host_and_port.partition(":")[2]
    return port.isdigit() and port not in ("80", "443")


def _entropy(text: str) -> float:
    """Bits a character, 0..8."""
    if len(text) < 2:
        return 0.0
    total = len(text)
    return math.log2(total) - sum(n * math.log2(n) for n in Counter(text).values()) / total


def _subdomains(link: Url) -> int:
    if not link.domain or link.domain == link.host:
        return 0
    return max(0, link.host.count(".") - link.domain.count("."))
