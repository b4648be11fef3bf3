"""Which words of a plain text are links, as mail clients make them."""

from __future__ import annotations

import pytest

from mailwarden.domain.mail.message import Message
from mailwarden.ingest.budget import Budget
from mailwarden.ingest.parse import parse_message
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.text_links import plain_urls


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("Verify at login.evil-host.com/v?id=7 within a day", ["login.evil-host.com/v?id=7"]),
        ("see evil.it.", ["evil.it"]),
        ("go to EVIL.COM now", ["EVIL.COM"]),
        ("(evil.com) <evil.co.uk> 'evil.net', \"evil.org\"", ["evil.com", "evil.co.uk", "evil.net", "evil.org"]),
        ("*evil.com* _evil.net_ -evil.org-", ["evil.com", "evil.net", "evil.org"]),
        ("evil.com(see there)", ["evil.com"]),
        ("evil.com:8080/login).", ["evil.com:8080/login"]),
        ("evil.com's page, evil.com; evil.com?", ["evil.com", "evil.com", "evil.com"]),
        ("evil.com#frag evil.com?x=1", ["evil.com#frag", "evil.com?x=1"]),
        ("Visit:evil.com/x", ["evil.com/x"]),
        ("bit.ly/3xYz t.co/abc wa.me/4912345", ["bit.ly/3xYz", "t.co/abc", "wa.me/4912345"]),
        ("Paypal.com asks", ["Paypal.com"]),
        ("evil.zip/x a.evil.zip", ["evil.zip/x", "a.evil.zip"]),
        ("163.com", ["163.com"]),
        ("пример.рф bücher.de/x xn--bcher-kva.de", ["пример.рф", "bücher.de/x", "xn--bcher-kva.de"]),
        ("こちらlogin.evil.comをご覧ください。", ["login.evil.com"]),
        ("www.evil.jpをご覧ください。", ["www.evil.jp"]),
        ("请看http://evil.cn/a，谢谢", ["http://evil.cn/a"]),
        ("http://evil.jp/あ。次に", ["http://evil.jp/あ"]),
        ("Http://evil.com WWW.EVIL.COM/X ftp.evil.com", ["Http://evil.com", "WWW.EVIL.COM/X", "ftp.evil.com"]),
        ("https:\\\\evil.com\\x", ["https:\\\\evil.com\\x"]),
        ("file://evil.com/a", ["file://evil.com/a"]),
        ("open \\\\evil.com\\share\\a.lnk now", ["\\\\evil.com\\share\\a.lnk"]),
        ("\\\\10.1.2.3@80\\x", ["\\\\10.1.2.3@80\\x"]),
        ("http://a.example/ and b.com and www.c.example", ["http://a.example/", "b.com", "www.c.example"]),
        ("http://a.example/b.com/c.org", ["http://a.example/b.com/c.org"]),
        # What nobody sees parts no name, and ends a link where other letters follow.
        ("ev\u00adil.com/login https://evil\u200b.com/x", ["evil.com/login", "https://evil.com/x"]),
        ("http://evil.jp/a\u200bあ", ["http://evil.jp/a"]),
    ],
)
def test_what_a_client_links_is_found(text: str, links: list[str]) -> None:
    assert plain_urls(text, Reading(Budget())) == links


@pytest.mark.parametrize(
    "text",
    [
        "readme.md", "README.MD", "report.py", "main.rs", "run.sh", "photos.zip", "setup.exe", "file.tar.gz", "a.out",
        "St.John", "e.g.this", "i.e.", "p.m. to", "Ph.D", "U.S.A", "Co.Ltd", "node.js", "v1.2.3", "1.2.3.4", "5.pm",
        "done.Then", "done.In the", "end.It is", "fine.So we", "no.No way", "Hello.My name", "me.To be", "us.At one",
        "ann@parts.com", "ann.lee@parts.com", "<20210101.ab.com@host>", "x=foo.com@bar",
        "foo(bar.id)", "list[dev.id]", "p->dev.id", "std::foo.id", "a.id(1)", "$obj.info", "self.name", "fp.data",
        "foo.bar_baz", "some_file.pl", "/usr/lib/foo.so", "lib/foo.com", "C:\\x\\foo.com", "\\n\\foo.com",
        "\\\\host\\x",         "example.local", "host.corp", "co.uk", "..com", "a..com", "a.-com", "http://", "www.", "://evil",
    ],
)  # fmt: skip
def test_what_no_client_links_is_none(text: str) -> None:
    assert plain_urls(f"We saw {text} there", Reading(Budget())) == []


def test_a_path_tells_a_host_in_text_from_a_file_and_not_in_markup() -> None:
    assert [url.host for url in parse_message(b"\nget it at evil.zip/login now").urls] == ["evil.zip"]
    assert parse_message(b"Content-Type: text/html\n\n<a href='guide.md/x'>x</a>").urls == ()


@pytest.mark.parametrize(
    ("source", "hosts"),
    [
        ("<p>http://ev<wbr>il.com/x</p>", ["evil.com"]),
        ("<p>ev<b></b>il.com/x</p>", ["evil.com"]),
        ("<p>evil<span>.com/x</span></p>", ["evil.com"]),
        ("<p>ev<i style='display:none'>x</i>il.com/x", ["evil.com"]),
        ("<p>a.com</p><p>b.com</p>", ["a.com", "b.com"]),
        ("<td>a.com</td><td>b.com</td>", ["a.com", "b.com"]),
        ("<p>a.com<br>b.com <b>c.com</b>", ["a.com", "b.com", "c.com"]),
        ("<p>a.com <a href=//b.com>x</a> c.com", ["a.com", "b.com", "c.com"]),
        ("<p>That is all.<span>so long", []),
    ],
)
def test_a_link_in_markup_goes_on_over_inline_tags(source: str, hosts: list[str]) -> None:
    assert [url.host for url in parse_message(b"Content-Type: text/html\n\n" + source.encode()).urls] == hosts


def subject(text: str) -> Message:
    return parse_message(f"Subject: {text}\n\nhi\n".encode())


def test_a_link_in_a_subject_is_one_and_a_mere_name_is_not() -> None:
    found = subject("Pay now: evil.com/pay").urls
    assert [(url.host, url.origin, url.place) for url in found] == [("evil.com", "subject", "subject")]
    assert [url.host for url in subject("https://a.example www.b.com").urls] == ["a.example", "www.b.com"]
    assert subject("Your order at shop.com").urls == ()
