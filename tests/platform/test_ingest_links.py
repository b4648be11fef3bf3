"""Links of a message: where in markup they stand, and where they lead once what rewrites them is undone."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import pytest

from mailwarden.domain.mail.message import Message, Url
from mailwarden.ingest.budget import Budget
from mailwarden.ingest.parse import parse_message
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.redirectors import DECODERS, MAX_DEPTH, Table
from mailwarden.ingest.urls import read_url
from mailwarden.stores.lists import load_lists, load_redirectors
from mailwarden.stores.redirector_list import HOW

TARGET = "https://www.partner.example/report?a=1&b=2"


def html(text: str) -> Message:
    return parse_message(b"Content-Type: text/html; charset=utf-8\n\n" + text.encode())


def hosts(text: str) -> list[str]:
    return [url.host for url in html(text).urls]


def read(url: str, text: str = "") -> Url:
    link = read_url(url, text, "html", Reading(Budget()))
    assert link is not None
    return link


def in_field(url: str = TARGET) -> str:
    return quote(url, safe="")


def in_base64(url: str = TARGET) -> str:
    return base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def safe_link(url: str = TARGET, region: str = "eur01") -> str:
    return (
        f"https://{region}.safelinks.protection.outlook.com/?url={in_field(url)}"
        "&data=05%7C01%7Cbob%40corp.example%7C0&sdata=x%3D&reserved=0"
    )


REWRITTEN = {
    "Safe Links": safe_link(),
    "Safe Links with a path": safe_link().replace("/?url", "/ap/t-59584e83/?url"),
    "Safe Links escaped twice": safe_link().replace("&", "&amp;"),
    "Safe Links within Safe Links": safe_link(safe_link(region="nam12")),
    "URL Defense 1": f"https://urldefense.proofpoint.com/v1/url?u={in_field()}&k=x",
    "URL Defense 2": "https://urldefense.proofpoint.com/v2/url?"
    "u=https-3A__www.partner.example_report-3Fa-3D1-26b-3D2&d=DwMF&c=x",
    "URL Defense 3": f"https://urldefense.com/v3/__{TARGET}__;!!x!y$",
    "URL Defense 3 with one slash": f"https://urldefense.com/v3/__{TARGET.replace('//', '/')}__;!!x!y$",
    "URL Defense around Safe Links": f"https://urldefense.com/v3/__{safe_link()}__;!!x!y$",
    "Safe Links around URL Defense": safe_link(f"https://urldefense.com/v3/__{TARGET}__;!!x!y$"),
    "Cisco": f"https://secure-web.cisco.com/1abcDEF-_x/{in_field()}",
    "Barracuda": f"https://linkprotect.cudasvc.com/url?a={in_field()}&c=E,1,x&typo=1",
    "Symantec": f"https://clicktime.symantec.com/3abc?u={in_field()}",
    "Trend Micro": f"https://ca-1.clicktime.trendmicro.com:443/wis/clicktime/v1/query?url={in_field()}&umid=x",
    "Sophos": f"https://eu-west-1.protection.sophos.com?d=partner.example&u={in_base64()}&i=x",
    "FireEye": f"https://protect2.fireeye.com/v1/url?k=a&q=1&e=b&u={in_field()}",
    "Check Point 1": f"https://checkpoint.url-protection.com/v1/r01/url?o={in_field()}&g=x",
    "Vade": f"https://antiphishing.vadesecure.com/v4?f=a&i=b&u={in_field()}",
    "TitanHQ": f"https://linklock.titanhq.com/analyse?url={in_field()}&data=x",
    "GMX": f"https://deref-gmx.net/mail/client/abc/dereferrer/?redirectUrl={in_field()}",
    "Check Point": f"https://protect.checkpoint.com/v2/___{TARGET}___.YXAz",
}
REDIRECTED = {
    "Google": f"https://www.google.com/url?q={in_field()}&sa=D",
    "Google elsewhere": f"https://www.google.co.uk/url?sa=t&url={in_field()}",
    "Google, encoded twice": f"https://www.google.com/url?q={quote(in_field(), safe='')}",
    "Facebook": f"https://l.facebook.com/l.php?u={in_field()}&h=AT",
    "LinkedIn": f"https://www.linkedin.com/safety/go?url={in_field()}&trk=x",
    "YouTube": f"https://www.youtube.com/redirect?event=video&q={in_field()}",
    "Bing": f"https://www.bing.com/ck/a?!&&p=abc&u=a1{in_base64()}&ntb=1",
    "DuckDuckGo": f"https://duckduckgo.com/l/?uddg={in_field()}",
    "Yahoo": f"https://r.search.yahoo.com/_ylt=A/RV=2/RO=10/RU={in_field()}/RK=2/RS=x",
    "Slack": f"https://slack-redir.net/link?url={in_field()}",
    "Steam": f"https://steamcommunity.com/linkfilter/?url={in_field()}",
    "VK": f"https://vk.com/away.php?to={in_field()}",
    "DoubleClick": f"https://ad.doubleclick.net/ddm/clk/1;2;u?{TARGET}",
    "AdClick": f"https://adclick.g.doubleclick.net/pcs/click?xai=A&adurl={in_field()}",
    "SES": f"https://abc.r.us-east-1.awstrack.me/L0/{in_field().replace('%3A', ':')}/1/0100-x",
    "a mailer's JSON": "https://track.customer.io/e/c/" + in_base64(f'{{"email_id":"x","href":"{TARGET}"}}') + "/abc",
}


@pytest.mark.parametrize(
    ("name", "mark"), [*((n, "rewritten") for n in REWRITTEN), *((n, "redirected") for n in REDIRECTED)]
)
def test_a_link_leads_where_what_carries_it_leads(name: str, mark: str) -> None:
    link = read({**REWRITTEN, **REDIRECTED}[name])
    assert (link.target, link.host, link.domain) == (TARGET, "www.partner.example", "partner.example")
    assert link.marks == (mark,) and link.via and "partner.example" not in link.via


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://protect-eu.mimecast.com/s/XyZ?domain=partner.example", "https://partner.example/"),
        ("https://url.uk.m.mimecastprotect.com/s/ABC?domain=www.partner.example", "https://www.partner.example/"),
        ("https://www.google.com/amp/s/www.partner.example/a", "https://www.partner.example/a"),
        ("https://www-partner-example.cdn.ampproject.org/c/s/www.partner.example/a", "https://www.partner.example/a"),
        ("https://my--shop-partner-example.translate.goog/a?b", "https://my-shop.partner.example/a?b"),
        ("https://www.google.com/url?q=www.partner.example/a", "http://www.partner.example/a"),
        ("https://urldefense.com/v3/__https://partner.example/*a**Cx__;" + in_base64("üdddd") + "!!x$",
         "https://partner.example/üaddddx"),
        (safe_link(REDIRECTED["Google"]), TARGET),
    ],
)  # fmt: skip
def test_other_forms_of_a_target(url: str, target: str) -> None:
    link = read(url)
    assert (link.target, link.domain) == (target, "partner.example")


@pytest.mark.parametrize(
    ("url", "domain", "marks"),
    [
        ("https://protect-eu.mimecast.com/s/XyZ", "mimecast.com", ("rewritten", "target_unread")),
        ("https://eur01.safelinks.protection.outlook.com/?data=x", "outlook.com", ("rewritten", "target_unread")),
        # Two fields that disagree: which one the site takes is not known.
        (f"https://www.google.com/url?q={in_field('https://honest.example')}&url={in_field()}", "google.com",
         ("redirected", "target_unread")),
        ("https://www.google.com/search?q=https://partner.example", "google.com", ()),
        ("https://www.google.com/url?q=hello", "google.com", ()),
        # Names that only look like the site's.
        (f"https://www.google.com.evil.example/url?q={in_field()}", "evil.example", ()),
        (f"https://safelinks.protection.outlook.com.evil.example/?url={in_field()}", "evil.example", ()),
        (f"https://google.evil-host.com/url?q={in_field()}", "evil-host.com", ()),
        (f"https://notgoogle.com/url?q={in_field()}", "notgoogle.com", ()),
    ],
)  # fmt: skip
def test_what_does_not_say_where_it_leads_stays_what_it_is(url: str, domain: str, marks: tuple[str, ...]) -> None:
    link = read(url)
    assert (link.target, link.domain, link.via, link.marks) == ("", domain, (), marks)


def test_links_inside_each_other_are_bounded() -> None:
    url = "https://evil.example/"
    for _ in range(MAX_DEPTH):
        url = f"https://urldefense.com/v3/__{url}__;!!x$" if "__" not in url else f"https://href.li/?{url}"
    assert read(url).domain == "evil.example"
    for _ in range(5):
        url = f"https://href.li/?{url}"
    deep = read(url)
    assert "target_unread" in deep.marks and len(deep.via) == MAX_DEPTH


def test_what_is_odd_in_the_target_is_odd_in_the_link() -> None:
    assert set(read(safe_link("http://bank.example@0x7f.1:8080/")).marks) == {
        "rewritten",
        "userinfo",
        "port",
        "ip_form",
    }


@pytest.mark.parametrize(("text", "shown"), [(safe_link(), "partner.example"), (TARGET, ""), ("Report", "")])
def test_a_text_that_is_rewritten_too_stands_for_its_target(text: str, shown: str) -> None:
    assert read(safe_link(), text).shown == shown


def test_the_table_says_only_what_can_be_read() -> None:
    assert set(HOW) == set(DECODERS)
    shipped = load_redirectors()
    assert shipped.entries == load_lists().redirectors and len(shipped.entries) > 150
    Table(shipped.entries)


def test_a_site_adds_its_own(tmp_path: Path) -> None:
    (tmp_path / "redirectors.txt").write_text(
        "# name: redirectors\n# version: 1\n# mode: extend\n\n"
        "links.corp.example/go: redirector query to\n-vk.com/away.php\n"
    )
    own = load_redirectors(tmp_path)
    assert own.entries["links.corp.example/go"] == ("redirector", "query", "to")
    assert "vk.com/away.php" not in own.entries and own.fingerprint != load_redirectors().fingerprint
    found = Table(own.entries).find("links.corp.example", "corp.example", "https://links.corp.example/go?to=x")
    assert found is not None and not found.rewrites


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<a href='https://a.example/'>x</a>", ["a.example anchor"]),
        ("<a href=\"&#104;ttps://a.exam&#10;ple/&amp;x\">x</a>", ["a.example anchor"]),
        ("<map><area href=//a.example></map>", ["a.example anchor"]),
        ("<form action='//a.example'><button formaction=//b.example>", ["a.example form", "b.example form"]),
        ("<input type=image formaction=https://b.example/>", ["b.example form"]),
        ("<meta http-equiv='Refresh' content='0; URL=\"https://a.example/x\"'>", ["a.example refresh"]),
        ("<meta http-equiv=refresh content=\"3;https://a.example/x\">", ["a.example refresh"]),
        ("<meta http-equiv=refresh content=30><meta name=viewport content='width=1'>", []),
        ("<iframe src='https://a.example/'></iframe>", ["a.example frame"]),
        ("<object data=//a.example></object><embed src=//b.example>", ["a.example frame", "b.example frame"]),
        ("<v:roundrect href='https://a.example/'>x</v:roundrect>", ["a.example anchor"]),
        ("<svg><a xlink:href='https://a.example/'>x</a></svg>", ["a.example anchor"]),
        ("<img src='file://a.example'><td background='\\\\b.example\\x'>", ["a.example loaded", "b.example loaded"]),
        ("<img src='https://a.example/x.png'><body background='https://a.example/y.png'>", []),
        ("<!--[if mso]><v:rect href='https://a.example/'>x</v:rect><![endif]-->", ["a.example anchor"]),
        ("<!--[if mso]><v:rect href='//a.example'><![endif]--><a href='//a.example'>x</a>", ["a.example anchor"]),
        ("<!-- <a href='https://a.example/'>x</a> -->", []),
        ("<p>see login.evil-host.com/x or evil.com</p>", ["login.evil-host.com text", "evil.com text"]),
        ("<a href='evil.com/x'>x</a><a href='www.b.example'>y</a>", ["evil.com anchor", "www.b.example anchor"]),
        ("<a href='page.html'>x</a><a href='#top'>y</a><a href=''>z</a>", []),
    ],
)  # fmt: skip
def test_where_links_stand_in_markup(markup: str, expected: list[str]) -> None:
    assert [f"{url.host} {url.place}" for url in html(f"<body>{markup}").urls] == expected


@pytest.mark.parametrize(
    ("href", "url"),
    [
        ("v?a=b:c", "https://evil.example/x/v?a=b:c"),
        ("../login", "https://evil.example/login"),
        ("/login:1", "https://evil.example/login:1"),
        ("?q=http://b.example", "https://evil.example/x/?q=http://b.example"),
        ("\\login", "https://evil.example/login"),
        ("https:login", "https://evil.example/x/login"),
        ("www.b.example", "https://evil.example/x/www.b.example"),
    ],
)
@pytest.mark.parametrize("where", ["before", "behind"])
def test_a_base_in_any_place_moves_relative_links(href: str, url: str, where: str) -> None:
    link, base = f'<a href="{href}">go</a>', '<base href="https://evil.example/x/">'
    found = html(base + link if where == "before" else link + base).urls
    assert [(one.url, one.host, one.marks) for one in found] == [(url, "evil.example", ("base",))]


def test_a_base_leaves_alone_what_is_absolute_and_must_be_absolute_itself() -> None:
    base = '<base href="https://evil.example/"><base href="https://second.example/">'
    assert hosts(f'{base}<a href="https://a.example/">x</a><a href="a">y</a>') == ["a.example", "evil.example"]
    assert [url.marks for url in html(f'{base}<a href="http://a.example:80/b:c">x</a>').urls] == [()]
    assert hosts('<base href="//evil.example/"><a href="\\\\b.example/x">x</a>') == ["b.example"]
    for unusable in ("x/", "data:text/html,", "javascript:alert(1)", "#"):
        assert hosts(f'<base href="{unusable}"><a href="login">x</a>') == []


def test_what_leads_to_no_host_stands_apart() -> None:
    message = html(
        "<a href='mailto:ann@corp.example'>m</a><a href='tel:+491'>t</a>"
        "<a href='data:text/html;base64,PHNjcmlwdD4='>d</a><a href='javascript:void(0)'>j</a><a href='cid:x'>c</a><a href='file:///C:/x'>f</a>"
    )
    assert message.urls == ()
    assert [link.scheme for link in message.other_links] == ["mailto", "tel", "data", "javascript", "cid", "file"]
    assert message.other_links[0].domain == "corp.example"
