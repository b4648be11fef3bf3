from __future__ import annotations

import base64
import encodings.aliases
import hashlib
import io
import zipfile
from random import Random

import pytest

from mailwarden.domain.mail.message import Message
from mailwarden.domain.status import Status
from mailwarden.ingest.attachments import detect_type
from mailwarden.ingest.parse import parse_message
from mailwarden.ingest.quotes import split_quotes


def codes(message: Message) -> set[str]:
    return {defect.code for defect in message.defects}


def plain(text: str) -> Message:
    return parse_message(b"Content-Type: text/plain; charset=utf-8\n\n" + text.encode())


def html(text: str) -> Message:
    return parse_message(b"Content-Type: text/html; charset=utf-8\n\n" + text.encode())


def multipart(kind: str, *parts: bytes) -> bytes:
    body = b"".join(b"--=b\r\n" + part + b"\r\n" for part in parts)
    return b'Content-Type: multipart/%s; boundary="=b"\r\n\r\npreamble\r\n%s--=b--\r\n' % (kind.encode(), body)


def attached(data: bytes, declared: str = "application/octet-stream", name: str = "f") -> bytes:
    head = f'Content-Type: {declared}; name="{name}"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    return head.encode() + base64.encodebytes(data)


ORIGINAL = "-----Original Message-----\nFrom: Bob\nSent: Monday\n\nold words"
OUTLOOK = "________________________________\nFrom: Bob <b@x.example>\nSent: Monday\nTo: Ann\nSubject: x\n\nold words"


@pytest.mark.parametrize(
    "quote",
    [
        "On Mon, 1 Jan 2024, Bob <b@x.example> wrote:\n> old words",
        "On Mon, 1 Jan 2024 at 10:00, Bob <b@x.example>\nwrote:\n\n> old words",
        "On Mon, 1 Jan 2024 Bob wrote:\nold words",
        "Am 1.1.2024 um 10:00 schrieb Bob:\n> old words",
        "Le 1 janv. 2024, Bob a écrit :\n> old words",
        "Bob wrote:\n> old words",
        ORIGINAL,
        OUTLOOK,
        "From: Bob\nSent: Monday\nTo: Ann\n\nold words",
        "Von: Bob\nGesendet: Montag\nAn: Ann\n\nold words",
        "---------- Forwarded message ---------\nFrom: Bob\n\nold words",
        "Begin forwarded message:\n\nFrom: Bob\n\nold words",
    ],
)
def test_quotes_are_set_apart(quote: str) -> None:
    new, quoted = split_quotes(f"new words\n\n{quote}")
    assert new == "new words"
    assert quoted.replace("\n\n", "\n") == quote.replace("\n\n", "\n")


def test_answers_between_quotes_stay_new() -> None:
    new, quoted = split_quotes("Hi\n\nOn Monday 1, Bob wrote:\n> one\n\nmy answer\n\n> two\n\nmine again")
    assert [line for line in new.split("\n") if line] == ["Hi", "my answer", "mine again"]
    assert [line for line in quoted.split("\n") if line] == ["On Monday 1, Bob wrote:", "> one", "> two"]


@pytest.mark.parametrize(
    "prose",
    [
        "From: here to there\nTo: far away",
        "From: here to there it is far",
        "He said:\nhello",
        "a > b",
        "-----\nsale\n-----",
    ],
)
def test_prose_is_not_taken_for_a_quote(prose: str) -> None:
    assert split_quotes(prose) == (prose, "")


def test_a_bare_forward_is_what_its_sender_sends() -> None:
    message = plain(f"\n{ORIGINAL}")
    assert (message.new_text, message.quoted_text) == (ORIGINAL, "")


def test_html_becomes_text() -> None:
    message = html(
        "<html><head><title>no</title><style>p{}</style></head><body><p>One &amp; <b>two</b><p>three<br>four"
        "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table><!-- no --><script>no('<p>')</script>"
        "<pre>x\n  y</pre>1 < 2 &eacute;</body></html>"
    )
    lines = [line for line in message.new_text.split("\n") if line]
    assert lines == ["One & two", "three", "four", "a b", "c", "x", "y", "1 < 2 é"]
    assert message.html
    assert message.hidden_chars == 0


