"""The party that the text of a link names, as against the one that it leads to."""

from __future__ import annotations

import re
import unicodedata

from mailwarden.domain.mail.addresses import RESERVED_TOP_LEVELS, is_top_level, normalise_host, registrable_domain
from mailwarden.domain.mail.message import Url
from mailwarden.ingest.text_links import FILE_ENDINGS

MAX_TEXT = 300
"""Characters of a text that may name a party; a longer one is prose."""

_HOST = r"((?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}(?:xn--[a-z0-9-]{2,59}|[^\W\d_]{2,24}))"
_WHOLE = re.compile(
    rf"(https?:/{{1,3}})?(?:[\w.%+-]{{1,64}}@)?{_HOST}\.?((?::\d{{1,5}})?(?:[/?#]\S*)?)",
    re.IGNORECASE,
)
_AROUND = " \t\n\xa0\"'()[]<>{}*_|:;,!»«›‹→➔▶•·…–—-"
"""What stands around a name on a button or in a sentence."""
_AMONG_WORDS = re.compile(rf"(?<!\w)(?:https?:/{{1,3}}(?:www\.)?|www\.){_HOST}", re.IGNORECASE)


def names_another(link: Url) -> bool:
    """Whether a reader sees the name of another registrable domain than the link leads to.

    A text that is a rewritten link itself stands for where that one leads. A text names a party where it is a host
    with a top-level domain that exists, and no name of a file, or where it holds one address with a scheme or `www.`
    among words; others are prose.
    """
    if link.shown:
        return link.shown != link.domain
    text = link.text
    if len(text) > MAX_TEXT or len(text) < 4:
        return False
    if text.isascii():
        if "." not in text:
            return False
    else:
        # As it looks: wide letters and dots, and nothing that is not seen.
        text = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
        text = text.replace("\u3002", ".")
    if "." not in text:
        return False
    shown = _named_by(text[:MAX_TEXT])
    domain = registrable_domain(normalise_host(shown)) if shown else ""
    return bool(domain) and domain != link.domain


def _named_by(text: str) -> str:
    text = text.strip(_AROUND)
    if " " not in text and (whole := _WHOLE.fullmatch(text)) is not None:
        host, last = whole[2], whole[2].rpartition(".")[2].lower()
        if whole[1]:
            return host
        if not is_top_level(last) and last not in RESERVED_TOP_LEVELS:
            return ""
        is_file = host.count(".") == 1 and last in FILE_ENDINGS and whole[3][:1] not in ("/", "?")
        return "" if is_file else host
    if "://" in text or "www." in text.lower():
        among = {found[1].lower() for found in _AMONG_WORDS.finditer(text)}
        return among.pop() if len(among) == 1 else ""
    return ""
