from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.message import LinkMark, Mailbox, Message, Url
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


def marked(*marks: LinkMark, url: str = "https://parts.example/", **changes: Any) -> Url:
    return replace(link(url), marks=marks, **changes)


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [
        ("url_rewritten", marked("rewritten", via=("outlook.com",)), 1),
        ("url_redirected", marked("redirected", via=("google.com",)), 1),
        ("url_open_redirect", marked("redirected", via=("google.com",)), 1),
        ("url_open_redirect", marked("rewritten", target="https://parts.example/", url="https://x/?u=https://y"), 0),
        ("url_redirect_depth_max", marked("rewritten", via=("outlook.com", "google.com")), 2),
        ("url_target_unread", marked("rewritten", "target_unread"), 1),
        ("url_userinfo", marked("userinfo"), 1),
        ("url_port", marked("port"), 1),
        ("url_ip_form", marked("ip_form"), 1),
        ("url_encoded_host", marked("encoded_host", "wide_host"), 1),
        ("url_encoded_host", marked("bare"), 0),
        ("url_bare", marked("bare"), 1),
        ("url_base", marked("base"), 1),
        ("url_odd_syntax", marked("slashes", "controls"), 1),
        ("url_form", marked(place="form"), 1),
        ("url_automatic", marked(place="refresh"), 1),
        ("url_in_subject", marked(place="subject"), 1),
        ("url_file", marked(url="file://parts.example/x", scheme="file"), 1),
        ("url_application", marked(url="search-ms:x", scheme="search-ms"), 1),
        ("url_application", marked(scheme="https"), 0),
        ("url_script", marked(url="data:x", scheme="data"), 1),
        ("url_mixed_script", link("https://x/", host="xn--pypal-4ve.example"), 1),
        ("url_mixed_script", link("https://x/", host="xn--bcher-kva.example"), 0),
        # What protects the mailbox writes its name into every link.
        ("url_has_recipient", marked("rewritten", target="https://x/", url="https://a/?d=lee@corp.example"), 0),
        ("url_has_recipient", marked("rewritten", target="https://parts.example/#lee@corp.example"), 1),
        ("url_plain_http_share", marked("rewritten", target="http://parts.example/"), 1.0),
    ],
)  # fmt: skip
def test_how_links_are_written_and_where_they_stand(name: str, url: Url, expected: ContentValue) -> None:
    assert value(name, urls=(url,), sender=SENDER, recipients=("lee@corp.example",)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("www.bank.example", 1), ("https://bank.example/login", 1), ("bank.com", 1), ("BANK.COM »", 1),
        ("(bank.com)", 1),         ("bank。com", 1), ("ｂａｎｋ．ｃｏｍ", 1), ("ba\u200bnk.com", 1), ("bänk.de", 1),
        ("Log in at https://bank.com now", 1),
        ("Go to www.bank.com", 1), ("http://parts.example@bank.com/", 1),
        ("parts.example", 0), ("www.shop.parts.example/x", 0), ("See www.parts.example and www.bank.com", 0),
        ("readme.md", 0), ("report.py", 0), ("node.js", 0), ("invoice.pdf", 0), ("done.Then", 0), ("v1.2.3", 0),
        ("See the report. It is new.", 0), ("Ann@Parts.example", 0), ("...", 0), ("1.50", 0),
    ],
)  # fmt: skip
def test_a_text_that_names_another_party_differs(text: str, expected: int) -> None:
    url = link("https://shop.parts.example/", text)
    assert value("url_text_differs", urls=(url,), sender=SENDER) == expected


def test_a_rewritten_text_is_held_against_the_target_by_where_it_leads() -> None:
    text = "https://eur01.safelinks.protection.outlook.com/?url=x"
    assert value("url_text_differs", urls=(replace(link("https://x/", text), shown="parts.example"),)) == 0
    assert value("url_text_differs", urls=(replace(link("https://x/", text), shown="bank.example"),)) == 1


def test_links_that_lead_to_no_host_are_counted_by_what_opens_them() -> None:
    others = tuple(
        replace(link(url), scheme=url.partition(":")[0], domain=domain, host=domain)
        for url, domain in [
            ("mailto:ann@parts.example", "parts.example"), ("mailto:x@bank.example", "bank.example"), ("tel:+491", ""),
            ("javascript:void(0)", ""), ("javascript:;", ""), ("javascript:steal()", ""), ("data:text/html,x", ""),
            ("cid:x", ""), ("ms-msdt:/id x", ""), ("file:///C:/x", ""),
        ]
    )  # fmt: skip
    found = computed(message_of(other_links=others, sender=SENDER))
    names = ("url_count", "url_mail", "url_mail_elsewhere", "url_phone", "url_script", "url_application", "url_file")
    assert [found[name] for name in names] == [0, 2, 1, 1, 2, 1, 1]
    assert found["url_bare"] is None