@pytest.mark.parametrize(
    "way",
    [
        'style="display:none"',
        "style='color:red; DISPLAY : none !important'",
        "style=visibility:hidden",
        'style="font-size:0"',
        'style="font-size:0px;line-height:1"',
        'style="font-size: 1px"',
        'style="display:/**/none"',
        'style="display&#58;none"',
        'style="mso-hide:all"',
        'style="opacity:0"',
        "hidden",
    ],
)
def test_hidden_text_is_counted_and_not_read(way: str) -> None:
    message = html(f"<div>seen <span {way}>un <b>seen</b> x</span> too</div>after")
    assert message.new_text == "seen too\nafter"
    assert message.hidden_chars == 7


@pytest.mark.parametrize(
    "way",
    ['style="font-size:10px"', 'style="font-size:1em"', 'style="opacity:0.9"', 'class="hidden"', 'style="font-size:"'],
)
def test_visible_text_is_not_called_hidden(way: str) -> None:
    assert html(f"<span {way}>seen</span>").hidden_chars == 0


def test_hiding_ends_with_the_element_around_it() -> None:
    message = html('<div><span style="display:none">x</div>seen<p style="display:none">y<div>also</div>')
    assert (message.new_text, message.hidden_chars) == ("seen\n\nalso", 2)


@pytest.mark.parametrize(
    "quote",
    [
        '<div class="gmail_quote">On Monday Bob wrote:<blockquote>old</blockquote></div>',
        '<blockquote type="cite"><div>On 1 Jan, Bob wrote:</div>old</blockquote>',
        "<div>On 1 Jan, Bob wrote:</div><blockquote>old</blockquote>",
        '<div id="divRplyFwdMsg"><b>From:</b> Bob<br><b>Sent:</b> Monday<br><b>To:</b> Ann</div><div>old</div>',
        "<p>-----Original Message-----</p><p>From: Bob</p><p>old</p>",
        "<div><b>From:</b> Bob<br><b>Sent:</b> Monday<br><b>To:</b> Ann</div>old",
    ],
)
def test_html_quotes_are_set_apart(quote: str) -> None:
    message = html(f"<p>new words</p>{quote}")
    assert message.new_text == "new words"
    assert "old" in message.quoted_text


def test_indented_html_is_not_a_quote() -> None:
    assert html("<p>look:</p><blockquote>an offer</blockquote>").new_text == "look:\n\nan offer"


def test_urls_of_html_with_their_text() -> None:
    message = html(
        '<a href="https://l.evil.example/a?b=1&amp;c=2">www.bank.example\n <b>log in</b></a>'
        "<a href=mailto:x@y.example>m</a><a href='#top'>t</a><a href=/relative>r</a>"
        '<a href="ht\ntps://evil.example/"><img src=x alt="Pay now"></a>'
        '<form action="http://192.0.2.1/go"></form> plain http://bare.example/x. <area href=//map.example>'
    )
    assert [(url.url, url.text, url.host, url.domain, url.origin) for url in message.urls] == [
        ("https://l.evil.example/a?b=1&c=2", "www.bank.example log in", "l.evil.example", "evil.example", "html"),
        ("https://evil.example/", "Pay now", "evil.example", "evil.example", "html"),
        ("http://192.0.2.1/go", "", "192.0.2.1", "192.0.2.1", "html"),
        ("http://bare.example/x", "", "bare.example", "bare.example", "html"),
        ("//map.example", "", "map.example", "map.example", "html"),
    ]


def test_a_base_moves_relative_links() -> None:
    message = html('<base href="https://evil.example/x/"><a href="../login">go</a>')
    assert [url.url for url in message.urls] == ["https://evil.example/login"]


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("http://user:pw@evil.example:8080/", "evil.example"),
        ("http://bank.example@evil.example/", "evil.example"),
        ("http://2130706433/", "127.0.0.1"),
        ("http://0x7f.1/", "127.0.0.1"),
        ("http://[2001:db8::1]:80/", "2001:db8::1"),
        ("HTTP://EVIL.example./", "evil.example"),
        ("http://ev%69l.example/", "evil.example"),
        ("http://bücher.example/", "xn--bcher-kva.example"),
        ("https:evil.example", "evil.example"),
        ("https:\\\\evil.example\\x", "evil.example"),
        ("http://evil。example/", "evil.example"),
    ],
)
def test_hosts_are_read_as_browsers_read_them(written: str, host: str) -> None:
    assert [url.host for url in html(f"<a href='{written}'>x</a>").urls] == [host]


