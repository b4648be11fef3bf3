"""Addresses are read to the host that a browser would ask, and to what lies beyond the web."""

from __future__ import annotations

import ada_url
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwarden.ingest.budget import Budget
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.urls import read_url
from mailwarden.ingest.web_address import Address, parse_address, resolve, tidy_address

PIECES = st.sampled_from(
    ["@", "user", "a:b@", ":", ":80", ":8443", "evil.example", "EVIL.Example", "%65vil.example", "evil%2eexample",
     "evil。example", "ｅｖｉｌ.example", "großbank.example", "bücher.example", "xn--bcher-kva.example", "127.1",
     "0x7f.1",      "0x7f.0xf", "2130706433", "0177.0.0.1", "1.2.3.4.", "1.2.3", "256.1.1.1", "08.1.1.1", "0x", "[::1]",
     "[::ffff:1.2.3.4]", "[2001:DB8:0:0::1]", "[x]", "?q=a@b", "#frag", "/path", "/../x", "\t", "\n", " ", "a.b.",
     "a..b", "_dmarc.example", "e\u00advil.example", "☃.example", "a b", "%00", "/", "\\", "//", "http:", "a=b:c"]
)  # fmt: skip


def read(url: str, base: str = "") -> Address | None:
    tidy, _ = tidy_address(url)
    return parse_address(resolve(base, tidy) if base else tidy, Reading(Budget()))


def browsers(url: str, base: str | None = None) -> str | None:
    """The host as WHATWG's algorithm has it; None where that refuses the address."""
    try:
        host = ada_url.URL(url, base).hostname if base else ada_url.URL(url).hostname
    except ValueError:
        return None
    return host.strip("[]")


@given(
    st.sampled_from(["http:", "https:", "http://", "HTTPS://", "http:\\\\", "ftp://", "https:/", "http:///"]),
    st.lists(PIECES, min_size=1, max_size=4),
)
def test_a_host_is_the_one_that_a_browser_asks(start: str, pieces: list[str]) -> None:
    url = start + "".join(pieces)
    expected = browsers(url)
    # Names that begin or end with empty labels are read without these.
    if expected and expected == expected.strip("."):
        found = read(url)
        assert found is not None and found.host == expected


@given(
    st.sampled_from(["http://base.example", "https://base.example:8443/a/b?c"]),
    st.sampled_from(["", "https:", "HTTP:", "/", "//", "\\", "/\\", "?", "#", "../", "a/", "login"]),
    st.lists(PIECES, max_size=3),
)
def test_a_relative_address_leads_where_a_browser_goes(base: str, start: str, pieces: list[str]) -> None:
    url = start + "".join(pieces)
    expected = browsers(url, base)
    tidy, _ = tidy_address(url)
    is_plain = expected and expected == expected.strip(".") and tidy and ": " not in url
    if is_plain and ada_url.URL(url, base).protocol in ("http:", "https:", "ftp:"):
        found = read(url, base)
        assert found is not None and found.host == expected


