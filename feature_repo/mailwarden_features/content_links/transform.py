"""Facts of the links of a message; null where it has none."""

from __future__ import annotations

import base64
import binascii
import math
import re
import unicodedata
from collections import Counter
from urllib.parse import unquote

from mailwarden.domain.mail.addresses import is_ip_literal, normalise_host, registrable_domain
from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import LinkMark, Message, Url
from mailwarden_features.content_links.shown import names_another

MAX_URLS = 60
"""Different links that are read; a message with more says no more with the rest."""

_MAX_PATH = 300
_N_LOG_N = (0.0, *(n * math.log2(n) for n in range(1, _MAX_PATH + 1)))

_NULLABLE = (
    "url_domain_count", "url_text_differs", "url_ip_host", "url_punycode", "url_shortener", "url_free_host",
    "url_open_redirect", "url_has_recipient", "url_userinfo", "url_port", "url_plain_http_share",
    "url_sender_domain_share", "url_length_max", "url_path_depth_max", "url_path_entropy_max", "url_subdomains_max",
    "url_executable", "url_rewritten", "url_redirected", "url_redirect_depth_max", "url_target_unread", "url_ip_form",
    "url_encoded_host", "url_mixed_script", "url_bare", "url_base", "url_odd_syntax", "url_form", "url_automatic",
    "url_in_subject",
)  # fmt: skip

_NO_SCHEMES: dict[str, ContentValue] = dict.fromkeys(
    ("url_file", "url_script", "url_application", "url_phone", "url_mail", "url_mail_elsewhere"), 0
)

_EXECUTABLE_PATH = re.compile(
    r"\.(?:exe|scr|pif|com|bat|cmd|msi|jar|js|jse|vbs|vbe|wsf|hta|lnk|iso|img|apk|ps1)\Z", re.IGNORECASE
)
_TARGET_IN_QUERY = re.compile(
    r"[?&/=](?:https?(?::|%3a)(?:/|%2f){2}|(?:%2f|/){2}www\.)([^&/%?#\s]{3,253})", re.IGNORECASE
)
_AUTHORITY = re.compile(r"[a-z]{3,5}:[/\\]{2}([^/\\?#]*)", re.IGNORECASE)
_WEB = frozenset(("", "http", "https", "ftp", "ws", "wss"))
_SCRIPT = ("javascript", "vbscript")
_PHONE = ("tel", "sms", "callto", "facetime", "facetime-audio")
_WITHIN = ("about", "applewebdata", "cid", "mid", "x-apple-data-detectors", "x-msg")
"""Schemes of what is in the message itself, as mail programs write them."""
_DOES_NOTHING = re.compile(r"[\s/]*+(?:void\s*+\(?\s*+[0-9a-z]{0,9}\s*+\)?|return\s++false)?[\s;]*+", re.IGNORECASE)
_LOOKALIKES = frozenset(("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU"))
_BASE64 = re.compile(r"[A-Za-z0-9+_-]{12,400}")


def compute(message: Message, lists: Lists) -> dict[str, ContentValue]:
    """Counts over different links, at most `MAX_URLS` of them, and the worst of each measure."""
    links = message.urls
    if not links:
        return {"url_count": 0, **dict.fromkeys(_NULLABLE), **_schemes(message)}
    read = links[:MAX_URLS]
    different = list({link.url: link for link in read}.values())
    sender_domain = message.sender.domain
    addresses = frozenset(message.recipients[:20])
    domains = {link.domain or link.host for link in links}
    ip_hosts = own = shortened = free = redirects = userinfo = ports = plain = executable = 0
    longest = depth = subdomains = 0
    has_recipient = False
    international: list[str] = []
    paths: set[str] = set()
    for link in different:
        target, host, domain, marks = link.target or link.url, link.host, link.domain, link.marks
        found = _AUTHORITY.match(target)
        authority = found[1] if found is not None else ""
        path = _path(target)
        paths.add(path)
        ip_hosts += is_ip_literal(host)
        own += domain == sender_domain
        shortened += lists.holds("shorteners", domain)
        free += lists.holds("free_hosts", host)
        redirects += "redirected" in marks or _redirects_elsewhere(target, domain)
        userinfo += "@" in authority or "userinfo" in marks
        ports += "port" in marks or (":" in authority and _has_odd_port(authority))
        plain += target[:5].lower() == "http:"
        executable += _EXECUTABLE_PATH.search(path.partition("?")[0][-8:]) is not None
        longest = max(longest, len(target))
        depth = max(depth, path.count("/"))
        subdomains = max(subdomains, _subdomains(link))
        has_recipient = has_recipient or (bool(addresses) and _names(_chosen(link), addresses))
        if "xn--" in host or not host.isascii():
            international.append(host)
    return {
        "url_count": len(links),
        "url_domain_count": len(domains),
        "url_text_differs": sum([bool(link.text) and names_another(link) for link in read]),
        "url_ip_host": ip_hosts,
        "url_punycode": len(international),
        "url_shortener": shortened,
        "url_free_host": free,
        "url_open_redirect": redirects,
        "url_has_recipient": int(has_recipient) if addresses else None,
        "url_userinfo": userinfo,
        "url_port": ports,
        "url_plain_http_share": plain / len(different),
        "url_sender_domain_share": own / len(different) if sender_domain else None,
        "url_length_max": longest,
        "url_path_depth_max": depth,
        "url_path_entropy_max": max(map(_entropy, paths)),
        "url_subdomains_max": subdomains,
        "url_executable": executable,
        "url_mixed_script": sum(map(_mixes_scripts, international)),
        **_marked(different),
        **_schemes(message),
    }