def test_plain_urls_lose_the_sentence_around_them() -> None:
    message = plain(
        "See (http://a.example/x_(y)), <https://b.example>, www.c.example! not ann@www.d.example or http://"
    )
    assert [url.url for url in message.urls] == ["http://a.example/x_(y)", "https://b.example", "www.c.example"]


def test_of_two_forms_the_html_is_read() -> None:
    parts = (b"Content-Type: text/plain\r\n\r\nharmless http://a.example", b"Content-Type: text/html\r\n\r\n<p>evil")
    message = parse_message(multipart("alternative", *parts))
    assert message.new_text == "evil"
    assert message.part_types == ("multipart/alternative", "text/plain", "text/html")
    assert (message.text_chars, message.html_chars) == (25, 7)
    assert [url.host for url in message.urls] == ["a.example"]
    assert parse_message(multipart("mixed", *parts)).new_text == "harmless http://a.example\n\nevil"


@pytest.mark.parametrize(
    ("label", "data", "text"),
    [
        ("iso-8859-1", b"\x93q\x94 caf\xe9", "“q” café"),
        ("utf-8", "naïve".encode(), "naïve"),
        ("us-ascii", "naïve".encode(), "naïve"),
        ("gb2312", "中文镕".encode("gb18030"), "中文镕"),
        ("iso-2022-jp", "日本".encode("iso2022_jp"), "日本"),
        ("utf-7", b"+AOk-", "é"),
        ("no-such", b"caf\xe9", "café"),
        ("unicode_escape", b"\\ud800", "\\ud800"),
        ("rot13", b"abc", "abc"),
        ("", b"a\0b", "ab"),
    ],
)
def test_charsets(label: str, data: bytes, text: str) -> None:
    assert parse_message(b"Content-Type: text/plain; charset=" + label.encode() + b"\n\n" + data).new_text == text


@pytest.mark.parametrize("label", sorted(set(encodings.aliases.aliases.values())))
def test_no_bytes_make_a_charset_raise(label: str) -> None:
    shifts = (
        b"\x1b$)C",
        b"\x1b$B",
        b"\x1b(B",
        b"\x0e",
        b"\x0f",
        b"~{",
        b"+",
        b"\0\0",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\xff\xfe\0\0",
    )
    for seed in range(40):
        rng = Random(seed)
        data = b"".join(rng.choice((rng.choice(shifts), rng.randbytes(rng.randrange(9)), b"words ")) for _ in range(30))
        message = parse_message(b"Content-Type: text/plain; charset=" + label.encode() + b"\n\n" + data)
        assert message.unread == (), (seed, message.defects)


def test_a_charset_that_lies_is_a_defect() -> None:
    french = "Un café, une pâte brisée, où êtes-vous allés cet été ? Ça va très bien là-bas."
    message = parse_message(b"Content-Type: text/plain; charset=utf-8\n\n" + french.encode("cp1252"))
    assert message.new_text == french
    assert "charset_mismatch" in codes(message)


@pytest.mark.parametrize(
    ("encoding", "data", "text"),
    [
        ("quoted-printable", b"caf=C3=A9 =\r\nx =ZZ", "café x =ZZ"),
        ("base64", b"Y2Fm\r\nw6k", "café"),
        ("Base64 (comment)", b"Y2Fmw6k=", "café"),
        ("x-uuencode", b"begin 644 f\n%8V%FPZD \n`\nend\n", "café"),
        ("rot13", "café".encode(), "café"),
    ],
)
def test_transfer_encodings(encoding: str, data: bytes, text: str) -> None:
    head = f"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: {encoding}\n\n"
    assert parse_message(head.encode() + data).new_text == text