@pytest.mark.parametrize(
    ("url", "scheme", "host", "marks"),
    [
        ("https://a.example/x", "https", "a.example", ()),
        ("https://bank.example@evil.example:8443/", "https", "evil.example", ("userinfo", "port")),
        ("https://evil.example:443/", "https", "evil.example", ()),
        ("https:evil.example", "https", "evil.example", ("slashes",)),
        ("https:\\\\evil.example\\x", "https", "evil.example", ("slashes",)),
        ("https://evil.example\\@bank.example", "https", "evil.example", ("slashes",)),
        ("https:////evil.example", "https", "evil.example", ("slashes",)),
        ("http://0x7f.1/", "http", "127.0.0.1", ("ip_form",)),
        ("http://0x7f000001", "http", "127.0.0.1", ("ip_form",)),
        ("http://017700000001/", "http", "127.0.0.1", ("ip_form",)),
        ("http://127.0.0.1/", "http", "127.0.0.1", ()),
        ("http://[::ffff:7f00:1]/", "http", "::ffff:7f00:1", ()),
        ("http://ｅｖｉｌ。example/", "http", "evil.example", ("wide_host",)),
        ("http://e%76il.example/", "http", "evil.example", ("encoded_host",)),
        ("//evil.example/x", "https", "evil.example", ("bare",)),
        ("www.evil.example", "http", "www.evil.example", ("bare",)),
        ("evil.com/login", "http", "evil.com", ("bare",)),
        ("evil.com:8443/x", "http", "evil.com", ("bare", "port")),
        ("file://evil.example/share/a.rtf!x", "file", "evil.example", ()),
        ("file:////evil.example/x", "file", "evil.example", ()),
        ("file:\\\\evil.example\\x", "file", "evil.example", ()),
        ("\\\\evil.example@SSL@443\\DavWWWRoot\\a", "file", "evil.example", ("port",)),
        ("file:///C:/x", "file", "", ()),
        ("file://C:/x", "file", "", ()),
        ("smb://evil.example/x", "smb", "evil.example", ()),
        ("webcal://evil.example/c.ics", "webcal", "evil.example", ()),
        ("intent://evil.com/#Intent;scheme=https;end", "intent", "evil.com", ()),
        ("whatsapp://send?text=hi", "whatsapp", "", ()),
        ("mailto:Ann@Corp.example?subject=x", "mailto", "corp.example", ()),
        ("tel:+49123", "tel", "", ()),
        ("cid:part1@corp.example", "cid", "", ()),
        ("data:text/html;base64,PHNjcmlwdD4=", "data", "", ()),
        ("javascript:void(0)", "javascript", "", ()),
        ("blocked::http://news.example/a", "http", "news.example", ()),
        (" BLOCKED::https://news.example/a", "https", "news.example", ()),
        ("blocked:http", "blocked", "", ()),
    ],
)
def test_an_address_is_read(url: str, scheme: str, host: str, marks: tuple[str, ...]) -> None:
    found = read(url)
    assert found is not None and (found.scheme, found.host, found.marks) == (scheme, host, marks)


@pytest.mark.parametrize(
    "url", ["", "#top", "/x", "x", "index.html", "page.php?x=1", "default.aspx", "readme.md", "?a"]
)
def test_what_leads_nowhere_is_no_link(url: str) -> None:
    assert read(url) is None


@pytest.mark.parametrize(
    ("url", "scheme", "target"),
    [
        ("ms-word:ofe|u|https://evil.example/a.docx", "ms-word", "https://evil.example/a.docx"),
        ("search-ms:query=a&crumb=location:\\\\evil.example@80\\s", "search-ms", "\\\\evil.example@80\\s"),
        ("search-ms:query=a&crumb=location:%5C%5Cevil.example%5Cs", "search-ms", "\\\\evil.example\\s"),
        ("ms-appinstaller:?source=https://evil.example/x.msix", "ms-appinstaller", "https://evil.example/x.msix"),
        (
            "microsoft-edge:https://www.google.com/url?q=https://evil.example/",
            "microsoft-edge",
            "https://evil.example/",
        ),
        ("javascript:location='https://evil.example/x'", "javascript", "https://evil.example/x"),
        ("data:text/html;base64,PGEgaHJlZj0iaHR0cHM6Ly9ldmlsLmV4YW1wbGUveCI+", "data", "https://evil.example/x"),
        ("data:text/html,<a%20href='https://evil.example/x'>", "data", "https://evil.example/x"),
    ],
)
def test_what_an_application_is_told_to_open_is_where_a_link_leads(url: str, scheme: str, target: str) -> None:
    link = read_url(url, "", "html", Reading(Budget()))
    assert link is not None and (link.scheme, link.target, link.domain) == (scheme, target, "evil.example")


def test_controls_are_taken_out_as_browsers_do_and_noted() -> None:
    link = read_url(" ht\ntp://ev\til.exam\r\nple/a\x00 ", "", "html", Reading(Budget()))
    assert link is not None and (link.url, link.marks) == ("http://evil.example/a", ("controls",))
    assert read_url(" http://a.example/b c ", "", "html", Reading(Budget())) is not None
