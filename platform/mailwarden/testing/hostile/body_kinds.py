"""Kinds of hostile messages: markup, styles, entities, links, quotes, and bait for the features of text."""

from __future__ import annotations

from mailwarden.testing.hostile.header_kinds import HEADER_KINDS
from mailwarden.testing.hostile.shapes import Kind, body, headers_of, html, nested, parts, text, together

_DOTS = b"1." * 100
_UMLAUTS = "ü".encode()

BODY_KINDS: dict[str, Kind] = {
    "tags never closed": html(b"<b>", b"<b x=1><i>", b"<div>", b"<p>a", b"<a href=http://a.example>"),
    "tags void": html(b"<br>", b"<img src=x alt=y>", b"<hr/>", b"<base href=x>", b"<area href=http://a.example>"),
    "tags deep, ends mismatched": html(b"</b>", b"</i>", b"</p>", before=b"<b><div>" + b"<span>" * 250),
    "tags deep, ends of another": html(b"<u></i>", b"<s></b>", before=b"<table><b><i><div>" + b"<span>" * 200),
    "tags in tables": html(b"<table><tr><td>", b"</td></tr></table>", b"<td><table></td>", b"<tr></table><table>"),
    "tags of paragraphs": html(b"<p><b>", b"<li><p>", b"<p></div>", before=b"<div><p>" + b"<span>" * 240),
    "tags with long names": html(b"<" + b"a" * 500 + b">", b"</" + b"a" * 50 + b">", b"<%d"),
    "tags opened only": html(b"<", b"<a ", b"</", b"<a <", b"<!"),
    "comments": html(b"<!--", b"<!-- -->", b"<!->", b"--!>", b"<!-- --", b"<!-->"),
    "scripts": html(b"<script>", b"<script></scriptx", b"<style></style>", b"<title>a</title", b"</script"),
    "raw texts": html(b"<textarea>", b"<xmp></", b"<iframe></iframe ", b"<noembed><title>"),
    "attributes": html(b"a ", b"a=b ", b'a="b" ', b"a = ", b"=", b"'", b'a="', before=b"<body><a hidden ", after=b">x"),
    "attributes in tags": html(b"<p a=\"b\" c='d' e>", b"<p style>", b"<a href=>", b'<p "">', b"<p = = =>"),
    "attributes of blanks": html(b" ", b"\t\n", before=b"<body><p a=", after=b">x"),
    "styles of zeros": html(b"0", b"0 ", b" ", b".0", before=b'<p style="font-size:', after=b'x">a'),
    "styles of blanks": html(
        b'<p style="font-size:0' + b" " * 900 + b'x">', b'<p style="opacity:' + b" " * 900 + b'x">'
    ),
    "styles of one long blank": html(b" ", b"\n", before=b'<p style="opacity:', after=b'x">a'),
    "styles repeated": html(b'<p style="display:none">a</p>', b"<i style=font-size:1px>a", b"<b hidden>a</b>"),
    "styles of words": html(
        b"display:", b"font-size:", b"opacity :", b"mso-hide: ", before=b'<p style="', after=b'">a'
    ),
    "styles of comments": html(b"/*", b"/**/", b"*/", before=b'<p style="display:', after=b'none">a'),
    "hidden texts": html(b"<b hidden>a b c</b>", b"<p style=display:none>" + b"a " * 40 + b"</p>"),
    "entities": html(b"&amp;", b"&", b"&#65;", b"&#x41", b"&#", b"&a", b"&&"),
    "entities of digits": html(b"9", before=b"<body>&#", after=b";"),
    "entities of 4,301 digits": html(b"&#" + b"9" * 4_301 + b";", b"&#" + b"0" * 4_301 + b";", b"&#x" + b"f" * 4_301),
    "entities of words": html(b"&" + b"a" * 32, b"&notit;", b"&aa", b"&ampampampampampampampampampampampa"),
    "entities in links": html(
        b'<a href="http://a.example/&#' + b"9" * 4_301 + b'">x</a>', b"<a href=&amp;&#x41;>b</a>"
    ),
    "entities in meta": html(b'<meta content="&#' + b"9" * 4_301 + b'" charset=utf-8>'),
    "entities in text": text(b"&#" + b"9" * 4_301 + b";", b"&amp;"),
    "blockquotes": html(b"<blockquote x>", b"<blockquote type=cite>a</blockquote>", b"<div class=gmail_quote>"),
    "blockquotes after long text": html(
        b"<p>" + b"a " * 25_000 + b"<blockquote x>" * 10, b"a " * 2_000 + b"<blockquote a>"
    ),
    "texts of markup": html(b"a ", b"\n", b"a\n", b" ", "é ".encode()),
    "preformatted": html(b"\n", b"a\n", before=b"<pre>"),
    "links": html(b"<a href=http://a%d.example/>b</a>", b"<a href=//a.example>http://b.example</a>"),
    "links relative": html(
        b"<a href=../../%d>a</a>", b"<a href=?a>a</a>", before=b"<base href=http://a.example/" + b"b/" * 900 + b">"
    ),
    "links relative and long": html(
        b"<a href=" + b"../" * 1_200 + b">a</a>", before=b"<base href=http://a.example/" + b"b/" * 900 + b">"
    ),
    "links long": html(b'<a href="http://a.example/' + b"a" * 3_900 + b'">b</a>', b'<a href="' + b" " * 3_000 + b'">'),
    "links with long text": html(b"a.example ", b"b", before=b"<a href=http://a.example>"),
    "links that show others": html(b"<a href=http://a.example>" + b"a-" * 60 + b".b.c.example/x</a>"),
    "urls": text(b"http://a.example/ ", b"http://a%d.example/ ", b"www.a ", b"http://", b"https://x\n"),
    "urls the same": text(b"http://a.example ", b"www.a.b\n", b"ftp://a "),
    "urls long": text(b"a", b")", b"(", b"%41", b"@", b"http://", before=b"http://a.example/"),
    "urls with brackets": text(b"http://a.example/" + b")" * 3_900 + b" ", b"http://" + b"(" * 3_000 + b"a "),
    "urls of blanks": text(b"http:// ", b"://", b"www. "),
    "hosts of digits": text(b"http://" + b"9" * 250 + b"/ ", b"http://%d/ ", b"http://0x%d.1.1/ ", b"http://1.%d/ "),
    "hosts of dots": text(
        b"http://" + _DOTS + b"%d/ ", b"http://" + _DOTS + b"%dx/ ", b"http://." + b"." * 200 + b"%d "
    ),
    "hosts of colons": text(b"http://[" + b"1:" * 50 + b"%d]/ ", b"http://a:" + b"1" * 200 + b"%d/ "),
    "hosts international": text(
        b"http://" + _UMLAUTS * 60 + b"%d.example/ ",
        b"http://" + (_UMLAUTS + b".") * 60 + b"%d/ ",
        b"http://xn--" + b"a" * 50 + b"%d.example/ ",
        b"http://" + "ß".encode() * 59 + b"%d ",
    ),
    "hosts of many labels": text(b"http://" + b"a." * 120 + b"%d/ ", b"http://" + b"a-" * 120 + b"%d/ "),
    "hosts with per cents": text(b"http://" + b"%%61" * 60 + b"%d/ ", b"http://" + b"%%" * 200 + b"%d/ "),
    "hosts with names": text(b"http://a@" * 50 + b"b%d/ ", b"http://a:b@c%d/ "),
    "urls within urls": text(b"http://a%d.example/?u=http://b.example/" + b"&u=//" * 300 + b" "),
    "urls of base64": text(
        b"http://a%d.example/?" + b"YWJjZEBlLmV4YW1wbGU" * 100 + b" ", b"http://a%d.example/" + b"A" * 1_900 + b" "
    ),
    "urls bare": text(b"a.com ", b"a%d.evil.com/x ", b"a.com,", b"(a.com", b".com", b"a.com_"),
    "urls bare with long names": text(
        b"a" * 252 + b".com ", b"a-" * 130 + b".com ", b"a." * 126 + b"com ", b"a" * 3_000
    ),
    "urls bare between letters": text(
        "字a.com".encode(), "字".encode() * 90 + b"a.com ", "é".encode() * 200 + b".com "
    ),
    "urls bare with paths": text(b"a.com/" + b")" * 3_900 + b" ", b"a.com/" + b"(" * 3_900, b"a.com?a.com#a.com"),
    "urls in the East": text("http://a。".encode() * 400, "http://a.jp、".encode(), b"http://a" + "。b".encode() * 900),
    "shares": text(b"\\\\a.example\\b ", b"\\\\", b"file://a%d.example/x ", b"\\\\a" + b"@a" * 100 + b"\\ "),
    "shares in markup": html(
        b"<img src=file://a%d.example/x>", b"<p background=\\\\a.example\\x href=file:>", b"<b ile: a=b>"
    ),
    "links rewritten": html(
        b"<a href=https://eur01.safelinks.protection.outlook.com/?url=https%%3A%%2F%%2Fa%d.example>a</a>",
        b"<a href=https://www.google.com/url?q="
        + b"http%%253A//%d.example&q=" * 60
        + b">https://href.li/?http://a</a>",
    ),
    "links rewritten deep": html(
        b"<a href=" + b"https://href.li/?" * 200 + b"http://a%d.example/>a</a>",
        b"<a href=https://href.li/?%d" + b"https://urldefense.com/v3/__" * 100 + b">a</a>",
    ),
    "links rewritten with stars": html(
        b"<a href=https://urldefense.com/v3/__https://a%d.example/"
        + b"*" * 1_900
        + b"__;"
        + b"YWFh" * 480
        + b"!>a</a>",
        b"<a href=https://urldefense.com/v3/__%d" + b"/v3/__" * 600 + b">a</a>",
        b"<a href=https://url.avanan.click/%d" + b"__/" * 1_200 + b">a</a>",
    ),
    "links rewritten in base 64": html(
        b"<a href=https://track.customer.io/e/c/%d/" + b"aHR0cDovL2EuZXhhbXBsZS8/" * 160 + b">a</a>",
        b"<a href=https://www.bing.com/ck/a?%d&" + b"u=a1aHR0cDovL2EuZXhhbXBsZS8&" * 140 + b">a</a>",
    ),
    "links of applications": html(
        b"<a href='ms-word:ofe|u|http://a%d.example'>a</a>",
        b"<a href='data:text/html;base64,%d" + b"PGEgaHJl" * 480 + b"'>a</a>",
        b"<a href='javascript:%d" + b"http:/" * 600 + b"'>a</a>",
        b"<a href='mailto:" + b"a@" * 900 + b"%d'>a</a>",
    ),
    "links in comments": html(
        b"<!--[if mso]><v:rect href=//a%d.example><![endif]-->",
        b"<!--[if a]>" + b"<a " * 900 + b"-->",
        b"<!--[if <a b=c ",
    ),
    "links that lead": html(
        b'<meta http-equiv=refresh content="0;url=http://a%d.example">', b"<iframe src=//a%d.example></iframe>"
    ),
    "links that show many": html(
        b"<a href=//a%d.example>" + b"www.b.com " * 28 + b"</a>", b"<a href=//a%d.example>" + b"a." * 140 + b"</a>"
    ),
    "quotes": text(b">\n", b"> a\n", b"| a\n", b"  >", b">>>> "),
    "quotes and attributions": text(b"On 1 Jan, A wrote:\n> a\n", b"On 1 wrote:\n", b"A wrote:\n> b\n"),
    "attributions": text(
        b"On " + b"wrote " * 90 + b":\nfoo\n", b"On " + b"wrote: " * 80 + b"\n", b"On a wrote" + b": " * 250 + b"\n"
    ),
    "attributions with blanks": text(b"On a wrote:" + b" " * 480 + b"x:\n", b"wrote" + b" " * 590 + b":\n"),
    "attributions of lines": text(b"On \n", b"On " + b"a" * 290 + b"\n", b"On 1 wrote\n"),
    "separators": text(
        b"--forwarded by" + b" " * 280 + b"x\n", b"-- original message" + b" " * 270 + b"x\n", b"--\n", b"__\n"
    ),
    "separators of dashes": text(b"-" * 299 + b"\n", b"--original message" + b"-" * 270 + b"x\n", b"_" * 199 + b"x\n"),
    "header blocks": text(b"From: x\n", b"From: a\nSent: b\n", b"*From:\n", b"Sent" + b" " * 5_000 + b"\nFrom: x\n"),
    "lines of one sign": text(b"\n", b"a\n", b"-\n", b"F\n", b" \n", before=b"> a\n"),
    "lines of blanks": text(b" " * 300 + b"\n", b"\t" * 50 + b"x\n", b" ", before=b">\n"),
    "marks": text("\u0301\u0316".encode(), "a\u0301".encode(), "\u0327\u0323\u0308".encode()),
    "marks out of order": text("\u0301".encode(), after="\u0316".encode() * 8_000),
    "marks, half and half": text(b"x", before="\u0301".encode() * 8_100 + "\u0316".encode() * 8_100),
    "signs that grow": text("\ufdfa".encode(), "ﬃ".encode(), "\u3300".encode()),
    "signs unseen": text("\u200b".encode(), "\u00ad".encode(), "a\u202e".encode(), "\ufeff".encode()),
    "scripts mixed": text("aа".encode(), "аa ".encode(), "𝐚".encode(), "а".encode()),
    "digits of other scripts": text("GB\u0663\u0664 ".encode(), "\u0661".encode(), "²".encode()),
    "money": text(b"$1,000,000 ", b"USD ", b"$", "€".encode(), b"100 euros "),
    "phones": text(b"+1 (555) 555-", b"555 555 ", b"(", b"1 ", b"00", b"5555-55"),
    "phones in short text": text(b" ", before=b"call " + b"+1 (22) 33 44 " * 100 + b"=", after=b"x"),
    "ibans": text(b"GB82 WEST 1234 5698 7654 33 ", b"DE00", b"AA00 ", b"GB82" + b" " * 45),
    "wallets": text(b"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3 ", b"bc1" + b"q" * 60 + b" ", b"1" * 34 + b" ", b"a" * 90),
    "greetings": text(b"Dear ", b"Dear Sir ", b" ", b"valued,", b"sehr geehrter "),
    "lexicon": text(b"urgent wire transfer ", b"gift card ", b"a ", b"click here to "),
    "replies": text(b"From: a\nSent: b\n", b"----- original message", b"from: " + b"x" * 190 + b"\n"),
    "words": text(b"a", b"_", b"a_", "ä".encode(), b"\xe2\x80\xa8"),
    "underscores": body(b"text/plain", b"_", b"__ ", b"\xa0"),
    "html in parts, links in all": parts(b"Content-Type: text/html\n", b"<a href=http://%d.example>a</a>&amp;", 1_000),
    "html deep in messages": nested(html(b"<a href=http://a%d.example>", b"<b><i>&amp;"), 3),
    "many things at once": together(
        html(b"<b>&aa"),
        text(b"http://1.%d/ "),
        parts(b"Content-Type: text/html\n", b"<p style=opacity:0>", 300),
        HEADER_KINDS["address international"],
    ),
    "many headers at once": headers_of(
        (
            HEADER_KINDS[name]
            for name in ("addresses", "encoded words", "received", "references", "address international")
        ),
        b"Content-Type: text/html\n\n",
    ),
}
"""Name to kind."""