def ooxml(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), "x")
    return out.getvalue()


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"%PDF-1.7\n", "application/pdf"),
        (b"MZ\x90\0\3" + b"\0" * 60, "application/vnd.microsoft.portable-executable"),
        (b"\x7fELF\2\1", "application/x-elf"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"Rar!\x1a\x07\x01\0", "application/x-rar"),
        (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
        (b"\x1f\x8b\x08\0", "application/gzip"),
        (b"{\\rtf1", "application/rtf"),
        (b"L\0\0\0\x01\x14\x02\0", "application/x-ms-shortcut"),
        (b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d\xae\xb1", "application/onenote"),
        (b"\0" * 32769 + b"CD001", "application/x-iso9660-image"),
        (OLE + "WordDocument".encode("utf-16-le"), "application/msword"),
        (OLE + "Workbook".encode("utf-16-le"), "application/vnd.ms-excel"),
        (OLE, "application/x-ole-storage"),
        (ooxml("a.txt"), "application/zip"),
        (ooxml("[Content_Types].xml", "xl/workbook.xml"), SHEET),
        (ooxml("xl/workbook.xml", "xl/vbaProject.bin"), "application/vnd.ms-excel.sheet.macroenabled.12"),
        (ooxml("META-INF/MANIFEST.MF"), "application/java-archive"),
        (ooxml("word/document.xml")[:60], "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        (b"<!DOCTYPE html><html>", "text/html"),
        (b"\xef\xbb\xbf <script>location=1</script>", "text/html"),
        (b"<?xml version='1.0'?><svg onload=x>", "image/svg+xml"),
        (b"var a = new ActiveXObject('x');", "text/javascript"),
        (b'Dim x\nSet x = CreateObject("WScript.Shell")', "text/vbscript"),
        (b"@echo off\r\ndel *", "application/x-bat"),
        (b"#!/bin/sh\n", "text/x-shellscript"),
        (b"BEGIN:VCALENDAR\r\n", "text/calendar"),
        (b"BM is a short word", "text/plain"),
        (b"MZ is no program", "text/plain"),
        (b"\1\2\3\4", "application/octet-stream"),
        (b"", "application/x-empty"),
    ],
)
def test_types_by_content(data: bytes, content_type: str) -> None:
    assert detect_type(data) == content_type


def test_an_attachment_is_what_its_bytes_are() -> None:
    program = b"MZ\x90\0\3" + b"\0" * 60
    raw = multipart("mixed", b"\r\nhello", attached(program, "application/pdf", "=?utf-8?Q?R=C3=A9.pdf?="))
    (found,) = parse_message(raw).attachments
    assert (found.filename, found.declared_type) == ("Ré.pdf", "application/pdf")
    assert found.content_type == "application/vnd.microsoft.portable-executable"
    assert (found.size, found.sha256) == (len(program), hashlib.sha256(program).hexdigest())


def test_a_program_declared_as_text_is_no_body() -> None:
    head = b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n"
    message = parse_message(head + base64.b64encode(b"MZ\x90\0\3" + b"\0" * 60))
    assert message.new_text == ""
    assert [part.content_type for part in message.attachments] == ["application/vnd.microsoft.portable-executable"]
    assert "text_is_binary" in codes(message)


def test_a_named_html_part_is_an_attachment_and_not_the_body() -> None:
    page = attached(b"<html><script>x</script>go http://x.example", "text/html", "invoice.html")
    message = parse_message(multipart("mixed", b"Content-Type: text/plain\r\n\r\nsee page", page))
    assert (message.new_text, message.html) == ("see page", False)
    assert [(part.filename, part.content_type) for part in message.attachments] == [("invoice.html", "text/html")]


def test_file_names_in_pieces() -> None:
    part = (
        b"Content-Type: application/pdf\r\nContent-Disposition: attachment;\r\n filename*0*=utf-8''r%C3%A9;\r\n"
        b' filename*1="sum\xc3\xa9.pdf"\r\n\r\n%PDF-1'
    )
    assert parse_message(multipart("mixed", part)).attachments[0].filename == "résumé.pdf"


def test_nested_messages_are_read() -> None:
    inner = b"Subject: inner\r\nFrom: i@x.example\r\nAuthentication-Results: mx; spf=pass\r\n\r\nhttp://in.example/"
    raw = multipart("mixed", b"\r\nouter", b"Content-Type: message/rfc822\r\n\r\n" + inner)
    message = parse_message(raw, trusted_authserv_ids=frozenset({"mx"}))
    (nested,) = message.nested
    assert (nested.subject, nested.urls[0].host) == ("inner", "in.example")
    assert nested.authentication.spf is None
    assert message.urls == ()
    assert [(part.nested, part.content_type) for part in message.attachments] == [(True, "message/rfc822")]


def test_nesting_is_bounded() -> None:
    message = parse_message(b"Content-Type: message/rfc822\n\n" * 10 + b"Subject: deep\n\nhi")
    depth = 0
    while message.nested:
        (message,) = message.nested
        depth += 1
    assert depth == 3
    assert "nested_too_deep" in codes(message)


def test_multiparts_are_bounded_in_depth_and_number() -> None:
    deep = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(500))
    assert "multipart_too_deep" in codes(parse_message(deep + b"\nhi"))
    wide = parse_message(multipart("mixed", *[b"Content-Type: image/png\r\n\r\nx"] * 1500))
    assert len(wide.part_types) <= 1000
    assert "too_many_parts" in codes(wide)


