"""Facts of the messages and files inside of a message; null where there is none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from mailwarden.domain.mail.addresses import is_ip_literal, normalise_host, registrable_domain
from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.file_kinds import EXECUTABLE_TYPES
from mailwarden.domain.mail.file_names import EXECUTABLE_NAMES, extension_of
from mailwarden.domain.mail.inner import UNREAD, InnerFile, Trait
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Message, Url
from mailwarden_features.content_text.lexicon import count_intents, words_of

MAX_NESTED = 50
"""Nested messages that are read, nearest first; one with more says no more with the rest."""
MAX_FILES = 500
MAX_URLS = 100
MAX_TEXT = 12_000
"""Characters of what is inside in which words are looked for, shared by its texts."""
_MOST_OF_ONE = 4_000

OF_NESTED = ("nested_url_count", "nested_attachment_count", "nested_text_len")
TRAITS: dict[str, tuple[Trait, ...]] = {
    "inner_macro": ("macros",),
    "inner_auto_macro": ("auto_macros",),
    "inner_macro_call": ("macro_calls",),
    "inner_remote_template": ("remote_template",),
    "inner_external_link": ("external_link",),
    "inner_dde": ("dde",),
    "inner_embedded_file": ("embedded_file",),
    "inner_javascript": ("javascript",),
    "inner_auto_action": ("auto_action", "launch"),
    "inner_form": ("form",),
    "inner_password_field": ("password_field",),
    "inner_smuggling": ("smuggling",),
    "inner_obscured_script": ("obscured_script",),
    "inner_redirect": ("redirect",),
    "inner_image_only": ("image_only",),
    "inner_encrypted": ("encrypted",),
    "inner_unread": UNREAD[1:],
}
"""Features that count the files with any of these traits."""
OF_FILES = (
    "inner_file_count", "inner_depth_max", "inner_executable", "inner_script", "inner_archive", "inner_disguised_name",
    *TRAITS, "inner_password_given",
)  # fmt: skip
OF_WORDS = (
    "inner_text_len", "inner_credential_terms", "inner_payment_terms", "inner_urgency_terms", "inner_money_count",
    "inner_url_count",
)  # fmt: skip
OF_LINKS = (
    "inner_url_domain_count", "inner_url_elsewhere", "inner_url_unseen", "inner_url_text_differs", "inner_url_ip_host",
    "inner_url_shortener", "inner_url_free_host",
)  # fmt: skip

_NOTHING: dict[str, ContentValue] = {
    "nested_count": 0,
    "inner_opened_count": 0,
    **dict.fromkeys((*OF_NESTED, *OF_FILES, *OF_WORDS, *OF_LINKS)),
}
_CURRENCY_SIGNS = "$€£¥"
_CURRENCY_WORDS = frozenset({"usd", "eur", "gbp", "dollar", "dollars", "euro", "euros", "pounds", "chf"})
_PASSWORD = re.compile(
    r"\b(?:pass(?:word|code|phrase|wort)?|pwd|pin|kennwort|contraseña|mot de passe|senha|wachtwoord|parola|hasło"
    r"|пароль)\b[^\n:=]{0,40}+[:=]|(?:密码|パスワード|密碼)",
    re.IGNORECASE,
)
_LOOKS_LIKE_URL = re.compile(
    r"\s{0,9}+(?>(?:https?://)?)((?>(?:[a-z0-9-]{1,63}+\.){1,6})[a-z]{2,24}+)(?>(?:[:/?#]\S*+)?)\s{0,9}+", re.IGNORECASE
)


def compute(message: Message, lists: Lists) -> dict[str, ContentValue]:
    """What nested messages and files hold, at whatever depth the parser went to; pure, bounded, never raising."""
    if not message.nested and not message.inner:
        return _NOTHING.copy()
    inside = list(message.nested)
    for found in inside:
        if len(inside) >= MAX_NESTED:
            break
        inside += found.nested
    del inside[MAX_NESTED:]
    files = [*message.inner, *(file for found in inside for file in found.inner)][:MAX_FILES]
    values: dict[str, ContentValue] = {
        "nested_count": len(message.nested),
        "inner_opened_count": sum(not file.depth for file in files),
        **dict.fromkeys(OF_NESTED),
    }
    if inside:
        values["nested_url_count"] = sum(len(found.urls) for found in inside)
        values["nested_attachment_count"] = sum(len(found.attachments) for found in inside)
        values["nested_text_len"] = sum(len(found.new_text) + len(found.quoted_text) for found in inside)
    texts = [file.text for file in files] + [f"{found.subject}\n{found.new_text}" for found in inside]
    urls = [url for file in files for url in file.urls] + [url for found in inside for url in found.urls]
    return values | _file_facts(message, files, inside) | _word_facts(texts, urls) | _link_facts(message, urls, lists)


def _file_facts(message: Message, files: list[InnerFile], inside: list[Message]) -> dict[str, ContentValue]:
    deeper = [file for file in files if file.depth]
    counts = Counter(trait for file in files for trait in file.traits)
    within = Counter(trait for file in deeper for trait in file.traits)
    attached = [attachment for found in inside for attachment in found.attachments]
    run = sum(a.content_type in EXECUTABLE_TYPES or extension_of(a.filename) in EXECUTABLE_NAMES for a in attached)
    values: dict[str, ContentValue] = {
        name: counts[traits[0]] if len(traits) == 1 else sum(not set(traits).isdisjoint(file.traits) for file in files)
        for name, traits in TRAITS.items()
    }
    return values | {
        "inner_file_count": len(deeper) + len(attached),
        "inner_depth_max": max((file.depth for file in files), default=0),
        "inner_executable": within["executable"] + run,
        "inner_script": sum("script" in file.traits or "shortcut" in file.traits for file in deeper),
        "inner_archive": within["archive"],
        "inner_disguised_name": sum(
            "double_extension" in file.traits or "disguised_name" in file.traits for file in deeper
        ),
        "inner_password_given": (
            int(_PASSWORD.search(message.new_text, 0, MAX_TEXT) is not None) if counts["encrypted"] else None
        ),
    }


def _word_facts(texts: Iterable[str], urls: list[Url]) -> dict[str, ContentValue]:
    texts = [text for text in texts if text]
    read = "\n".join(text[:_MOST_OF_ONE] for text in texts)[:MAX_TEXT]
    words = words_of(read)
    different = set(words)
    intents = count_intents(words, different)
    return {
        "inner_text_len": sum(map(len, texts)),
        "inner_credential_terms": intents["credential"],
        "inner_payment_terms": intents["payment"],
        "inner_urgency_terms": intents["urgency"],
        "inner_money_count": sum(map(read.count, _CURRENCY_SIGNS)) + sum(map(words.count, different & _CURRENCY_WORDS)),
        "inner_url_count": len(urls),
    }


def _link_facts(message: Message, urls: list[Url], lists: Lists) -> dict[str, ContentValue]:
    if not urls:
        return dict.fromkeys(OF_LINKS)
    read = list({(url.url, url.text): url for url in urls[: 4 * MAX_URLS]}.values())[:MAX_URLS]
    domains = {url.domain or url.host for url in read}
    return {
        "inner_url_domain_count": len(domains),
        "inner_url_elsewhere": len(domains - {message.sender.domain}),
        "inner_url_unseen": len(domains - {url.domain or url.host for url in message.urls}),
        "inner_url_text_differs": sum(map(_text_differs, read)),
        "inner_url_ip_host": sum(is_ip_literal(url.host) for url in read),
        "inner_url_shortener": sum(lists.holds("shorteners", url.domain) for url in read),
        "inner_url_free_host": sum(lists.holds("free_hosts", url.host) for url in read),
    }


def _text_differs(url: Url) -> bool:
    """The reader sees the name of another registrable domain than the link leads to."""
    shown = _LOOKS_LIKE_URL.fullmatch(url.text[:300]) if "." in url.text else None
    domain = registrable_domain(normalise_host(shown[1])) if shown is not None else ""
    return bool(domain) and domain != url.domain
