"""Small messages made by a grammar or mutated from hostile kinds, each by its number: the same bytes every time."""

from __future__ import annotations

from random import Random

from mailwarden.testing.hostile.kinds import KINDS
from mailwarden.testing.hostile.shapes import FIRST

MAX_MADE = 6_000
"""Bytes of a made message: small ones are read fast, so that there can be a million."""

_NAMES = (
    b"From",
    b"To",
    b"Cc",
    b"Reply-To",
    b"Sender",
    b"Subject",
    b"Date",
    b"Received",
    b"References",
    b"In-Reply-To",
    b"Message-ID",
    b"Return-Path",
    b"Authentication-Results",
    b"Content-Disposition",
    b"Content-Transfer-Encoding",
    b"Content-Type",
    b"X-Mailer",
    b"List-Id",
    b"Precedence",
    b"X-Priority",
    b"\xff",
    b"X" * 250,
    b"",
)
_VALUES = (
    b"a@b.example",
    b'"A, B" <a@b>',
    b"G: a@b, c;",
    b"(a (b) \\) c)",
    b"<",
    b">",
    b"=?utf-8?q?=ff?=",
    b"=?utf-7?b?KysA?=",
    b"=?x?q??=",
    b"=?utf-16?b?/9g=?=",
    b"&#99999999999999999999;",
    b"\xc3\xbc@xn--.example",
    b"a@\xe3\x80\x82.\xef\xbc\x8e",
    b"Mon, 31 Feb 2024 25:61:61 +9999",
    b"1 Jan 1 00:00:00",
    b"99 Xyz 9999999999999999999 1",
    b"-0000",
    b"mx.example; dkim=pass",
    b"header.d=b.example",
    b"spf=pass smtp.mailfrom=<@>",
    b"from a (b [1.2.3.4]) by c for <d@e>; 8 Apr 2007 1:1:1",
    b"[IPv6:::1]",
    b"text/html; charset=utf-16",
    b"text/plain; charset=hz",
    b"multipart/mixed; boundary=b",
    b"multipart/digest; boundary=b",
    b"message/rfc822",
    b"text/plain; name*0*=utf-8''%ff; name*9999=x",
    b"; a=b; a*=c; =; ;",
    b"base64",
    b"quoted-printable",
    b"x-uuencode",
    b"inline",
    b"attachment; filename=a.pdf.exe",
    b"\0",
    b"\r",
    b"\xed\xa0\x80",
    b"9" * 5_000,
    b"\n ",
    b" \t ",
)
_PIECES = (
    b"\n--b\n",
    b"\n--b--\n",
    b"--b",
    b"\n\n",
    b"\n",
    b"\r\n",
    b"\r",
    b"\0",
    b"<p style='display:none'>",
    b"</p>",
    b"<a href=",
    b"http://1.1/",
    b"//\xc3\xbc.example",
    b"http://[::1",
    b"http://0x7f.1/",
    b"http://%00/",
    b"www.a@b",
    b"<base href='http://[/'>",
    b"&#" + b"9" * 4_301 + b";",
    b"&#x" + b"f" * 300 + b";",
    b"&#xd800;",
    b"&nbsp",
    b"&",
    b"<blockquote type=cite>",
    b"<!--",
    b"-->",
    b"<script>",
    b"</script",
    b"<table>",
    b"</b>",
    b"<meta charset=utf-7>",
    b"+2AA-",
    b"\x1b$B",
    b"~{",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"On 1 Jan, A wrote:\n",
    b"> a\n",
    b"-----Original Message-----\n",
    b"From: a\nSent: b\nTo: c\n",
    b"begin 644 a\n#86)C\n`\nend\n",
    b"=3D=\n",
    b"=ff",
    b"PK\3\4",
    b"PK\5\6" + b"\xff" * 20,
    b"%PDF-",
    b"MZ\0",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"GB82 WEST 1234",
    b"bc1q",
    b"Dear Sir, wire transfer $1,000",
    b"\xcc\x81" * 40,
    b"\xd0\xb0a",
    b"\xe2\x80\x8b",
    b"\xf0\x9d\x90\x9a",
    b"QUJD",
    b"Content-Type: text/html\n\n",
    b"Content-Type: message/rfc822\n\n",
    b"From a Mon Jan  1 00:00:00 2024\n",
    b"a" * 300,
    b" " * 300,
)
_KINDS = tuple(KINDS.values())


def made_message(number: int) -> bytes:
    """The message of that number: by the grammar, a kind mutated, or two spliced."""
    chance = Random(number)
    way = chance.random()
    if way < 0.4:
        raw = _by_grammar(chance)
    elif way < 0.8:
        raw = _small(chance)
    else:
        first, second = _small(chance), _by_grammar(chance)
        raw = first[: chance.randrange(len(first) + 1)] + second[chance.randrange(len(second) + 1) :]
    return _mutated(raw, chance)[:MAX_MADE]


def _small(chance: Random) -> bytes:
    return chance.choice(_KINDS)(chance.choice((300, 700, 1_500)), chance)[: MAX_MADE // 2]


def _by_grammar(chance: Random) -> bytes:
    lines = [b"From a@b.example Mon Jan  1 00:00:00 2024\n"] if chance.random() < 0.1 else []
    if chance.random() < 0.7:
        lines.append(FIRST)
    for _ in range(chance.randrange(6)):
        value = chance.choice((b" ", b", ", b"; ", b"")).join(chance.choices(_VALUES, k=chance.randrange(1, 4)))
        lines.append(chance.choice(_NAMES) + b": " + value + b"\n")
    if chance.random() < 0.5:
        lines.append(b"Content-Type: multipart/%s; boundary=b\n" % chance.choice((b"mixed", b"alternative", b"digest")))
    lines.append(b"\n")
    for _ in range(chance.randrange(8)):
        if chance.random() < 0.3:
            lines.append(b"\n--b\n%s: %s\n\n" % (chance.choice(_NAMES), chance.choice(_VALUES)))
        lines.append(chance.choice(_PIECES))
    return b"".join(lines)


def _mutated(raw: bytes, chance: Random) -> bytes:
    for _ in range(chance.choice((0, 1, 1, 2, 4, 8))):
        at = chance.randrange(len(raw) + 1)
        way = chance.randrange(5)
        if way == 0:
            raw = raw[:at] + chance.choice(_PIECES) + raw[at:]
        elif way == 1:
            raw = raw[:at] + raw[at + chance.randrange(40) :]
        elif way == 2:
            raw = raw[:at] + bytes([chance.randrange(256)]) + raw[at + 1 :]
        elif way == 3:
            raw = raw[:at] + raw[max(0, at - chance.randrange(60)) :]
        else:
            raw = raw[:at] + chance.choice(_VALUES) + raw[at + chance.randrange(4) :]
    return raw