def _marked(links: list[Url]) -> dict[str, ContentValue]:
    """Counts of what is odd in how links are written, and of where they stand."""
    marks = Counter([mark for link in links for mark in link.marks])
    places = Counter([link.place for link in links if link.place != "anchor"])
    return {
        "url_rewritten": marks["rewritten"],
        "url_redirected": marks["redirected"],
        "url_redirect_depth_max": max([len(link.via) for link in links]),
        "url_target_unread": marks["target_unread"],
        "url_ip_form": marks["ip_form"],
        "url_encoded_host": _either(links, "encoded_host", "wide_host") if marks else 0,
        "url_bare": marks["bare"],
        "url_base": marks["base"],
        "url_odd_syntax": _either(links, "slashes", "controls") if marks else 0,
        "url_form": places["form"],
        "url_automatic": places["refresh"] + places["frame"] + places["loaded"],
        "url_in_subject": places["subject"],
    }


def _either(links: list[Url], first: LinkMark, second: LinkMark) -> int:
    return sum(first in link.marks or second in link.marks for link in links)


def _schemes(message: Message) -> dict[str, ContentValue]:
    """Counts of links by what opens them, those among them that lead to no host."""
    schemes = [link.scheme for link in message.urls if link.scheme not in _WEB]
    if not schemes and not message.other_links:
        return _NO_SCHEMES
    others = Counter(schemes)
    elsewhere = 0
    sender_domain = message.sender.domain
    for link in message.other_links[:MAX_URLS]:
        if link.scheme in _SCRIPT and _DOES_NOTHING.fullmatch(link.url[link.url.find(":") + 1 :][:40]):
            continue
        others[link.scheme] += 1
        elsewhere += link.scheme == "mailto" and bool(link.domain) and link.domain != sender_domain
    harmless = sum(others[scheme] for scheme in (*_SCRIPT, *_PHONE, *_WITHIN, "data", "file", "mailto"))
    return {
        "url_file": others["file"],
        "url_script": others["data"] + sum(others[scheme] for scheme in _SCRIPT),
        "url_application": others.total() - harmless,
        "url_phone": sum(others[scheme] for scheme in _PHONE),
        "url_mail": others["mailto"],
        "url_mail_elsewhere": elsewhere,
    }


def _chosen(link: Url) -> str:
    """The address as its sender chose it: what protects a mailbox writes the mailbox's name into links."""
    return link.target if "rewritten" in link.marks and link.target else link.url


def _path(target: str) -> str:
    rest = target.partition("://")[2] or target
    return rest.partition("/")[2][:_MAX_PATH]


def _mixes_scripts(host: str) -> bool:
    """A label has Latin letters beside those of another script that has lookalikes of them."""
    for label in host.split(".")[:10]:
        if label.startswith("xn--"):
            try:
                label = label[4:67].encode("ascii").decode("punycode")
            except ValueError:
                continue
        if label.isascii():
            continue
        scripts = {unicodedata.name(c, "?").partition(" ")[0] for c in label[:63] if c.isalpha()}
        if "LATIN" in scripts and not scripts.isdisjoint(_LOOKALIKES):
            return True
    return False


def _redirects_elsewhere(target: str, domain: str) -> bool:
    """Another site's address stands inside the path or the query."""
    start = target.find("/", 8)
    found = _TARGET_IN_QUERY.search(target, max(start, 8), 2_000) if start > 0 or "?" in target else None
    return found is not None and registrable_domain(normalise_host(found[1].partition(":")[0])) not in ("", domain)


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
    return math.log2(total) - sum(map(_N_LOG_N.__getitem__, Counter(text).values())) / total


def _subdomains(link: Url) -> int:
    if not link.domain or link.domain == link.host:
        return 0
    return max(0, link.host.count(".") - link.domain.count("."))
