from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.message import Mailbox, Message, Url
from mailwarden.stores.lists import load_lists
from mailwarden.testing.messages import empty_message, message_of
from mailwarden_features.content_links.view import VIEW

LISTS = load_lists()


def computed(message: Message) -> Mapping[str, ContentValue]:
    return VIEW.compute(message, LISTS)


def value(name: str, **changes: Any) -> ContentValue:
    return computed(message_of(**changes))[name]


SENDER = Mailbox("ann@parts.example", "Ann Lee", "parts.example")


def link(url: str, text: str = "", host: str = "shop.parts.example", domain: str = "parts.example") -> Url:
    return Url(url, text, host, domain, "html")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("url_domain_count", None), ("url_has_recipient", None), ("url_count", 0)],
)
def test_of_nothing_what_cannot_be_computed_is_null_and_what_was_looked_for_is_0(
    name: str, expected: ContentValue
) -> None:
    assert computed(empty_message())[name] == expected


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [
        ("url_text_differs", link("https://evil.example/", "www.bank.example/login"), 1),
        ("url_text_differs", link("https://shop.parts.example/", "https://parts.example"), 0),
        ("url_text_differs", link("https://shop.parts.example/", "click here."), 0),
        ("url_ip_host", link("http://10.0.0.1/", host="10.0.0.1", domain="10.0.0.1"), 1),
        ("url_punycode", link("https://xn--pypal-4ve.example/", host="xn--pypal-4ve.example"), 1),
        ("url_shortener", link("https://bit.ly/x", host="bit.ly", domain="bit.ly"), 1),
        ("url_free_host", link("https://x.pages.dev/", host="x.pages.dev", domain="x.pages.dev"), 1),
        ("url_free_host", link("https://parts.example/"), 0),
        ("url_open_redirect", link("https://shop.parts.example/r?u=https://evil.example/a"), 1),
        ("url_open_redirect", link("https://shop.parts.example/r?u=https%3A%2F%2Fevil.example"), 1),
        ("url_open_redirect", link("https://shop.parts.example/r?u=https://www.parts.example/a"), 0),
        ("url_has_recipient", link("https://parts.example/?e=lee@corp.example"), 1),
        ("url_has_recipient", link("https://parts.example/?e=lee%40corp.example"), 1),
        ("url_has_recipient", link("https://parts.example/" + base64.b64encode(b"lee@corp.example").decode()), 1),
        ("url_has_recipient", link("https://parts.example/#" + base64.b64encode(b"LEE@corp.example").decode()), 1),
        ("url_has_recipient", link("https://parts.example/?e=someone@corp.example"), 0),
        ("url_userinfo", link("https://bank.example@evil.example/"), 1),
        ("url_port", link("https://parts.example:8443/"), 1),
        ("url_port", link("https://parts.example:443/"), 0),
        ("url_plain_http_share", link("http://parts.example/"), 1.0),
        ("url_sender_domain_share", link("https://parts.example/"), 1.0),
        ("url_path_depth_max", link("https://parts.example/a/b/c"), 2),
        ("url_subdomains_max", link("https://a.b.parts.example/", host="a.b.parts.example"), 2),
        ("url_executable", link("https://parts.example/invoice.exe?x=1"), 1),
        ("url_executable", link("https://parts.example/invoice.pdf"), 0),
    ],
)
def test_links(name: str, url: Url, expected: ContentValue) -> None:
    assert value(name, urls=(url,), sender=SENDER, recipients=("lee@corp.example",)) == expected