def test_broken_multiparts_still_show_their_text() -> None:
    unclosed = parse_message(b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--bc\n--b\n\ntwo")
    assert unclosed.new_text == "one\n--bc\n\ntwo"
    assert "boundary_not_closed" in codes(unclosed)
    missing = parse_message(b"Content-Type: multipart/mixed; boundary=b\n\nwords")
    assert missing.new_text == "words"
    assert "boundary_not_found" in codes(missing)
    nameless = parse_message(b"Content-Type: multipart/mixed\n\nwords")
    assert nameless.new_text == "words"
    assert "multipart_without_boundary" in codes(nameless)


def test_a_text_that_is_cut_is_not_read_in_full() -> None:
    # Below what is searched for quotes, so that only the length of what is kept can tell.
    message = plain("word " * 30_000)
    assert len(message.new_text) == 100_000
    assert message.unread == (("text", Status.OVER_BUDGET),)
    assert plain("word " * 15_000).unread == ()


def test_long_texts_are_cut_with_a_defect() -> None:
    message = plain("word " * 100_000)
    assert len(message.new_text) == 100_000
    assert message.text_chars == 500_000
    assert "text_too_long" in codes(message) and message.status_of(("text",)) is Status.OVER_BUDGET


def in_base64(data: bytes) -> Message:
    return parse_message(b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n" + data)


def test_base64_that_goes_on_behind_its_padding_is_read_on() -> None:
    for first in (b"a", b"aa", b"words "):
        message = in_base64(base64.b64encode(first) + b"=\n" + base64.b64encode(b"see http://evil.example/") + b"\n")
        assert message.new_text == first.decode() + "see http://evil.example/"
        assert [url.host for url in message.urls] == ["evil.example"]
        assert codes(message) & {"base64_goes_on", "base64_broken"} == {"base64_goes_on"} and message.unread == ()


def test_base64_followed_by_words_says_that_they_are_not_read() -> None:
    message = in_base64(base64.b64encode(b"a") + b"\n-- \nhttp://list.example/\n")
    assert message.new_text == "a" and message.status_of(("text",)) is Status.DAMAGED
    message = in_base64(b"QQ==" * 20_000)
    assert len(message.new_text) >= 10_000 and message.status_of(("text",)) is Status.OVER_BUDGET


def test_a_long_file_name_keeps_its_end_and_says_that_it_was_cut() -> None:
    head = b'Content-Type: application/x\nContent-Disposition: attachment; filename="'
    message = parse_message(head + b"a" * 5_000 + b'.pdf.exe"\n\nMZ')
    name = message.attachments[0].filename
    assert len(name) == 1_000 and name.startswith("aaa") and name.endswith("a.pdf.exe")
    assert message.status_of(("attachments",)) is Status.OVER_BUDGET


def test_text_in_a_field_of_a_form_is_seen() -> None:
    message = parse_message(
        b"Content-Type: text/html\n\n<textarea>see http://evil.example/ &amp;</textarea><xmp>a<b></xmp>"
    )
    assert message.new_text == "see http://evil.example/ &a<b>"
    assert [url.host for url in message.urls] == ["evil.example"]
